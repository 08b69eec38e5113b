"""Records of older schemas are read as they were written; newer ones and none at all are refused.

``schema-1/`` is a whole run directory as the last version with schema 1 left it.
"""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from store_builders import record

from engine import store
from engine.digests import bare, digest_of
from engine.errors import VerificationFailed
from engine.model import FlagValue, Spec
from engine.notebooks import notebook_digest, read
from engine.settings import Home
from engine.store.index import _VERSION
from engine.store.migration import SCHEMA, lift

KEPT = Path(__file__).parent / "schema-1"
RUN = "d8055b25a70f0798"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    shutil.copytree(KEPT, home.runs / RUN)
    return home


def kept() -> Any:
    return json.loads((KEPT / "run.json").read_bytes())


def test_the_kept_record_is_of_schema_1_and_has_no_parent() -> None:
    assert kept()["schema"] == 1
    assert "parent" not in kept()


def test_a_record_of_schema_1_is_read(home: Home) -> None:
    found = store.load_record(home, store.find_run(home, "aa13179c"))
    assert (found.id, found.schema, found.parent, found.status) == (RUN, SCHEMA, "", "completed")
    assert found.flags == (
        FlagValue("loss", "float", "1.0"),
        FlagValue("lr", "float", "0.2"),
        FlagValue("steps", "int", "3"),
    )
    assert found.scalars == {"loss": 0.4}
    written = store.record_to_json(found)
    assert written == {**kept(), "schema": SCHEMA, "parent": "", "experiment": ""}
    assert [(item.id, item.status) for item in store.list_runs(home)] == [(RUN, "completed")]


def test_its_files_and_its_hash_are_still_what_they_were(home: Home) -> None:
    run = store.open_run(home, RUN)
    found = store.load_record(home, RUN)
    store.verify_run(run, found)
    spec = Spec.from_json(found.spec, found.inputs)
    assert bare(digest_of(spec.to_json())) == found.hash == kept()["hash"]
    assert notebook_digest(read(run.notebook)) == spec.notebook
    assert store.read_source(run).digest == spec.source
    before = (run.path / "run.json").read_bytes()
    assert before == (KEPT / "run.json").read_bytes()  # reading rewrites nothing


def test_there_is_a_step_for_every_schema() -> None:
    lifted = lift(kept())
    assert lifted["schema"] == SCHEMA
    assert lift(lifted) == lifted
    assert {**lifted, "schema": 1} == {**kept(), "parent": "", "experiment": ""}


@pytest.mark.parametrize("schema", [SCHEMA + 1, 10**30])
def test_a_newer_schema_is_refused(home: Home, schema: int) -> None:
    (home.runs / RUN / "run.json").write_text(json.dumps({**kept(), "schema": schema}))
    with pytest.raises(VerificationFailed, match="newer nbseal") as caught:
        store.load_record(home, RUN)
    assert caught.value.hint == "Upgrade nbseal to read it."
    assert store.list_runs(home) == ()
    assert "newer nbseal" in store.damaged_runs(home)[RUN]


@pytest.mark.parametrize("schema", [0, -1, True, 1.0, "1", None, [1]])
def test_what_is_no_schema_is_damage(home: Home, schema: Any) -> None:
    (home.runs / RUN / "run.json").write_text(json.dumps({**kept(), "schema": schema}))
    with pytest.raises(VerificationFailed, match="damaged"):
        store.load_record(home, RUN)


def test_a_record_without_a_schema_is_damaged(home: Home) -> None:
    document = kept()
    del document["schema"]
    (home.runs / RUN / "run.json").write_text(json.dumps(document))
    with pytest.raises(VerificationFailed, match="damaged"):
        store.load_record(home, RUN)


def test_the_index_of_an_older_version_is_made_anew(home: Home) -> None:
    store.list_runs(home)
    status = (home.runs / RUN / "run.json").lstat()
    stamp = f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"
    with closing(sqlite3.connect(home.index)) as database:
        # As a version that could not read this record left it: the row is in step with the file.
        database.execute("DROP TABLE runs")
        database.execute("CREATE TABLE runs (id, stamp, problem, PRIMARY KEY (id)) WITHOUT ROWID")
        database.execute("INSERT INTO runs VALUES (?, ?, 'written by a newer nbseal')", (RUN, stamp))
        database.execute("PRAGMA user_version = 1")
        database.commit()
    assert [item.id for item in store.list_runs(home)] == [RUN]
    assert store.damaged_runs(home) == {}
    with closing(sqlite3.connect(home.index)) as database:
        assert database.execute("PRAGMA user_version").fetchone()[0] == _VERSION


def test_a_new_record_is_of_the_newest_schema() -> None:
    assert store.record_to_json(record())["schema"] == SCHEMA
