"""A home is tampered with in every place, one after the other; each time fsck says what and where."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from store_builders import finished, project, record, taken

from engine import signing, store
from engine.errors import BadInput
from engine.model import Record, Source
from engine.progress import Silent
from engine.settings import Home
from engine.store import ledger, ledger_files
from engine.store.blobs import blob_path
from engine.store.directory import RunDirectory
from engine.store.seal import MANIFEST, SIGNATURE, digest_files, manifest_bytes, parse_manifest


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def source(tmp_path: Path, home: Home) -> Source:
    return taken(project(tmp_path / "p", {"x.py": b"1", "data/y.csv": b"2"}), home)


@pytest.fixture
def signed(home: Home) -> signing.SigningKey:
    key = signing.make(home, "alice", None)
    store.log(home, "key", use="signing", name=key.name, key=key.public.line)
    return key


def found(home: Home, *only: str) -> set[tuple[str, str]]:
    """Where and what; the end of the run's id stands for it."""
    return {(finding.where, finding.what) for finding in store.fsck(home, Silent(), only or None).findings}


def write(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))


def test_nothing_is_found_where_nothing_was_done(home: Home, source: Source, signed: signing.SigningKey) -> None:
    runs = [finished(home, source, record()), finished(home, source, record(), status="failed")]
    store.label(home, runs[0].id, "best")
    store.delete(home, runs[1].id)
    report = store.fsck(home, Silent())
    assert (report.findings, report.repairs, report.notes) == ((), (), ())
    assert (report.runs, report.checkpoint) == (2, "signed by alice (trusted)")
    assert report.files > 30
    assert store.fsck(home, Silent(), [runs[0].id]).runs == 1


def _reseal(run: RunDirectory) -> None:
    """What somebody does who knows the format and has no key."""
    digests = parse_manifest((run.path / MANIFEST).read_bytes())
    anew = digest_files(run, dict.fromkeys(digests, 0), lambda _: None)
    write(run.path / MANIFEST, lambda _: manifest_bytes({path: str(digest) for path, digest in anew.items()}))


def _forge(run: RunDirectory) -> None:
    write(run.executed, lambda data: data + b" ")
    _reseal(run)


def _sign_by_another(run: RunDirectory) -> None:
    other = signing.make(Home(run.home.root.parent / "mallory"), "mallory", None)
    manifest = (run.path / MANIFEST).read_bytes()
    armored = signing.sshsig.make(manifest, "nbseal-seal", other.public, lambda data: signing.sign(other, data))
    write(run.path / SIGNATURE, lambda _: armored)


def _rerunning(run: RunDirectory) -> None:
    """Make it look as if the run had never ended, so that it would be published anew."""
    write(run.record, lambda data: data.replace(b'"status": "completed"', b'"status": "running"', 1))
    (run.path / MANIFEST).unlink()
    (run.path / SIGNATURE).unlink()


TAMPERINGS: dict[str, tuple[Callable[[RunDirectory], object], set[str]]] = {
    **{
        f"{name} changed": (lambda run, name=name: write(run.path / name, lambda data: data + b" "), {"changed"})
        for name in (
            "run.json", "original.ipynb", "notebook.ipynb", "executed.ipynb", "requirements.lock", "source.json",
            "inputs.json", "outputs.json", "scalars.jsonl", "events.jsonl", "log.txt", "images/cell-1-1.png",
            "irregular.json", "project/x.py", "project/data/y.csv", "project/out.txt",
        )
    },
    "a bit flipped": (lambda run: write(run.project / "x.py", lambda data: bytes([data[0] ^ 1])), {"changed"}),
    "output removed": (lambda run: (run.project / "out.txt").unlink(), {"removed"}),
    "folder removed": (lambda run: shutil.rmtree(run.project / "data"), {"removed"}),
    "file added": (lambda run: (run.path / "extra").touch(), {"added"}),
    "file added to project": (lambda run: (run.project / "extra").touch(), {"added"}),
    "hidden file added": (lambda run: (run.path / ".extra").touch(), {"added"}),
    "spool added": (lambda run: run.spool.mkdir(), {"added"}),
    "link for the spool added": (lambda run: run.spool.symlink_to("project"), {"added"}),
    "note of an exit added": (lambda run: (run.path / ".exit.json").touch(), {"added"}),
    "project for a link": (
        lambda run: [run.project.rename(run.home.root / "elsewhere"), run.project.symlink_to("../../elsewhere")],
        {"added", "removed"},
    ),
    "link added": (lambda run: (run.project / "extra").symlink_to("x.py"), {"added"}),
    "folder added": (lambda run: (run.project / "extra").mkdir(), {"added"}),
    "pipe added": (lambda run: os.mkfifo(run.project / "extra"), {"added"}),
    "file for a link": (
        lambda run: [(run.project / "x.py").unlink(), (run.project / "x.py").symlink_to("out.txt")],
        {"added", "removed"},
    ),
    "files swapped": (
        lambda run: [
            (run.project / "x.py").rename(run.project / "z"),
            (run.project / "out.txt").rename(run.project / "x.py"),
            (run.project / "z").rename(run.project / "out.txt"),
        ],
        {"changed"},
    ),
    "manifest changed": (lambda run: write(run.path / MANIFEST, lambda data: data[1:]), {"changed", "bad-signature"}),
    "manifest removed": (lambda run: (run.path / MANIFEST).unlink(), {"removed"}),
    "manifest made anew": (_forge, {"changed", "bad-signature"}),
    "signature removed": (lambda run: (run.path / SIGNATURE).unlink(), {"bad-signature"}),
    "signature changed": (
        lambda run: write(run.path / SIGNATURE, lambda data: data.replace(b"B", b"C")), {"bad-signature"}
    ),
    "signature by another": (_sign_by_another, {"bad-signature"}),
    "signature for a link": (
        lambda run: [(run.path / SIGNATURE).unlink(), (run.path / SIGNATURE).symlink_to("run.json")], {"bad-signature"}
    ),
    "put back to running": (_rerunning, {"removed"}),
    "record of garbage": (lambda run: write(run.record, lambda _: b"{"), {"changed", "unreadable"}),
    "run removed": (lambda run: shutil.rmtree(run.path), {"removed"}),
    "run in the trash by hand": (
        lambda run: [run.home.trash.mkdir(), run.path.rename(run.home.trash / run.id)], {"removed"}
    ),
    "untrusted": (lambda run: signing.allowed_signers(run.home).write_text(""), {"unknown-key"}),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERINGS)
def test_every_tampering_with_a_run_is_named(home: Home, source: Source, signed: signing.SigningKey, name: str) -> None:
    finished(home, source, record())
    run = store.open_run(home, finished(home, source, record()).id)
    harm, what = TAMPERINGS[name]
    harm(run)
    there = {where_what for where_what in found(home) if name != "untrusted" or where_what[0] == f"run {run.id}"}
    assert there == {(f"run {run.id}", item) for item in what}
    store.catch_up(home)
    assert {item for item in found(home) if item[0] == f"run {run.id}"} >= there  # no command makes it go away
    assert run.id not in store.unfinished(home)


def test_a_run_copied_in(home: Home, source: Source, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    foreign = finished(other, taken(tmp_path / "p" / "n.ipynb", other), record())
    finished(home, source, record())
    shutil.copytree(other.runs / foreign.id, home.runs / foreign.id)
    assert found(home) == {(f"run {foreign.id}", "no-entry")}
    store.catch_up(home)
    assert found(home) == {(f"run {foreign.id}", "no-entry")}


def test_the_whole_ledger_removed(home: Home, source: Source) -> None:
    done = finished(home, source, record())
    shutil.rmtree(ledger_files.folder(home))
    assert store.history_of(home, done.id)[0] == store.History()  # what the index remembers of it goes too
    assert found(home) == {(f"run {done.id}", "no-entry")}


def test_deleted_runs(home: Home, source: Source) -> None:
    done = finished(home, source, record())
    store.delete(home, done.id)
    assert store.list_runs(home) == ()
    assert found(home) == set()
    with pytest.raises(BadInput, match="in the trash"):
        store.find_run(home, done.id)
    write(home.trash / done.id / "executed.ipynb", lambda data: data + b" ")
    assert found(home) == {(f"run {done.id}", "changed")}
    shutil.rmtree(home.trash / done.id)
    assert found(home) == {(f"run {done.id}", "removed")}


def test_a_deletion_that_was_killed_is_done(home: Home, source: Source) -> None:
    done = finished(home, source, record())
    ledger.append(home, "deleted", run=done.id)
    assert "trash" in store.catch_up(home)[0]
    assert (home.trash / done.id).is_dir()
    assert found(home) == set()
    shutil.copytree(home.trash / done.id, home.runs / done.id)
    assert (f"run {done.id}", "added") in found(home)


def test_labels_and_comments_are_the_ledgers(home: Home, source: Source) -> None:
    done = finished(home, source, record())
    for text in ("first", "second", " 3rd\n"):
        store.label(home, done.id, text)
        store.comment(home, done.id, text)
    history, comments = store.history_of(home, done.id)
    assert history.label == store.list_runs(home)[0].history.label == "3rd"
    assert [item.text for item in comments] == ["first", "second", "3rd"]
    store.label(home, done.id, "")
    assert store.history_of(home, done.id)[0].label == ""
    home.index.unlink()
    assert [item.text for item in store.history_of(home, done.id)[1]] == ["first", "second", "3rd"]
    assert found(home) == set()
    for bad in ("x" * 101, "a\x1b[31m", "caf\udce9"):
        with pytest.raises(BadInput, match="label"):
            store.label(home, done.id, bad)
    with pytest.raises(BadInput, match="empty"):
        store.comment(home, done.id, " ")


# --- killed, old, unsigned --------------------------------------------------------------------------


def _without_last_entry(home: Home, kind: str) -> None:
    """As if the process had been killed before it wrote the entry."""
    lines = list(ledger_files.lines(home))
    assert ledger_files.parse(lines[-1])["kind"] == kind  # type: ignore[index]
    kept = lines[:-1]
    shutil.rmtree(ledger_files.folder(home))
    for line in kept:
        entry = ledger_files.parse(line)
        assert entry is not None
        if entry["kind"] != "created":
            facts = {name: value for name, value in entry.items() if name not in ("index", "time", "kind")}
            ledger.append(home, entry["kind"], **facts)


def test_an_end_without_its_entry_gets_it_late(home: Home, source: Source, signed: signing.SigningKey) -> None:
    done = finished(home, source, record())
    seal = store.history_of(home, done.id)[0]
    _without_last_entry(home, "ended")
    assert len(store.catch_up(home)) == 1
    late = store.history_of(home, done.id)[0]
    assert (late.seal, late.key, late.late) == (seal.seal, seal.key, True)
    assert store.catch_up(home) == ()
    report = store.fsck(home, Silent())
    assert (report.findings, report.notes) == ((), ("1 run is sealed or entered late.",))


def _as_before_seals(home: Home, done: Record) -> None:
    """The run directory that a version without seals left."""
    run = store.open_run(home, done.id)
    for name in (MANIFEST, SIGNATURE, "irregular.json"):
        (run.path / name).unlink(missing_ok=True)
    digests = digest_files(
        run, {path.name: 0 for path in run.path.iterdir() if path.is_file() and path != run.record}, lambda _: None
    )
    digests |= digest_files(run, {f"images/{path.name}": 0 for path in run.images.iterdir()}, lambda _: None)
    files = {name: f"sha256:{digest}" for name, digest in digests.items()}
    write(run.record, lambda data: json.dumps({**json.loads(data), "files": files}).encode())


def test_runs_of_versions_without_seals_are_sealed_late_and_named(home: Home, source: Source) -> None:
    good, bad = finished(home, source, record()), finished(home, source, record())
    shutil.rmtree(ledger_files.folder(home))
    for run in (good, bad):
        _as_before_seals(home, run)
        store.verify_run(store.open_run(home, run.id), store.load_record(home, run.id))
    assert store.catch_up(home) == ()
    write(store.open_run(home, bad.id).executed, lambda data: data + b" ")
    report = store.fsck(home, Silent())
    assert {(item.where, item.what) for item in report.findings} == {(f"run {bad.id}", "changed")}
    assert any(good.id in repair and "late" in repair for repair in report.repairs)
    assert store.history_of(home, good.id)[0].late
    assert not store.history_of(home, bad.id)[0].seal
    assert found(home) == {(f"run {bad.id}", "changed")}


def test_a_late_sealing_that_was_killed_is_done(home: Home, source: Source) -> None:
    done = finished(home, source, record())
    shutil.rmtree(ledger_files.folder(home))
    _as_before_seals(home, done)
    run = store.open_run(home, done.id)
    (run.path / "irregular.json").write_text("[]")
    (run.path / f".{MANIFEST}.0123abcd").write_text("half")
    assert found(home) == set()
    assert not (run.path / f".{MANIFEST}.0123abcd").exists()
    assert store.history_of(home, done.id)[0].late
    assert found(home) == set()


def test_killed_after_a_late_seal_and_before_its_entry(home: Home, source: Source) -> None:
    done = finished(home, source, record())
    shutil.rmtree(ledger_files.folder(home))
    _as_before_seals(home, done)
    store.fsck(home, Silent())
    _without_last_entry(home, "ended")
    assert found(home) == set()
    assert store.history_of(home, done.id)[0].late


def test_a_ledger_that_is_no_file(home: Home, source: Source) -> None:
    finished(home, source, record())
    ledger_files.entries_path(home).unlink()
    os.mkfifo(ledger_files.entries_path(home))
    assert ("ledger", "unreadable") in found(home)


def test_a_run_that_could_not_be_signed_says_why(home: Home, source: Source, signed: signing.SigningKey) -> None:
    signing.keys._unlocked.clear()
    Path(signed.file).unlink()
    done = finished(home, source, record())
    seal = store.read_seal(store.open_run(home, done.id), store.history_of(home, done.id)[0])
    assert seal.signature == "unsigned"
    assert "cannot be read" in str(seal)
    report = store.fsck(home, Silent())
    assert report.findings == ()
    assert ["Entries 2 to 3 are not signed" in note for note in report.notes] == [True, False]
    assert report.notes[1] == "1 run is unsigned."


# --- caches and content -----------------------------------------------------------------------------


def test_only_caches_are_repaired(home: Home, source: Source) -> None:
    done = finished(home, source, record())
    store.list_runs(home)
    with sqlite3.connect(home.index) as database:
        database.execute("UPDATE runs SET notebook = 'forged'")
        database.execute("UPDATE histories SET label = 'forged'")
    layer = home.layers / f"{'0' * 64}.tar"
    layer.parent.mkdir()
    layer.write_bytes(b"not what its name says")
    report = store.fsck(home, Silent())
    assert report.findings == ()
    assert len(report.repairs) == 2
    assert not layer.exists()
    assert [(item.notebook, item.history.label) for item in store.list_runs(home)] == [(done.notebook, "")]
    assert store.fsck(home, Silent()).repairs == ()


@pytest.mark.parametrize("where", ["blobs", "wheels", "packages", "layers"])
def test_content_that_is_not_what_its_name_says(home: Home, source: Source, where: str) -> None:
    finished(home, source, record())
    digest = "0" * 64
    path = {
        "blobs": blob_path(home, source.files[0].digest),
        "wheels": home.wheels / digest / "a-1-py3-none-any.whl",
        "packages": home.packages / digest / "a.deb",
        "layers": home.layers / f"{digest}.tar",
    }[where]
    path.parent.mkdir(parents=True, exist_ok=True)
    (home.bases / "b").mkdir(parents=True)
    (home.bases / "b/base.json").write_text(json.dumps({"layers": [{"diff_id": f"sha256:{digest}"}]}))
    path.unlink(missing_ok=True)
    path.write_bytes(b"other")
    assert found(home) == {(where, "changed")}
    assert path.exists()


def test_a_purged_run_is_gone_for_good_and_nothing_is_missed(home: Home, source: Source) -> None:
    kept, done, emptied = (finished(home, source, record()) for _ in range(3))
    for run in (done, emptied):
        store.delete(home, run.id)
    shutil.rmtree(home.trash / emptied.id)
    assert found(home) == {(f"run {emptied.id}", "removed")}
    with pytest.raises(BadInput, match="no deleted run"):
        store.find_deleted(home, kept.id)
    for run in (done, emptied):
        assert store.find_deleted(home, run.id[:9]) == run.id
        store.purge(home, run.id)
    assert not any(home.trash.iterdir())
    assert not any(home.temporary.iterdir())
    assert found(home) == set()
    assert store.load_record(home, kept.id).id == kept.id
    with pytest.raises(BadInput, match="purged"):
        store.find_run(home, done.id)
    with pytest.raises(BadInput, match="no deleted run"):
        store.find_deleted(home, done.id)
    shutil.copytree(home.runs / kept.id, home.runs / done.id)
    assert (f"run {done.id}", "added") in found(home)


def test_a_purge_that_was_killed_is_done(home: Home, source: Source) -> None:
    done = finished(home, source, record())
    store.delete(home, done.id)
    ledger.append(home, "purged", run=done.id)
    assert "purged" in store.catch_up(home)[0]
    assert not (home.trash / done.id).exists()
    assert store.catch_up(home) == ()
    assert found(home) == set()


def test_a_link_for_a_project_that_is_not_covered(home: Home, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.store.seal.MAX_ENTRIES", 1)
    done = finished(home, source, record())
    assert found(home) == set()
    shutil.rmtree(home.runs / done.id / "project")
    (home.runs / done.id / "project").symlink_to("/")
    assert found(home) == {(f"run {done.id}", "added")}


def test_strays_and_lines_that_say_nothing_are_noted(home: Home, source: Source, signed: signing.SigningKey) -> None:
    done = finished(home, source, record())
    store.delete(home, done.id)
    for folder in ("runs", "trash", "ledger"):
        (home.root / folder / f"stray-{folder}").touch()
    with signing.allowed_signers(home).open("a") as file:
        file.write("garbage\n")
    report = store.fsck(home, Silent())
    assert report.findings == ()
    for word in ("stray-runs", "stray-trash", "stray-ledger", "line 2"):
        assert sum(word in note for note in report.notes) == 1


def test_a_damaged_signing_json_is_found(home: Home, source: Source, signed: signing.SigningKey) -> None:
    finished(home, source, record())
    write(home.root / "keys/signing.json", lambda data: data[5:])
    assert found(home) == {("keys", "unreadable")}


@pytest.mark.parametrize("harm", ["garbage", "empty", "gone", "a folder"])
def test_a_ledger_that_cannot_be_read_is_told_once(home: Home, source: Source, harm: str) -> None:
    runs = [finished(home, source, record()) for _ in range(3)]
    path = ledger_files.entries_path(home)
    path.unlink()
    if harm == "a folder":
        path.mkdir()
    elif harm != "gone":
        path.write_bytes(b"garbage\n" if harm == "garbage" else b"")
    write(store.open_run(home, runs[0].id).executed, lambda data: data + b" ")
    report = store.fsck(home, Silent())
    assert [finding.where for finding in report.findings if finding.what == "unreadable"] == ["ledger"]
    rest = {(finding.where, finding.what) for finding in report.findings if finding.where != "ledger"}
    assert rest == {(f"run {runs[0].id}", "changed")}
