"""An import that is killed with SIGKILL before any of its steps on the disk: all of it is there, or nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine import pipeline, store
from engine.files import remove_tree
from engine.progress import Silent
from engine.settings import Home
from tests.unit.archives import small_archives
from tests.unit.archives.small_archives import tree

#: By what a process changes the names and bytes on a disk. Most steps are the writing of files that no one sees yet.
STEPS = {"rename": 1, "replace": 1, "fsync": 1, "rmdir": 7, "unlink": 7, "mkdir": 7, "open": 7}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    remove_tree(tmp_path / "source")
    remove_tree(tmp_path / "target")


def killed(archive: Path, target: Home, step: str, number: int) -> bool:
    """Import in a process that is killed before its ``number``-th call of ``step``; whether it came to that."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            real: Any = getattr(os, step)
            seen = count()

            def counted(*arguments: Any, **options: Any) -> Any:
                if next(seen) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            setattr(os, step, counted)
            os.sync = lambda: None  # a kill is no power cut
            pipeline.import_archive(archive, target, Silent())
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_killed_before_any_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sync", lambda: None)
    source = Home(folder / "source")
    records = [small_archives.run(source, folder / "project"), small_archives.run(source, folder / "project")]
    archive = small_archives.archive(source, records, folder / "x.tar")
    outcomes = set()
    for step, stride in STEPS.items():
        for number in count(0, stride):
            target = Home(folder / "target")
            target.root.mkdir()
            died = killed(archive, target, step, number)
            there = {item.id for item in pipeline.runs(target, Silent())}  # the next command
            assert not list(target.temporary.glob("archive-*"))
            assert there in (set(), {record.id for record in records}), f"{step} {number}: half an import"
            if there:
                assert tree(target.runs) == tree(source.runs)
                assert not store.fsck(target, Silent()).findings
            else:
                seen = {name.partition("/")[0] for name in tree(target.root)} - {"ledger"}
                assert seen <= {"tmp"}, f"{step} {number}: {seen}"
            again = pipeline.import_archive(archive, target, Silent())
            assert [item.known for item in again.runs] == [bool(there)] * 2
            assert tree(target.runs) == tree(source.runs)
            assert not store.fsck(target, Silent()).findings
            outcomes.add((died, bool(there)))
            remove_tree(target.root)
            if not died:
                break
    assert outcomes == {(True, False), (True, True), (False, True)}
