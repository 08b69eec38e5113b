"""A tar read from its first byte to its last, strictly: regular files and folders, and nothing that has to be believed.

Not by ``tarfile`` as a whole, which reads extended headers of any size into memory, and passes over what it does not
know. What is taken of the formats is ustar, with GNU's long names and binary sizes or POSIX's ``path`` and ``size``.
Zstandard is unpacked on the way, with a bound on its window. There is none on how much comes out of how little, because
an honest run may have left a gigabyte of zeros. What comes out was announced by a header, which whoever reads judges
before the content is touched; what no header announces (headers, padding, the end) has bounds of its own here.
"""

from __future__ import annotations

import os
import re
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from engine.errors import BadInput, VerificationFailed
from engine.files import open_regular

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
_ZSTD = b"\x28\xb5\x2f\xfd"
#: As ``zstd -d`` has it without --long.
_WINDOW = 128 << 20
#: Longer than any name that is let through; what is read of an extended header.
MAX_HEADER = 8 << 10
#: A tar ends with two empty blocks and is filled up to a record of twenty.
_MAX_PADDING = 20 * _BLOCK
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.GNUTYPE_LONGLINK: "a link",
    tarfile.XGLTYPE: "a header for all entries",
}
_PAX = re.compile(rb"([1-9][0-9]{0,4}) ([^=\n]{1,40})=")
#: What else a header may say, and nobody reads.
_IDLE = (b"mtime", b"atime", b"ctime")

HINT = "Take the file as `nbseal archive` wrote it, whole and unchanged."


@dataclass(frozen=True)
class Entry:
    """What a header says. A name of bytes that are not UTF-8 holds lone surrogates (PEP 383)."""

    name: str
    size: int
    folder: bool
    executable: bool


class Readable(Protocol):
    """Bytes in order."""

    def read(self, size: int, /) -> bytes: ...


class _Unpacked:
    """What a compressed file holds."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        self._name = name
        unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        self._stream = unpacker.stream_reader(file, read_across_frames=True)

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except (self._error, MemoryError) as error:
            raise VerificationFailed(f"{self._name} cannot be unpacked: {error}.", HINT) from None


@contextmanager
def opened(path: Path) -> Iterator[tuple[Readable, int]]:
    """The bytes of a tar, compressed or not, and how many it can be at most. BadInput when there is no file to read."""
    try:
        file = open_regular(path.resolve())  # the user names it, so a link is followed
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{path} cannot be read: {reason}.", "Give the file that `nbseal archive` wrote.") from None
    with file:
        start = file.read(len(_ZSTD))
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        if start == _ZSTD:
            yield _Unpacked(file, path.name), sys.maxsize  # which its size does not say
        else:
            yield file, size


class Tar:
    """The entries of a tar. The content of each is read with ``content`` before the next entry is asked for."""

    def __init__(self, file: Readable, name: str) -> None:
        self._file, self._name = file, name
        self._last = ""
        self._left = self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        long_name: str | None = None
        long_size: int | None = None
        while (info := self._header()) is not None:
            if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
                if long_name is not None or long_size is not None:
                    raise self.refused(info.name, "has two extended headers")
                data = self._extension(info)
                if info.type == tarfile.XHDTYPE:
                    long_name, long_size = _pax(data, self)
                else:
                    long_name = _text(data.removesuffix(b"\0"))
                continue
            name = info.name if long_name is None else long_name
            size = info.size if long_size is None else long_size
            folder = info.type == tarfile.DIRTYPE
            if not folder and info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise self.refused(name, f"is {_KINDS.get(info.type, 'of an unknown kind')}, and only files can be")
            if size < 0 or (folder and size):
                raise self.refused(name, "has an impossible size")
            if folder:
                name = name.removesuffix("/")
            self._last, self._left, self._padding = name, size, -size % _BLOCK
            yield Entry(name, size, folder, bool(info.mode & 0o100))
            if self._left:
                raise AssertionError("the content of an entry was not read")
            self._skip_padding()
            long_name = long_size = None
        if long_name is not None or long_size is not None:
            raise self.refused(long_name or "", "has a name and nothing else")
        self._end()

    def content(self) -> Iterator[bytes]:
        """The bytes of the entry that was given last."""
        while self._left:
            data = self._file.read(min(_CHUNK, self._left))
            if not data:
                raise VerificationFailed(f"{self._name} ends within {shown(self._last)}.", HINT)
            self._left -= len(data)
            yield data

    def refused(self, name: str, why: str) -> VerificationFailed:
        """The error about an entry."""
        return VerificationFailed(f"{shown(name)} in {self._name} {why}.", HINT)

    def _header(self) -> tarfile.TarInfo | None:
        """The next header; None at the end of all."""
        block = self._block()
        if not self._last and (len(block) < _BLOCK or not any(block)):
            raise BadInput(f"{self._name} is not an archive.", "Give the file that `nbseal archive` wrote.")
        if len(block) < _BLOCK:
            raise VerificationFailed(f"{self._name} ends early, after {shown(self._last)}.", HINT)
        if not any(block):
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            if not self._last:
                raise BadInput(
                    f"{self._name} is not an archive.", "Give the file that `nbseal archive` wrote."
                ) from None
            raise VerificationFailed(f"{self._name} is damaged after {shown(self._last)}.", HINT) from None
        self._last = self._last or info.name or "its first entry"
        return info

    def _block(self) -> bytes:
        block = b""
        while len(block) < _BLOCK and (data := self._file.read(_BLOCK - len(block))):
            block += data
        return block

    def _extension(self, info: tarfile.TarInfo) -> bytes:
        if not 0 < info.size <= MAX_HEADER:
            raise self.refused(info.name, "has an extended header of an impossible size")
        self._left, self._padding = info.size, -info.size % _BLOCK
        data = b"".join(self.content())
        self._skip_padding()
        return data

    def _skip_padding(self) -> None:
        left = self._padding
        while left and (data := self._file.read(left)):
            if any(data):
                raise self.refused(self._last, "is followed by bytes that belong to nothing")
            left -= len(data)
        if left:
            raise VerificationFailed(f"{self._name} ends early, after {shown(self._last)}.", HINT)

    def _end(self) -> None:
        """After the first empty block: a second one, and nothing but more of that kind."""
        rest = 0
        while data := self._file.read(_CHUNK):
            rest += len(data)
            if any(data) or rest > _MAX_PADDING:
                raise VerificationFailed(f"{self._name} has bytes after its end.", HINT)
        if rest < _BLOCK:
            raise VerificationFailed(f"{self._name} ends early, after {shown(self._last)}.", HINT)


def shown(name: str) -> str:
    """A name as it can be printed, cut off where it is long."""
    printable = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name[:200])
    return f"'{printable}'" + ("..." if len(name) > 200 else "")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _pax(data: bytes, tar: Tar) -> tuple[str | None, int | None]:
    """The name and the size that a header of POSIX.1-2001 gives."""
    name: str | None = None
    size: int | None = None
    while data:
        match = _PAX.match(data)
        length = int(match[1]) if match else 0
        if match is None or length > len(data) or length <= match.end() or data[length - 1 : length] != b"\n":
            raise tar.refused("", "has a damaged extended header")
        value = data[match.end() : length - 1]
        data = data[length:]
        if match[2] == b"path" and name is None:
            name = _text(value)
        elif match[2] == b"size" and size is None and re.fullmatch(rb"[0-9]{1,15}", value):
            size = int(value)
        elif match[2] not in _IDLE:
            raise tar.refused(name or "", f"has an extended header with {shown(_text(match[2]))}")
    return name, size
