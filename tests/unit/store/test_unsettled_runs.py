"""Runs that cannot be settled now: what is left of them elsewhere may be all that there is of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from store_builders import DOCUMENT, finished, project, record, taken

from engine import hosts, store
from engine.errors import BadInput
from engine.pipeline import keeping, pruning, reading
from engine.progress import Silent
from engine.settings import Home
from tests.strange_engine import REFUSAL, Said, strange_engine


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def begun(tmp_path: Path, home: Home) -> str:
    """A run whose process is dead, begun on a host that the home does not know any more."""
    started = record()
    with store.begin_run(home, started, b"", DOCUMENT, "", taken(project(tmp_path / "p", {}), home)) as run:
        (run.path / "identity").mkdir()
        where = {"engine": "X", "host": "gone", "url": "unix:///gone"}
        (run.path / "identity/whereabouts.json").write_text(json.dumps(where))
    return started.id


def test_one_of_which_nothing_can_be_told_is_not_lost(home: Home, begun: str) -> None:
    said = Said()
    assert [item.status for item in reading.runs(home, said)] == ["running"]
    assert any(begun in line and "cannot be told" in line and "gone" in line for line in said.lines)
    assert reading.find(begun, home, Silent()).status == "running"
    with pytest.raises(BadInput):
        reading.ended(begun, home, Silent())


def test_what_it_left_is_not_pruned(home: Home, begun: str) -> None:
    assert begun in pruning._begun(home, Silent())


def test_nor_that_of_one_whose_process_died_just_now(home: Home, begun: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "runs", lambda home, progress: store.list_runs(home))  # settled before that
    assert begun in pruning._begun(home, Silent())


def test_it_can_be_deleted_and_is_pruned_then(home: Home, begun: str) -> None:
    assert keeping.delete(begun, home, Silent()).id == begun
    assert begun not in pruning._begun(home, Silent())


def test_one_at_an_engine_that_does_not_answer_is_not_deleted(home: Home, begun: str) -> None:
    hosts.add(home, "gone", "unix:///nonexistent/engine.sock")
    with pytest.raises(BadInput, match="still running"):
        keeping.delete(begun, home, Silent())


@pytest.mark.parametrize("told", [{}, {"State": []}, {"State": {"Running": False}}, "x", REFUSAL])
def test_nonsense_of_an_engine_keeps_no_other_run_from_being_read(
    told: Any, home: Home, begun: str, tmp_path: Path
) -> None:
    other, said = finished(home, taken(project(tmp_path / "q", {}), home), record()), Said()
    with strange_engine({f"/containers/nbseal-{begun}/json": told}) as url:
        hosts.add(home, "gone", url)
        statuses = {item.id: item.status for item in reading.runs(home, said)}
    assert statuses == {begun: "running", other.id: "completed"}
    assert any(begun in line and "cannot be told" in line and line.isprintable() for line in said.lines)
