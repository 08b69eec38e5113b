"""Seals made and held against what is there: manifest, signature and ledger together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from engine import signing
from engine.digests import bare, sha256_bytes
from engine.errors import BadInput
from engine.files import read_regular, write_atomic
from engine.model import Record, Seal
from engine.settings import Home
from engine.store import seal as manifests
from engine.store.directory import RunDirectory, open_run
from engine.store.histories import History
from engine.store.index import history_of
from engine.store.seal import Fault


def seal(run: RunDirectory, record: bytes, work_tree: int) -> dict[str, str]:
    """Write manifest and signature of a run whose run.json will be ``record``; what the ledger is to say of it."""
    (run.path / manifests.SIGNATURE).unlink(missing_ok=True)  # of an earlier, interrupted sealing
    tree = manifests.walk(run, work_tree)
    files = {path: size for path, size in tree.files.items() if path not in (run.record.name, manifests.IRREGULAR)}
    digests: dict[str, str] = {}
    for path, digest in manifests.digest_files(run, files, lambda _: None).items():
        if isinstance(digest, str):
            digests[path] = digest
        else:
            tree.irregular[path] = ("uncovered", "it cannot be read")
    irregular = manifests.irregular_bytes(tree.irregular)
    write_atomic(run.path / manifests.IRREGULAR, irregular, mode=0o444)
    digests[manifests.IRREGULAR] = hashlib.sha256(irregular).hexdigest()
    digests[run.record.name] = hashlib.sha256(record).hexdigest()
    manifest = manifests.manifest_bytes(digests)
    write_atomic(run.path / manifests.MANIFEST, manifest, mode=0o444)
    facts = {"seal": sha256_bytes(manifest)}
    try:
        key = signing.signing_key(run.home)
        if key is not None:
            armored = signing.sshsig.make(
                manifest, manifests.NAMESPACE, key.public, lambda data: signing.sign(key, data)
            )
            write_atomic(run.path / manifests.SIGNATURE, armored, mode=0o444)
            facts["key"] = key.public.fingerprint
    except signing.CannotSign as error:
        facts["unsigned"] = str(error)
    except BadInput as error:
        facts["unsigned"] = error.message.rstrip(".")
    return facts


def sealed_facts(run: RunDirectory) -> dict[str, str] | None:
    """What the ledger says of a seal that is there already; None when there is none."""
    manifest = manifests.read_manifest(run)
    if manifest is None:
        return None
    facts = {"seal": sha256_bytes(manifest)}
    key, _ = _signed(run, manifest)
    if key is not None:
        facts["key"] = key.fingerprint
    return facts


def faults(
    run: RunDirectory,
    record: Record,
    *,
    project: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Fault, ...]:
    """All that differs from the seal of a finished run, and from what the ledger has as its seal."""
    if record.status in ("running", "lost") and not (run.path / manifests.MANIFEST).exists():
        return ()
    history, _ = history_of(run.home, run.id)
    manifest = manifests.read_manifest(run)
    if manifest is None:
        missing = (Fault(manifests.MANIFEST, "removed"),) if history.seal else ()
        return (*missing, *_of_record(run, record))
    if history.seal and history.seal != sha256_bytes(manifest):
        return (Fault(manifests.MANIFEST, "changed"),)
    return manifests.compare(run, manifest, record.limits.work_tree, advance, project=project)


def read_seal(home: Home, run_id: str, history: History | None = None) -> Seal:
    """The seal of a run with its signature judged; files are not looked at. VerificationFailed if it is unreadable."""
    run = open_run(home, run_id)
    known = history_of(home, run_id)[0] if history is None else history
    manifest = manifests.read_manifest(run)
    if manifest is None:
        return Seal()
    digest = sha256_bytes(manifest)
    key, problem = _signed(run, manifest)
    if problem:
        return Seal(digest, "bad", reason=problem, late=known.late)
    if key is None:
        if known.key:
            return Seal(digest, "bad", reason="the ledger has a signature, and it is gone", late=known.late)
        return Seal(digest, "unsigned", reason=known.unsigned, late=known.late)
    name = signing.who(signing.trusted(home)[0], key, manifests.NAMESPACE, _moment(known.ended))
    return Seal(digest, "trusted" if name else "unknown", name or key.fingerprint, late=known.late)


def logged_seal(home: Home, history: History, names: Mapping[str, str]) -> Seal:
    """The seal as the ledger has it, for lists: nothing else is read. ``names`` is what ``known_keys`` gave."""
    if not history.key:
        return Seal(history.seal, "unsigned", reason=history.unsigned, late=history.late)
    name = names.get(history.key, "")
    return Seal(history.seal, "trusted" if name else "unknown", name or history.key, late=history.late)


def known_keys(home: Home) -> dict[str, str]:
    """The names of the keys whose signatures count today, by fingerprint."""
    now = datetime.now(UTC)
    found, _ = signing.trusted(home)
    return {
        signer.key.fingerprint: signer.name
        for signer in reversed(found)
        if signer.counts(signer.key, manifests.NAMESPACE, now)
    }


def _signed(run: RunDirectory, manifest: bytes) -> tuple[signing.PublicKey | None, str]:
    """The key that signed the manifest, and what is wrong with the signature; neither when there is none."""
    try:
        armored = read_regular(run.path / manifests.SIGNATURE, signing.sshsig.MAX_BYTES)
        return signing.sshsig.check(armored, manifest, manifests.NAMESPACE), ""
    except FileNotFoundError:
        return None, ""
    except OSError:
        return None, "it cannot be read"
    except ValueError as error:
        return None, str(error)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _of_record(run: RunDirectory, record: Record) -> tuple[Fault, ...]:
    """Runs of versions without seals: their run.json names the other files but those of project/."""
    if not record.files:
        return ()
    tree = manifests.walk(run, 0, project=False)
    tree.files.pop(run.record.name, None)
    there = manifests.digest_files(run, tree.files, lambda _: None)
    recorded = {path: bare(digest) for path, digest in record.files.items()}
    return tuple(sorted(manifests.differing(recorded, there), key=lambda fault: fault.path))
