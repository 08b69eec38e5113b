"""What a run directory here becomes by what a courier says, and what a lying one gets of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.containers.launch import PROJECT, Folders
from engine.containers.remote import mirror
from engine.containers.remote.mirror import Mirror
from engine.containers.remote.session import Frame
from engine.errors import EngineUnavailable
from engine.model import Limits


class Told:
    """A session that says this, and is asked for nothing."""

    def __init__(self, *frames: Frame) -> None:
        self._frames = iter(frames)

    def frame(self) -> Frame:
        return next(self._frames)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / "run/project", tmp_path / "run/spool")
    made.project.mkdir(parents=True)
    made.spool.mkdir()
    return made


def listen(folders: Folders, *frames: Frame, inputs: tuple[str, ...] = ()) -> Mirror:
    made = Mirror(None, None, folders, [(target, "0" * 64) for target in inputs])  # type: ignore[arg-type]
    made._listen(Told(*frames))  # type: ignore[arg-type]
    return made


def entries(*items: dict[str, Any]) -> Frame:
    return Frame(
        "entries", {}, json.dumps([{"root": PROJECT, "mode": 0o755, "size": 0, **item} for item in items]).encode()
    )


LISTED = Frame("listed", {}, b"")


def test_more_than_may_be_fetched_is_not_asked_for(folders: Folders) -> None:
    half = {"kind": "file", "size": Limits.work_tree // 2 + 1, "digest": "0" * 64}
    made = listen(folders, entries({"path": "a", **half}), entries({"path": "b", **half}), LISTED)
    assert "more bytes than may be fetched" in made._problem
    assert not list(folders.project.iterdir())


def test_entries_without_end_are_an_end(folders: Folders) -> None:
    told = Told(*(entries(*({"path": f"{at}-{i}", "kind": "folder"} for i in range(5000))) for at in range(21)))
    made = Mirror(None, None, folders, [])  # type: ignore[arg-type]
    made._listen(told)  # type: ignore[arg-type]
    assert "more than 100,000 files" in made._problem


def test_only_inputs_that_were_given_are_told_as_replaced(folders: Folders) -> None:
    for told, said in (([], ""), ("d.csv", ""), (["other", {}], ""), (["d.csv", "other"], "it ran: d.csv.")):
        made = listen(folders, entries(), Frame("listed", {"replaced": told}, b""), inputs=("d.csv", "e.csv"))
        assert made._problem.endswith(said)
        assert bool(made._problem) == bool(said)
    many = [f"{i}" for i in range(9)]
    made = listen(folders, Frame("listed", {"replaced": many}, b""), inputs=tuple(many))
    assert made._problem.endswith("it ran: 0, 1, 2, 3, 4 and 4 more.")


def notebook(version: str, data: bytes, left: int) -> Frame:
    return Frame("notebook", {"version": version, "left": left}, data)


def test_a_notebook_is_here_once_all_of_it_is(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folders.spool / "executed.ipynb"
    listen(folders, notebook("1", b"one", 3), notebook("2", b"two", 3), notebook("2", b"and", 0), LISTED)
    assert path.read_bytes() == b"twoand"
    listen(folders, notebook("3", b"cut", 3), LISTED)
    assert path.read_bytes() == b"twoand"
    listen(folders, notebook("3", b"whole", 0), LISTED)
    assert path.read_bytes() == b"whole"
    monkeypatch.setattr(mirror, "_MAX_NOTEBOOK", 8)
    listen(folders, *[notebook("4", b"large", 1)] * 3, notebook("4", b"", 0), LISTED)
    assert path.read_bytes() == b"whole"
    assert [item.name for item in folders.spool.iterdir()] == ["executed.ipynb"]


@pytest.mark.parametrize(
    "frame",
    [
        Frame("usage", {"bytes": float("inf")}, b""),
        Frame("usage", {}, b""),
        Frame("events", {"offset": "0"}, b""),
        Frame("machine", {"processor": ["x"]}, b""),
        Frame("notebook", {"version": "1"}, b""),
    ],
)
def test_fields_that_are_none_are_refused(frame: Frame, folders: Folders) -> None:
    with pytest.raises(EngineUnavailable):
        listen(folders, frame)


def test_a_processor_says_nothing_to_a_terminal(folders: Folders) -> None:
    made = listen(folders, Frame("machine", {"processor": "fast\x1b[2J\ud800"}, b""), LISTED)
    assert made.processor == "fast[2J"
