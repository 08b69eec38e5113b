"""When a cell has to stop: its time limit, the notebook's, a signal from outside, the kernel's death."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from .kernel import Kernel
from .stop import StopRequest

#: Seconds that an interrupted cell has to come to its end before the kernel is killed.
GRACE = 5.0


class KernelEnded(Exception):
    """The kernel died while something was expected of it, by itself or because it did not heed an interrupt."""


class Guard:
    """Watches over the execution of cells. ``cause`` says why one was stopped.

    ``cause`` is "" as long as none was, then "interrupt", "timeout" or "cell_timeout".
    """

    def __init__(self, kernel: Kernel, stop: StopRequest, timeout: float | None, cell_timeout: float | None) -> None:
        self._kernel = kernel
        self._stop = stop.future()
        self._cell_timeout = cell_timeout
        self._end = None if timeout is None else time.monotonic() + timeout
        self.cause = ""

    def may_go_on(self) -> bool:
        """Whether the next cell may start; sets ``cause`` when not."""
        if self._stop.done():
            self.cause = "interrupt"
        elif self._end is not None and time.monotonic() >= self._end:
            self.cause = "timeout"
        return not self.cause

    async def watch(self, reply: asyncio.Future[Any]) -> None:
        """Wait until ``reply`` is done, interrupting the kernel when the cell has to stop.

        An interrupted cell may still reply, with its KeyboardInterrupt. Raises KernelEnded when no
        reply will come.
        """
        seconds, limit = self._time_left()
        died = self._kernel.died
        await asyncio.wait({reply, died, self._stop}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not reply.done() and not died.done():
            self.cause = "interrupt" if self._stop.done() else limit
            await self._interrupt(reply)
        if not reply.done():
            raise KernelEnded

    def _time_left(self) -> tuple[float | None, str]:
        """Seconds until a limit is reached, and which."""
        notebook = None if self._end is None else max(0.0, self._end - time.monotonic())
        if self._cell_timeout is None or (notebook is not None and notebook < self._cell_timeout):
            return notebook, "timeout"
        return self._cell_timeout, "cell_timeout"

    async def _interrupt(self, reply: asyncio.Future[Any]) -> None:
        died = self._kernel.died
        for _ in range(2):  # the first may have come while the kernel was not listening
            self._kernel.interrupt()
            await asyncio.wait({reply, died}, timeout=GRACE / 2, return_when=asyncio.FIRST_COMPLETED)
            if reply.done() or died.done():
                return
        self._kernel.kill()
        await asyncio.wait({died})
