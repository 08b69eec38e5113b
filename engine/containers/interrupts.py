"""Ctrl-C while a container runs: counted, so that it comes between no two steps of ours."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

#: The first asks the harness to stop, the second kills the container; this many give up waiting for the engine.
_PATIENCE = 4


class Interrupts:
    """Counts SIGINT instead of raising KeyboardInterrupt, while it is entered in the main thread.

    In other threads nothing changes: Ctrl-C does not arrive there (library/signal, "Signals and
    threads"). The fourth one raises KeyboardInterrupt after all.
    """

    def __init__(self) -> None:
        self.count = 0
        self._previous: Any = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count >= _PATIENCE:
            raise KeyboardInterrupt
