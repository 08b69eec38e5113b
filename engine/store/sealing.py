"""Seals made and held against what is there: manifest, signature and ledger together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from engine import signing
from engine.digests import bare, sha256_bytes
from engine.errors import BadInput, VerificationFailed
from engine.files import read_regular, write_atomic
from engine.model import Limits, Record, Seal
from engine.settings import Home
from engine.store import seal as manifests
from engine.store.directory import RunDirectory
from engine.store.histories import History
from engine.store.index import history_of
from engine.store.seal import Fault
from engine.store.source import printable

#: The temporary names of ``write_atomic`` for what a sealing writes.
_UNFINISHED = re.compile(
    rf"\.({re.escape(manifests.IRREGULAR)}|{re.escape(manifests.MANIFEST)}(\.sig)?)\.[0-9a-f]{{8}}"
)


def seal(run: RunDirectory, record: bytes, work_tree: int) -> dict[str, str]:
    """Write manifest and signature of a run whose run.json will be ``record``; what the ledger is to say of it."""
    (run.path / manifests.SIGNATURE).unlink(missing_ok=True)  # of an earlier, interrupted sealing
    for left in run.path.glob(".*"):
        if _UNFINISHED.fullmatch(left.name):
            left.unlink()
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


def faults(run: RunDirectory, record: Record, *, project: bool = False) -> tuple[Fault, ...]:
    """All that differs from the seal of a finished run, and from what the ledger has as its seal."""
    prepared = check(run, record, history_of(run.home, run.id)[0], project=project)
    return prepared.judge(manifests.digest_files(run, prepared.sizes, lambda _: None))


def refuse(run: RunDirectory, fault: Fault) -> VerificationFailed:
    """What is said of a run that is not as its seal has it."""
    how = {"removed": "is gone", "added": "was added", "changed": "was changed"}[fault.what]
    return VerificationFailed(
        f"{fault.path} of run {run.id} {how} since it was recorded.",
        "Take the run from a backup or another home; `nbseal fsck` names all that differs.",
    )


def sealed_files(run: RunDirectory, record: Record) -> dict[str, tuple[str, int]]:
    """Every file that the seal of a finished run covers, project/ included: its 64 hex digits and its size, unread.

    VerificationFailed when a file was added or removed since, BadInput when the run has no seal.
    """
    if manifests.read_manifest(run) is None:
        raise BadInput(
            f"Run {run.id} has no seal.",
            "`nbseal fsck` seals runs of older versions; a lost run is settled once the engine that ran it answers.",
        )
    prepared = check(run, record, history_of(run.home, run.id)[0], project=True)
    faults = {*prepared.faults, *manifests.differing(dict.fromkeys(prepared.sealed), dict.fromkeys(prepared.sizes))}
    for fault in sorted(faults, key=lambda fault: fault.path):
        raise refuse(run, fault)
    return {path: (prepared.sealed[path], size) for path, size in prepared.sizes.items()}


def sealed_digests(run: RunDirectory) -> dict[str, str]:
    """The 64 hex digits of every file that the manifest of a run names; nothing is compared."""
    try:
        return manifests.parse_manifest(manifests.read_manifest(run) or b"")
    except ValueError as error:
        raise VerificationFailed(f"The manifest of run {run.id} is none: {error}.") from None


def verify_sealed(run: RunDirectory, record: Record, seal: str) -> None:
    """Hold all of a run's directory against a seal that is known from elsewhere; VerificationFailed names a fault."""
    prepared = check(run, record, History("ended", seal=seal), project=True)
    for fault in prepared.judge(manifests.digest_files(run, prepared.sizes, lambda _: None)):
        how = {"removed": "is missing", "added": "is extra", "changed": "is not what its seal says"}[fault.what]
        raise VerificationFailed(
            f"{printable(fault.path)} of run {run.id} {how}.", "Take the run from where it was made."
        )


def check(run: RunDirectory, record: Record | None, history: History, *, project: bool) -> manifests.Check:
    """What to read of a run to hold it against its seal; ``record`` is None when run.json cannot be read."""
    try:
        manifest = manifests.read_manifest(run)
    except VerificationFailed:
        return manifests.Check(run, {}, {}, (Fault(manifests.MANIFEST, "changed"),))
    if manifest is None and history.seal:
        return manifests.Check(run, {}, {}, (Fault(manifests.MANIFEST, "removed"),))
    if manifest is None or (record and record.status == "running" and not history.seal):
        return _of_record(run, record)
    if history.seal and history.seal != sha256_bytes(manifest):
        return manifests.Check(run, {}, {}, (Fault(manifests.MANIFEST, "changed"),))
    work_tree = record.limits.work_tree if record else Limits.work_tree
    return manifests.check(run, manifest, work_tree, project=project)


def read_seal(run: RunDirectory, known: History, at: signing.Moment | None = None) -> Seal:
    """The seal of a run with its signature judged; files are not looked at. VerificationFailed if it is unreadable.

    The key has to be valid ``at`` a time; when nothing better is known, when the ledger says that the run ended.
    """
    manifest = manifests.read_manifest(run)
    if manifest is None:
        return Seal()
    digest = sha256_bytes(manifest)
    key, problem = _signed(run, manifest)
    if not problem and known.seal and (key.fingerprint if key else "") != known.key:
        problem = "it is not the one that the ledger has" if key else "the ledger has one, and it is gone"
    if problem:
        return Seal(digest, "bad", reason=problem, late=known.late)
    if key is None:
        return Seal(digest, "unsigned", reason=known.unsigned, late=known.late)
    at = at or signing.Moment.best(None, time_of(known.ended))
    name, note = signing.judge(signing.trusted(run.home)[0], key, manifests.NAMESPACE, at)
    return Seal(
        digest,
        "trusted" if name else "unknown",
        name or key.fingerprint,
        reason="" if name or note == signing.UNKNOWN_KEY else note,
        late=known.late,
        key=key.fingerprint,
        when=note if name else "",
    )


def logged_seal(history: History, signers: Mapping[str, Sequence[signing.Signer]]) -> Seal:
    """The seal as the ledger has it, for lists: nothing else is read. ``signers`` is what ``known_keys`` gave."""
    if not history.key:
        return Seal(history.seal, "unsigned", reason=history.unsigned, late=history.late)
    known = signers.get(history.key, ())
    at = signing.Moment.best(None, time_of(history.ended))
    name = next((item.name for item in known if item.counts(item.key, manifests.NAMESPACE, at.time)), "")
    return Seal(history.seal, "trusted" if name else "unknown", name or history.key, late=history.late, key=history.key)


def known_keys(home: Home) -> dict[str, list[signing.Signer]]:
    """The signers that have each key, by fingerprint."""
    found: dict[str, list[signing.Signer]] = {}
    for signer in signing.trusted(home)[0]:
        found.setdefault(signer.key.fingerprint, []).append(signer)
    return found


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


def moment(text: str) -> datetime:
    """A time of the ledger; this moment when it is none."""
    return time_of(text) or datetime.now(UTC)


def time_of(text: str) -> datetime | None:
    """A time as records and ledgers have it; None when it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _of_record(run: RunDirectory, record: Record | None) -> manifests.Check:
    """Runs of versions without seals: their run.json names the other files but those of project/."""
    if record is None or not record.files:
        return manifests.Check(run, {}, {})
    sizes = manifests.walk(run, 0, project=False).files
    for name in list(sizes):  # the record itself, and what an interrupted late sealing left
        if name in (run.record.name, manifests.IRREGULAR) or _UNFINISHED.fullmatch(name):
            del sizes[name]
    return manifests.Check(run, {path: bare(digest) for path, digest in record.files.items()}, sizes)
