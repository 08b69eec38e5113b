"""How much disk a run on this machine takes, watched while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from engine.containers.remote.program import usage

#: Seconds between two counts, at least; and at least this many times what the last count took.
_PAUSE, _PAUSE_FACTOR = 2.0, 20.0


class WorkTreeWatch:
    """Counts the work tree in a thread until ``stop``; ``used`` is what it held last, in bytes."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [str(folder) for folder in folders]
        self._ended = threading.Event()
        self.used = 0
        self._thread = threading.Thread(target=self._watch, daemon=True, name="nbseal-worktree")
        self._thread.start()

    def stop(self) -> None:
        """End the watch. A count under way is not waited for: it only reads."""
        self._ended.set()

    def _watch(self) -> None:
        pause = _PAUSE
        while not self._ended.wait(pause):
            began = time.monotonic()
            self.used = usage(self._folders, _nothing)
            pause = max(_PAUSE, _PAUSE_FACTOR * (time.monotonic() - began))


def _nothing() -> None:
    """Nobody waits for a sign of life."""
