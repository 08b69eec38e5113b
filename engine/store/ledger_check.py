"""The ledger held against its own checkpoint: which entries were edited, removed, added or reordered since."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from engine import merkle, signing
from engine.errors import BadInput
from engine.files import locked, read_regular, write_atomic
from engine.model import Json
from engine.settings import Home
from engine.store import ledger_files as ledger
from engine.store.report import Finding, counted
from engine.store.sealing import moment

_MAX_HASHES = 1 << 30
_UNFINISHED = re.compile(r"\.(checkpoint|signed|hashes)\.[0-9a-f]{8}")
_SHOWN = 100  # entries named one by one; more of the same are counted


@dataclass
class LedgerCheck:
    """What was found."""

    size: int = 0
    findings: list[Finding] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checkpoint: str = "unsigned"  # whose signature it carries, in words
    readable: bool = True  # whether runs can be held against it

    def find(self, what: str, detail: str) -> None:
        self.findings.append(Finding("ledger", what, detail))


def check_ledger(home: Home, kept: ledger.Checkpoint | None = None) -> LedgerCheck:
    """Read the whole ledger and compare, also with a checkpoint that somebody ``kept`` elsewhere.

    Its cache is made anew when it is all that does not fit.
    """
    check = LedgerCheck()
    if not ledger.folder(home).is_dir():
        if kept:
            check.find("removed", f"The kept checkpoint counts {kept.size} entries, and there is no ledger.")
        return check
    with ExitStack() as held:
        with suppress(OSError):  # a home on a read-only disk has nobody who adds to it
            held.enter_context(locked(ledger.lock_path(home)))
            for path in ledger.folder(home).iterdir():
                if _UNFINISHED.fullmatch(path.name):  # whoever wrote it held the lock, and is dead
                    path.unlink()
        try:
            _check(home, check, kept)
        except OSError as error:
            check.readable = False
            check.find("unreadable", f"{error.filename or 'A file'} cannot be read: {error.strerror}.")
    return check


def _check(home: Home, check: LedgerCheck, kept: ledger.Checkpoint | None) -> None:
    lines = list(ledger.lines(home))
    leaves = [merkle.leaf_hash(line) for line in lines]
    entries = [ledger.parse(line) for line in lines]
    check.size = len(lines)
    if torn := ledger.torn(home):
        check.notes.append(
            f"The ledger ends with {counted(torn, 'byte')} of an unfinished line; the next entry cuts that off."
        )
    checkpoint = _read(check, ledger.checkpoint_path(home), "checkpoint")
    signed = _read(check, ledger.signed_path(home), "last signed checkpoint")
    if not any(entries) and (lines or checkpoint):
        check.readable = False
        check.find("unreadable", "There is no entry that can be read, so no run is held against the ledger.")
    _read_entries(check, entries)
    hashes = ledger.grow(leaves)
    read = hashes.__getitem__
    if checkpoint is None:
        if len(lines) > 1 and not any("checkpoint is damaged" in finding.detail for finding in check.findings):
            check.find("removed", "The checkpoint is missing.")
    elif problem := ledger.disagreement(checkpoint, len(leaves), read) or ledger.put_back(checkpoint, entries):
        _explain(home, check, checkpoint, leaves, problem)
    else:
        _mend(home, check, checkpoint, hashes)
    if signed and (problem := ledger.disagreement(signed, len(leaves), read, "the last signed checkpoint")):
        check.find("changed", f"Of the ledger: {problem}.")
    _judge_signature(home, check, checkpoint, signed, entries)
    if kept:
        _compare(home, check, kept, entries, checkpoint, hashes)


def _read(check: LedgerCheck, path: Path, name: str) -> ledger.Checkpoint | None:
    try:
        return ledger.read_checkpoint(path)
    except ValueError as error:
        check.find("changed", f"The {name} is damaged: {error}.")
        return None


def _read_entries(check: LedgerCheck, entries: Sequence[Json | None]) -> None:
    """What entries say of themselves: their place, and that each run ends once."""
    ends: Counter[str] = Counter()
    faults = []
    healed: list[str] = []
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
        healed.extend(_healed(entry, place))
    faults += [("added", f"Run {run[:40]} ended {count} times.") for run, count in ends.items() if count > 1]
    for what, detail in faults[:_SHOWN]:
        check.find(what, detail)
    if len(faults) > _SHOWN:
        check.find("changed", f"And {len(faults) - _SHOWN} more faults of this kind.")
    check.notes += healed[:_SHOWN]
    if len(healed) > _SHOWN:
        check.notes.append(f"And {len(healed) - _SHOWN} more notes of this kind.")


def _healed(entry: Json, place: int) -> Iterator[str]:
    """What an entry tells about what it found before itself."""
    if entry.get("kind") not in ("healed", "conflict", "created"):
        return
    if isinstance(torn := entry.get("torn"), int):
        yield f"Before entry {place} an unfinished line of {counted(torn, 'byte')} was cut off."
    match entry.get("entries"):
        case [int(first), int(last)]:
            yield f"{_entries(first, last)} under no checkpoint that counts until entry {place} told of it."


def _entries(first: int, last: int) -> str:
    return f"Entry {first} was" if first == last else f"Entries {first} to {last} were"


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


def _judge_signature(
    home: Home,
    check: LedgerCheck,
    checkpoint: ledger.Checkpoint | None,
    signed: ledger.Checkpoint | None,
    entries: Sequence[Json | None],
) -> None:
    """Whose signature stands over how much of the ledger, where there is a key or ever was one."""
    if checkpoint is not None and checkpoint.note.signatures:
        signed = checkpoint
    if signed is None:
        covered = checkpoint.size if checkpoint else 0
        if entries and _had_key(home, entries):
            check.find("unsigned", "No checkpoint is signed, though the home has a key, or had one.")
        elif checkpoint is not None and covered < len(entries):
            check.notes.append(_newer(covered, len(entries) - 1, "under no checkpoint"))
        return
    check.checkpoint = _signer(home, check, signed, entries)
    if signed.size < len(entries):
        check.checkpoint += f" up to entry {signed.size - 1}"
        check.notes.append(_newer(signed.size, len(entries) - 1, "not signed"))


def _newer(first: int, last: int, how: str) -> str:
    named = f"Entry {first} is" if first == last else f"Entries {first} to {last} are"
    return f"{named} {how} yet: written by a command that could not, or by somebody else."


def _had_key(home: Home, entries: Sequence[Json | None]) -> bool:
    with suppress(BadInput):
        if signing.signing_key(home) is None:
            return any(
                entry
                and (
                    (entry.get("kind") == "ended" and entry.get("key"))
                    or (entry.get("kind") == "key" and entry.get("use") == "signing")
                )
                for entry in entries
            )
    return True


def _signer(
    home: Home, check: LedgerCheck, signed: ledger.Checkpoint, entries: Sequence[Json | None], name: str = "checkpoint"
) -> str:
    """Whose signature a checkpoint carries, in words; a finding when it is nobody's that counts."""
    covered = [entry for entry in entries[: signed.size] if entry]
    time = moment(str(covered[-1].get("time"))) if covered else moment("")
    signers = _whose(home, signed, time)
    if signers:
        return f"signed by {signers[0]} (trusted)"
    if (key := _key_in_use(covered)) and signed.note.signed_by(signed.origin, key):
        check.find("unknown-key", f"The {name} is signed by a key that allowed_signers does not name.")
        return "signed by an unknown key"
    check.find("bad-signature", f"The {name}'s signature is not that of any key that is known here.")
    return "bad signature"


def _compare(
    home: Home,
    check: LedgerCheck,
    kept: ledger.Checkpoint,
    entries: Sequence[Json | None],
    checkpoint: ledger.Checkpoint | None,
    hashes: Sequence[bytes],
) -> None:
    """Whether the ledger continues a checkpoint that was kept elsewhere."""
    if checkpoint is not None and kept.origin != checkpoint.origin:
        check.find("changed", f"The kept checkpoint is of another ledger, {kept.origin}.")
        return
    read, size = hashes.__getitem__, len(entries)
    if kept.size > size:
        check.find("removed", f"The kept checkpoint counts {kept.size} entries, and there are {size}.")
        return
    proof = merkle.consistency_proof(kept.size, size, read) if kept.size else []
    if not merkle.extends(kept.root, kept.size, merkle.root(size, read), size, proof):
        check.find("changed", f"The first {kept.size} entries are not those that the kept checkpoint is over.")
        return
    whose = _signer(home, check, kept, entries, "kept checkpoint") if kept.note.signatures else "not signed"
    check.notes.append(
        f"The ledger continues the kept checkpoint, which is over {counted(kept.size, 'entry')} and {whose}."
    )


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
