"""How much disk a run takes, watched while it runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

#: Seconds between two counts, at least; and at least this many times what the last count took.
_PAUSE, _PAUSE_FACTOR = 2.0, 20.0
_BLOCK = 512  # unit of st_blocks (stat(2))


def disk_usage(folders: Sequence[Path]) -> int:
    """Bytes on disk below the folders. Links are not followed, a file with several names counts once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    waiting = [str(folder) for folder in folders]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in seen:
                            continue
                        seen.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * _BLOCK
        except OSError:
            continue  # removed meanwhile, or closed to us
    return total


class WorkTreeWatch:
    """Counts the work tree in a thread until ``stop``; ``used`` is what it held last, in bytes."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
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
            self.used = disk_usage(self._folders)
            pause = max(_PAUSE, _PAUSE_FACTOR * (time.monotonic() - began))
