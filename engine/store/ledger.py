"""The ledger of a home: one line for each thing that happened, in a Merkle tree, under a checkpoint.

``entries.jsonl`` is the truth; ``hashes`` (see ``engine.merkle``) is a cache over it; ``checkpoint`` (C2SP
tlog-checkpoint) commits to all of it, signed when the home has a key. An append reads the last line, the checkpoint
and a logarithm of the hashes. Everything is written in this order: entry, hashes, checkpoint. So whoever is killed
leaves at most one entry more than the checkpoint knows; the next append heals that before it adds its own.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine import merkle, signing
from engine.digests import canonical_json
from engine.errors import BadInput
from engine.files import locked, open_regular, read_regular, sync_directory, write_atomic
from engine.model import Json
from engine.settings import Home
from engine.store.record import now

MAX_LINE = 64 << 10
_MAX_NOTE = 64 << 10
#: For which signatures `allowed_signers` may limit a key; the checkpoint itself has no namespace.
NAMESPACE = "nbseal-ledger"
_ORIGIN = re.compile(r"nbseal/ledger/[0-9a-f]{16}")


@dataclass(frozen=True)
class Checkpoint:
    """A tree's size and root as somebody vouched for them. ``note`` carries the signatures."""

    origin: str
    size: int
    root: bytes
    note: signing.note.Note


def folder(home: Home) -> Path:
    """Where the ledger lies."""
    return home.root / "ledger"


def entries_path(home: Home) -> Path:
    return folder(home) / "entries.jsonl"


def hashes_path(home: Home) -> Path:
    return folder(home) / "hashes"


def checkpoint_path(home: Home) -> Path:
    return folder(home) / "checkpoint"


def lock_path(home: Home) -> Path:
    return folder(home) / "lock"


def append(home: Home, kind: str, **facts: Any) -> Json:
    """Add an entry; as it stands in the ledger. It is on the disk when this returns."""
    with locked(lock_path(home)), _open_to_append(entries_path(home)) as file:
        for earlier in _healed(home, file):
            _add(home, file, earlier)
        return _add(home, file, {"kind": kind, **facts})


def read_checkpoint(home: Home) -> Checkpoint | None:
    """The checkpoint, None when there is none; ValueError when it is damaged."""
    try:
        data = read_regular(checkpoint_path(home), _MAX_NOTE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(error.strerror) from error
    note = signing.note.read(data)
    origin, size, root, *_ = [*note.text.splitlines(), "", "", ""]
    if not _ORIGIN.fullmatch(origin) or not re.fullmatch(r"0|[1-9][0-9]{0,15}", size):
        raise ValueError("it is not a checkpoint of a ledger")
    return Checkpoint(origin, int(size), base64.b64decode(root, validate=True), note)


def lines(home: Home) -> Iterator[bytes]:
    """Every whole line, without its end; one that is longer than any entry comes in parts."""
    try:
        file = open_regular(entries_path(home))
    except FileNotFoundError:
        return
    with file:
        while line := file.readline(MAX_LINE):
            if line.endswith(b"\n"):
                yield line[:-1]
            elif len(line) == MAX_LINE:
                yield line


def parse(line: bytes) -> Json | None:
    """An entry; None when the line is not one as ``append`` writes them."""
    try:
        entry = json.loads(line)
        if isinstance(entry, dict) and canonical_json(entry) == line:
            return entry
    except (ValueError, RecursionError):
        pass
    return None


def grow(leaves: Iterator[bytes] | list[bytes]) -> list[bytes]:
    """The kept hashes of a tree with these leaf hashes."""
    hashes: list[bytes] = []
    for number, leaf in enumerate(leaves):
        hashes += merkle.grown(number, leaf, hashes.__getitem__)
    return hashes


def kept_leaves(home: Home) -> int:
    """For how many entries ``hashes`` holds all, and only, what it should; -1 when it holds something else."""
    try:
        size = hashes_path(home).lstat().st_size
    except FileNotFoundError:
        return 0
    count = size // merkle.SIZE
    leaves = count // 2  # kept(n) is 2n less the number of ones in n
    while merkle.kept(leaves) < count:
        leaves += 1
    return leaves if merkle.kept(leaves) * merkle.SIZE == size else -1


def reader(file: BinaryIO) -> merkle.Read:
    """Reads kept hashes from their file."""

    def read(place: int) -> bytes:
        found = os.pread(file.fileno(), merkle.SIZE, place * merkle.SIZE)
        if len(found) != merkle.SIZE:
            raise ValueError("the kept hashes end early")
        return found

    return read


def proof(home: Home, index: int, size: int) -> list[bytes]:
    """The inclusion proof of an entry in the tree of the first ``size``."""
    with open_regular(hashes_path(home)) as file:
        return merkle.inclusion_proof(index, size, reader(file))


# --- appending ----------------------------------------------------------------------------------


def _add(home: Home, file: BinaryIO, facts: Json) -> Json:
    """Write one entry, its hashes and the checkpoint; the three fit each other before."""
    with _open_to_append(hashes_path(home)) as hashes:
        size = kept_leaves(home)
        read = reader(hashes)
        entry: Json = {"index": size, "time": now(), **facts}
        if "origin" in facts:
            origin = str(facts["origin"])
        else:
            checkpoint = read_checkpoint(home)
            assert checkpoint is not None  # noqa: S101 (``_healed`` saw to it)
            origin = checkpoint.origin
        try:
            line, added, note = _made(home, origin, size, entry, read)
        except signing.CannotSign as error:
            entry["unsigned"] = str(error)
            line, added, note = _made(home, origin, size, entry, read, sign=False)
        if len(line) >= MAX_LINE:
            raise BadInput("This text is too long for the ledger.", f"Give less than {MAX_LINE >> 10} KiB.")
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
        hashes.write(b"".join(added))
        hashes.flush()
    write_atomic(checkpoint_path(home), note)
    return entry


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


def _healed(home: Home, file: BinaryIO) -> Iterator[Json]:
    """Make entries, hashes and checkpoint fit each other; what has to be entered about that."""
    torn = _cut(file)
    if torn:
        yield from _settled(home, file)
        yield {"kind": "healed", "torn": torn}
    elif not _fits(home, file):
        yield from _settled(home, file)


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


def _fits(home: Home, file: BinaryIO) -> bool:
    """Whether checkpoint, hashes and the last line agree: looks at a logarithm of the ledger."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - MAX_LINE)
    last = os.pread(file.fileno(), end - start, start).removesuffix(b"\n").rpartition(b"\n")[2]
    leaves = kept_leaves(home)
    try:
        checkpoint = read_checkpoint(home)
        if checkpoint is None or leaves <= 0 or checkpoint.size != leaves:
            return False
        with open_regular(hashes_path(home)) as hashes:
            read = reader(hashes)
            leaf = read(merkle.place(0, leaves - 1))
            return leaf == merkle.leaf_hash(last) and merkle.root(leaves, read) == checkpoint.root
    except (OSError, ValueError):
        return False


def _settled(home: Home, file: BinaryIO) -> Iterator[Json]:
    """Write hashes and checkpoint anew from the entries. What the checkpoint denies is entered, never passed over."""
    leaves = [merkle.leaf_hash(line) for line in lines(home)]
    hashes = grow(leaves)
    read = hashes.__getitem__
    problem = ""
    text = ""
    origin = f"nbseal/ledger/{secrets.token_hex(8)}"
    try:
        checkpoint = read_checkpoint(home)
    except ValueError as error:
        checkpoint, problem = None, f"the checkpoint is damaged: {error}"
    if checkpoint is not None:
        origin, text = checkpoint.origin, checkpoint.note.text
        problem = disagreement(checkpoint, len(leaves), read)
    elif len(leaves) > 1 and not problem:
        problem = "the checkpoint is missing"
    first = parse(next(iter(lines(home)), b""))
    if checkpoint is None and first and _ORIGIN.fullmatch(str(first.get("origin"))):
        origin = str(first["origin"])
    write_atomic(hashes_path(home), b"".join(hashes))
    if leaves:
        try:
            note = _checkpoint(home, origin, len(leaves), merkle.root(len(leaves), read), sign=True)
        except signing.CannotSign:
            note = _checkpoint(home, origin, len(leaves), merkle.root(len(leaves), read), sign=False)
        write_atomic(checkpoint_path(home), note)
    else:
        sync_directory(folder(home))
        yield {"kind": "created", "origin": origin}
    if problem:
        yield {"kind": "conflict", "problem": problem, "checkpoint": text}


def disagreement(checkpoint: Checkpoint, size: int, read: merkle.Read) -> str:
    """What the entries have against a checkpoint, as a clause; nothing when at most the last one is newer."""
    if checkpoint.size > size:
        return f"the checkpoint counts {checkpoint.size} entries, and there are {size}: the last ones were removed"
    if merkle.root(checkpoint.size, read) != checkpoint.root:
        return f"the first {checkpoint.size} entries are not those that the checkpoint is over"
    if checkpoint.size < size - 1:
        return f"the checkpoint counts {checkpoint.size} entries, and there are {size}: it was put back to an older one"
    return ""
