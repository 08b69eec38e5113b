"""What the ledger vouches for, to be told to somebody else: entries of runs, and proofs that their seals are in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from engine import merkle
from engine.errors import VerificationFailed
from engine.files import locked, open_regular, read_regular
from engine.settings import Home
from engine.store import ledger
from engine.store import ledger_files as files

_RUN = re.compile(rb'"run":"([0-9a-f]{16})"')
#: Entries that say which seal a run has: of a run of this home, and of one that came from elsewhere.
_SEALING = ("ended", "imported")


@dataclass(frozen=True)
class Vouched:
    """``entries`` are canonical lines by run; ``proofs`` the place and the path of the entry that has the seal."""

    origin: str
    checkpoint: bytes
    entries: Mapping[str, tuple[bytes, ...]]
    proofs: Mapping[str, tuple[int, tuple[bytes, ...]]]


def vouch(home: Home, seals: Mapping[str, str], *, heal: bool = True) -> Vouched:
    """All that the ledger has of these runs, whose seals are given; VerificationFailed when it does not fit itself."""
    if heal:
        with suppress(OSError):  # a home that can only be read
            ledger.heal(home)
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(locked(files.lock_path(home)))
        try:
            return _read(home, seals)
        except (OSError, ValueError) as error:
            raise VerificationFailed(
                f"The ledger is not as its checkpoint says: {error}.", "`nbseal fsck` names what differs."
            ) from None


def _read(home: Home, seals: Mapping[str, str]) -> Vouched:
    checkpoint = files.read_checkpoint(files.checkpoint_path(home))
    if checkpoint is None:
        raise ValueError("there is no checkpoint")
    note = read_regular(files.checkpoint_path(home), files.MAX_NOTE)
    entries: dict[str, list[bytes]] = {run: [] for run in seals}
    places: dict[str, int] = {}
    with open_regular(files.hashes_path(home)) as file:
        read = files.reader(file)
        if files.kept_leaves(home) != checkpoint.size or merkle.root(checkpoint.size, read) != checkpoint.root:
            raise ValueError("the kept hashes have another root")
        for index, line in enumerate(files.lines(home)):
            named = _RUN.search(line)
            run = named[1].decode() if named else ""
            if run not in seals or index >= checkpoint.size:
                continue
            entry = files.parse(line)
            if entry is None or read(merkle.place(0, index)) != merkle.leaf_hash(line):
                raise ValueError(f"entry {index} was changed")
            entries[run].append(line)
            if entry.get("kind") in _SEALING and entry.get("seal") == seals[run]:
                places.setdefault(run, index)
        proofs = {
            run: (index, tuple(merkle.inclusion_proof(index, checkpoint.size, read))) for run, index in places.items()
        }
    return Vouched(checkpoint.origin, note, {run: tuple(found) for run, found in entries.items()}, proofs)
