"""A few transfers at once: most content is small, and then it is the way there and back that takes time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

_AT_ONCE = 4


class _Stopped(Exception):
    """Another transfer failed, or the user wants no more."""


def each(work: Callable[[S, Callable[[int], None]], T], items: Sequence[S], advance: Callable[[int], None]) -> list[T]:
    """What ``work`` gives for each, in order. The first error ends all others where they next advance."""
    stop = threading.Event()
    lock = threading.Lock()

    def advancing(amount: int) -> None:
        if stop.is_set():
            raise _Stopped
        with lock:
            advance(amount)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        futures = [pool.submit(work, item, advancing) for item in items]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                error = future.exception() if future in done else None
                if error is not None and not isinstance(error, _Stopped):
                    raise error
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
