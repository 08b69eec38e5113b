"""What is to go into an archive, one file each, and where its bytes come from when its turn comes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import VerificationFailed
from engine.files import open_regular
from engine.settings import SOURCE_DATE_EPOCH

CHUNK = 1 << 20
#: Of whom the home has it, which decides what can be done when it is gone.
Kind = Literal["run", "blob", "wheel", "package", "layer", "made"]


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the payload. ``digest`` is what its bytes must have, 64 hex digits; empty when nobody knows yet."""

    path: str
    size: int | None  # None: it is made when its turn comes, and small
    read: Callable[[], Iterator[bytes]]
    digest: str = ""
    kind: Kind = "made"
    executable: bool = False
    file: Path | None = None  # where the home has it, if it is a file there


class Spoiled(VerificationFailed):
    """The bytes of a member are gone, or not what their digest says."""

    def __init__(self, member: Member, reason: str = "") -> None:
        how = f"cannot be read: {reason}" if reason else "is not what its digest says"
        super().__init__(f"{member.path} {how}.", "`nbseal fsck` names all that differs.")
        self.member = member


def of_bytes(path: str, data: bytes, kind: Kind = "made", digest: str = "") -> Member:
    """A member whose bytes are at hand."""
    return Member(path, len(data), lambda: iter((data,)), digest, kind)


def of_text(path: str, make: Callable[[], str]) -> Member:
    """A member that is made when its turn comes, so that many of them never lie in memory at once."""
    return Member(path, None, lambda: iter((make().encode(),)))


def of_file(path: str, file: Path, size: int, digest: str, kind: Kind, *, executable: bool = False) -> Member:
    """A member that lies in the home; links are not followed."""
    return Member(path, size, lambda: _chunks(file), digest, kind, executable, file)


def packed(path: str, inside: Sequence[Member]) -> Member:
    """One tar of other members, whose names in it are their paths, in the order of their bytes."""
    ordered = sorted(inside, key=lambda member: raw(member.path))
    sizes = (len(header(member)) + (member.size or 0) + -(member.size or 0) % tarfile.BLOCKSIZE for member in ordered)

    def read() -> Iterator[bytes]:
        for member in ordered:
            yield header(member)
            yield from content(member)
        yield bytes(2 * tarfile.BLOCKSIZE)

    return Member(path, sum(sizes) + 2 * tarfile.BLOCKSIZE, read, kind="run")


def raw(path: str) -> bytes:
    """A path as it is on the disk, which need not be UTF-8."""
    return path.encode("utf-8", "surrogateescape")


def header(member: Member, folder: str = "") -> bytes:
    """What stands before a member in a tar: nothing but name, size and mode differs between any two."""
    info = tarfile.TarInfo(folder + member.path)
    info.size, info.mtime = member.size or 0, SOURCE_DATE_EPOCH
    info.mode = 0o755 if member.executable else 0o644
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def content(member: Member, found: Callable[[str], None] = lambda digest: None) -> Iterator[bytes]:
    """A member's bytes and the padding after them; ``found`` hears the digest. Spoiled when it is not the known one."""
    import hashlib

    hasher = hashlib.sha256()
    size = member.size or 0
    count = 0
    chunks = member.read()
    while True:
        try:
            chunk = next(chunks, None)
        except OSError as error:
            raise Spoiled(member, error.strerror or str(error)) from error
        if chunk is None:
            break
        count += len(chunk)
        if count > size:
            raise Spoiled(member)
        hasher.update(chunk)
        yield chunk
    digest = hasher.hexdigest()
    if count != size or digest != (member.digest or digest):
        raise Spoiled(member)
    found(digest)
    yield bytes(-size % tarfile.BLOCKSIZE)


def settled(member: Member) -> Member:
    """A member that had yet to be made, made."""
    data = b"".join(member.read())
    return Member(member.path, len(data), lambda: _pieces(data), kind=member.kind)


def _pieces(data: bytes) -> Iterator[bytes]:
    stream = io.BytesIO(data)
    return iter(lambda: stream.read(CHUNK), b"")


def _chunks(file: Path) -> Iterator[bytes]:
    with open_regular(file) as stream:
        while data := stream.read(CHUNK):
            yield data
