"""Signed notes (C2SP signed-note v1): a text, a blank line, and lines with signatures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from engine.signing.wire import PublicKey, decoded

_DASH = "\N{EM DASH} "
#: ed25519 over the text itself.
_KIND = b"\x01"


@dataclass(frozen=True)
class Note:
    """``text`` ends with a newline. ``signatures`` are the name of a key, its four-byte id, and the signature."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...] = ()

    def signed_by(self, name: str, key: PublicKey) -> bool:
        """Whether a key of that name signed the text."""
        return any(
            (found, identity) == (name, key_id(name, key)) and key.verifies(signature, self.text.encode())
            for found, identity, signature in self.signatures
        )


def key_id(name: str, key: PublicKey) -> bytes:
    """The four bytes that tell keys of one name apart."""
    return hashlib.sha256(name.encode() + b"\n" + _KIND + key.raw).digest()[:4]


def make(text: str, name: str, key: PublicKey | None, sign: Callable[[bytes], bytes]) -> bytes:
    """The note; without a key it has no signature, and is not a signed note yet."""
    if key is None:
        return f"{text}\n".encode()
    return plain(Note(text, ((name, key_id(name, key), sign(text.encode())),)))


def plain(note: Note) -> bytes:
    """A note as it is written; one that was read may have been written otherwise."""
    lines = (
        f"{_DASH}{name} {base64.b64encode(identity + signature).decode()}\n"
        for name, identity, signature in note.signatures
    )
    return f"{note.text}\n{''.join(lines)}".encode()


def read(data: bytes) -> Note:
    """A note from bytes that may be forged; ValueError when it is none. What signatures are worth is not looked at."""
    text, blank, lines = data.decode().rpartition("\n\n")
    if not blank:
        raise ValueError("it is not a note")
    signatures = []
    for line in lines.splitlines():
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        value = decoded(encoded)
        if not line.startswith(_DASH) or not name or len(value) <= 4:
            raise ValueError("it is not a note")
        signatures.append((name, value[:4], value[4:]))
    return Note(text + "\n", tuple(signatures))
