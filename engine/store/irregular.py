"""What a seal knows and no file holds (links, empty folders, pipes), made again where a run is put together anew."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from engine.errors import VerificationFailed
from engine.store.directory import RunDirectory
from engine.store.seal import read_irregular

_HINT = "The archive was damaged or forged; take it from where it was made."


def restore_irregular(run: RunDirectory) -> None:
    """Make them below project/ of a directory in which all files are, and nothing else.

    VerificationFailed for what lies elsewhere, below a link or a file, or cannot be made.
    """
    try:
        items = read_irregular(run)
    except (OSError, ValueError, RecursionError):
        raise VerificationFailed(f"irregular.json of run {run.id} cannot be read.", _HINT) from None
    made = {path: item for path, item in items.items() if item[0] != "uncovered"}
    for path, (kind, _) in made.items():
        parts = path.split("/")
        if parts[0] != run.project.name or len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
            if path == run.project.name and kind == "folder":
                continue
            raise _refused(run, path, "lies outside of project/")
        above = ("/".join(parts[:place]) for place in range(1, len(parts)))
        if any(made.get(folder, ("folder",))[0] != "folder" for folder in above):
            raise _refused(run, path, "lies below something that is no folder")
    # Links come last: until then, every folder on the way to anything is one of ours.
    for path, (kind, target) in sorted(made.items(), key=lambda item: (item[1][0] == "link", item[0])):
        try:
            _make(Path(f"{run.path}/{path}"), kind, target)
        except (OSError, ValueError, UnicodeError) as error:
            raise _refused(run, path, f"cannot be made again: {getattr(error, 'strerror', None) or error}") from None


def _make(path: Path, kind: str, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        path.mkdir(exist_ok=True)
    elif kind == "link":
        path.symlink_to(target)
    elif kind in ("pipe", "socket"):
        os.mknod(path, (stat.S_IFIFO if kind == "pipe" else stat.S_IFSOCK) | 0o600)
    else:
        raise ValueError("it is a device")


def _refused(run: RunDirectory, path: str, why: str) -> VerificationFailed:
    return VerificationFailed(f"{ascii(path)[:200]} of run {run.id} {why}.", _HINT)
