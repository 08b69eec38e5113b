"""What the ledger vouches for."""

import json
from pathlib import Path

import pytest
from store_builders import finished, project, record, taken

from engine import merkle, store
from engine.errors import BadInput, VerificationFailed
from engine.model import Record
from engine.settings import Home
from engine.store import ledger_files


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def run(home: Home, tmp_path: Path) -> tuple[Record, str]:
    source = taken(project(tmp_path / "project", {"a.py": b"1"}), home)
    done = finished(home, source, record())
    return done, store.read_seal(store.open_run(home, done.id), store.History()).digest


def test_entries_of_a_run_and_the_proof_of_its_seal(home: Home, tmp_path: Path) -> None:
    (one, seal), (other, _) = run(home, tmp_path), run(home, tmp_path)
    store.comment(home, one.id, f'about "run":"{other.id}"')
    found = store.vouch(home, {one.id: seal})
    assert [json.loads(line)["kind"] for line in found.entries[one.id]] == ["begun", "ended", "comment"]
    assert list(found.proofs) == [one.id]
    index, path = found.proofs[one.id]
    origin, size, _ = found.checkpoint.decode().splitlines()[:3]
    assert origin == found.origin
    checkpoint = ledger_files.read_checkpoint(ledger_files.checkpoint_path(home))
    assert checkpoint is not None
    assert merkle.includes(checkpoint.root, int(size), merkle.leaf_hash(found.entries[one.id][1]), index, path)
    assert store.vouch(home, {one.id: "sha256:" + "0" * 64}).proofs == {}


def test_a_ledger_that_does_not_fit_vouches_for_nothing(home: Home, tmp_path: Path) -> None:
    one, seal = run(home, tmp_path)
    run(home, tmp_path)
    path = ledger_files.entries_path(home)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"status":"completed"', b'"status":"forgotten"', 1))
    with pytest.raises(VerificationFailed, match="was changed"):
        store.vouch(home, {one.id: seal})
    path.write_bytes(whole)
    store.vouch(home, {one.id: seal})


def test_what_a_killed_append_left_is_healed_first(home: Home, tmp_path: Path) -> None:
    one, seal = run(home, tmp_path)
    before = ledger_files.checkpoint_path(home).read_bytes(), ledger_files.hashes_path(home).read_bytes()
    store.comment(home, one.id, "late")
    ledger_files.checkpoint_path(home).write_bytes(before[0])
    ledger_files.hashes_path(home).write_bytes(before[1])
    assert len(store.vouch(home, {one.id: seal}).entries[one.id]) == 3


def test_files_of_a_seal_are_told_without_reading_them(home: Home, tmp_path: Path) -> None:
    done, _ = run(home, tmp_path)
    directory = store.open_run(home, done.id)
    files = store.sealed_files(directory, done)
    assert files["project/out.txt"][1] == 3
    assert store.MANIFEST not in files
    (directory.project / "new").touch()
    with pytest.raises(VerificationFailed, match=r"project/new of run .* was added"):
        store.sealed_files(directory, done)
    (directory.project / "new").unlink()
    (directory.project / "out.txt").unlink()
    with pytest.raises(VerificationFailed, match=r"project/out.txt of run .* is gone"):
        store.sealed_files(directory, done)
    (directory.path / store.MANIFEST).unlink()
    with pytest.raises(BadInput, match="has no seal"):
        store.sealed_files(directory, done)
