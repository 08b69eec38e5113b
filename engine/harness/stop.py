"""Being asked to stop: SIGINT and SIGTERM."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class StopRequest:
    """SIGINT and SIGTERM, from the moment that this object exists until the end of the program."""

    def __init__(self) -> None:
        self._requested = False
        self._future: asyncio.Future[None] | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, *_: Any) -> None:
        self._requested = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    @property
    def requested(self) -> bool:
        return self._requested

    def future(self) -> asyncio.Future[None]:
        """Done as soon as a stop is asked for; to be called on the event loop that waits for it."""
        if self._future is None:
            import asyncio

            loop = asyncio.get_running_loop()
            self._future = loop.create_future()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._note)
            if self._requested:
                self._future.set_result(None)
        return self._future
