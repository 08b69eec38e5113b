"""What is done about runs after they ended, and with what key."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import signing, store
from engine.digests import sha256_bytes
from engine.errors import BadInput
from engine.model import Json, Record, Seal
from engine.pipeline.reading import find, settle
from engine.progress import Progress
from engine.settings import Home


@dataclass(frozen=True)
class Shown:
    """What is known of a run beside its record."""

    seal: Seal
    label: str
    comments: tuple[store.Comment, ...]
    imported: Json | None = None  # the ledger's entry about that, for a run that came from an archive


def look(run: Record, home: Home) -> Shown:
    """Seal, label and comments of a run."""
    history, comments = store.history_of(home, run.id)
    imported = json.loads(history.imported) if history.imported else None
    return Shown(store.read_seal(store.open_run(home, run.id), history), history.label, comments, imported)


def label(prefix: str, text: str, home: Home, progress: Progress) -> Record:
    """Name a run for people."""
    record = find(prefix, home, progress)
    store.label(home, record.id, text)
    return record


def comment(prefix: str, text: str, home: Home, progress: Progress) -> Record:
    """Say something about a run."""
    record = find(prefix, home, progress)
    store.comment(home, record.id, text)
    return record


def delete(prefix: str, home: Home, progress: Progress) -> Record:
    """Move a run to the trash; also one of which nothing can be told, since nobody else can get rid of that."""
    settled = settle(home, progress)
    record = store.load_record(home, store.find_run(home, prefix))
    if record.status == "running" or record.id in settled.alive:
        raise BadInput(f"Run {record.id} is still running.", "Wait until it has ended; `nbseal runs` shows when.")
    store.delete(home, record.id)
    return record


def purge(prefixes: Sequence[str], home: Home, progress: Progress) -> tuple[str, ...]:
    """Remove deleted runs for good; their ids."""
    settle(home, progress)
    runs = tuple(dict.fromkeys(store.find_deleted(home, prefix) for prefix in prefixes))
    for run in runs:
        store.purge(home, run)
    return runs


def fsck(prefixes: Sequence[str], home: Home, progress: Progress, against: Path | None = None) -> store.Report:
    """Check the home, or some of its runs, and its ledger against a checkpoint that was kept elsewhere."""
    only = [store.find_run(home, prefix) for prefix in prefixes] or None
    return store.fsck(home, progress, only, _kept(against) if against else None)


def _kept(path: Path) -> store.Checkpoint:
    try:
        found = store.read_checkpoint(path)
        problem = "there is no such file"
    except ValueError as error:
        found, problem = None, str(error)
    if found is None:
        raise BadInput(f"{path} is not a checkpoint: {problem}.", "Name a copy of a home's ledger/checkpoint.")
    return found


def keys_make(home: Home, name: str, passphrase: str | None) -> signing.SigningKey:
    """Make the key that signs from now on."""
    return _entered(home, signing.make(home, name, passphrase))


def keys_adopt(home: Home, what: str, name: str | None, unlock: Callable[[Home], None]) -> signing.SigningKey:
    """Sign with an existing key from now on, beginning with the entry about that; ``unlock`` opens the home's key."""
    key = signing.adopt(home, what, name)
    unlock(home)
    return _entered(home, key)


def keys_trust(home: Home, name: str, public: signing.PublicKey) -> None:
    """Let another's signatures count."""
    signing.trust(home, name, public)
    store.log(home, "key", use="trusted", name=name, key=public.line)


def keys_trust_authority(home: Home, name: str, pem: bytes) -> str:
    """Let the time stamps of an authority count; the SHA-256 of its certificate."""
    from cryptography.hazmat.primitives.serialization import Encoding

    fingerprint = sha256_bytes(signing.trust_authority(home, name, pem).public_bytes(Encoding.DER))
    store.log(home, "key", use="authority", name=name, key=fingerprint)
    return fingerprint


def _entered(home: Home, key: signing.SigningKey) -> signing.SigningKey:
    store.log(home, "key", use="signing", name=key.name, key=key.public.line)
    return key
