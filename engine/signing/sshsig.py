"""Detached signatures, as ``ssh-keygen -Y`` makes and verifies them (OpenSSH's PROTOCOL.sshsig)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from engine.signing.wire import ED25519, PublicKey, Unpacker, decoded, from_blob, packed

_MAGIC = b"SSHSIG"
_HASH = "sha512"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
#: More than any ed25519 signature has.
MAX_BYTES = 4096


def make(message: bytes, namespace: str, key: PublicKey, sign: Callable[[bytes], bytes]) -> bytes:
    """The armored signature of ``message``; ``sign`` makes the 64 bytes with the private key."""
    signature = packed(ED25519.encode(), sign(_signed(message, namespace, _HASH)))
    parts = packed(key.blob, namespace.encode(), b"", _HASH.encode(), signature)
    return _armored(_MAGIC + (1).to_bytes(4, "big") + parts)


def plain(armored: bytes) -> bytes:
    """A signature that was checked, in the lines that ``make`` and OpenSSH write."""
    return _armored(_blob(armored))


def check(armored: bytes, message: bytes, namespace: str) -> PublicKey:
    """The key that signed ``message``; ValueError with the reason when the signature does not hold."""
    if len(armored) > MAX_BYTES:
        raise ValueError("it is too long")
    unpacker = Unpacker(_blob(armored))
    if unpacker.raw(len(_MAGIC)) != _MAGIC or unpacker.number() != 1:
        raise ValueError("it is not an SSH signature of version 1")
    key = from_blob(unpacker.string())
    found, reserved, algorithm = unpacker.string(), unpacker.string(), unpacker.string()
    signature = Unpacker(unpacker.string())
    unpacker.end()
    if found != namespace.encode() or reserved:
        raise ValueError("it was made for something else")
    if algorithm not in (b"sha256", b"sha512"):
        raise ValueError("its hash algorithm is unknown")
    if signature.string() != ED25519.encode():
        raise ValueError("it is not of the key's type")
    value = signature.string()
    signature.end()
    if not key.verifies(value, _signed(message, namespace, algorithm.decode())):
        raise ValueError("it is not a signature of these bytes")
    return key


def _armored(blob: bytes) -> bytes:
    text = base64.b64encode(blob).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "".join(f"{line}\n" for line in (_BEGIN, *lines, _END)).encode()


def _blob(armored: bytes) -> bytes:
    text = " ".join(armored.decode("ascii", "replace").split())
    if not text.startswith(_BEGIN) or not text.endswith(_END):
        raise ValueError("it is not an SSH signature")
    return decoded(text.removeprefix(_BEGIN).removesuffix(_END).replace(" ", ""))


def _signed(message: bytes, namespace: str, algorithm: str) -> bytes:
    digest = hashlib.new(algorithm, message).digest()
    return _MAGIC + packed(namespace.encode(), b"", algorithm.encode(), digest)
