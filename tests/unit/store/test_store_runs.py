"""The life of a run directory, also of one whose process is killed at any step."""

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_builders import DOCUMENT, finished, project, record, taken

from engine import store
from engine.digests import sha256_file
from engine.errors import VerificationFailed
from engine.files import locked
from engine.model import CellError, Comparison, Difference, FlagValue, Input, Outcome, OutputFile, Record, Source
from engine.settings import Home
from engine.software import Wheel
from engine.store.blobs import blob_path
from engine.store.seal import MANIFEST, parse_manifest
from engine.store.sealing import faults


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def source(tmp_path: Path, home: Home) -> Source:
    return taken(project(tmp_path / "p", {"x.py": b"1", "data/y.csv": b"2"}), home)


def test_begin(home: Home, source: Source) -> None:
    started = record()
    with store.begin_run(home, started, b"original", DOCUMENT, "lock\n", source) as run:
        assert run.original.read_bytes() == b"original"
        assert json.loads(run.notebook.read_text()) == DOCUMENT
        assert (run.spool / "notebook.ipynb").read_bytes() == run.notebook.read_bytes()
        assert (run.project / "data/y.csv").read_bytes() == b"2"
        assert store.read_source(run) == source
        assert store.load_record(home, started.id) == started
        assert [item.status for item in store.list_runs(home)] == ["running"]
        assert store.unfinished(home) == ()
        with store.adopt(home, started.id) as adopted:
            assert adopted is None  # we own it
        assert list(home.temporary.iterdir()) == []


def test_publish(home: Home, source: Source) -> None:
    done = finished(home, source, record())
    run = store.open_run(home, done.id)
    loaded = store.load_record(home, done.id)
    assert repr(loaded) == repr(done)  # by text, because nan is not equal to itself
    assert json.loads(run.scalars.read_text()) == {"name": "loss", "value": "NaN", "step": 3, "cell": 0}
    assert json.loads(run.outputs.read_text())[0]["path"] == "out.txt"
    sealed = parse_manifest((run.path / MANIFEST).read_bytes())
    assert set(sealed) == {
        "original.ipynb", "notebook.ipynb", "executed.ipynb", "requirements.lock", "source.json", "inputs.json",
        "outputs.json", "scalars.jsonl", "events.jsonl", "log.txt", "images/cell-1-1.png", "run.json", "irregular.json",
        "project/nbseal.yml", "project/x.py", "project/data/y.csv", "project/out.txt",
    }  # fmt: skip
    assert all(sha256_file(run.path / name) == f"sha256:{digest}" for name, digest in sealed.items())
    history, _ = store.history_of(home, done.id)
    assert (history.state, history.status, history.late) == ("ended", "completed", False)
    assert history.seal == sha256_file(run.path / MANIFEST) == store.read_seal(run, history).digest
    assert not run.spool.exists()
    assert [path for path in run.path.rglob("*") if path.is_file() and path.stat().st_mode & 0o222] == []
    assert list((home.root / "locks").iterdir()) == []


def test_hostile_spool(tmp_path: Path, home: Home, source: Source) -> None:
    """Nothing is read through links, nothing is waited for, no setuid bit survives, and the spool goes."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    started = record()
    with store.begin_run(home, started, b"", DOCUMENT, "", source) as run:
        (run.spool / "events.jsonl").symlink_to(secret)
        os.mkfifo(run.spool / "log.txt")
        (run.spool / "folder").symlink_to(tmp_path)
        deep = os.open(run.spool, os.O_RDONLY)
        for _ in range(1500):  # longer than any path, deeper than Python's recursion limit
            os.mkdir("d" * 20, dir_fd=deep)
            deeper = os.open("d" * 20, os.O_RDONLY, dir_fd=deep)
            os.close(deep)
            deep = deeper
        os.close(deep)
        (run.project / "x.py").chmod(0o6755)
        (run.project / "link").symlink_to(secret)
        store.publish(run, replace(started, status="completed"), DOCUMENT, (), {"../../escape.png": b""})
    assert run.events.read_bytes() == b""
    assert run.log.read_bytes() == b""
    assert not run.spool.exists()
    assert secret.read_text() == "secret"
    assert secret.stat().st_mode & 0o200
    assert stat.S_IMODE((run.project / "x.py").stat().st_mode) == 0o555
    assert (run.images / "escape.png").exists()


def test_begin_without_its_source_leaves_nothing(home: Home, source: Source) -> None:
    blob_path(home, source.files[0].digest).unlink()
    with pytest.raises(VerificationFailed), store.begin_run(home, record(), b"", DOCUMENT, "", source):
        pass
    assert store.list_runs(home) == ()
    assert list(home.temporary.iterdir()) == []


def test_discard(home: Home, source: Source) -> None:
    with store.begin_run(home, record(), b"", DOCUMENT, "", source) as run:
        store.discard(run)
    assert store.list_runs(home) == ()
    assert list(home.temporary.iterdir()) == list(home.runs.iterdir()) == []


def test_lost_run_is_settled_once(home: Home, source: Source) -> None:
    started = record()
    with store.begin_run(home, started, b"", DOCUMENT, "", source):
        pass  # the owner goes without publishing
    assert [item.status for item in store.list_runs(home)] == ["lost"]
    lost = store.load_record(home, started.id)
    assert lost.status == "lost"
    assert lost.outcome is not None
    assert lost.outcome.reason
    assert store.unfinished(home) == (started.id,)
    store.sweep(home)
    with store.adopt(home, started.id) as adopted:
        assert adopted is not None
        run, found = adopted
        assert found == started
        assert store.unfinished(home) == ()
        store.publish(run, replace(found, status="failed", outcome=Outcome("failed", "why")), DOCUMENT, (), {})
    with store.adopt(home, started.id) as again:
        assert again is None
    assert store.load_record(home, started.id).status == "failed"


def test_sweep_spares_the_living(home: Home, source: Source) -> None:
    mine = store.new_id()
    (home.temporary / mine).mkdir(parents=True)
    (home.temporary / "0123456789abcdef").mkdir()
    (home.temporary / "of-another-stage").mkdir()
    fresh, stale = home.temporary / "blob-1", home.temporary / "blob-2"
    fresh.touch()
    stale.touch()
    os.utime(stale, (0, 0))
    with locked(home.root / "locks" / f"{mine}.lock"):
        store.sweep(home)
    assert sorted(path.name for path in home.temporary.iterdir()) == sorted([mine, "of-another-stage", "blob-1"])


def test_record_survives_json(home: Home, source: Source) -> None:
    full = record(
        flags=(FlagValue("x", "float", "float('nan')"),),
        wheels=(Wheel("a", "1", "a-1-py3-none-any.whl", "0" * 64, 5),),
        inputs=(Input("t", "sha256:" + "0" * 64, 1, False, "/where"),),
        outcome=Outcome("failed", "why", CellError(1, "E", "v", "t"), "memory", 137, "a", "b", 0.5, {"cpu": ["x", 1]}),
        scalars={"a": float("inf"), "b": -0.0, "c": 1e300},
        outputs=(OutputFile("é", "deleted", 1, "sha256:", "x/y"),),
        comparison=Comparison("different", 2, (Difference("cell 1", "x"),)),
        notes=("\u2028",),
    )
    with store.begin_run(home, full, b"", DOCUMENT, "", source):
        assert store.load_record(home, full.id) == full


# --- killed between any two steps -----------------------------------------------------------------

_WATCHED = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.symlink")
_moments: dict[str, Any] = {"of": None}


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Copy the watched home just before each step that changes it: what SIGKILL would leave at that moment."""
    watched = _moments["of"]
    if watched is None or event not in _WATCHED or not str(arguments[0]).startswith(str(watched[0])):
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        return
    _moments["of"] = None  # the copying is not watched
    try:
        home, into = watched
        shutil.copytree(home, into / f"{len(list(into.iterdir())):04}", symlinks=True)
    finally:
        _moments["of"] = watched


sys.addaudithook(_watch)  # PEP 578; it cannot be removed, so it does nothing unless told


@contextmanager
def _every_moment(home: Home, into: Path) -> Iterator[None]:
    into.mkdir()
    _moments["of"] = (home.root, into)
    try:
        yield
    finally:
        _moments["of"] = None


def _states(home: Home, into: Path, source: Source, started: Record) -> list[tuple[str, ...]]:
    with _every_moment(home, into):
        finished(home, source, started)
    return [_check(Home(moment), source) for moment in sorted(into.iterdir())]


def _check(home: Home, source: Source) -> tuple[str, ...]:
    runs = store.list_runs(home)
    assert store.damaged_runs(home) == {}
    for item in runs:
        loaded = store.load_record(home, item.id)
        assert loaded.status == item.status
        if item.status == "completed":
            assert faults(store.open_run(home, item.id), loaded, project=True) == ()
    assert store.unfinished(home) == tuple(item.id for item in runs if item.status == "lost")
    finished(home, source, record(id="f" * 16))  # the next run cleans up and works
    assert [path for path in home.temporary.iterdir() if not path.name.startswith("blob-")] == []
    for item in runs:
        run = store.open_run(home, item.id)
        with store.adopt(home, item.id) as adopted:
            assert (adopted is not None) == (item.status == "lost")
            if adopted:
                store.publish(run, replace(adopted[1], status="failed"), DOCUMENT, (), {})
        assert not run.spool.exists()
        assert not list(run.path.rglob(".*"))
        assert faults(run, store.load_record(home, item.id), project=True) == ()
    store.catch_up(home)
    for item in store.list_runs(home):
        assert item.history.state == "ended"
        assert item.history.seal == store.read_seal(store.open_run(home, item.id), item.history).digest
    return tuple(item.status for item in runs)


def test_killed_between_any_two_steps(tmp_path: Path, home: Home, source: Source) -> None:
    states = _states(home, tmp_path / "moments", source, record())
    assert len(states) > 40
    assert set(states) == {(), ("lost",), ("completed",)}
    assert states == sorted(states, key=[(), ("lost",), ("completed",)].index)  # never back


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda run: run.executed.write_text("{}"), "executed.ipynb of run .* was changed"),
        (lambda run: run.scalars.unlink(), "scalars.jsonl of run .* is gone"),
        (lambda run: (run.path / "stray").touch(), "stray of run .* was added"),
    ],
)
def test_what_was_changed_since_it_was_recorded_is_named(home: Home, source: Source, harm: Any, says: str) -> None:
    done = finished(home, source, record())
    run = store.open_run(home, done.id)
    store.verify_run(run, done)
    for path in run.path.iterdir():
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    harm(run)
    with pytest.raises(VerificationFailed, match=says):
        store.verify_run(run, done)


def test_a_text_that_is_no_unicode_spoils_one_run_and_not_the_list(home: Home, source: Source) -> None:
    good, bad = finished(home, source, record()), finished(home, source, record())
    path = store.open_run(home, bad.id).record
    path.chmod(0o644)
    path.write_text(json.dumps({**json.loads(path.read_text()), "notebook": "caf\udce9.ipynb"}))
    assert [item.id for item in store.list_runs(home)] == [good.id]
    assert list(store.damaged_runs(home)) == [bad.id]
