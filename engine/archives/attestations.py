"""Who vouches for an archive: its signatures, its provenance, and the ledger that it came from.

Whose keys count is said by whoever takes it in. A key that is not known makes a warning. A signature that does not
hold is worse than none, and refuses the archive. No manifest covers an attestation, so each must be, byte for byte,
what the writer would have made of what was read from it: then nothing in it is unread.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from engine import merkle, signing
from engine.archives import layout, proofs, provenance, tokens
from engine.archives.bag import Listed, Listing
from engine.archives.documents import check_json, read_object
from engine.archives.receive import Received
from engine.digests import canonical_json
from engine.errors import VerificationFailed
from engine.model import Json

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: For which signatures `allowed_signers` may limit a key; see ``engine.store.ledger``.
_LEDGER_NAMESPACE = "nbseal-ledger"
_CHECKPOINT = re.compile(r"([!-*,-~]{1,200})\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/]{43}=)\n")
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,15})")
_MAX_HASHES = 63


@dataclass(frozen=True)
class Word:
    """What one attestation is worth: ``by`` is a name in allowed_signers, else a key's fingerprint or a description."""

    what: Literal["signature", "provenance", "ledger", "timestamp"]
    state: Literal["trusted", "unknown", "absent"]
    by: str = ""
    when: str = ""  # of a time stamp
    latest: datetime | None = None  # of a time stamp: when at the latest it was made
    key: str = ""  # the fingerprint of the key, or of a time stamp's certificate
    note: str = ""  # why it does not count, or as of which time it does


@dataclass(frozen=True)
class Origin:
    """A run in the ledger that it came from: how it ended there, by that ledger's own words."""

    run: str
    entry: Json  # its end; empty when the archive does not have it
    ledger: str = ""  # that ledger's name, when it proves the entry
    index: int | None = None


@dataclass(frozen=True)
class Checkpoint:
    """The head of the ledger that an archive comes from, as its note says; whose word that is says a ``Word``."""

    ledger: str
    size: int
    root: bytes
    data: bytes


class Judge:
    """Holds each attestation against the bag. VerificationFailed names one that is bad."""

    def __init__(
        self,
        received: Received,
        signers: Sequence[signing.Signer],
        authorities: Mapping[str, Certificate],
        ended: datetime | None,
    ) -> None:
        """``ended``: when the last of the runs did, by the ledger that is in the archive."""
        self._received, self._signers = received, signers
        self._authorities = authorities
        self._signed = received.read(layout.TAG_MANIFEST)
        self._moment = signing.Moment.best(self.stamped(), ended)

    def stamped(self) -> datetime | None:
        """When the archive was there at the latest, if a time stamp that counts says so."""
        try:
            return self.timestamp().latest
        except VerificationFailed:  # told when it is asked for
            return None

    def signature(self) -> tuple[signing.PublicKey | None, Word]:
        """The key that signed the tag manifest, and whose it is."""
        path = _path(layout.SIGNATURE)
        if path not in self._received.files:
            return None, Word("signature", "absent")
        data = self._received.read(path)
        try:
            key = signing.sshsig.check(data, self._signed, layout.NAMESPACE)
            if signing.sshsig.plain(data) != data:
                raise ValueError("it is not written as one is")
        except ValueError as error:
            raise self._received.refused(path, f"is a bad signature: {error}") from None
        return key, self._word("signature", key)

    def provenance(self, signer: signing.PublicKey | None) -> Word:
        """The statement about how it was made, and whose it is."""
        path = _path(layout.PROVENANCE)
        if path not in self._received.files:
            return Word("provenance", "absent")
        try:
            payload, signature, keyid = _envelope(read_object(self._received, path))
            if provenance.bundle(payload, keyid, lambda _: signature) != self._received.read(path):
                raise ValueError("it is not written as one is, or says more than it should")
            check_json(self._received, path, payload)
            self._check_statement(json.loads(payload))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise self._received.refused(path, f"is not a statement about this archive: {error}") from None
        known = [signer] if signer else []
        known += [item.key for item in self._signers]
        key = next((key for key in known if key.fingerprint == keyid), None)
        if key is None:
            return Word("provenance", "unknown", keyid)
        if not key.verifies(signature, provenance.pre_authentication(payload)):
            raise self._received.refused(path, "is a bad signature: it is not one of these bytes")
        return self._word("provenance", key)

    def checkpoint(self, signer: signing.PublicKey | None) -> tuple[Checkpoint | None, Word]:
        """The checkpoint of the ledger, and whose it is."""
        path = _path(layout.CHECKPOINT)
        if path not in self._received.files:
            return None, Word("ledger", "absent")
        data = self._received.read(path)
        try:
            note = signing.note.read(data)
            match = _CHECKPOINT.fullmatch(note.text)
            if match is None:
                raise ValueError("it is not a checkpoint")
            found = Checkpoint(match[1], int(match[2]), base64.b64decode(match[3], validate=True), data)
            if signing.note.plain(note) != data or [name for name, *_ in note.signatures] not in ([], [found.ledger]):
                raise ValueError("it is not written as one is, or has more signatures than the ledger's")
        except ValueError as error:
            raise self._received.refused(path, f"is no checkpoint: {error}") from None
        return found, self._of_note(path, note, found.ledger, signer)

    def inclusion(self, origin: Origin, checkpoint: Checkpoint | None, listing: Listing) -> Origin:
        """A run's end, proven to be under the checkpoint; without a proof only where archive.json says so."""
        where = _proof_path(origin.run)
        if checkpoint is None:
            return origin
        if where not in self._received.files:
            if proofs.told_missing(origin.run) not in {what for what, _ in listing.missing}:
                raise self._received.refused(where, "is missing, and archive.json does not say so")
            return origin
        try:
            if not origin.entry:
                raise ValueError("the archive does not have the entry of the run's end")
            index, hashes = _proof(self._received.read(where), checkpoint.data)
            leaf = merkle.leaf_hash(canonical_json(origin.entry))
            included = merkle.includes(checkpoint.root, checkpoint.size, leaf, index, hashes)
            if not included or origin.entry.get("index") != index:
                raise ValueError("the run's end is not under the checkpoint")
        except ValueError as error:
            raise self._received.refused(where, f"proves nothing: {error}") from None
        return Origin(origin.run, origin.entry, checkpoint.ledger, index)

    def timestamp(self) -> Word:
        """When it was there by the word of a time stamping authority, whose certificate may be trusted here."""
        path = _path(layout.TIMESTAMP)
        if path not in self._received.files:
            return Word("timestamp", "absent")
        data = self._received.read(path)
        try:
            try:
                token = tokens.read(data, self._signed, tuple(self._authorities.values()))
            except tokens.Unsupported as reason:
                return Word("timestamp", "unknown", str(reason))
            for name, authority in self._authorities.items():
                if tokens.trusted_by(data, self._signed, token, authority):
                    return Word("timestamp", "trusted", name, str(token), token.latest, token.fingerprint)
            return Word("timestamp", "unknown", when=str(token), key=token.fingerprint)
        except Exception as error:  # a parser in Rust, of bytes that may be anything
            raise self._received.refused(path, f"is no timestamp of this archive: {error}") from None

    def _of_note(self, path: str, note: signing.note.Note, name: str, signer: signing.PublicKey | None) -> Word:
        if not note.signatures:
            return Word("ledger", "absent")
        known = [*([signer] if signer else []), *(item.key for item in self._signers)]
        for key in (key for key in known if note.signed_by(name, key)):
            whose, why = signing.judge(self._signers, key, _LEDGER_NAMESPACE, self._moment)
            state: Literal["trusted", "unknown"] = "trusted" if whose else "unknown"
            return Word("ledger", state, whose or name, key=key.fingerprint, note=why)
        for found, identity, _ in note.signatures:
            if any(identity == signing.note.key_id(found, key) for key in known):
                raise self._received.refused(path, "has a bad signature")
        return Word("ledger", "unknown", name, note=signing.UNKNOWN_KEY)

    def _check_statement(self, statement: Any) -> None:
        expected = {"name": layout.TAG_MANIFEST, "digest": {"sha256": hashlib.sha256(self._signed).hexdigest()}}
        if statement["subject"] != [expected]:
            raise ValueError("its subject is another one")
        if statement["_type"] != "https://in-toto.io/Statement/v1" or set(statement) != _STATEMENT:
            raise ValueError("it is not an in-toto statement of version 1")
        if statement["predicateType"] != provenance.PREDICATE_TYPE:
            raise ValueError("it states something else than provenance")

    def _word(self, what: Literal["signature", "provenance"], key: signing.PublicKey) -> Word:
        name, note = signing.judge(self._signers, key, layout.NAMESPACE, self._moment)
        return Word(what, "trusted" if name else "unknown", name or key.fingerprint, key=key.fingerprint, note=note)


_STATEMENT = {"_type", "subject", "predicateType", "predicate"}


def _envelope(bundle: dict[str, Any]) -> tuple[bytes, bytes, str]:
    """Payload, signature and key id of a Sigstore bundle, of which all else follows."""
    envelope = bundle["dsseEnvelope"]
    (signature,) = envelope["signatures"]
    if not isinstance(signature["keyid"], str):
        raise ValueError("its key id is no text")
    payload = base64.b64decode(envelope["payload"], validate=True)
    return payload, base64.b64decode(signature["sig"], validate=True), signature["keyid"]


def _proof(data: bytes, checkpoint: bytes) -> tuple[int, list[bytes]]:
    """Index and hashes of a tlog-proof (C2SP), which must be about this very checkpoint."""
    head, blank, rest = data.decode("utf-8").partition("\n\n")
    first, index, *hashes = [*head.split("\n"), ""]
    match = _INDEX.fullmatch(index)
    hashes = hashes[:-1]
    if not blank or first != proofs.HEADER or match is None or len(hashes) > _MAX_HASHES:
        raise ValueError("it is not a tlog-proof")
    if rest.encode() != checkpoint:
        raise ValueError("it is about another checkpoint")
    number, path = int(match[1]), [base64.b64decode(item, validate=True) for item in hashes]
    if proofs.proof(number, path, checkpoint) != data:
        raise ValueError("it is not written as one is")
    return number, path


def read_end(received: Received, run: Listed) -> Origin:
    """How a run ended, by the archived entries; VerificationFailed when they say another seal."""
    path = f"{layout.PAYLOAD}/{layout.ledger(run.id)}"
    data = received.read(path)
    if data and not data.endswith(b"\n"):
        raise received.refused(path, "does not end with a line")
    end: Json = {}
    for line in data.split(b"\n")[:-1]:
        try:
            check_json(received, path, line)
            entry = json.loads(line)
            if not isinstance(entry, dict) or canonical_json(entry) != line or entry.get("run") != run.id:
                raise ValueError("it is not an entry about this run")
        except (ValueError, RecursionError) as error:
            raise received.refused(path, f"has a line that is no entry: {error}") from None
        if entry.get("kind") in ("ended", "imported"):
            if entry.get("seal") != run.seal:
                raise received.refused(path, "has another seal than archive.json")
            end = end or entry
    return Origin(run.id, end)


def check_attestations(received: Received, listing: Listing) -> None:
    """Of attestations no manifest says anything, so every one of them must be about something."""
    known = {_path(name) for name in (layout.SIGNATURE, layout.PROVENANCE, layout.CHECKPOINT, layout.TIMESTAMP)}
    if _path(layout.CHECKPOINT) in received.files:
        known |= {_proof_path(run.id) for run in listing.runs}
    for path in sorted(received.files):
        if path.startswith(f"{layout.ATTESTATIONS}/") and path not in known:
            raise received.refused(path, "belongs to nothing in the archive")


def _proof_path(run: str) -> str:
    return _path(f"{run}.tlog-proof")


def _path(name: str) -> str:
    return f"{layout.ATTESTATIONS}/{name}"
