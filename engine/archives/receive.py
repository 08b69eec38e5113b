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
    folder.mkdir()
    names = Names()
    files: dict[str, File] = {}
    room = shutil.disk_usage(folder).free - RESERVE
    total = 0
    with opened(path) as (stream, most), progress.task(f"Reading {path.name}") as advance:
        tar = Tar(stream, path.name)
        for entry in tar:
            try:
                where, limit = names.take(entry.name, folder=entry.folder)
            except ValueError as error:
                if not files and not names.top:
                    raise BadInput(
                        f"{path.name} is a tar, but not an archive: {shown(entry.name)} {error}.",
                        "Give the file that `nbseal archive` wrote.",
                    ) from None
                raise tar.refused(entry.name, str(error)) from None
            if entry.folder:
                continue
            if entry.executable and not is_work(where):
                raise tar.refused(entry.name, "is executable, and only what lies in a project/ can be")
            if entry.size > limit:
                raise tar.refused(entry.name, f"is larger than the {limit:,} bytes that it may have")
            total += entry.size
            if total > min(most, MAX_BYTES):
                raise tar.refused(entry.name, "says that it has more bytes than the file can hold")
            if total > room:
                raise EnvironmentFailed(
                    f"There is no room for {path.name}: with {shown(entry.name)} it has {total:,} bytes.",
                    f"Free some of the disk of {folder.parent.parent}, or import into another NBSEAL_HOME.",
                )
            files[where] = _write(tar, entry, folder / where, advance)
    if empty := [name for name in names.empty_folders() if name != layout.ATTESTATIONS]:
        raise VerificationFailed(f"{shown(empty[0])} in {path.name} is a folder that holds nothing.", HINT)
    return Received(path.name, names.top, folder, files)


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
