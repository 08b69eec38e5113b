"""The list of runs, and what a user may type for one."""

import json
import os
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_builders import record

from engine import store
from engine.errors import BadInput, VerificationFailed
from engine.model import Comparison, FlagValue, Outcome, Record
from engine.settings import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def write(home: Home, item: Record) -> Path:
    """A run directory that has only its record."""
    path = home.runs / item.id / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(store.record_to_json(item)))
    return path


def done(run_id: str, **changes: object) -> Record:
    return record(id=run_id.ljust(16, "0"), status="completed", **changes)


def test_no_home_yet(home: Home) -> None:
    assert store.list_runs(home) == ()
    with pytest.raises(BadInput, match="no run"):
        store.find_run(home, "ab")
    assert not home.root.exists()


def test_newest_first_with_all_that_a_list_shows(home: Home) -> None:
    write(home, done("1", created="2026-01-01T00:00:00.000Z"))
    write(
        home,
        done(
            "2",
            created="2026-01-02T00:00:00.000Z",
            flags=(FlagValue("lr", "float", "0.5"), FlagValue("bad", "float", "float('nan')")),
            scalars={"loss": float("-inf"), "acc": 0.5},
            outcome=Outcome("completed", duration=2.5),
            comparison=Comparison("identical", 1),
            rerun_of="1",
        ),
    )
    second, first = store.list_runs(home)
    assert first.id.startswith("1")
    assert second.flags == {"lr": 0.5, "bad": "float('nan')"}
    assert second.scalars == {"loss": float("-inf"), "acc": 0.5}
    assert (second.duration, second.verdict, second.rerun_of) == (2.5, "identical", "1")


def test_follows_the_directories(home: Home) -> None:
    path = write(home, done("1", notebook="old"))
    assert [item.notebook for item in store.list_runs(home)] == ["old"]
    path.unlink()
    write(home, done("1", notebook="new"))
    write(home, done("2", notebook="second"))
    assert sorted(item.notebook for item in store.list_runs(home)) == ["new", "second"]
    path.unlink()
    path.parent.rmdir()
    (home.runs / "not-a-run").mkdir()
    assert [item.notebook for item in store.list_runs(home)] == ["second"]


@pytest.mark.parametrize("harm", ["delete", "garbage", "truncate", "old", "foreign"])
def test_index_is_only_a_cache(home: Home, harm: str) -> None:
    for number in range(200):
        write(home, done(f"{number:03}"))
    before = store.list_runs(home)
    if harm == "delete":
        home.index.unlink()
    elif harm == "garbage":
        home.index.write_bytes(b"no database at all" * 1000)
    elif harm == "truncate":
        data = home.index.read_bytes()
        home.index.write_bytes(data[: len(data) // 2])
    else:
        database = sqlite3.connect(home.index)
        database.execute("PRAGMA user_version = 999" if harm == "old" else "DROP TABLE runs")
        database.commit()
        database.close()
    assert store.list_runs(home) == before
    assert store.list_runs(home) == before


def test_damaged_runs_do_not_hide_the_others(home: Home) -> None:
    write(home, done("1"))
    contents = {
        "a": b"", "b": b"{", "c": b"[]", "d": b'{"schema": 1}', "e": b"[" * 100_000, "f": b'{"schema": 99}',
        "9": json.dumps({**store.record_to_json(done("9")), "status": None}).encode(),
        "8": json.dumps(store.record_to_json(done("7"))).encode(),
    }  # fmt: skip
    for name, data in contents.items():
        (home.runs / name.ljust(16, "0")).mkdir()
        (home.runs / name.ljust(16, "0") / "run.json").write_bytes(data)
    (home.runs / ("0" * 16)).mkdir()
    assert [item.id for item in store.list_runs(home)] == ["1".ljust(16, "0")]
    problems = store.damaged_runs(home)
    assert {run_id[0] for run_id in problems} == {*contents, "0"}
    assert all("\n" not in problem for problem in problems.values())
    for run_id in problems:
        assert store.find_run(home, run_id) == run_id
        if run_id[0] != "8":  # readable by itself, though in the wrong folder
            with pytest.raises(VerificationFailed) as caught:
                store.load_record(home, run_id)
            assert caught.value.hint


@pytest.mark.parametrize(
    "change",
    [{"hash": ["x"]}, {"status": "perfect"}, {"flags": 3}, {"scalars": {"a": "x"}}, {"limits": None}, {"wheels": [{}]}],
)
def test_forged_records_are_refused(home: Home, change: dict) -> None:
    path = write(home, done("1"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(VerificationFailed, match="damaged"):
        store.load_record(home, "1".ljust(16, "0"))
    store.list_runs(home)


def test_home_that_cannot_be_written(home: Home) -> None:
    write(home, done("1"))
    home.index.mkdir()  # what root, too, cannot open as a database
    assert len(store.list_runs(home)) == 1


# --- finding ------------------------------------------------------------------------------------


def test_find(home: Home) -> None:
    write(home, record(id="1111" + "0" * 12, hash="aa" + "0" * 62, status="failed", created="2026-01-01"))
    write(home, record(id="1122" + "0" * 12, hash="aa" + "0" * 62, status="completed", created="2026-01-02"))
    write(home, record(id="2222" + "0" * 12, hash="aa" + "0" * 62, status="completed", created="2026-01-03"))
    write(home, record(id="3333" + "0" * 12, hash="ab" + "0" * 62, status="failed", created="2026-01-04"))
    write(home, record(id="4444" + "0" * 12, hash="ab" + "0" * 62, status="failed", created="2026-01-05"))
    assert store.find_run(home, "112").startswith("1122")
    assert store.find_run(home, "aa").startswith("1122")  # the first completed of them
    assert store.find_run(home, "SHA256:AA" + "0" * 62).startswith("1122")
    assert store.find_run(home, "ab").startswith("3333")  # none completed: the first
    for ambiguous in ("11", "a"):
        with pytest.raises(BadInput, match="ambiguous") as caught:
            store.find_run(home, ambiguous)
        assert "n.ipynb" in caught.value.message
    for unknown in ("5", "aa1", "1" * 64):
        with pytest.raises(BadInput, match="no run"):
            store.find_run(home, unknown)
    for bad in ("", "xyz", "%", "_", "../..", "1' OR 1=1", "a" * 65):
        with pytest.raises(BadInput, match="not a run's id or hash"):
            store.find_run(home, bad)


HEX = st.text("0123", min_size=1, max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.sets(HEX, min_size=1, max_size=6), hashes=st.lists(HEX, min_size=6, max_size=6), prefix=HEX)
def test_prefixes(tmp_path_factory: pytest.TempPathFactory, ids: set[str], hashes: list[str], prefix: str) -> None:
    """A prefix finds a run exactly when all that it fits means one run."""
    home = Home(tmp_path_factory.mktemp("home"))
    records = [
        done(run_id, hash=run_hash.ljust(64, "0"), created=f"2026-01-0{number + 1}")
        for number, (run_id, run_hash) in enumerate(zip(sorted(ids), hashes, strict=False))
    ]
    records = list({item.id: item for item in records}.values())
    for item in records:
        write(home, item)
    first = {}
    for item in records:
        first.setdefault(item.hash, item.id)
    means = {item.id for item in records if item.id.startswith(prefix)}
    means |= {run_id for run_hash, run_id in first.items() if run_hash.startswith(prefix)}
    if len(means) == 1:
        assert store.find_run(home, prefix) == means.pop()
    else:
        with pytest.raises(BadInput, match="ambiguous" if means else "no run"):
            store.find_run(home, prefix)
    for item in records:
        assert store.find_run(home, item.id) == item.id


def test_a_thousand_runs_are_listed_fast(home: Home) -> None:
    for number in range(1000):
        write(home, replace(done(f"{number:04x}"), scalars={f"s{i}": 0.5 for i in range(10)}))
    store.list_runs(home)
    began = time.process_time()
    assert len(store.list_runs(home)) == 1000
    assert time.process_time() - began < 0.2
    assert os.stat(home.index).st_size > 0  # noqa: PTH116
