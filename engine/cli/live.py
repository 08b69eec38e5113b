"""A run while it happens: which cell is at work, what it printed last, how long it took."""

from __future__ import annotations

import time
from typing import Any

from engine.cli.terminal import Terminal, seconds_text, styled
from engine.results import clean_text


class CellProgress:
    """Takes the events of a run (docs/reference/events.md) and draws them."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._cells = 0
        self._began = time.monotonic()
        self._last_line = ""

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "started":
            self._cells = int(event.get("cells", 0))
        elif kind == "cell_started":
            self._began, self._last_line = time.monotonic(), ""
            self._draw(event)
        elif kind == "output":
            text = event.get("output", {}).get("text", "")
            lines = clean_text(str(text)).strip().splitlines()
            if lines:
                self._last_line = lines[-1]
            self._draw(event)
        elif kind == "cell_done":
            self._done(event)

    def _draw(self, event: dict[str, Any]) -> None:
        self._terminal.draw(
            f"  {self._where(event)}  {seconds_text(time.monotonic() - self._began)}  {self._last_line}"
        )

    def _done(self, event: dict[str, Any]) -> None:
        marks = {"ok": ("done", "green"), "error": ("failed", "red"), "skipped": ("skipped", "dim")}
        word, style = marks.get(str(event.get("status")), ("ended", "dim"))
        took = seconds_text(float(event.get("duration") or 0))
        tail = f"  {styled(self._last_line[:60], 'dim', to_stderr=True)}" if self._last_line else ""
        self._terminal.say(f"  {self._where(event)} {styled(word, style, to_stderr=True)}  {took}{tail}", coloured=True)

    def _where(self, event: dict[str, Any]) -> str:
        return f"cell {int(event.get('cell', 0)) + 1}/{self._cells}"
