"""ed25519 keys as OpenSSH writes them (RFC 4251, RFC 8709): blobs, lines, fingerprints, private key files."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from engine.errors import BadInput

ED25519 = "ssh-ed25519"
_MAGIC = b"openssh-key-v1\0"
_BEGIN, _END = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"


def packed(*strings: bytes) -> bytes:
    """SSH strings, one after the other: length as four bytes, then the bytes."""
    return b"".join(len(string).to_bytes(4, "big") + string for string in strings)


class Unpacker:
    """Reads SSH strings off bytes that may be forged; ValueError when they end early or do not end."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def number(self) -> int:
        return int.from_bytes(self.raw(4), "big")

    def string(self) -> bytes:
        return self.raw(self.number())

    def raw(self, length: int) -> bytes:
        if length > len(self._data):
            raise ValueError("the data ends early")
        taken, self._data = self._data[:length], self._data[length:]
        return taken

    def end(self) -> None:
        if self._data:
            raise ValueError("there is more data than there should be")


@dataclass(frozen=True)
class PublicKey:
    """An ed25519 public key: 32 bytes."""

    raw: bytes

    @property
    def blob(self) -> bytes:
        return packed(ED25519.encode(), self.raw)

    @property
    def line(self) -> str:
        """As in a .pub file, without a comment."""
        return f"{ED25519} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether ``signature`` is this key's over ``data``."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


def from_blob(blob: bytes) -> PublicKey:
    """A public key blob; ValueError when it is not an ed25519 key."""
    unpacker = Unpacker(blob)
    kind = unpacker.string()
    if kind != ED25519.encode():
        raise ValueError(f"it is of type {kind[:40].decode('ascii', 'replace')}")
    raw = unpacker.string()
    unpacker.end()
    if len(raw) != 32:
        raise ValueError("it does not have 32 bytes")
    return PublicKey(raw)


def from_line(line: str) -> tuple[PublicKey, str]:
    """A line of a .pub file, and its comment; ValueError when it is not an ed25519 key."""
    kind, _, rest = line.strip().partition(" ")
    encoded, _, comment = rest.strip().partition(" ")
    if kind != ED25519:
        raise ValueError(f"it is of type {kind[:40]!r}")
    return from_blob(decoded(encoded)), comment.strip()


def decoded(text: str) -> bytes:
    """Base64, strictly; ValueError for anything else."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"it is not base64: {error}") from None


def public_part(private: str) -> PublicKey:
    """The public key that an OpenSSH private key file names in clear, encrypted or not."""
    try:
        if not private.lstrip().startswith(_BEGIN) or _END not in private:
            raise ValueError("it is not an OpenSSH private key")
        body = private.partition(_BEGIN)[2].partition(_END)[0]
        unpacker = Unpacker(decoded("".join(body.split())))
        if unpacker.raw(len(_MAGIC)) != _MAGIC:
            raise ValueError("it is not an OpenSSH private key")
        for _ in ("cipher", "kdf", "kdf options"):
            unpacker.string()
        if unpacker.number() != 1:
            raise ValueError("it holds several keys")
        return from_blob(unpacker.string())
    except ValueError as error:
        raise BadInput(f"This key cannot be used: {error}.", ED25519_ONLY) from None


ED25519_ONLY = "nbseal signs with ed25519 keys in OpenSSH's format; `nbseal keys new` makes one."
