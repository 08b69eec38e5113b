"""Writing so that a killed process leaves the old bytes or the new ones, never half of them."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


def write_atomic(path: Path, data: bytes, mode: int = 0o644, *, durable: bool = True) -> None:
    """Write to a temporary name beside ``path``, fsync, rename; without fsync what need not outlive a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def json_bytes(value: Any) -> bytes:
    """Indented JSON with a final newline."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """The same in a file, atomically; see ``write_atomic``."""
    write_atomic(path, json_bytes(value), durable=durable)


def rename_new(source: Path, target: Path) -> None:
    """Give ``source`` a name that nobody has; FileExistsError when somebody does (renameat2(2), RENAME_NOREPLACE).

    On file systems that know no such step it is a plain rename.
    """
    here, no_replace = -100, 1  # AT_FDCWD, RENAME_NOREPLACE
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    failed = -1
    if rename is not None:
        failed = rename(here, os.fsencode(source), here, os.fsencode(target), no_replace)
    if failed:
        code = ctypes.get_errno() if rename is not None else errno.ENOSYS
        if code not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            raise OSError(code, os.strerror(code), str(target))
        source.rename(target)


def sync_directory(path: Path) -> None:
    """Make a rename in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold an advisory lock on ``path`` (flock(2)); yields False when it is held by another and ``wait`` is off.

    The kernel drops the lock when its holder dies, however it dies, so a lock that can be
    taken proves that nobody is at work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading where somebody hostile may have put something else.

    A link is not followed and a FIFO or a device is not waited for: OSError for everything that is
    not a regular file. Only the last part of ``path`` is guarded, so its folder must be trusted.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a regular file (see ``open_regular``); OSError EFBIG when there are more than ``limit``."""
    with open_regular(path) as file:
        # Asking for the whole limit would reserve that much memory for a file of ten bytes.
        data = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"more than {limit} bytes", str(path))
    return data


def remove_tree(path: Path) -> None:
    """Remove a folder that a notebook may have filled; nothing happens when it is not there.

    Links are not followed, folders without permissions are opened up, and a tree deeper than the
    longest path or Python's recursion limit goes too: grandchildren are moved up before a folder is
    removed, so that no path here is longer than ``path`` and two names.
    """
    if path.is_symlink() or not path.exists():
        path.unlink(missing_ok=True)
        return
    while folders := _empty_files(path):
        for folder in folders:
            for deeper in _empty_files(folder):
                deeper.chmod(0o700)
                deeper.rename(path / f".{secrets.token_hex(8)}")
            folder.rmdir()
    path.rmdir()


def _empty_files(folder: Path) -> list[Path]:
    """Remove what is not a folder in ``folder``; the folders that are left."""
    folder.chmod(0o700)
    folders = []
    with os.scandir(folder) as listing:
        entries = list(listing)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            folders.append(Path(entry.path))
        else:
            Path(entry.path).unlink()
    return folders
