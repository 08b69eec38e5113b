"""The ledger held against its own checkpoint: which entries were edited, removed, added or reordered since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime

from engine import merkle, signing
from engine.files import locked, read_regular, write_atomic
from engine.model import Json
from engine.settings import Home
from engine.store import ledger
from engine.store.report import Finding
from engine.store.sealing import moment

_MAX_HASHES = 1 << 30
_SHOWN = 100  # entries named one by one; more of the same are counted


@dataclass
class LedgerCheck:
    """What was found."""

    size: int = 0
    findings: list[Finding] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    checkpoint: str = "unsigned"  # whose signature it carries, in words

    def find(self, what: str, detail: str) -> None:
        self.findings.append(Finding("ledger", what, detail))


def check_ledger(home: Home) -> LedgerCheck:
    """Read the whole ledger and compare; its cache is made anew when it is all that does not fit."""
    check = LedgerCheck()
    if not ledger.folder(home).is_dir():
        return check
    with ExitStack() as held:
        with suppress(OSError):  # a home on a read-only disk has nobody who adds to it
            held.enter_context(locked(ledger.lock_path(home)))
        try:
            _check(home, check)
        except OSError as error:
            check.find("unreadable", f"{error.filename or 'A file'} cannot be read: {error.strerror}.")
    return check


def _check(home: Home, check: LedgerCheck) -> None:
    lines = list(ledger.lines(home))
    leaves = [merkle.leaf_hash(line) for line in lines]
    entries = [ledger.parse(line) for line in lines]
    check.size = len(lines)
    _read_entries(check, entries)
    try:
        checkpoint = ledger.read_checkpoint(home)
    except ValueError as error:
        check.find("changed", f"The checkpoint is damaged: {error}.")
        return
    if checkpoint is None:
        if len(lines) > 1:
            check.find("removed", "The checkpoint is missing.")
        return
    hashes = ledger.grow(leaves)
    problem = ledger.disagreement(checkpoint, len(leaves), hashes.__getitem__)
    if problem:
        _explain(home, check, checkpoint, leaves, problem)
    else:
        _mend(home, check, checkpoint, hashes)
    _judge_signature(home, check, checkpoint, entries)


def _read_entries(check: LedgerCheck, entries: Sequence[Json | None]) -> None:
    """What entries say of themselves: their place, and that each run ends once."""
    ends: Counter[str] = Counter()
    faults = []
    last = -1
    for place, entry in enumerate(entries):
        if entry is None:
            faults.append(("changed", f"The line at place {place} is not an entry."))
            last += 1
            continue
        index = entry.get("index")
        if index != last + 1:
            faults.append(("reordered", f"After entry {last} comes one that says it is entry {index!s:.20}."))
        last = index if isinstance(index, int) else last + 1
        if entry.get("kind") == "ended":
            ends[str(entry.get("run"))] += 1
        elif entry.get("kind") == "conflict":
            problem = str(entry.get("problem"))[:300]
            faults.append(("changed", f"Before entry {place} the ledger did not fit its checkpoint: {problem}."))
        elif entry.get("kind") == "healed":
            check.repairs.append(f"Before entry {place} a torn last line of {entry.get('torn')} bytes was cut off.")
    faults += [("added", f"Run {run[:40]} ended {count} times.") for run, count in ends.items() if count > 1]
    for what, detail in faults[:_SHOWN]:
        check.find(what, detail)
    if len(faults) > _SHOWN:
        check.find("changed", f"And {len(faults) - _SHOWN} more faults of this kind.")


def _explain(
    home: Home, check: LedgerCheck, checkpoint: ledger.Checkpoint, leaves: Sequence[bytes], problem: str
) -> None:
    """Name the entries that differ, by the kept hashes, if those are the ones that the checkpoint is over."""
    check.find("changed", f"Of the ledger: {problem}.")
    kept = _kept(home)
    size = min(checkpoint.size, len(kept))
    grown = ledger.grow(kept[:size])
    if size != checkpoint.size or merkle.root(size, grown.__getitem__) != checkpoint.root:
        check.find(
            "changed", "The kept hashes do not fit the checkpoint either, so which entries it was cannot be told."
        )
        return
    found = list(_differences(kept, leaves))
    for what, detail in found[:_SHOWN]:
        check.find(what, detail)
    if len(found) > _SHOWN:
        check.find("changed", f"And {len(found) - _SHOWN} more entries.")


def _differences(kept: Sequence[bytes], leaves: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    there, known = set(leaves), set(kept)
    taken = [number for number, leaf in enumerate(kept) if leaf not in there]
    new = [number for number, leaf in enumerate(leaves) if leaf not in known]
    edited = sorted(set(taken) & set(new))
    yield from (("changed", f"Entry {number} was edited.") for number in edited)
    yield from (("removed", f"Entry {number} was removed.") for number in taken if number not in edited)
    yield from (("added", f"An entry was added at place {number}.") for number in new if number not in edited)
    # What is left on both sides, in the order of each: a place where they part is out of order.
    places = {leaf: number for number, leaf in enumerate(kept)}
    before = [leaf for leaf in kept if leaf in there]
    after = [leaf for leaf in leaves if leaf in known]
    for one, other in zip(before, after, strict=False):
        if one != other:
            yield "reordered", f"Where entry {places[one]} was there is entry {places[other]} now."


def _kept(home: Home) -> list[bytes]:
    """The leaf hashes that the cache holds."""
    try:
        data = read_regular(ledger.hashes_path(home), _MAX_HASHES)
    except OSError:
        return []
    found: list[bytes] = []
    while (place := merkle.place(0, len(found)) * merkle.SIZE) + merkle.SIZE <= len(data):
        found.append(data[place : place + merkle.SIZE])
    return found


def _mend(home: Home, check: LedgerCheck, checkpoint: ledger.Checkpoint, hashes: Sequence[bytes]) -> None:
    data = b"".join(hashes)
    try:
        same = read_regular(ledger.hashes_path(home), _MAX_HASHES) == data
    except OSError:
        same = False
    if not same and checkpoint.size == check.size:
        write_atomic(ledger.hashes_path(home), data)
        check.repairs.append("The kept hashes of the ledger were out of step; they were made anew.")
    elif checkpoint.size != check.size:  # killed between an entry and its checkpoint: the next entry mends it
        check.repairs.append("The last entry is not under the checkpoint yet; the next one brings it in.")


def _judge_signature(
    home: Home, check: LedgerCheck, checkpoint: ledger.Checkpoint, entries: Sequence[Json | None]
) -> None:
    covered = [entry for entry in entries[: checkpoint.size] if entry]
    time = moment(str(covered[-1].get("time"))) if covered else moment("")
    names = [name for name, _, _ in checkpoint.note.signatures]
    expected = _key_in_use(covered)
    if not names:
        if expected and not (covered and covered[-1].get("unsigned")):
            check.find("unsigned", "The checkpoint is not signed, though the home had a key.")
        return
    check.checkpoint = "signed by an unknown key"
    signers = _whose(home, checkpoint, time)
    if signers:
        check.checkpoint = f"signed by {signers[0]} (trusted)"
    elif expected and checkpoint.note.signed_by(checkpoint.origin, expected):
        check.find("unknown-key", "The checkpoint is signed by a key that allowed_signers does not name.")
    else:
        check.checkpoint = "bad signature"
        check.find("bad-signature", "The checkpoint's signature is not that of any key that is known here.")


def _whose(home: Home, checkpoint: ledger.Checkpoint, time: datetime) -> list[str]:
    return [
        signer.name
        for signer in signing.trusted(home)[0]
        if signer.counts(signer.key, ledger.NAMESPACE, time)
        and checkpoint.note.signed_by(checkpoint.origin, signer.key)
    ]


def _key_in_use(entries: Sequence[Json]) -> signing.PublicKey | None:
    """The key that the ledger says was set last."""
    for entry in reversed(entries):
        if entry.get("kind") == "key" and entry.get("use") == "signing":
            try:
                return signing.from_line(str(entry.get("key")))[0]
            except ValueError:
                return None
    return None
