"""The ledger: appended cheaply, healed after a crash, and never continued in silence over what does not fit."""

import base64
import json
import threading
import time
from pathlib import Path

import pytest

from engine import merkle, signing
from engine.digests import canonical_json
from engine.errors import BadInput
from engine.settings import Home
from engine.store import ledger, ledger_files
from engine.store.ledger_check import check_ledger
from engine.store.report import Finding

RUN = "0123456789abcdef"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def entries(home: Home) -> list[dict]:
    return [json.loads(line) for line in ledger_files.entries_path(home).read_bytes().splitlines()]


def filled(home: Home, count: int = 8) -> Home:
    for number in range(count - 1):
        ledger.append(home, "comment", run=RUN, text=f"number {number}")
    return home


def found(home: Home) -> set[str]:
    return {finding.what for finding in check_ledger(home).findings}


def test_entries_are_under_the_checkpoint(home: Home) -> None:
    for size in range(2, 20):
        ledger.append(home, "comment", run=RUN, text="x")
        checkpoint = ledger_files.read_checkpoint(ledger_files.checkpoint_path(home))
        assert checkpoint is not None
        lines = list(ledger_files.lines(home))
        assert checkpoint.size == len(lines) == size
        hashes = ledger_files.grow([merkle.leaf_hash(line) for line in lines])
        assert ledger_files.hashes_path(home).read_bytes() == b"".join(hashes)
        assert checkpoint.root == merkle.root(size, hashes.__getitem__)
        proof = ledger_files.proof(home, size - 2, size)
        assert merkle.includes(checkpoint.root, size, merkle.leaf_hash(lines[-2]), size - 2, proof)
    assert [entry["index"] for entry in entries(home)] == list(range(19))
    assert entries(home)[0]["kind"] == "created"
    assert check_ledger(home).findings == check_ledger(home).repairs == []


def test_checkpoint_has_the_form_of_the_specification(home: Home) -> None:
    filled(home)
    origin, size, root, *rest = ledger_files.checkpoint_path(home).read_text().split("\n")
    assert origin == entries(home)[0]["origin"]
    assert (size, len(base64.b64decode(root)), rest) == ("8", 32, ["", ""])


def test_signed_when_there_is_a_key(home: Home) -> None:
    filled(home, 3)
    key = signing.make(home, "alice", None)
    ledger.append(home, "key", use="signing", name=key.name, key=key.public.line)
    checkpoint = ledger_files.read_checkpoint(ledger_files.checkpoint_path(home))
    assert checkpoint is not None
    assert checkpoint.note.signed_by(checkpoint.origin, key.public)
    assert check_ledger(home).checkpoint == "signed by alice (trusted)"
    signing.allowed_signers(home).write_text("")
    assert found(home) == {"unknown-key"}


def test_an_entry_that_could_not_be_signed_says_so(home: Home) -> None:
    key = signing.make(home, "alice", None)
    ledger.append(home, "key", use="signing", name=key.name, key=key.public.line)
    signing.keys._unlocked.clear()
    Path(key.file).unlink()
    entry = ledger.append(home, "comment", run=RUN, text="x")
    assert "cannot be read" in entry["unsigned"]
    check = check_ledger(home)
    assert (check.findings, check.checkpoint) == ([], "signed by alice (trusted) up to entry 1")
    assert any("Entry 2 is not signed" in note for note in check.notes)


def test_stripping_the_signature_is_found(home: Home) -> None:
    key = signing.make(home, "alice", None)
    ledger.append(home, "key", use="signing", name=key.name, key=key.public.line)
    path = ledger_files.checkpoint_path(home)
    whole = path.read_text()
    path.write_text(whole.rpartition("\N{EM DASH}")[0])
    assert found(home) == {"unsigned"}
    path.write_text(whole[:-12] + "AAAAAAAAAA=\n")
    assert "bad-signature" in found(home)


# --- killed and torn --------------------------------------------------------------------------------


def states_of_an_append(home: Home) -> list[dict[str, bytes]]:
    """What a process killed between the steps of an append leaves: old or new, file by file, in the order written."""
    names = ("entries.jsonl", "hashes", "checkpoint")
    folder = ledger_files.folder(home)
    before = {name: (folder / name).read_bytes() if (folder / name).exists() else b"" for name in names}
    ledger.append(home, "comment", run=RUN, text="the last")
    after = {name: (folder / name).read_bytes() for name in names}
    return [{name: after[name] if number > place else before[name] for place, name in enumerate(names)}
            for number in range(4)]  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("step", range(4))
def test_killed_between_the_steps(home: Home, size: int, step: int) -> None:
    filled(home, size)
    if size > 1:
        for name, data in states_of_an_append(home)[step].items():
            (ledger_files.folder(home) / name).write_bytes(data)
    assert check_ledger(home).findings == []
    ledger.append(home, "comment", run=RUN, text="afterwards")
    check = check_ledger(home)
    assert (check.findings, check.repairs) == ([], [])
    assert [entry["index"] for entry in entries(home)] == list(range(check.size))
    assert entries(home)[-1]["text"] == "afterwards"
    assert all(entry["kind"] != "conflict" for entry in entries(home))


def test_a_torn_line_is_cut_off_and_told(home: Home) -> None:
    filled(home)
    with ledger_files.entries_path(home).open("ab") as file:
        file.write(b'{"index":8,"kind":"comm')
    assert check_ledger(home).size == 8
    ledger.append(home, "comment", run=RUN, text="afterwards")
    assert [(entry["kind"], entry.get("torn")) for entry in entries(home)[-2:]] == [("healed", 23), ("comment", None)]
    check = check_ledger(home)
    assert check.findings == []
    assert check.repairs == []
    assert check.notes == ["Before entry 8 an unfinished line of 23 bytes was cut off."]


@pytest.mark.parametrize("harm", ["missing", "short", "wrong", "long"])
def test_kept_hashes_are_only_a_cache(home: Home, harm: str) -> None:
    filled(home)
    path = ledger_files.hashes_path(home)
    data = path.read_bytes()
    path.write_bytes({"missing": b"", "short": data[:-5], "wrong": bytes(len(data)), "long": data + bytes(64)}[harm])
    if harm == "missing":
        path.unlink()
    check = check_ledger(home)
    assert check.findings == []
    assert any("made anew" in repair for repair in check.repairs)
    assert path.read_bytes() == data
    path.write_bytes(bytes(7))
    ledger.append(home, "comment", run=RUN, text="x")
    assert check_ledger(home).findings == []


# --- tampered with ----------------------------------------------------------------------------------


def rewrite(home: Home, change) -> None:  # type: ignore[no-untyped-def]
    lines = ledger_files.entries_path(home).read_bytes().splitlines()
    ledger_files.entries_path(home).write_bytes(b"".join(line + b"\n" for line in change(lines)))


TAMPERINGS = {
    "edited": (lambda lines: [*lines[:3], lines[3].replace(b"number", b"NUMBER"), *lines[4:]],
               "changed", "Entry 3 was edited."),
    "the last edited": (lambda lines: [*lines[:-1], lines[-1].replace(b"number", b"NUMBER")],
                        "changed", "Entry 7 was edited."),
    "removed": (lambda lines: [*lines[:3], *lines[4:]], "removed", "Entry 3 was removed."),
    "the last removed": (lambda lines: lines[:-1], "removed", "Entry 7 was removed."),
    "all removed": (lambda lines: [], "removed", "Entry 0 was removed."),
    "added": (lambda lines: [*lines[:3], b"{}", *lines[3:]], "added", "An entry was added at place 3."),
    "reordered": (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]],
                  "reordered", "Where entry 3 was there is entry 4 now."),
    "garbage": (lambda lines: [*lines[:3], b"garbage", *lines[4:]], "changed", "Entry 3 was edited."),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERINGS)
@pytest.mark.parametrize("afterwards", [False, True], ids=["", "and continued"])
def test_every_tampering_is_named(home: Home, name: str, afterwards: bool) -> None:
    change, what, detail = TAMPERINGS[name]
    filled(home)
    rewrite(home, change)
    assert Finding("ledger", what, detail) in check_ledger(home).findings
    if afterwards:  # the ledger goes on, and what was done to it stays found
        ledger.append(home, "comment", run=RUN, text="afterwards")
        assert b"afterwards" in list(ledger_files.lines(home))[-1]
        assert check_ledger(home).findings != []
        ledger.append(home, "comment", run=RUN, text="again")
        assert check_ledger(home).findings != []


def test_without_the_kept_hashes_it_is_found_all_the_same(home: Home) -> None:
    for change, _, _ in TAMPERINGS.values():
        other = filled(Home(home.root / str(id(change))))
        rewrite(other, change)
        ledger_files.hashes_path(other).unlink()
        assert check_ledger(other).findings != []


def test_a_checkpoint_that_was_put_back(home: Home) -> None:
    filled(home, 4)
    old = ledger_files.checkpoint_path(home).read_bytes()
    filled(home, 4)
    ledger_files.checkpoint_path(home).write_bytes(old)
    assert any("put back" in finding.detail for finding in check_ledger(home).findings)
    ledger.append(home, "comment", run=RUN, text="afterwards")
    assert any("put back" in finding.detail for finding in check_ledger(home).findings)


@pytest.mark.parametrize("data", [None, b"", b"nonsense", b"nbseal/ledger/0123456789abcdef\n9\nAAAA\n\n", b"\xff"])
def test_a_checkpoint_that_is_none(home: Home, data: bytes | None) -> None:
    filled(home)
    if data is None:
        ledger_files.checkpoint_path(home).unlink()
    else:
        ledger_files.checkpoint_path(home).write_bytes(data)
    assert found(home) != set()
    ledger.append(home, "comment", run=RUN, text="afterwards")
    assert any("did not fit" in finding.detail for finding in check_ledger(home).findings)


def test_links_are_not_followed(home: Home, tmp_path: Path) -> None:
    filled(home)
    other = tmp_path / "other"
    other.write_bytes(b"mine\n")
    ledger_files.entries_path(home).unlink()
    ledger_files.entries_path(home).symlink_to(other)
    with pytest.raises(OSError, match="symbolic"):
        ledger.append(home, "comment", run=RUN, text="x")
    assert other.read_bytes() == b"mine\n"


def test_too_long_an_entry_is_refused_and_nothing_is_written(home: Home) -> None:
    filled(home)
    with pytest.raises(BadInput, match="too long"):
        ledger.append(home, "comment", run=RUN, text="x" * (64 << 10))
    assert check_ledger(home).size == 8
    assert check_ledger(home).findings == []


def test_threads_do_not_cross(home: Home) -> None:
    threads = [threading.Thread(target=filled, args=(home, 11)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check = check_ledger(home)
    assert (check.size, check.findings, check.repairs) == (41, [], [])


def test_an_append_does_not_read_the_whole_ledger(home: Home) -> None:
    """A hundred thousand entries: what is added to them costs what it costs in an empty one."""
    filled(home, 2)
    lines = list(ledger_files.lines(home))
    line = canonical_json({"index": 0, "kind": "comment", "run": RUN, "text": "x" * 100, "time": ""})
    lines += [line] * 100_000
    ledger_files.entries_path(home).write_bytes(b"".join(item + b"\n" for item in lines))
    hashes = ledger_files.grow([merkle.leaf_hash(item) for item in lines])
    ledger_files.hashes_path(home).write_bytes(b"".join(hashes))
    root = merkle.root(len(lines), hashes.__getitem__)
    origin = entries(home)[0]["origin"]
    text = f"{origin}\n{len(lines)}\n{base64.b64encode(root).decode()}\n\n"
    ledger_files.checkpoint_path(home).write_text(text)
    began = time.process_time()
    for _ in range(20):
        ledger.append(home, "comment", run=RUN, text="x")
    assert (time.process_time() - began) / 20 < 0.02
    assert len(list(ledger_files.lines(home))) == 100_022
    assert all(entry["kind"] != "conflict" for entry in entries(home)[-20:])
