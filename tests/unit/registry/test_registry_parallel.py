"""Transfers at once: results in order, and an end at once when one fails or the user wants no more."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from engine import registry
from engine.registry.parallel import pause

Advance = Callable[[int], None]


@pytest.fixture
def stalled() -> Iterator[threading.Event]:
    """What a server would have to do; at the end it does, so that no thread stays."""
    event = threading.Event()
    yield event
    event.set()


def ignore(amount: int) -> None:
    pass


def test_results_are_in_order_and_all_advance() -> None:
    amounts: list[int] = []

    def work(item: int, advance: Advance) -> int:
        time.sleep(0.001 * (7 - item % 7))
        advance(item)
        return item * item

    assert registry.each(work, range(40), amounts.append) == [item * item for item in range(40)]
    assert sorted(amounts) == list(range(40))
    assert registry.each(work, [], ignore) == []


def test_the_user_waits_for_no_server(stalled: threading.Event) -> None:
    begun = time.monotonic()
    threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        registry.each(lambda item, advance: stalled.wait(15), range(8), ignore)
    assert time.monotonic() - begun < 8


def test_an_error_waits_for_no_server_and_ends_pauses(stalled: threading.Event) -> None:
    ended = threading.Event()

    def work(item: str, advance: Advance) -> None:
        if item == "fails":
            raise ValueError(item)
        if item == "stalls":
            stalled.wait(15)
        try:
            pause(15)
        finally:
            ended.set()

    begun = time.monotonic()
    with pytest.raises(ValueError, match="fails"):
        registry.each(work, ["pauses", "stalls", "fails"], ignore)
    assert ended.is_set()
    assert time.monotonic() - begun < 8


def test_nothing_advances_after_the_end(stalled: threading.Event) -> None:
    amounts: list[int] = []
    refused = threading.Event()

    def work(item: str, advance: Advance) -> None:
        if item == "fails":
            raise ValueError(item)
        stalled.wait(15)
        try:
            advance(1)
        except BaseException:
            refused.set()
            raise

    with pytest.raises(ValueError, match="fails"):
        registry.each(work, ["stalls", "fails"], amounts.append)
    stalled.set()
    assert refused.wait(15)
    assert not amounts
