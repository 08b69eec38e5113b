"""What a stage may say while it works; the command line decides how that looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Handed to every slow stage. Implementations must be safe to call from threads."""

    def say(self, text: str) -> None:
        """One line that stays on the screen."""

    def task(self, text: str, total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
        """A piece of work with a bar; the yielded function advances it (bytes or items)."""


class Silent:
    """Progress for callers that want none."""

    def say(self, text: str) -> None:
        pass

    @contextmanager
    def task(self, text: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        yield lambda amount: None
