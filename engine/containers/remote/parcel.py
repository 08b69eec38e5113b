"""The run directory on its way to a host: one tar, written as it is sent."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from engine.containers.launch import PROJECT, SPOOL, Folders
from engine.containers.user import User

_CHUNK = 1 << 20


def parcel(folders: Folders, user: User) -> Iterator[bytes]:
    """A POSIX tar (pax) of work tree, spool and identity, rooted at /; the container's user owns the first two."""
    for name in ("passwd", "group"):
        yield from _file(folders.identity / name, f"etc/{name}", User(0, 0))
    for folder, target in ((folders.spool, SPOOL), (folders.project, PROJECT)):
        yield from _tree(folder, target.lstrip("/"), user)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _tree(folder: Path, target: str, user: User) -> Iterator[bytes]:
    yield _header(folder.lstat(), target, user)
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        path, name = Path(entry.path), f"{target}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _tree(path, name, user)
        elif entry.is_symlink():
            yield _header(path.lstat(), name, user, link=str(path.readlink()))
        elif entry.is_file(follow_symlinks=False):
            yield from _file(path, name, user)


def _file(path: Path, name: str, user: User) -> Iterator[bytes]:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        yield _header(status, name, user)
        left = status.st_size
        while left:
            data = file.read(min(_CHUNK, left))
            if not data:
                raise OSError(f"{path} became shorter while it was sent")
            left -= len(data)
            yield data
        yield bytes(-status.st_size % tarfile.BLOCKSIZE)


def _header(status: os.stat_result, name: str, user: User, *, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    info.uid, info.gid = user.uid, user.gid
    if link:
        info.type, info.linkname = tarfile.SYMTYPE, link
    elif stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    else:
        info.size = status.st_size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
