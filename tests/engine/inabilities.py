"""What an engine is known not to do, and the tests that show it: they are run, and have to fail."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from engine.daemon import Engine


@dataclass(frozen=True)
class Inability:
    """``tests`` are patterns for the ends of node ids; without ``run``, trying would take too long, or harm."""

    of: Callable[[Engine], bool]
    reason: str
    tests: tuple[str, ...]
    run: bool = True


KNOWN: tuple[Inability, ...] = ()


def mark(items: list[pytest.Item], engine: Engine) -> None:
    """Mark what this engine cannot pass."""
    for known in KNOWN:
        if known.of(engine):
            marker = pytest.mark.xfail(reason=known.reason, strict=True, run=known.run)
            for item in items:
                if any(fnmatch.fnmatchcase(item.nodeid, f"*/{pattern}") for pattern in known.tests):
                    item.add_marker(marker)
