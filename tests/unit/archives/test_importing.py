"""Archives that are what they say, taken in: everything arrives, whoever vouches for it is told, and twice is once."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from engine import pipeline, signing, store
from engine.digests import bare
from engine.environments.base_record import find_base, list_bases
from engine.errors import BadInput, VerificationFailed
from engine.model import Status
from engine.progress import Silent
from engine.settings import Home
from tests.unit.archives import small_archives
from tests.unit.archives.conftest import Sample
from tests.unit.archives.small_archives import Member, tree


def words(imported: pipeline.Imported) -> dict[str, tuple[str, str]]:
    return {word.what: (word.state, word.by) for word in imported.words}


def test_a_run_arrives_as_it_was(sample: Sample, target: Home) -> None:
    imported = pipeline.import_archive(sample.both, target, Silent())
    assert [(item.record.id, item.known) for item in imported.runs] == sorted(
        (record.id, False) for record in (sample.one, sample.other)
    )
    assert tree(target.runs) == tree(sample.home.runs)  # links, and names that are not UTF-8, too
    assert (target.runs / sample.one.id / "project/empty").is_dir()
    assert (target.runs / sample.other.id / "project/pipe").is_fifo()
    assert (target.runs / sample.one.id / "project/tool.sh").stat().st_mode & 0o777 == 0o555
    for name in ("blobs", "wheels", "packages", "layers"):
        assert tree(target.root / name) == tree(sample.home.root / name)
    report = store.fsck(target, Silent())
    assert {finding.what for finding in report.findings} == {"unknown-key"}
    assert not any(target.temporary.iterdir())


@pytest.mark.parametrize("status", ["failed", "interrupted", "lost"])
def test_runs_that_did_not_complete_arrive_too(status: Status, target: Home, tmp_path: Path) -> None:
    home = Home(tmp_path / "from")
    record = small_archives.run(home, tmp_path / "project", status=status)
    path = small_archives.archive(home, [record], tmp_path / "x.tar")
    assert [item.record.status for item in pipeline.import_archive(path, target, Silent()).runs] == [status]


def test_whose_signature_counts_is_said_by_the_home_that_imports(sample: Sample, target: Home) -> None:
    fingerprint = sample.key.public.fingerprint
    assert words(pipeline.import_archive(sample.path, target, Silent())) == {
        "signature": ("unknown", fingerprint),
        "provenance": ("unknown", fingerprint),
        "ledger": ("unknown", json.loads((sample.home.root / "ledger/entries.jsonl").open().readline())["origin"]),
        "timestamp": ("absent", ""),
    }
    signing.trust(target, "alice@example.org", sample.key.public)
    imported = pipeline.import_archive(sample.path, target, Silent())
    assert {word: words(imported)[word] for word in ("signature", "provenance", "ledger")} == dict.fromkeys(
        ("signature", "provenance", "ledger"), ("trusted", "alice@example.org")
    )
    assert [(item.seal.signature, item.known) for item in imported.runs] == [("trusted", True)]


def test_an_archive_without_attestations_is_taken_in_and_says_so(sample: Sample, target: Home, tmp_path: Path) -> None:
    items = [item for item in sample.members() if "/attestations/" not in item.name]
    imported = pipeline.import_archive(small_archives.write(tmp_path / "x.tar", items), target, Silent())
    assert {state for state, _ in words(imported).values()} == {"absent"}


def test_the_ledger_says_where_a_run_came_from(sample: Sample, target: Home) -> None:
    pipeline.import_archive(sample.path, target, Silent())
    entries = [json.loads(line) for line in (target.root / "ledger/entries.jsonl").read_bytes().splitlines()]
    (entry,) = [entry for entry in entries if entry["kind"] == "imported"]
    known = store.read_seal(store.open_run(target, sample.one.id), store.history_of(target, sample.one.id)[0])
    assert (entry["run"], entry["hash"], entry["seal"]) == (sample.one.id, sample.one.hash, known.digest)
    assert entry["key"] == entry["archive_signer"] == sample.key.public.fingerprint
    lines = (sample.home.root / "ledger/entries.jsonl").read_bytes().splitlines()
    end = json.loads(lines[entry["from_index"]])
    assert (end["kind"], end["run"], end["time"]) == ("ended", sample.one.id, entry["from_time"])
    shown = pipeline.look(sample.one, target)
    assert shown.imported == entry


def test_importing_twice_changes_nothing(sample: Sample, target: Home) -> None:
    pipeline.import_archive(sample.path, target, Silent())
    before = tree(target.root)
    assert pipeline.import_archive(sample.path, target, Silent()).runs[0].known
    assert tree(target.root) == before


def test_an_archive_is_read_without_importing_it(
    sample: Sample, target: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.cli import importing

    monkeypatch.setenv("NBSEAL_HOME", str(target.root))
    assert importing.runs(sample.both, as_json=True) == 0
    assert [run["id"] for run in json.loads(capsys.readouterr().out)["runs"]] == sorted(
        (sample.one.id, sample.other.id)
    )
    assert importing.show(sample.one.id[:8], sample.both, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["hash"] == sample.one.hash
    with pytest.raises(BadInput, match="is ambiguous"):  # they are of one hash
        importing.show(sample.one.hash, sample.both, as_json=True)
    assert not tree(target.root)


def test_a_run_that_was_removed_by_hand_comes_back(sample: Sample, target: Home) -> None:
    from engine.files import remove_tree

    pipeline.import_archive(sample.path, target, Silent())
    before = tree(target.root)
    remove_tree(target.runs / sample.one.id)
    pipeline.import_archive(sample.path, target, Silent())
    assert tree(target.root) == before


def test_another_run_of_that_id_is_not_replaced(sample: Sample, target: Home) -> None:
    pipeline.import_archive(sample.path, target, Silent())
    manifest = target.runs / sample.one.id / "manifest-sha256.txt"
    manifest.chmod(0o644)
    manifest.write_text("changed")
    before = tree(target.root)
    with pytest.raises(VerificationFailed, match=f"another run {sample.one.id}"):
        pipeline.import_archive(sample.path, target, Silent())
    assert tree(target.root) == before


def test_a_run_in_the_trash_is_not_taken_in_again(sample: Sample, target: Home) -> None:
    pipeline.import_archive(sample.path, target, Silent())
    pipeline.delete(sample.one.id, target, Silent())
    before = tree(target.root)
    with pytest.raises(BadInput, match="in the trash"):
        pipeline.import_archive(sample.path, target, Silent())
    assert tree(target.root) == before


@pytest.mark.parametrize("part", ["image", "wheels", "inputs"])
def test_what_was_left_out_is_said_and_not_missed(part: str, sample: Sample, target: Home, tmp_path: Path) -> None:
    path = small_archives.archive(sample.home, [sample.one], tmp_path / "x.tar.zst", (part,))
    imported = pipeline.import_archive(path, target, Silent())
    assert f"left out: {part}" in imported.absent
    assert bool(tree(target.layers)) == (part != "image")
    assert bool(tree(target.wheels)) == (part != "wheels")


def test_an_archive_that_was_repacked_with_folders_is_the_same(sample: Sample, target: Home, tmp_path: Path) -> None:
    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT)):
        with tarfile.open(sample.path) as tar:
            tar.extractall(tmp_path / "bag", filter="data")
        with tarfile.open(tmp_path / "x.tar", "w", format=form) as tar:
            tar.add(next((tmp_path / "bag").iterdir()), arcname=next((tmp_path / "bag").iterdir()).name)
        assert pipeline.import_archive(tmp_path / "x.tar", target, Silent()).runs[0].known == bool(number)


def test_an_imported_run_is_archived_again(sample: Sample, target: Home, tmp_path: Path) -> None:
    pipeline.import_archive(sample.both, target, Silent())
    path = small_archives.archive(target, [sample.one, sample.other], tmp_path / "again.tar")
    third = Home(tmp_path / "third")
    imported = pipeline.import_archive(path, third, Silent())
    assert len(imported.runs) == 2
    assert tree(third.runs) == tree(sample.home.runs)


def test_no_new_run_stands_on_an_archived_base(sample: Sample, target: Home) -> None:
    """That it was built from its recipe is only said: whoever forges an archive may say so of anything."""
    pipeline.import_archive(sample.path, target, Silent())
    (base,) = list_bases(target)
    assert base.id == sample.one.base
    assert find_base(base.recipe, target) is None
    assert find_base(base.recipe, sample.home) == base


def test_a_base_and_an_image_that_the_home_knows_stay_its_own(sample: Sample, target: Home) -> None:
    image = small_archives.environment(target)
    before = {name: tree(target.root / name) for name in ("bases", "images")}
    pipeline.import_archive(sample.path, target, Silent())
    assert {name: tree(target.root / name) for name in ("bases", "images")} == before
    assert (target.images / f"{bare(image.id)}.json").exists()


def test_long_names_in_a_work_tree(sample: Sample, target: Home, tmp_path: Path) -> None:
    source = Home(tmp_path / "source")

    def work(project: Path) -> None:
        small_archives.put(project / "/".join(["d" * 90] * 8) / ("n" * 200), b"x")
        small_archives.put(project / ("ä" * 120), b"x")

    record = small_archives.run(source, tmp_path / "project", work)
    path = small_archives.archive(source, [record], tmp_path / "x.tar")
    pipeline.import_archive(path, target, Silent())
    assert tree(target.runs) == tree(source.runs)


def test_memory_and_disk_are_bounded_by_what_the_file_can_hold(sample: Sample, target: Home, tmp_path: Path) -> None:
    items = sample.members()
    items.insert(1, Member(f"{items[0].name.partition('/')[0]}/data/pages/0123456789abcdef.html", size=1 << 42))
    with pytest.raises(VerificationFailed, match="more bytes than the file can hold"):
        pipeline.import_archive(small_archives.write(tmp_path / "x.tar", items), target, Silent())
