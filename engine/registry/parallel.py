"""A few transfers at once: most content is small, and then it is the way there and back that takes time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

_AT_ONCE = 4
#: Seconds that transfers get to end by themselves.
_GRACE = 1.0


class _Stopped(Exception):
    """Another transfer failed, or the user wants no more."""


class _Mine(threading.local):
    """What a thread that transfers is told to stop by; nobody stops another thread so."""

    stop: threading.Event | None = None


_mine = _Mine()


def pause(seconds: float) -> None:
    """Sleep, but in a transfer only until all are to end."""
    if _mine.stop is None:
        time.sleep(seconds)
    elif _mine.stop.wait(seconds):
        raise _Stopped


def each(work: Callable[[S, Callable[[int], None]], T], items: Sequence[S], advance: Callable[[int], None]) -> list[T]:
    """What ``work`` gives for each, in order. The first error ends all others where they next advance or pause.

    One that waits for a server cannot be told, and is not waited for: its thread ends with the process, if not before.
    """
    stop, lock = threading.Event(), threading.Lock()
    waiting, results = deque(enumerate(items)), dict[int, T]()
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def advancing(amount: int) -> None:
        with lock:
            if stop.is_set():
                raise _Stopped
            advance(amount)

    def transfer() -> None:
        _mine.stop = stop
        while not stop.is_set():
            try:
                place, item = waiting.popleft()
            except IndexError:
                return
            try:
                results[place] = work(item, advancing)
                ended.put(None)
            except BaseException as error:
                ended.put(error)

    threads = [threading.Thread(target=transfer, daemon=True) for _ in range(min(_AT_ONCE, len(items)))]
    try:
        for thread in threads:
            thread.start()
        for _ in items:
            error = ended.get()
            if error is not None:
                raise error
        return [results[place] for place in range(len(items))]
    finally:
        stop.set()
        until = time.monotonic() + _GRACE
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
