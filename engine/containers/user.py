"""Who a container runs as, and whose the files are meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: User and group id in the container when the caller is root: of nobody on common systems.
UNPRIVILEGED = 10001


@dataclass(frozen=True)
class User:
    """The user of a container: the caller's ids, or unprivileged ones for root."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"

    def passwd(self, name: str, home: str) -> str:
        """/etc/passwd with root and this user, who has the same name whatever the id (passwd(5))."""
        return f"root:x:0:0:root:/root:/usr/sbin/nologin\n{name}:x:{self.uid}:{self.gid}:{name}:{home}:/bin/bash\n"

    def group(self, name: str) -> str:
        """/etc/group to go with it (group(5))."""
        own = f"{name}:x:{self.gid}:\n"
        return own if self.gid == 0 else f"root:x:0:\n{own}"


def find_user() -> User:
    """The caller as the container's user; never root, and never root's group."""
    uid, gid = os.getuid(), os.getgid()
    return User(uid or UNPRIVILEGED, gid or UNPRIVILEGED)


def hand_over(folder: Path, user: User) -> None:
    """Give a tree that we made to the container's user, when the caller is root. Links are not followed."""
    if os.getuid() == 0:
        for path, _ in _walk(folder):
            os.chown(path, user.uid, user.gid, follow_symlinks=False)


def take_back(folder: Path) -> None:
    """Make a tree the caller's again and readable, once nothing runs in it any more.

    Owners go back to the caller if that is root; folders and files that their owner could not read
    are opened up for the owner. Links are not followed, and what cannot be changed stays as it is.
    """
    root = os.getuid() == 0
    with suppress(OSError):
        for path, entry in _walk(folder):
            with suppress(OSError):
                needed = 0o700 if stat.S_ISDIR(entry.st_mode) else 0o400 if stat.S_ISREG(entry.st_mode) else 0
                if needed:
                    # Before the owner changes: a file that the notebook made setuid must never be setuid root.
                    os.chmod(path, entry.st_mode & 0o777 | needed)  # noqa: PTH101 - no link: see _walk
                if root:
                    os.chown(path, 0, 0, follow_symlinks=False)


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every path of a tree and its own status, a folder before what is in it; unreadable folders are skipped."""
    waiting = [str(folder)]
    yield str(folder), folder.lstat()
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    yield entry.path, entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue
