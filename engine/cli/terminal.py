"""How things look: progress on stderr, tables and records on stdout, colours only where wanted."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def styled(text: str, style: str, *, to_stderr: bool = False) -> str:
    """``text`` in a style when that stream is a terminal and NO_COLOR (no-color.org) is not set."""
    stream = sys.stderr if to_stderr else sys.stdout
    if os.environ.get("NO_COLOR") or not stream.isatty():
        return text
    return f"\033[{_STYLES[style]}m{text}\033[0m"


def plain(text: str) -> str:
    """``text`` without anything that a terminal takes for a command, colours too."""
    from engine.results import strip_escapes

    return strip_escapes(text)


def say(text: str, *, coloured: bool = False) -> None:
    """A line of log, on stderr, without commands to the terminal: engines, hosts and notebooks had a say in it.

    ``coloured`` lets colours pass, for text of which every part is ours or was cleaned before.
    """
    from engine.results import clean_text

    print(clean_text(text) if coloured else plain(text), file=sys.stderr, flush=True)


#: Whether an error was printed already.
complained = False


def complain(message: str, hint: str = "") -> None:
    """An error as every command prints it: one sentence that says what, one hint that says what to do."""
    global complained
    complained = True
    say(f"{styled('error:', 'red', to_stderr=True)} {plain(message)}", coloured=True)
    if hint:
        say(f"{styled('hint:', 'cyan', to_stderr=True)} {plain(hint)}", coloured=True)


def print_json(value: Any) -> None:
    """The one document of a ``--json`` command."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


class Terminal:
    """Progress on stderr: a redrawn line on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._drawn = False

    def say(self, text: str, *, coloured: bool = False) -> None:
        with self._lock:
            self._clear()
            say(text, coloured=coloured)

    def draw(self, text: str) -> None:
        """Replace the line at the bottom; nothing where stderr is not a terminal."""
        if not self._live:
            return
        with self._lock:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r\033[K" + plain(text).replace("\n", " ")[:width])
            sys.stderr.flush()
            self._drawn = True

    def clear(self) -> None:
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self._drawn = False

    @contextmanager
    def task(self, text: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        done = 0
        drawn_at = 0.0
        began = time.monotonic()

        def advance(amount: int) -> None:
            nonlocal done, drawn_at
            done += amount
            now = time.monotonic()
            if now - drawn_at > 0.1:
                drawn_at = now
                self.draw(f"  {text} {_bar(done, total)}")

        self.draw(f"  {text}")
        try:
            yield advance
        finally:
            self.clear()
        took = styled(f"{time.monotonic() - began:.1f} s", "dim", to_stderr=True)
        self.say(f"  {plain(text)} {took}", coloured=True)


def _bar(done: int, total: int | None) -> str:
    if not total:
        return ""
    part = min(done / total, 1.0)
    filled = int(part * 20)
    return f"[{'#' * filled}{'.' * (20 - filled)}] {part:4.0%}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need; the last one gives way so that a row fits the terminal."""
    if not rows:
        return ""
    width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 10_000
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    room = max(width - sum(widths[:-1]) - 2 * (len(widths) - 1), 12)
    widths[-1] = min(widths[-1], room)

    def line(row: Sequence[str]) -> str:
        cells = [text.ljust(widths[i]) for i, text in enumerate(row[:-1])]
        last = row[-1] if len(row[-1]) <= room else row[-1][: room - 1] + "…"
        return "  ".join([*cells, last]).rstrip()

    return "\n".join([styled(line(header), "bold"), *(line(row) for row in rows)])


def size_text(size: float) -> str:
    """Bytes for people, in powers of 1000 (IEC 80000-13)."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def seconds_text(seconds: float) -> str:
    """A duration for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
