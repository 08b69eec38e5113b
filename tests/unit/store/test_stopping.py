"""Stopping runs whose notebook has not begun: there is no container yet, only a process that is about to make one."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_builders import DOCUMENT, project, record, taken

from engine import containers, store
from engine.containers.stopping import is_unwanted
from engine.errors import EngineUnavailable
from engine.pipeline import following
from engine.progress import Silent
from engine.settings import Home
from tests.strange_engine import MISSING, strange_engine


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def run(tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[store.RunDirectory]:
    """One that a process owns, and of which the engine has no container."""
    started, source = record(), taken(project(tmp_path / "p", {}), home)
    with (
        strange_engine({f"/containers/nbseal-{started.id}/json": MISSING}) as url,
        store.begin_run(home, started, b"", DOCUMENT, "", source) as run,
    ):
        monkeypatch.setenv("DOCKER_HOST", url)
        yield run


def folders(run: store.RunDirectory) -> containers.Folders:
    return containers.Folders(run.project, run.spool)


def test_one_that_has_not_ended_is_an_error(
    home: Home, run: store.RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_GRACE", 0.5)
    with pytest.raises(EngineUnavailable, match="has not ended yet") as caught:
        following.stop(run.id, "", home, Silent())
    assert caught.value.hint
    assert caught.value.exit_code == 3
    assert is_unwanted(folders(run))


def test_one_whose_process_gives_it_up_has_stopped(home: Home, run: store.RunDirectory) -> None:
    stopped: list[following.Stopped] = []
    thread = threading.Thread(target=lambda: stopped.append(following.stop(run.id, "", home, Silent())))
    thread.start()
    while not is_unwanted(folders(run)):
        assert thread.is_alive()
    store.discard(run)
    thread.join()
    assert stopped == [following.Stopped(run.id, "local", "stopped")]


def test_what_a_notebook_put_in_place_of_the_note_is_left_alone(run: store.RunDirectory, tmp_path: Path) -> None:
    assert not is_unwanted(folders(run))
    (run.spool / "unwanted").symlink_to(tmp_path / "elsewhere")
    containers.mark_unwanted(folders(run))
    assert not (tmp_path / "elsewhere").exists()
    (run.spool / "unwanted").unlink()
    os.mkfifo(run.spool / "unwanted")
    containers.mark_unwanted(folders(run))


def test_one_that_is_recorded_meanwhile_gets_no_note(run: store.RunDirectory) -> None:
    (run.spool / "notebook.ipynb").unlink()
    run.spool.rmdir()
    containers.mark_unwanted(folders(run))
    assert not run.spool.exists()
