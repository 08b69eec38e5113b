"""A work tree that came as one tar, because a name in it can stand in no bag, put back into its folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from engine.archives import layout
from engine.archives.receive import RESERVE
from engine.archives.stream import Tar, opened, shown
from engine.errors import EnvironmentFailed, VerificationFailed

#: As many as a seal covers; see ``engine.store.seal``.
_MAX_ENTRIES = 250_000
_MAX_PATH = 3000


def unpack(run: Path) -> None:
    """Replace project.tar in a run's folder by project/. VerificationFailed names the member that is refused."""
    packed = run / layout.PROJECT_TAR
    if (run / layout.PROJECT).exists():
        raise VerificationFailed(f"Run {run.name} has project/ and project.tar at once.")
    room = shutil.disk_usage(run).free - RESERVE
    count = total = 0
    with opened(packed) as (stream, most):
        tar = Tar(stream, f"project.tar of run {run.name}")
        for entry in tar:
            count, total = count + 1, total + entry.size
            if why := _wrong(entry.name, folder=entry.folder):
                raise tar.refused(entry.name, why)
            if count > _MAX_ENTRIES:
                raise tar.refused(entry.name, f"is one of more than {_MAX_ENTRIES:,}")
            if total > most:
                raise tar.refused(entry.name, "says that it has more bytes than the file can hold")
            if total > room:
                raise EnvironmentFailed(
                    f"There is no room for the work tree of run {run.name}: with {shown(entry.name)} it has {total:,} "
                    "bytes.",
                    "Free some of the disk, or use an NBSEAL_HOME on another disk.",
                )
            try:
                _write(tar, run / entry.name, 0o555 if entry.executable else 0o444)
            except OSError as error:  # twice, below a file, a name that this file system does not take
                raise tar.refused(entry.name, f"cannot be written: {error.strerror}") from None
    packed.unlink()


def _wrong(name: str, *, folder: bool) -> str:
    first, *parts = name.split("/")
    if folder:
        return "is a folder, and only files can be"
    if first != layout.PROJECT or not parts or any(part in ("", ".", "..") for part in parts) or "\0" in name:
        return "is not a plain path below project/"
    return "has too long a name" if len(os.fsencode(name)) > _MAX_PATH else ""


def _write(tar: Tar, path: Path, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for data in tar.content():
            file.write(data)
        os.fchmod(descriptor, mode)
