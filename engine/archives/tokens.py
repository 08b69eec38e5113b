"""A time stamp token's own signature, held against the certificate that it names (RFC 3161, 5652, 5816).

``rfc3161-client`` judges a token only by roots, and says nothing of one whose roots are not at hand. So the signature
is checked here too, against the certificate in the token: a changed token is found by whoever trusts nobody, and an
authority's own certificate can be trusted without its root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from engine.digests import sha256_bytes

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_HASHES = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_SIGNED_DATA = "1.2.840.113549.1.7.2"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_CERTIFICATE = {"1.2.840.113549.1.9.16.2.47": "sha256", "1.2.840.113549.1.9.16.2.12": "sha1"}
#: Of ECDSA and of RSA (PKCS #1 v1.5), the latter also under the name of the key.
_ECDSA = {"1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3", "1.2.840.10045.4.3.4"}
_RSA = {"1.2.840.113549.1.1.1", *(f"1.2.840.113549.1.1.{number}" for number in (11, 12, 13))}
_SEQUENCE, _SET, _OCTETS, _OID, _TIME, _FIRST = 0x30, 0x31, 0x04, 0x06, 0x18, 0xA0


class Unsupported(Exception):
    """A token of a kind that is not read here, which says nothing against it."""


@dataclass(frozen=True)
class Token:
    """A token whose signature holds: the time, and the certificate that it holds against."""

    time: datetime
    certificate: Certificate
    accuracy: timedelta | None = None  # how far off it may be, when it says so

    @property
    def latest(self) -> datetime:
        """When at the latest it was made; what stands before it was there then. Without fractions a second is cut."""
        return self.time + (self.accuracy or timedelta(seconds=0 if self.time.microsecond else 1))

    def __str__(self) -> str:
        exact = f".{self.time.microsecond:06}".rstrip("0") if self.time.microsecond else ""
        accuracy = "" if self.accuracy is None else f" (accuracy {self.accuracy.total_seconds():.6g} s)"
        return f"{self.time:%Y-%m-%d %H:%M:%S}{exact} UTC{accuracy}"

    @property
    def fingerprint(self) -> str:
        """The digest of its certificate."""
        from cryptography.hazmat.primitives.serialization import Encoding

        return sha256_bytes(self.certificate.public_bytes(Encoding.DER))


def read(response: bytes, signed: bytes, known: Sequence[Certificate]) -> Token:
    """The token of a response over ``signed``. ValueError when it does not hold, Unsupported when it cannot be said.

    ``known`` are certificates among which that of a token without one is looked for.
    """
    from rfc3161_client import decode_timestamp_response

    decoded = decode_timestamp_response(response)
    told = decoded.tst_info
    algorithm = _HASHES.get(told.message_imprint.hash_algorithm.dotted_string, "")
    if not algorithm or told.message_imprint.message != hashlib.new(algorithm, signed).digest():
        raise ValueError("it is about other bytes")
    if decoded.status not in (0, 1):
        raise ValueError("it was not granted")
    said = told.accuracy
    parts = (said.seconds or 0, said.millis or 0, said.micros or 0) if said else None
    accuracy = timedelta(seconds=parts[0], milliseconds=parts[1], microseconds=parts[2]) if parts else None
    certificate, fraction = _checked(response, known, told.gen_time)
    return Token(told.gen_time + fraction, certificate, accuracy)


def trusted_by(response: bytes, signed: bytes, token: Token, authority: Certificate) -> bool:
    """Whether an authority's own certificate, or the root above it, vouches for a token at the token's time."""
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    if authority == token.certificate:
        return True
    try:
        verifier = VerifierBuilder(roots=[authority]).build()
        return verifier.verify_message(decode_timestamp_response(response), signed)
    except (VerificationError, ValueError):
        return False


def _checked(response: bytes, known: Sequence[Certificate], time: datetime) -> tuple[Certificate, timedelta]:
    """The certificate against which the signature in a response holds, and the fraction of its second."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    whole = _whole(response, _SEQUENCE)
    _, content = list(_items(whole))[:2]
    kind, inner = _exactly(content.body, 2)
    if kind.oid != _SIGNED_DATA:
        raise ValueError("it is not signed data")
    parts = list(_items(_whole(inner.body, _SEQUENCE)))
    told = _exactly(parts[2].body, 2)
    if told[0].oid != _TST_INFO:
        raise ValueError("it is not about a time")
    message = _whole(told[1].body, _OCTETS)
    held = [item.raw for part in parts[3:-1] if part.tag == _FIRST for item in _items(part.body)]
    (signer,) = _items(parts[-1].body)
    fields = list(_items(signer.body))
    certificates = [item for item in _loaded(held, known) if _names(fields[1], item)]
    if len(set(certificates)) > 1:
        raise ValueError("two of its certificates have the same number")
    if not certificates:
        raise Unsupported("the token does not hold its authority's certificate")
    certificate = certificates[0]
    algorithm = _HASHES.get(_first(fields[2]).oid)
    if _first(fields[2]).oid not in {_first(item).oid for item in _items(parts[1].body)}:
        raise ValueError("it does not list the digest of its signature")
    if algorithm is None or fields[3].tag != _FIRST:
        raise Unsupported("its signature is of another kind")
    attributes = dict(_attributes(fields[3].body))
    if attributes.get(_CONTENT_TYPE) != told[0].raw or attributes.get(_MESSAGE_DIGEST) is None:
        raise ValueError("its signature is over something else")
    if _whole(attributes[_MESSAGE_DIGEST], _OCTETS) != hashlib.new(algorithm, message).digest():
        raise ValueError("its signature is over another time or other bytes")
    if not any(
        _is_meant(attributes[oid], certificate, kind) for oid, kind in _CERTIFICATE.items() if oid in attributes
    ):
        raise ValueError("its signature is by another certificate")
    over = bytes([_SET]) + fields[3].raw[1:]  # RFC 5652, 5.4: with the tag of a set
    _verify(certificate, _first(fields[4]).oid, fields[5].body, over, algorithm)
    if len(fields) > 6:
        raise Unsupported("it has attributes that nobody signed")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        raise ValueError("its certificate is not for time stamps") from None
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise ValueError("its certificate is not for time stamps alone")
    if not certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc:
        raise ValueError("its certificate was not valid at that time")
    return certificate, _fraction(message)


def _fraction(message: bytes) -> timedelta:
    """What the time of a TSTInfo has after its second, which ``rfc3161-client`` leaves out (RFC 3161, 2.4.2)."""
    times = (item.body.decode("ascii") for item in _items(_whole(message, _SEQUENCE)) if item.tag == _TIME)
    _, _, digits = next(times).removesuffix("Z").partition(".")
    return timedelta(microseconds=int(f"{digits:0<6}"[:6])) if digits else timedelta()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of what is odd about a certificate, which may be anybody's."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _loaded(held: Sequence[bytes], known: Sequence[Certificate]) -> list[Certificate]:
    from cryptography import x509

    with _quiet():
        return [*(x509.load_der_x509_certificate(data) for data in held), *known]


def _names(identifier: _Item, certificate: Certificate) -> bool:
    """Whether the identifier of a signer, by issuer and serial number, is that of a certificate."""
    if identifier.tag != _SEQUENCE:
        return False
    issuer, serial = _exactly(identifier.body, 2)
    number = int.from_bytes(serial.body, "big")
    with _quiet():
        return certificate.issuer.public_bytes() == issuer.raw and certificate.serial_number == number


def _is_meant(attribute: bytes, certificate: Certificate, algorithm: str) -> bool:
    """Whether the first certificate of a signing-certificate attribute is this one, by its digest."""
    from cryptography.hazmat.primitives.serialization import Encoding

    listed = next(_items(_whole(attribute, _SEQUENCE)))
    fields = list(_items(_first(listed).body))
    if fields[0].tag == _SEQUENCE:
        algorithm = _HASHES.get(_first(fields[0]).oid, "")
        fields = fields[1:]
    digest = hashlib.new(algorithm, certificate.public_bytes(Encoding.DER), usedforsecurity=False).digest()
    return fields[0].body == digest


def _attributes(body: bytes) -> Iterator[tuple[str, bytes]]:
    for item in _items(body):
        kind, values = _exactly(item.body, 2)
        (value,) = _items(values.body)
        yield kind.oid, value.raw


def _verify(certificate: Certificate, kind: str, signature: bytes, over: bytes, algorithm: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    digest = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}[algorithm]
    key = certificate.public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and kind in _ECDSA:
            key.verify(signature, over, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey) and kind in _RSA:
            key.verify(signature, over, padding.PKCS1v15(), digest)
        else:
            raise Unsupported("its signature is of another kind")
    except InvalidSignature:
        raise ValueError("its signature does not hold") from None


# --- DER (X.690) --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Item:
    tag: int
    body: bytes
    raw: bytes

    @property
    def oid(self) -> str:
        from cryptography.x509 import ObjectIdentifier

        if self.tag != _OID:
            raise ValueError("it is not well formed")
        first, *rest = self.body
        parts, value = [min(first // 40, 2), first - 40 * min(first // 40, 2)], 0
        for byte in rest:
            value = value << 7 | byte & 0x7F
            if not byte & 0x80:
                parts.append(value)
                value = 0
        return ObjectIdentifier(".".join(map(str, parts))).dotted_string


def _items(data: bytes) -> Iterator[_Item]:
    """What stands one after the other, with definite lengths; ValueError for anything else."""
    at = 0
    while at < len(data):
        tag, size, start = data[at], data[at + 1] if at + 1 < len(data) else 0x80, at + 2
        if size & 0x80:
            count = size & 0x7F
            size, start = int.from_bytes(data[start : start + count], "big"), start + count
            if not 1 <= count <= 4 or size < 0x80:
                raise ValueError("it is not well formed")
        if tag & 0x1F == 0x1F or start + size > len(data):
            raise ValueError("it is not well formed")
        yield _Item(tag, data[start : start + size], data[at : start + size])
        at = start + size


def _first(item: _Item) -> _Item:
    return next(_items(item.body))


def _exactly(data: bytes, count: int) -> list[_Item]:
    items = list(_items(data))
    if len(items) != count:
        raise ValueError("it is not well formed")
    return items


def _whole(data: bytes, tag: int) -> bytes:
    """The body of the one item of which ``data`` consists."""
    (item,) = _exactly(data, 1)
    if item.tag != tag:
        raise ValueError("it is not well formed")
    return item.body
