"""Pieces of pulls that were broken off: kept for a day, then removed by whatever command looks at leftovers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import store
from engine.files import locked
from engine.progress import Silent
from engine.settings import Home

DAY = 86_400


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def left(home: Home, digit: str, age: int) -> Path:
    """What a killed pull leaves."""
    folder = home.temporary / f"pull-{digit * 64}"
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / ("0" * 64)).write_bytes(b"piece")
    at = time.time() - age
    os.utime(folder, (at, at))
    return folder


@pytest.mark.parametrize("command", [store.catch_up, lambda home: store.fsck(home, Silent())])
def test_old_pieces_are_removed_by_other_commands(home: Home, command: Callable[[Home], object]) -> None:
    old, fresh, held = left(home, "1", DAY + 60), left(home, "2", DAY - 60), left(home, "3", DAY + 60)
    with locked(held / "lock"):  # a pull is at work there, however long
        command(home)
    assert not old.exists()
    assert {path.name for path in fresh.iterdir()} == {"lock", "0" * 64}
    assert held.exists()
    command(home)
    assert not held.exists()


def test_a_link_is_not_followed(home: Home, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    home.temporary.mkdir(parents=True)
    link = home.temporary / f"pull-{'1' * 64}"
    link.symlink_to(outside)
    os.utime(link, (0, 0), follow_symlinks=False)
    store.catch_up(home)
    assert not list(outside.iterdir())
    assert link.is_symlink()
