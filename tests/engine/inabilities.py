"""What an engine is known not to do, and the tests that show it: they are run, and have to fail."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from engine.daemon import Engine


@dataclass(frozen=True)
class Inability:
    """``tests`` are patterns for the ends of node ids."""

    of: Callable[[Engine], bool]
    reason: str
    tests: tuple[str, ...]


_LOOKING = (
    "there_is_no_network",
    "only_the_project_and_memory_are_writable",
    "there_are_no_privileges",
    "the_user_is_not_root_and_always_has_the_same_name",
    "the_environment_is_the_fixed_one",
    "the_kernel_always_has_the_same_process_id",
)

KNOWN = (
    Inability(
        lambda engine: engine.is_podman,
        "Podman makes no /etc/resolv.conf for a container without a network",
        tuple(f"test_execution.py::test_{name}" for name in _LOOKING),
    ),
    Inability(
        lambda engine: engine.is_podman,
        "Podman names each capability that it drops, instead of all",
        ("test_execution.py::test_the_container_is_as_sealed_as_it_says",),
    ),
    Inability(
        lambda engine: engine.is_podman,
        "Podman reads every layer of an image again",
        (
            "test_image.py::test_160_distributions_share_layers_and_one_more_moves_little",
            "test_image.py::test_large_layers_are_loaded_while_others_are_packed",
        ),
    ),
    Inability(
        lambda engine: engine.is_podman,
        "Podman, served by root, answers root alone",
        ("test_execution.py::test_another_caller_runs_with_its_own_id",),
    ),
)


def mark(items: list[pytest.Item], engine: Engine) -> None:
    """Mark what this engine cannot pass."""
    for known in KNOWN:
        if known.of(engine):
            marker = pytest.mark.xfail(reason=known.reason, strict=True)
            for item in items:
                if any(fnmatch.fnmatchcase(item.nodeid, f"*/{pattern}") for pattern in known.tests):
                    item.add_marker(marker)
