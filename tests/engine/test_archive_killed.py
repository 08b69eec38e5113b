"""An archive whose writer is killed with SIGKILL before any of its steps: the whole file, or none."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine import pipeline, signing
from engine.errors import BadInput
from engine.files import remove_tree
from engine.progress import Silent
from engine.settings import Home
from tests.unit.archives import small_archives

pytestmark = pytest.mark.engine

#: By what the writer changes the disk; "advance" is told after each piece of the file, so only some of these are tried.
STEPS = {"rename": 1, "fsync": 1, "unlink": 1, "open": 5, "advance": 11}


class Ticking(Silent):
    """Does something each time that progress is told."""

    def __init__(self, tick: Callable[[], object]) -> None:
        self._tick = tick

    @contextmanager
    def task(self, text: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        def advance(_: int) -> None:
            self._tick()

        yield advance


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    remove_tree(tmp_path / "home")


def killed(run: str, path: Path, home: Home, step: str, number: int) -> bool:
    """Archive in a process that is killed before its ``number``-th call of ``step``; whether it came to that."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            seen = count()

            def tick() -> None:
                if next(seen) == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            if step != "advance":
                real: Any = getattr(os, step)

                def counted(*arguments: Any, **options: Any) -> Any:
                    tick()
                    return real(*arguments, **options)

                setattr(os, step, counted)
            pipeline.archive([run], path, (), None, home, Ticking(tick) if step == "advance" else Silent())
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("ending", [".tar", ".tar.zst"])
def test_killed_before_any_step(ending: str, folder: Path) -> None:
    home = Home(folder / "home")
    signing.make(home, "alice@example.org", None)
    record = small_archives.run(home, folder / "project")
    run = record.id
    whole = small_archives.archive(home, [record], folder / f"whole{ending}").read_bytes()
    outcomes = set()
    left = 0
    for step, stride in STEPS.items():
        for number in count(0, stride):
            place = folder / "place"
            place.mkdir()
            path = place / f"x{ending}"
            died = killed(run, path, home, step, number)
            there = path.exists()
            assert not there or path.read_bytes() == whole, f"{step} {number}: half an archive"
            others = [item.name for item in place.iterdir() if item != path]
            assert all(name.startswith(f".{path.name}.") for name in others)  # nobody takes it for an archive
            left += len(others)
            if not there:  # the next command
                pipeline.archive([run], path, (), None, home, Silent())
            found = {item.name: item.read_bytes() for item in place.iterdir()}
            assert found == {path.name: whole}, f"{step} {number}"
            outcomes.add((died, there))
            remove_tree(place)
            if not died:
                break
    assert outcomes == {(True, False), (True, True), (False, True)}
    assert left


def test_what_is_there_already_is_never_touched(folder: Path) -> None:
    home = Home(folder / "home")
    run = small_archives.run(home, folder / "project").id
    path = folder / "x.tar"
    path.write_text("mine")
    with pytest.raises(BadInput, match="already"):
        pipeline.archive([run], path, (), None, home, Silent())
    path.unlink()

    # And when somebody else writes it while ours is being written.
    with pytest.raises(BadInput, match="already"):
        pipeline.archive([run], path, (), None, home, Ticking(lambda: path.write_text("theirs")))
    assert path.read_text() == "theirs"
    assert not list(folder.glob(".x.tar*"))
