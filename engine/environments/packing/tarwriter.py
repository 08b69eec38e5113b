"""A tar of which every byte is decided by what is put in."""

from __future__ import annotations

import hashlib
import tarfile
from typing import BinaryIO

CHUNK = 1 << 20


class TarWriter:
    """Writes tar entries in GNU format as they are given, hashing while it writes.

    The caller sorts. Owner names are never written and every time is ``mtime`` (seconds since 1970), so
    that the bytes depend on paths, modes, numeric owners and content only.
    """

    def __init__(self, file: BinaryIO, mtime: int) -> None:
        self._file = file
        self._mtime = mtime
        self._hash = hashlib.sha256()
        self.size = 0

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def add(
        self,
        path: str,
        *,
        kind: bytes = tarfile.REGTYPE,
        mode: int = 0o644,
        owner: tuple[int, int] = (0, 0),
        target: str = "",
        size: int = 0,
        content: BinaryIO | None = None,
    ) -> None:
        """Add one entry; exactly ``size`` bytes are read from ``content`` (OSError when there are fewer)."""
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.linkname, info.size = kind, mode, target, size
        info.uid, info.gid = owner
        info.mtime = self._mtime
        self._write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        left = size
        while content is not None and left:
            data = content.read(min(CHUNK, left))
            if not data:
                raise OSError(f"{path} ends {left} bytes early")
            self._write(data)
            left -= len(data)
        self._write(bytes(-size % tarfile.BLOCKSIZE))

    def finish(self) -> str:
        """Write the end of the archive; returns ``sha256:`` and the digest of everything written."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        return "sha256:" + self._hash.hexdigest()
