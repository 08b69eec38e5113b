"""An archive on its way in: every file written once into a folder apart, and hashed meanwhile."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.archives import layout
from engine.archives.names import MAX_BYTES, Names, is_work
from engine.archives.stream import HINT, Entry, Tar, opened, shown
from engine.errors import BadInput, EnvironmentFailed, VerificationFailed
from engine.files import read_regular
from engine.progress import Progress

#: What a disk must keep free, for everybody else.
RESERVE = 256 << 20


@dataclass(frozen=True)
class File:
    """One that came: its bytes, counted and hashed as they were written."""

    size: int
    digest: str  # 64 hex digits


@dataclass(frozen=True)
class Received:
    """What came out of an archive, below ``folder``; paths are those below its top folder ``name``."""

    source: str  # what the archive is called, for messages
    name: str
    folder: Path
    files: Mapping[str, File]

    def read(self, path: str) -> bytes:
        """The bytes of a small file; VerificationFailed when the archive does not have it."""
        if path not in self.files:
            raise VerificationFailed(f"{self.source} has no {path}.", HINT)
        return read_regular(self.folder / path, self.files[path].size)

    def payload(self, folder: str) -> dict[str, File]:
        """What lies in a folder of the payload, by the path below it."""
        start = f"{layout.PAYLOAD}/{folder}/"
        return {path.removeprefix(start): file for path, file in self.files.items() if path.startswith(start)}

    def refused(self, path: str, why: str) -> VerificationFailed:
        """The error about a file."""
        return VerificationFailed(f"{shown(path)} in {self.source} {why}.", HINT)


def receive(path: Path, folder: Path, progress: Progress) -> Received:
    """Write all files of an archive below the new folder ``folder``, as far as their names and sizes allow.

    Nothing is known of their content then but its digests. VerificationFailed names the entry that is refused;
    BadInput when ``path`` is no archive at all; EnvironmentFailed when the disk has no room.
    """
    intake = Intake(path.name, folder)
    with progress.task(f"Reading {path.name}") as advance:
        intake.unpack(path, advance)
    return intake.received()


class Intake:
    """The files of an archive on their way into a new folder, each of which has a name and a size that it may have."""

    def __init__(self, source: str, folder: Path) -> None:
        folder.mkdir()
        self._source, self._folder = source, folder
        self._names, self._files = Names(), dict[str, File]()
        self._room, self._total = shutil.disk_usage(folder).free - RESERVE, 0

    def unpack(self, path: Path, advance: Callable[[int], None]) -> None:
        """Write the files of a tar."""
        with opened(path) as (stream, most):
            tar = Tar(stream, self._source)
            for entry in tar:
                where = self._admit(entry.name, entry.size, min(most, MAX_BYTES), self._room, folder=entry.folder)
                if entry.folder:
                    continue
                if entry.executable and not is_work(where):
                    raise tar.refused(entry.name, "is executable, and only what lies in a project/ can be")
                self._files[where] = _write(tar, entry, self._folder / where, advance)

    def expect(self, path: str, size: int) -> None:
        """Let in a file that comes by itself and after the tar; ``path`` is below the top folder.

        Whether there is room for it is for the caller to know: it may be on the disk already.
        """
        self._admit(f"{self._names.top}/{path}", size, MAX_BYTES, MAX_BYTES, folder=False)

    def place(self, path: str) -> Path:
        """Where a file that is expected belongs."""
        place = self._folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def came(self, path: str, file: File) -> None:
        """A file that was expected is in its place."""
        self._files[path] = file

    def received(self) -> Received:
        """All of it, when all came."""
        if empty := [name for name in self._names.empty_folders() if name != layout.ATTESTATIONS]:
            raise VerificationFailed(f"{shown(empty[0])} in {self._source} is a folder that holds nothing.", HINT)
        return Received(self._source, self._names.top, self._folder, self._files)

    def _admit(self, name: str, size: int, most: int, room: int, *, folder: bool) -> str:
        """The path of an entry below the top folder."""
        try:
            where, limit = self._names.take(name, folder=folder)
        except ValueError as error:
            if not self._files and not self._names.top:
                raise BadInput(
                    f"{self._source} is a tar, but not an archive: {shown(name)} {error}.",
                    "Give the file that `nbseal archive` wrote.",
                ) from None
            raise self._refused(name, str(error)) from None
        if folder:
            return where
        if size > limit:
            raise self._refused(name, f"is larger than the {limit:,} bytes that it may have")
        self._total += size
        if self._total > most:
            raise self._refused(name, "says that it has more bytes than the file can hold")
        if self._total > room:
            raise EnvironmentFailed(
                f"There is no room for {self._source}: with {shown(name)} it has {self._total:,} bytes.",
                f"Free some of the disk of {self._folder.parent.parent}, or use an NBSEAL_HOME on another disk.",
            )
        return where

    def _refused(self, name: str, why: str) -> VerificationFailed:
        return VerificationFailed(f"{shown(name)} in {self._source} {why}.", HINT)


def _write(tar: Tar, entry: Entry, path: Path, advance: Callable[[int], None]) -> File:
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o555 if entry.executable else 0o444
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for data in tar.content():
            digest.update(data)
            file.write(data)
            advance(len(data))
        os.fchmod(descriptor, mode)  # whatever the umask
    return File(entry.size, digest.hexdigest())
