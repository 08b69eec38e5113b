"""Machines beside this one, on when a test first asks for them, off at the end; and other engines than its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from engine import daemon
from tests.engine import inabilities
from tests.engine.machines import Machine, machine

#: An engine that keeps more than this, in bytes, starts anew: images add up, with every change of the tests.
MOST_KEPT = 6 << 30


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Another engine than this machine's own is not expected to do everything."""
    if os.environ.get("DOCKER_HOST"):
        inabilities.mark(items, daemon.connect())


@pytest.fixture(scope="session")
def machines() -> Iterator[Callable[[str], Machine]]:
    """Machines by name, on, the same ones for all tests."""
    known: dict[str, Machine] = {}
    with ExitStack() as held:

        def get(name: str) -> Machine:
            if name not in known:
                made = held.enter_context(machine(name))
                made.boot()
                forget_much(made)
                known[name] = made
            return known[name]

        yield get


@pytest.fixture
def second(machines: Callable[[str], Machine], monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine called ``second``, which the user's own ssh knows."""
    made = machines("second")
    monkeypatch.setenv("PATH", f"{made.commands}:{os.environ['PATH']}")
    yield made
    made.settle()


def forget_much(made: Machine) -> None:
    """Keep what the next tests will need, but not without end."""
    with made.engine() as client:
        if int(client.df()["LayersSize"]) > MOST_KEPT:
            for image in client.api.images(quiet=True):
                client.api.remove_image(image, force=True)
