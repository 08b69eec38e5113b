"""Whoever can write to a home and has no key: what such a person makes of a signed ledger, and what is told of it."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import merkle, signing
from engine.digests import canonical_json
from engine.settings import Home
from engine.store import ledger, ledger_files
from engine.store.ledger_check import check_ledger

RUN = "0123456789abcdef"
Entries = list[dict[str, Any]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A signed ledger with a label, as of a home with one run."""
    home = Home(tmp_path / "home")
    key = signing.make(home, "alice", None)
    ledger.append(home, "key", use="signing", name=key.name, key=key.public.line)
    ledger.append(home, "begun", run=RUN, hash="ab" * 32)
    ledger.append(home, "ended", run=RUN, status="completed", seal="sha256:0", key=key.public.fingerprint)
    ledger.append(home, "label", run=RUN, text="hello")
    ledger.append(home, "comment", run=RUN, text="the last")
    assert check_ledger(home).findings == []
    assert check_ledger(home).checkpoint == "signed by alice (trusted)"
    return home


def entries(home: Home) -> Entries:
    return [json.loads(line) for line in ledger_files.lines(home)]


def forge(home: Home, change: Callable[[Entries], Entries], signature: str = "") -> None:
    """Entries, hashes and checkpoint made anew, as nbseal makes them, without the key."""
    changed = change(entries(home))
    for number, entry in enumerate(changed):
        entry["index"] = number
    lines = [canonical_json(entry) for entry in changed]
    hashes = ledger_files.grow([merkle.leaf_hash(line) for line in lines])
    ledger_files.entries_path(home).write_bytes(b"".join(line + b"\n" for line in lines))
    ledger_files.hashes_path(home).write_bytes(b"".join(hashes))
    root = base64.b64encode(merkle.root(len(lines), hashes.__getitem__)).decode()
    text = f"{changed[0]['origin']}\n{len(lines)}\n{root}\n\n{signature}"
    ledger_files.checkpoint_path(home).write_text(text)


def relabel(found: Entries) -> Entries:
    return [{**entry, "text": "FORGED"} if entry["kind"] == "label" else entry for entry in found]


def excuse(found: Entries) -> Entries:
    return [*relabel(found)[:-1], {**found[-1], "unsigned": "the ssh-agent that has the key is not there"}]


def forget(found: Entries) -> Entries:
    return [entry for entry in relabel(found) if entry["kind"] != "key"]


def forget_wholly(found: Entries) -> Entries:
    return [{name: value for name, value in entry.items() if name != "key"} for entry in forget(found)]


def lock_out(home: Home) -> None:
    """From now on nothing can be signed."""
    signing.keys._unlocked.clear()
    (home.root / "keys/alice").rename(home.root / "away")


def let_in(home: Home) -> None:
    (home.root / "away").rename(home.root / "keys/alice")


@pytest.mark.parametrize("change", [excuse, forget, forget_wholly], ids=lambda change: change.__name__)
@pytest.mark.parametrize("locked", [False, True], ids=["", "locked out"])
def test_a_ledger_without_its_signature_is_found_and_stays_found(
    home: Home, change: Callable[[Entries], Entries], locked: bool
) -> None:
    forge(home, change)
    assert {finding.what for finding in check_ledger(home).findings} == {"unsigned"}
    if locked:
        lock_out(home)
    for _ in range(3):
        ledger.append(home, "comment", run=RUN, text="afterwards")
        check = check_ledger(home)
        # Of a ledger from which every trace of a key was taken, it is still told that nothing vouched for it.
        assert check.findings or any("until entry" in note for note in check.notes)
        assert bool(check.findings) or change is forget_wholly
    assert sum(entry["kind"] == "conflict" for entry in entries(home)) <= 1


def test_removing_the_home_s_key_as_well_does_not_help(home: Home) -> None:
    forge(home, forget)
    (home.root / "keys/signing.json").unlink()
    assert {finding.what for finding in check_ledger(home).findings} == {"unsigned"}


@pytest.mark.parametrize("signature", ["", "stolen"])
def test_a_signature_of_something_else_is_found_and_stays_found(home: Home, signature: str) -> None:
    line = ledger_files.checkpoint_path(home).read_text().rpartition("\n\n")[2]
    forge(home, relabel, line if signature else f"\N{EM DASH} {entries(home)[0]['origin']} AAAAAAAA\n")
    assert "bad-signature" in {finding.what for finding in check_ledger(home).findings}
    ledger.append(home, "comment", run=RUN, text="afterwards")
    assert any("signature" in finding.detail for finding in check_ledger(home).findings)


def test_a_line_that_was_added_and_nothing_else_is_told_ever_after(home: Home) -> None:
    added = {"index": 6, "kind": "label", "run": RUN, "text": "approved by Alice", "time": "2026-01-01T00:00:00.000Z"}
    with ledger_files.entries_path(home).open("ab") as file:
        file.write(canonical_json(added) + b"\n")
    check = check_ledger(home)
    assert check.checkpoint == "signed by alice (trusted) up to entry 5"
    assert [note for note in check.notes if "Entry 6 is not signed" in note]
    assert check.repairs == []
    for _ in range(2):
        ledger.append(home, "comment", run=RUN, text="afterwards")
        assert [note for note in check_ledger(home).notes if "Entry 6 was" in note and "entry 7" in note]
    assert [entry["kind"] for entry in entries(home)[6:]] == ["label", "healed", "comment", "comment"]
    assert entries(home)[7]["entries"] == [6, 6]
    assert check_ledger(home).checkpoint == "signed by alice (trusted)"


def test_what_could_not_be_signed_is_named_until_and_after_it_is(home: Home) -> None:
    lock_out(home)
    for _ in range(2):
        ledger.append(home, "comment", run=RUN, text="unsigned")
    check = check_ledger(home)
    assert check.findings == []
    assert any("Entries 6 to 7 are not signed" in note for note in check.notes)
    forge(home, lambda found: [*found[:7], {**found[7], "text": "other"}])  # nobody can tell, and nobody says "signed"
    assert any("Entries 6 to 7 are not signed" in note for note in check_ledger(home).notes)
    let_in(home)
    ledger.append(home, "comment", run=RUN, text="signed")
    assert not ledger_files.signed_path(home).exists()
    check = check_ledger(home)
    assert (check.findings, check.checkpoint) == ([], "signed by alice (trusted)")
    assert any("Entries 6 to 7 were" in note for note in check.notes)


@pytest.mark.parametrize("locked", [False, True], ids=["", "locked out"])
def test_the_last_signed_checkpoint_holds_what_it_is_over(home: Home, locked: bool) -> None:
    lock_out(home)
    ledger.append(home, "comment", run=RUN, text="unsigned")
    forge(home, relabel)
    assert any("last signed checkpoint" in finding.detail for finding in check_ledger(home).findings)
    if not locked:
        let_in(home)
    for _ in range(2):
        ledger.append(home, "comment", run=RUN, text="afterwards")
        assert any("last signed checkpoint" in finding.detail for finding in check_ledger(home).findings)


@pytest.mark.parametrize("data", [None, b"", b"garbage"])
def test_the_last_signed_checkpoint_gone_or_damaged(home: Home, data: bytes | None) -> None:
    lock_out(home)
    ledger.append(home, "comment", run=RUN, text="unsigned")
    ledger_files.signed_path(home).unlink()
    if data is not None:
        ledger_files.signed_path(home).write_bytes(data)
    assert check_ledger(home).findings != []
    ledger.append(home, "comment", run=RUN, text="afterwards")
    assert any(finding.what == "changed" for finding in check_ledger(home).findings)


def test_a_key_that_comes_later_vouches_for_nothing_in_silence(tmp_path: Path) -> None:
    home = Home(tmp_path / "late")
    ledger.append(home, "comment", run=RUN, text="before")
    key = signing.make(home, "alice", None)
    ledger.append(home, "key", use="signing", name=key.name, key=key.public.line)
    check = check_ledger(home)
    assert (check.findings, check.checkpoint) == ([], "signed by alice (trusted)")
    assert [note for note in check.notes if "Entries 0 to 1 were" in note]


@pytest.mark.parametrize("step", ["signed copied", "checkpoint written", "copy left"])
def test_killed_while_signing_stops_or_begins_again(home: Home, step: str) -> None:
    checkpoint, signed = ledger_files.checkpoint_path(home), ledger_files.signed_path(home)
    if step == "signed copied":  # the entry is there, and the checkpoint does not know it yet
        before = checkpoint.read_bytes()
        lock_out(home)
        ledger.append(home, "comment", run=RUN, text="unsigned")
        checkpoint.write_bytes(before)
        assert check_ledger(home).findings == []
        let_in(home)
    else:
        lock_out(home)
        ledger.append(home, "comment", run=RUN, text="unsigned")
        left = signed.read_bytes()
        let_in(home)
        ledger.append(home, "comment", run=RUN, text="signed")
        if step == "copy left":
            signed.write_bytes(left)
    assert check_ledger(home).findings == []
    ledger.append(home, "comment", run=RUN, text="afterwards")
    check = check_ledger(home)
    assert (check.findings, check.checkpoint) == ([], "signed by alice (trusted)")
    assert not signed.exists()


def test_temporary_files_of_killed_commands_are_removed(home: Home) -> None:
    left = ledger_files.folder(home) / ".checkpoint.0123abcd"
    left.touch()
    assert check_ledger(home).findings == []
    assert not left.exists()


# --- against a checkpoint that somebody kept ------------------------------------------------------


def kept(home: Home) -> ledger_files.Checkpoint:
    found = ledger_files.read_checkpoint(ledger_files.checkpoint_path(home))
    assert found is not None
    return found


def test_a_ledger_continues_what_was_kept_of_it(home: Home) -> None:
    for _ in range(5):
        old = kept(home)
        assert check_ledger(home, old).findings == []
        ledger.append(home, "comment", run=RUN, text="more")
        check = check_ledger(home, old)
        assert check.findings == []
        assert any(f"{old.size} entries and signed by alice" in note for note in check.notes)


def test_a_home_that_was_put_back_is_found(home: Home, tmp_path: Path) -> None:
    shutil.copytree(ledger_files.folder(home), tmp_path / "back")
    ledger.append(home, "comment", run=RUN, text="more")
    newest = kept(home)
    shutil.rmtree(ledger_files.folder(home))
    shutil.copytree(tmp_path / "back", ledger_files.folder(home))
    assert check_ledger(home).findings == []  # nothing in the home can tell
    assert {finding.what for finding in check_ledger(home, newest).findings} == {"removed"}
    ledger.append(home, "comment", run=RUN, text="another")
    assert {finding.what for finding in check_ledger(home, newest).findings} == {"changed"}
    shutil.rmtree(ledger_files.folder(home))
    assert {finding.what for finding in check_ledger(home, newest).findings} == {"removed"}
    ledger.append(home, "comment", run=RUN, text="another")
    assert any("another ledger" in finding.detail for finding in check_ledger(home, newest).findings)


def test_whoever_has_the_key_is_held_to_what_was_kept(home: Home) -> None:
    old = kept(home)
    ledger.append(home, "comment", run=RUN, text="more")
    forge(home, relabel)
    key = signing.signing_key(home)
    assert key is not None
    text = ledger_files.checkpoint_path(home).read_text().rpartition("\n")[0]
    note = signing.note.make(text, old.origin, key.public, lambda data: signing.sign(key, data))
    ledger_files.checkpoint_path(home).write_bytes(note)
    assert check_ledger(home).findings == []
    assert {finding.what for finding in check_ledger(home, old).findings} == {"changed"}


def test_the_signature_of_a_kept_checkpoint_is_judged(home: Home, tmp_path: Path) -> None:
    old = kept(home)
    mallory = signing.make(Home(tmp_path / "mallory"), "mallory", None)
    made = signing.note.make(old.note.text, old.origin, mallory.public, lambda data: signing.sign(mallory, data))
    forged = ledger_files.Checkpoint(old.origin, old.size, old.root, signing.note.read(made))
    assert {finding.what for finding in check_ledger(home, forged).findings} == {"bad-signature"}
