"""Old runs go into archives, and then out of the home, and come back as they were."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import zstandard

from engine import archives, pipeline, signing, store
from engine.errors import BadInput, EnvironmentFailed, VerificationFailed
from engine.model import Record
from engine.progress import Silent
from engine.settings import Home
from tests.unit.archives import small_archives
from tests.unit.archives.small_archives import Member, tree

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
    assert (sorted(item.run for item in done.runs), done.problems) == (sorted(record.id for record in old), ())
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


def test_what_the_seal_does_not_cover_keeps_its_run_in_the_home(home: Home, shelf: Path, tmp_path: Path) -> None:
    record = small_archives.run(home, tmp_path / "project", lambda project: project.joinpath("dark").mkdir(0o700))
    retain(home, shelf)
    precious = home.runs / record.id / "project" / "dark" / "precious.txt"
    precious.parent.chmod(0o755)
    precious.write_text("the only copy")
    done = pipeline.purge_archived(shelf, home, Silent())
    assert done.runs == ()
    assert "without project/dark/precious.txt" in done.problems[0].message
    assert precious.read_text() == "the only copy"


def unsigned(archive: Path, shelf: Path, run: str) -> Path:
    """The same run without any signature, bagged anew, as whoever can write to the folder could make it."""
    items = [
        item
        for item in small_archives.members(archive)
        if "/attestations/" not in item.name and not item.name.endswith("manifest-sha256.txt.sig")
    ]
    for item in items:
        if item.name.endswith(f"/ledger/{run}.json"):
            item.data = b""
    archive.unlink()
    return small_archives.write(shelf / archive.name.removesuffix(".zst"), small_archives.rebag(items))


def test_an_archive_without_the_signature_is_no_reason_to_remove_a_run(home: Home, shelf: Path, tmp_path: Path) -> None:
    signing.make(home, "alice@example.org", None)
    record = small_archives.run(home, tmp_path / "project")
    signed = small_archives.archive(home, [record], tmp_path / "signed.tar")
    path = unsigned(small_archives.archive(home, [record], tmp_path / "x.tar"), shelf, record.id)
    pipeline.read_archive(path, home, Silent())  # nothing else is wrong with it
    done = pipeline.purge_archived(shelf, home, Silent())
    assert done.runs == ()
    assert "without manifest-sha256.txt.sig" in done.problems[0].message

    store.delete(home, record.id)
    store.purge(home, record.id)
    with pytest.raises(VerificationFailed, match="signature that the ledger"):
        pipeline.import_archive(path, home, Silent())
    pipeline.import_archive(signed, home, Silent())
    assert not store.fsck(home, Silent()).findings


def test_an_archive_that_goes_away_meanwhile_takes_no_run_along(
    home: Home, old: tuple[Record, Record], shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (written,) = retain(home, shelf).written
    kept = store.history_of

    def late(home: Home, run: str) -> object:
        written.path.unlink(missing_ok=True)
        return kept(home, run)

    monkeypatch.setattr(store, "history_of", late)
    done = pipeline.purge_archived(shelf, home, Silent())
    assert done.runs == ()
    assert {type(problem) for problem in done.problems} == {EnvironmentFailed}
    assert len(list(home.runs.iterdir())) == 2


def test_two_at_once_remove_each_run_once(home: Home, old: tuple[Record, Record], shelf: Path) -> None:
    retain(home, shelf)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: pipeline.purge_archived(shelf, home, Silent()), range(2)))
    assert sorted(item.run for done in both for item in done.runs) == sorted(record.id for record in old)
    for record in old:
        told = [kind for kind, run in kinds(home) if run == record.id]
        assert told == ["begun", "ended", "deleted", "purged"]
    assert not store.fsck(home, Silent()).findings


def test_a_damaged_archive_is_no_archive(home: Home, old: tuple[Record, Record], shelf: Path) -> None:
    (written,) = retain(home, shelf).written
    written.path.write_bytes(written.path.read_bytes()[:-600])
    done = retain(home, shelf)
    assert not done.known
    assert done.problems[0].hint == f"Remove {written.path}, and `nbseal archive --older-than` writes its runs again."
    written.path.unlink()
    assert len(retain(home, shelf).written) == 1


def test_an_archive_that_lacks_parts_is_said_and_not_taken_for_a_whole_one(
    home: Home, old: tuple[Record, Record], shelf: Path
) -> None:
    def slim(*parts: str) -> pipeline.Retained:
        return pipeline.archive_older(AGES, shelf, parts, None, home, Silent())

    assert slim("image", "inputs").written
    assert slim("image", "inputs", "wheels").known
    assert not slim("image").known
    done = pipeline.purge_archived(shelf, home, Silent())
    assert {item.left_out for item in done.runs} == {("image", "inputs")}


def test_a_folder_of_bombs_takes_a_moment(home: Home, old: tuple[Record, Record], shelf: Path) -> None:
    name = f"run-{old[0].id[:12]}"
    items = [Member(f"{name}/data/{number:02}", bytes(32 << 20)) for number in range(8)]
    plain = small_archives.write(shelf / "bomb.tar", items)
    for number in range(10):
        (shelf / f"bomb{number}.tar.zst").write_bytes(zstandard.compress(plain.read_bytes()))
    began = time.process_time()
    assert pipeline.purge_archived(shelf, home, Silent()).runs == ()
    assert time.process_time() - began < 5


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
