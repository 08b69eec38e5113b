"""What the files of a ledger hold: its entries, the hashes of their tree, its checkpoints. Only read here."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine import merkle, signing
from engine.digests import canonical_json
from engine.errors import BadInput
from engine.files import open_regular, read_regular
from engine.model import Json
from engine.settings import Home

MAX_LINE = 64 << 10
MAX_NOTE = 64 << 10
#: For which signatures `allowed_signers` may limit a key; the checkpoint itself has no namespace.
NAMESPACE = "nbseal-ledger"
ORIGIN = re.compile(r"nbseal/ledger/[0-9a-f]{16}")


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


def signed_path(home: Home) -> Path:
    """The last signed checkpoint, while the checkpoint itself is not signed."""
    return folder(home) / "signed"


def lock_path(home: Home) -> Path:
    return folder(home) / "lock"


def read_checkpoint(path: Path) -> Checkpoint | None:
    """A checkpoint, None when there is none; ValueError when it is damaged."""
    try:
        data = read_regular(path, MAX_NOTE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(error.strerror) from error
    note = signing.note.read(data)
    origin, size, root, *_ = [*note.text.splitlines(), "", "", ""]
    if not ORIGIN.fullmatch(origin) or not re.fullmatch(r"0|[1-9][0-9]{0,15}", size):
        raise ValueError("it is not a checkpoint of a ledger")
    return Checkpoint(origin, int(size), base64.b64decode(root, validate=True), note)


def home_id(home: Home) -> str:
    """16 hex digits by which this home's ledger, and so the home, is known; empty before its first entry."""
    try:
        checkpoint = read_checkpoint(checkpoint_path(home))
    except ValueError:
        return ""
    return checkpoint.origin.rpartition("/")[2] if checkpoint else ""


def counts(home: Home, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is signed by the home's key or one that is trusted; when it was made is not looked at."""
    if not checkpoint.note.signatures:
        return False
    keys = {signer.key for signer in signing.trusted(home)[0]}
    with suppress(BadInput):
        own = signing.signing_key(home)
        keys |= {own.public} if own else set()
    return any(checkpoint.note.signed_by(checkpoint.origin, key) for key in keys)


def disagreement(checkpoint: Checkpoint, size: int, read: merkle.Read, name: str = "the checkpoint") -> str:
    """What the entries have against a checkpoint, as a clause; nothing when they continue what it is over."""
    if checkpoint.size > size:
        return f"{name} counts {checkpoint.size} entries, and there are {size}: the last ones were removed"
    if merkle.root(checkpoint.size, read) != checkpoint.root:
        return f"the first {checkpoint.size} entries are not those that {name} is over"
    return ""


def put_back(checkpoint: Checkpoint, entries: Sequence[Json | None]) -> str:
    """As a clause, that there are more new entries than the one, with its telling, that a killed command leaves."""
    newer = [
        entry for entry in entries[checkpoint.size :] if not entry or entry.get("kind") not in ("healed", "conflict")
    ]
    if len(newer) > 1:
        told = f"the checkpoint counts {checkpoint.size} entries, and there are {len(entries)}"
        return f"{told}: it was put back to an older one"
    return ""


def key_told(entries: Sequence[Json | None]) -> int | None:
    """The first entry that says that something was signed; None when none does."""
    for place, entry in enumerate(entries):
        if entry and (
            (entry.get("kind") == "ended" and entry.get("key"))
            or (entry.get("kind") == "key" and entry.get("use") == "signing" and not entry.get("unsigned"))
        ):
            return place
    return None


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


def torn(home: Home) -> int:
    """How many bytes of a last line without its end there are."""
    try:
        file = open_regular(entries_path(home))
    except FileNotFoundError:
        return 0
    with file:
        end = file.seek(0, os.SEEK_END)
        start = max(0, end - MAX_LINE)
        tail = os.pread(file.fileno(), end - start, start)
    return len(tail) - (tail.rfind(b"\n") + 1)


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
