"""What a seal knows and no file holds (links, empty folders, pipes), made again where a run is put together anew."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path

from engine.errors import VerificationFailed
from engine.store.directory import RunDirectory
from engine.store.seal import MAX_ENTRIES, read_irregular

_HINT = "The archive was damaged or forged; take it from where it was made."
#: What a packed work tree may have, and more than any other; a seal covers no longer ones anywhere.
_MAX_PATH = 3000


def restore_irregular(run: RunDirectory) -> None:
    """Make them below project/ of a directory in which all files are, and nothing else.

    VerificationFailed for what lies elsewhere, below a link or a file, or cannot be made.
    """
    try:
        items = read_irregular(run)
    except (OSError, ValueError, RecursionError):
        raise VerificationFailed(f"irregular.json of run {run.id} cannot be read.", _HINT) from None
    if len(items) > MAX_ENTRIES:
        raise VerificationFailed(f"irregular.json of run {run.id} has more than {MAX_ENTRIES:,} entries.", _HINT)
    made = {path: item for path, item in items.items() if item[0] != "uncovered"}
    ordered = sorted(made, key=lambda path: path.replace("/", "\0"))  # what lies below something comes right after it
    _check(run, ordered, made)
    # Links come last: until then, every folder on the way to anything is one of ours.
    others = sorted((path for path in ordered if made[path][0] != "folder"), key=lambda path: made[path][0] == "link")
    for path in chain(_folders(run, ordered, made), others):
        try:
            _make(f"{run.path}/{path}", *made.get(path, ("folder", "")))
        except (OSError, ValueError, UnicodeError) as error:
            raise _refused(run, path, f"cannot be made again: {getattr(error, 'strerror', None) or error}") from None


def _check(run: RunDirectory, ordered: list[str], made: Mapping[str, tuple[str, str]]) -> None:
    """That every path lies below project/, and below nothing that is no folder."""
    above = "\0"  # the last that is no folder
    for path in ordered:
        if len(path) > _MAX_PATH or "\0" in path:
            raise _refused(run, path, "has too long a name, or one that no file can have")
        first, *parts = path.split("/")
        if first != run.project.name or any(part in ("", ".", "..") for part in parts):
            raise _refused(run, path, "lies outside of project/")
        if not parts and made[path][0] != "folder":
            raise _refused(run, path, "lies outside of project/")
        if path.startswith(f"{above}/"):
            raise _refused(run, path, "lies below something that is no folder")
        if made[path][0] != "folder":
            above = path


def _folders(run: RunDirectory, ordered: list[str], made: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """All folders that have to be there, each after the one that it lies in, and each once."""
    count = 0
    before: list[str] = []
    for path in ordered:
        parts = path.split("/")
        last = len(parts) if made[path][0] == "folder" else len(parts) - 1
        same = 0
        while same < min(len(before), last) and before[same] == parts[same]:
            same += 1
        count += last - same
        if count > MAX_ENTRIES:
            raise _refused(run, path, f"is one of more than {MAX_ENTRIES:,} folders")
        yield from ("/".join(parts[:place]) for place in range(same + 1, last + 1))
        before = parts[:last]


def _make(path: str, kind: str, target: str) -> None:
    if kind == "folder":
        with suppress(FileExistsError):  # files of the archive may lie in it; anything else, the seal's check finds
            os.mkdir(path)  # noqa: PTH102 (what pathlib does beside is slow for many)
    elif kind == "link":
        Path(path).symlink_to(target)
    elif kind in ("pipe", "socket"):
        os.mknod(path, (stat.S_IFIFO if kind == "pipe" else stat.S_IFSOCK) | 0o600)
    else:
        raise ValueError("it is a device")


def _refused(run: RunDirectory, path: str, why: str) -> VerificationFailed:
    return VerificationFailed(f"{ascii(path)[:200]} of run {run.id} {why}.", _HINT)
