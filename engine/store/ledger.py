"""The ledger of a home: one line for each thing that happened, in a Merkle tree, under a checkpoint.

``entries.jsonl`` is the truth; ``hashes`` (see ``engine.merkle``) is a cache over it; ``checkpoint`` (C2SP
tlog-checkpoint) commits to all of it, signed when the home has a key; while it is not, ``signed`` keeps the last one
that was. An append reads the last line, the checkpoint and a logarithm of the hashes. Everything is written in this
order: entry, hashes, checkpoint. So whoever is killed leaves at most one entry more than the checkpoint knows.

Nothing comes under a checkpoint in silence: what is newer than the checkpoint, or than the last signed one, or does not
fit it, is named by the first entry after it, and that entry is what the next checkpoint is over.
"""

from __future__ import annotations

import base64
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine import merkle, signing
from engine.digests import canonical_json
from engine.errors import BadInput
from engine.files import locked, open_regular, read_regular, write_atomic
from engine.model import Json
from engine.settings import Home
from engine.store.ledger_files import (
    MAX_LINE,
    MAX_NOTE,
    ORIGIN,
    Checkpoint,
    checkpoint_path,
    counts,
    disagreement,
    entries_path,
    grow,
    hashes_path,
    kept_leaves,
    key_told,
    lines,
    lock_path,
    parse,
    put_back,
    read_checkpoint,
    reader,
    signed_path,
)
from engine.store.record import now


@dataclass(frozen=True)
class _Before:
    """The ledger's name, and the entry that has to come before the next one, if any."""

    origin: str
    told: Json
    only_unsigned: bool = False


def append(home: Home, kind: str, **facts: Any) -> Json:
    """Add an entry; as it stands in the ledger. It is on the disk when this returns."""
    with locked(lock_path(home)), _open_to_append(entries_path(home)) as file:
        return _add(home, file, _healed(home, file), {"kind": kind, **facts})


def heal(home: Home) -> None:
    """Make entries, hashes and checkpoint fit each other where a killed process left them, as every append does."""
    with locked(lock_path(home)), _open_to_append(entries_path(home)) as file:
        _healed(home, file)


def _healed(home: Home, file: BinaryIO) -> str:
    """See to what has to come before the next entry; the ledger's name."""
    torn = _cut(file)
    before = _continued(home, file) or _settled(home)
    told = {"kind": "healed", **before.told, "torn": torn} if torn else before.told
    if told:
        # Where only signatures are missing, nothing is told until there is one, and then all at once.
        with suppress(signing.CannotSign):
            _add(home, file, before.origin, told, must_sign=before.only_unsigned and not torn)
    return before.origin


def _add(home: Home, file: BinaryIO, origin: str, facts: Json, *, must_sign: bool = False) -> Json:
    """Write one entry, its hashes and the checkpoint. CannotSign, and nothing is written, when it ``must_sign``."""
    with _open_to_append(hashes_path(home)) as hashes:
        size = kept_leaves(home)
        read = reader(hashes)
        entry: Json = {"index": size, "time": now(), **facts}
        try:
            line, added, note = _made(home, origin, size, entry, read)
        except signing.CannotSign as error:
            if must_sign:
                raise
            entry["unsigned"] = str(error)
            line, added, note = _made(home, origin, size, entry, read, sign=False)
        if len(line) >= MAX_LINE:
            raise BadInput("This text is too long for the ledger.", f"Give less than {MAX_LINE >> 10} KiB.")
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
        hashes.write(b"".join(added))
        hashes.flush()
    _put(home, note)
    return entry


def _put(home: Home, note: bytes) -> None:
    """Write the checkpoint. A signed one is never lost to one that is not signed."""
    signed = bool(signing.note.read(note).signatures)
    if not signed:
        before = _readable(checkpoint_path(home))
        if before is not None and counts(home, before):
            write_atomic(signed_path(home), read_regular(checkpoint_path(home), MAX_NOTE))
    write_atomic(checkpoint_path(home), note)
    if signed:
        signed_path(home).unlink(missing_ok=True)


def _open_to_append(path: Path) -> BinaryIO:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o644), "a+b")


def _made(
    home: Home, origin: str, size: int, entry: Json, read: merkle.Read, *, sign: bool = True
) -> tuple[bytes, list[bytes], bytes]:
    """An entry's line, the hashes that it adds, and the checkpoint over it."""
    line = canonical_json(entry)
    added = merkle.grown(size, merkle.leaf_hash(line), read)
    return line, added, _checkpoint(home, origin, size + 1, _overlaid(size, added, read), sign=sign)


def _overlaid(size: int, added: list[bytes], read: merkle.Read) -> bytes:
    first = merkle.kept(size)
    return merkle.root(size + 1, lambda place: added[place - first] if place >= first else read(place))


def _checkpoint(home: Home, origin: str, size: int, root: bytes, *, sign: bool) -> bytes:
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    try:
        key = signing.signing_key(home) if sign else None
    except BadInput as error:
        raise signing.CannotSign(error.message.rstrip(".")) from error
    if key is None:
        return signing.note.make(text, origin, None, lambda _: b"")
    return signing.note.make(text, origin, key.public, lambda data: signing.sign(key, data))


def _readable(path: Path) -> Checkpoint | None:
    try:
        return read_checkpoint(path)
    except ValueError:
        return None


# --- what was there before ----------------------------------------------------------------------


def _cut(file: BinaryIO) -> int:
    """Cut off a last line without an end, which a power cut may leave; how many bytes it had."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - MAX_LINE)
    tail = os.pread(file.fileno(), end - start, start)
    torn = len(tail) - (tail.rfind(b"\n") + 1)
    if torn:
        os.ftruncate(file.fileno(), end - torn)
        os.fsync(file.fileno())
        file.seek(0, os.SEEK_END)
    return torn


def _continued(home: Home, file: BinaryIO) -> _Before | None:
    """What comes before the next entry when all fits, as far as a logarithm of the ledger shows; else None."""
    try:
        checkpoint = read_checkpoint(checkpoint_path(home))
        signed = read_checkpoint(signed_path(home))
        if checkpoint is None or not _fits(home, file, checkpoint):
            return None
        if checkpoint.note.signatures:
            return _Before(checkpoint.origin, {}) if counts(home, checkpoint) else None
        if signed is None:
            return _Before(checkpoint.origin, {}) if signing.signing_key(home) is None else None
        with open_regular(hashes_path(home)) as hashes:
            if disagreement(signed, checkpoint.size, reader(hashes)) or not counts(home, signed):
                return None
    except (OSError, ValueError, BadInput):
        return None
    told = {"kind": "healed", "entries": [signed.size, checkpoint.size - 1]} if signed.size < checkpoint.size else {}
    return _Before(checkpoint.origin, told, only_unsigned=True)


def _fits(home: Home, file: BinaryIO, checkpoint: Checkpoint) -> bool:
    """Whether checkpoint, hashes and the last line agree."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - MAX_LINE)
    last = os.pread(file.fileno(), end - start, start).removesuffix(b"\n").rpartition(b"\n")[2]
    leaves = kept_leaves(home)
    if leaves <= 0 or checkpoint.size != leaves:
        return False
    with open_regular(hashes_path(home)) as hashes:
        read = reader(hashes)
        leaf = read(merkle.place(0, leaves - 1))
        return leaf == merkle.leaf_hash(last) and merkle.root(leaves, read) == checkpoint.root


def _settled(home: Home) -> _Before:
    """Write the hashes anew from the entries, and tell what does not fit."""
    held = list(lines(home))
    hashes = grow([merkle.leaf_hash(line) for line in held])
    entries = [parse(line) for line in held]
    write_atomic(hashes_path(home), b"".join(hashes))
    checkpoint, problem, vouched = _judged(home, entries, hashes.__getitem__)
    told: Json = {}
    if problem and all(entry is None or entry.get("problem") != problem for entry in entries):
        text = checkpoint.note.text if checkpoint else ""
        told = {"kind": "conflict", "problem": problem, "checkpoint": text}
    only_unsigned = not told and checkpoint is not None and checkpoint.size == len(held)
    if vouched < len(held):
        told = {"kind": "healed", **told, "entries": [vouched, len(held) - 1]}
    origin = _name(checkpoint, entries)
    if not held:
        told = {"kind": "created", **told, "origin": origin}
    return _Before(origin, told, only_unsigned)


def _name(checkpoint: Checkpoint | None, entries: list[Json | None]) -> str:
    """Under which name the ledger goes on: its checkpoint's, its first entry's, or a new one."""
    first = str((entries[0] or {}).get("origin")) if entries else ""
    if checkpoint is not None:
        return checkpoint.origin
    return first if ORIGIN.fullmatch(first) else f"nbseal/ledger/{secrets.token_hex(8)}"


def _judged(home: Home, entries: list[Json | None], read: merkle.Read) -> tuple[Checkpoint | None, str, int]:
    """The checkpoint, what is wrong as a clause, and how many entries were vouched for as well as the home can."""
    try:
        checkpoint = read_checkpoint(checkpoint_path(home))
    except ValueError as error:
        return None, f"the checkpoint is damaged: {error}", 0
    if checkpoint is None:
        return None, "the checkpoint is missing" if len(entries) > 1 else "", 0
    size = len(entries)
    problem = disagreement(checkpoint, size, read) or put_back(checkpoint, entries)
    if problem:
        return checkpoint, problem, 0
    if checkpoint.note.signatures:
        good = counts(home, checkpoint)
        problem = "" if good else "the checkpoint's signature is not that of a key that is known here"
        return checkpoint, problem, checkpoint.size if good else 0
    try:
        signed = read_checkpoint(signed_path(home))
    except ValueError as error:
        return checkpoint, f"the last signed checkpoint is damaged: {error}", 0
    if signed is not None:
        problem = disagreement(signed, size, read, "the last signed checkpoint")
        if not problem and not counts(home, signed):
            problem = "the last signed checkpoint is not signed by a key that is known here"
        return checkpoint, problem, 0 if problem else signed.size
    place = key_told(entries[: checkpoint.size])
    if place is not None:
        return checkpoint, f"no checkpoint is signed, and entry {place} says that the home had a key", 0
    return checkpoint, "", 0 if _has_key(home) else checkpoint.size


def _has_key(home: Home) -> bool:
    try:
        return signing.signing_key(home) is not None
    except BadInput:
        return True
