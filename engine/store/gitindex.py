"""Which files of a checkout differ from what git keeps by their line ends alone; git itself is not asked.

On a machine whose git is set to (``core.autocrlf``, a ``text`` attribute), a checkout has CRLF where the repository
has LF. Git calls such a file unchanged, so the source snapshot takes it as git keeps it. The index
(gitformat-index(5), versions 2 to 4) says the blob id of every tracked file; nothing else of ``.git`` is
read, and no setting. An id is only ever compared with that of the file's own bytes, so a forged index can at most
choose between the two line ends.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from engine.files import read_regular

#: Larger files are taken as they are.
MAX_TEXT = 16 << 20
_MAX_INDEX = 256 << 20
_FIXED = 62  # bytes of an entry before its path, of which 20 at 40 are the blob's id
_HASH = 20


@dataclass(frozen=True)
class GitIndex:
    """The blob ids (SHA-1) of the files that git tracks, by their path from the project; empty without git."""

    blobs: Mapping[str, bytes] = field(default_factory=dict)

    def as_kept(self, path: str, file: BinaryIO, size: int) -> BinaryIO:
        """The file as git keeps it, when it differs from that by its line ends alone; else the file."""
        blob = self.blobs.get(path)
        if blob is None or size > MAX_TEXT:
            return file
        data = file.read(MAX_TEXT + 1)
        file.seek(0)
        changed = data.replace(b"\r\n", b"\n")
        if changed == data or _blob_id(data) == blob or _blob_id(changed) != blob:
            return file
        return BytesIO(changed)


def read_git_index(root: Path) -> GitIndex:
    """The index of the checkout that the project is, or is in; an empty one where none can be read."""
    for folder in (root, *root.parents):
        git = folder / ".git"
        if git.is_symlink() or not git.is_dir():
            continue
        try:
            blobs = parse_index(read_regular(git / "index", _MAX_INDEX))
        except (OSError, ValueError, struct.error, IndexError):
            break
        below = "" if folder == root else f"{root.relative_to(folder).as_posix()}/"
        return GitIndex({path.removeprefix(below): blob for path, blob in blobs.items() if path.startswith(below)})
    return GitIndex()


def parse_index(data: bytes) -> dict[str, bytes]:
    """Path to blob id of every merged entry. ValueError (or struct.error, IndexError) when it is no whole index."""
    # Also what tells an index of a SHA-256 repository, whose ids are longer.
    if hashlib.sha1(data[:-_HASH], usedforsecurity=False).digest() != data[-_HASH:]:
        raise ValueError("the index does not end in its checksum")
    signature, version, count = struct.unpack_from(">4sLL", data)
    if signature != b"DIRC" or version not in (2, 3, 4):
        raise ValueError("no index of a known version")
    blobs: dict[str, bytes] = {}
    at, before = 12, b""
    for _ in range(count):
        (flags,) = struct.unpack_from(">H", data, at + 60)
        start = at + _FIXED + (2 if version > 2 and flags & 0x4000 else 0)  # 0x4000: more flags follow
        dropped = 0
        if version == 4:  # paths are told by how they differ from the one before
            dropped, start = _offset(data, start)
        end = data.index(b"\0", start)
        name = before[: len(before) - dropped] + data[start:end] if version == 4 else data[start:end]
        if not flags & 0x3000:  # a stage: a conflict is not merged
            blobs[name.decode("utf-8", "surrogateescape")] = data[at + 40 : at + 40 + _HASH]
        at = end + 1 if version == 4 else at + (end - at + 8) // 8 * 8
        before = name
    return blobs


def _offset(data: bytes, at: int) -> tuple[int, int]:
    """A number as git's packs hold offsets, and where it ends."""
    value = data[at] & 0x7F
    while data[at] & 0x80:
        at += 1
        value = (value + 1) << 7 | data[at] & 0x7F
    return value, at + 1


def _blob_id(data: bytes) -> bytes:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).digest()
