"""Old runs go into archives, and then out of the home, and come back as they were."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from engine import archives, pipeline, store
from engine.errors import BadInput, VerificationFailed
from engine.model import Record
from engine.progress import Silent
from engine.settings import Home
from tests.unit.archives import small_archives
from tests.unit.archives.small_archives import tree

AGES = timedelta(days=-1)  # of a clock that is a day ahead: all runs are older


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "kept")


@pytest.fixture
def old(home: Home, tmp_path: Path) -> tuple[Record, Record]:
    one = small_archives.run(home, tmp_path / "project", lib__x="x = 1")
    return one, small_archives.run(home, tmp_path / "project", lib__x="x = 2")


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir()
    return folder


def retain(home: Home, shelf: Path, age: timedelta = AGES) -> pipeline.Retained:
    return pipeline.archive_older(age, shelf, (), None, home, Silent())


def kinds(home: Home) -> list[tuple[str, str]]:
    lines = (home.root / "ledger/entries.jsonl").read_text().splitlines()
    return [(entry["kind"], entry.get("run", "")) for entry in map(json.loads, lines)]


def test_runs_of_one_image_share_an_archive(home: Home, old: tuple[Record, Record], shelf: Path) -> None:
    done = retain(home, shelf)
    assert not done.problems
    (written,) = done.written
    listing = archives.peek(written.path)
    assert listing is not None
    assert {run.id for run in listing.runs} == {record.id for record in old}
    again = retain(home, shelf)
    assert not again.written
    assert sorted(again.known) == sorted(record.id for record in old)


def test_young_runs_stay(home: Home, old: tuple[Record, Record], shelf: Path) -> None:
    assert retain(home, shelf, timedelta(hours=1)) == pipeline.Retained((), (), ())
    assert not list(shelf.iterdir())


def test_a_damaged_run_keeps_no_other_from_the_archive(home: Home, old: tuple[Record, Record], shelf: Path) -> None:
    record = home.runs / old[0].id / "run.json"
    record.chmod(0o644)
    record.write_text(record.read_text().replace('"n.ipynb"', '"m.ipynb"'))
    done = retain(home, shelf)
    assert [run.record.id for item in done.written for run in item.contents.runs] == [old[1].id]
    assert [type(problem) for problem in done.problems] == [VerificationFailed]


def test_what_an_archive_holds_can_go_and_come_back(home: Home, old: tuple[Record, Record], shelf: Path) -> None:
    before = tree(home.runs)
    (written,) = retain(home, shelf).written
    done = pipeline.purge_archived(shelf, home, Silent())
    assert (sorted(run for run, _ in done.runs), done.problems) == (sorted(record.id for record in old), ())
    assert not list(home.runs.iterdir())
    assert not list(home.trash.iterdir())
    for record in old:
        told = [kind for kind, run in kinds(home) if run == record.id]
        assert told == ["begun", "ended", "deleted", "purged"]
        with pytest.raises(BadInput) as refusal:
            store.find_run(home, record.id)
        assert written.written.digest in refusal.value.hint
    assert pipeline.purge_archived(shelf, home, Silent()).runs == ()
    assert not store.fsck(home, Silent()).findings

    pipeline.import_archive(written.path, home, Silent())
    assert tree(home.runs) == before
    assert [summary.id for summary in pipeline.runs(home, Silent())] == [record.id for record in reversed(old)]
    assert not store.fsck(home, Silent()).findings
    assert pipeline.purge_archived(shelf, home, Silent()).problems == ()
    assert not store.fsck(home, Silent()).findings


def test_deleted_runs_that_an_archive_holds_go_too(home: Home, old: tuple[Record, Record], shelf: Path) -> None:
    retain(home, shelf)
    store.delete(home, old[0].id)
    assert len(pipeline.purge_archived(shelf, home, Silent()).runs) == 2
    assert not list(home.trash.iterdir())


def test_a_damaged_archive_takes_nothing_from_the_home(home: Home, old: tuple[Record, Record], shelf: Path) -> None:
    (written,) = retain(home, shelf).written
    data = bytearray(written.path.read_bytes())
    data[len(data) // 2] ^= 1
    written.path.write_bytes(data)
    done = pipeline.purge_archived(shelf, home, Silent())
    assert done.runs == ()
    assert [type(problem) for problem in done.problems] == [VerificationFailed]
    assert len(list(home.runs.iterdir())) == 2


def test_another_run_of_the_same_id_does_not_come_back(
    home: Home, old: tuple[Record, Record], shelf: Path, tmp_path: Path
) -> None:
    (written,) = retain(home, shelf).written
    pipeline.purge_archived(shelf, home, Silent())
    entries = home.root / "ledger/entries.jsonl"
    listing = archives.peek(written.path)
    assert listing is not None
    seal = listing.runs[0].seal
    entries.write_text(entries.read_text().replace(seal, f"sha256:{'0' * 64}"))
    (home.root / "index.sqlite").unlink()
    with pytest.raises(VerificationFailed, match="another seal"):
        pipeline.import_archive(written.path, home, Silent())
    assert not list(home.runs.iterdir())


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_a_folder_is_asked_for(home: Home, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="not a folder"):
        retain(home, tmp_path / name)
    with pytest.raises(BadInput, match="not a folder"):
        pipeline.purge_archived(tmp_path / name, home, Silent())


def test_other_files_of_the_folder_are_passed_over(home: Home, old: tuple[Record, Record], shelf: Path) -> None:
    (shelf / "notes.txt").write_text("x")
    (shelf / "empty.tar").write_bytes(b"")
    (shelf / "noise.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(range(256)) * 40)
    (shelf / "folder.tar").mkdir()
    assert len(retain(home, shelf).written) == 1
    assert len(pipeline.purge_archived(shelf, home, Silent()).runs) == 2
