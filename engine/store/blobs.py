"""Content by digest: bytes go in once, read once, and come out only if they are still what they were."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from engine.digests import PREFIX, bare
from engine.errors import VerificationFailed
from engine.settings import Home

_CHUNK = 8 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def blob_path(home: Home, digest: str) -> Path:
    """Where the bytes of a digest are kept. VerificationFailed for text that is no digest: records may be forged."""
    if not _DIGEST.fullmatch(digest):
        raise VerificationFailed(f"'{digest[:100]}' is not a sha256 digest.", "The record that names it was changed.")
    name = bare(digest)
    return home.blobs / name[:2] / name


def keep(home: Home, file: BinaryIO, advance: Callable[[int], None]) -> tuple[str, int]:
    """Store what is left to read of ``file``; its digest and size in bytes. Content already there is not rewritten."""
    first = file.read(_CHUNK)
    if len(first) < _CHUNK:
        advance(len(first))
        digest = PREFIX + hashlib.sha256(first).hexdigest()
        if not _is_there(blob_path(home, digest), len(first)):
            with _Temporary(home) as temporary:
                temporary.file.write(first)
                temporary.publish(blob_path(home, digest))
        return digest, len(first)

    hasher = hashlib.sha256()
    size = 0
    with _Temporary(home) as temporary:
        chunk = first
        while chunk:
            hasher.update(chunk)
            temporary.file.write(chunk)
            size += len(chunk)
            advance(len(chunk))
            chunk = file.read(_CHUNK)
        digest = PREFIX + hasher.hexdigest()
        if not _is_there(blob_path(home, digest), size):
            temporary.publish(blob_path(home, digest))
    return digest, size


def copy_out(home: Home, digest: str, into: Path, mode: int) -> None:
    """Write the bytes of ``digest`` to the new file ``into``; VerificationFailed when they are gone or damaged."""
    hasher = hashlib.sha256()
    with open_blob(home, digest) as source, into.open("xb") as target:
        while chunk := source.read(_CHUNK):
            hasher.update(chunk)
            target.write(chunk)
        os.fchmod(target.fileno(), mode)
    if PREFIX + hasher.hexdigest() != digest:
        raise damaged(home, digest)


def open_blob(home: Home, digest: str) -> BinaryIO:
    """The kept bytes of a digest, open for reading; VerificationFailed when they are gone."""
    path = blob_path(home, digest)
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise VerificationFailed(
            f"The home no longer holds the content {digest}.", f"Restore {path} from a backup, or run anew."
        ) from None


def damaged(home: Home, digest: str) -> VerificationFailed:
    """The error for kept bytes that no longer have their digest."""
    return VerificationFailed(
        f"The content kept as {digest} was changed.",
        f"Remove {blob_path(home, digest)} and run the notebook anew, or restore the file from a backup.",
    )


def _is_there(path: Path, size: int) -> bool:
    # The size is compared because a power cut can leave a renamed file empty.
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


class _Temporary:
    """A file beside the home's content that gets its name only when it is complete and on the disk."""

    def __init__(self, home: Home) -> None:
        home.temporary.mkdir(parents=True, exist_ok=True)
        self._path = home.temporary / f"blob-{secrets.token_hex(8)}"

    def __enter__(self) -> _Temporary:
        self.file = self._path.open("xb")
        return self

    def publish(self, path: Path) -> None:
        self.file.flush()
        # Inputs are mounted into a container whose user may be another than ours: readable whatever the umask.
        os.fchmod(self.file.fileno(), 0o444)
        os.fsync(self.file.fileno())
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path.rename(path)

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._path.unlink(missing_ok=True)
