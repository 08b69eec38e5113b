"""Places in the work tree where inputs are mounted: made before a run, gone after it."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from engine.errors import BadInput


def make_mountpoints(project: Path, inputs: Sequence[tuple[Path, str]], user_id: int | None) -> list[Path]:
    """Make an empty file or folder for each input that has no place yet; what was made, outermost first.

    ``inputs`` are (local path, target below the project). Raises BadInput when a target leaves the
    project, goes through a link, is already something of another kind, or when the container's
    user ``user_id`` could not read the input; None when that is no matter.
    """
    made: list[Path] = []
    try:
        for source, target in inputs:
            _make_one(project, source, target, user_id, made)
    except BaseException:
        remove_mountpoints(project, made)
        raise
    return made


def make_folder(project: Path, directory: str) -> None:
    """The notebook's own folder in the work tree, which a snapshot without files there lacks."""
    parts = _parts(directory)
    for depth in range(1, len(parts) + 1):
        _make_directory(project.joinpath(*parts[:depth]), directory, [])


def remove_mountpoints(project: Path, made: Sequence[Path]) -> None:
    """Remove what ``make_mountpoints`` made, as far as it is still there, empty, and not behind a link."""
    for path in reversed(made):
        parents = [path, *path.parents]
        above = parents[1 : parents.index(project)]
        with suppress(OSError):
            if any(not stat.S_ISDIR(parent.lstat().st_mode) for parent in above):
                continue
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                path.rmdir()
            elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
                path.unlink()


def _make_one(project: Path, source: Path, target: str, user_id: int | None, made: list[Path]) -> None:
    parts = _parts(target)
    if not parts:
        raise BadInput(f"The input {source.name} cannot replace the whole project.", "Give it a target: PATH=TARGET.")
    status = source.stat()
    if user_id is not None and status.st_uid != user_id and not status.st_mode & stat.S_IROTH:
        raise BadInput(
            f"The input {source.name} is not readable by the unprivileged user that runs the notebook.",
            "Let others read it (chmod o+r), or run nbseal as the user who owns it.",
        )
    for depth in range(1, len(parts)):
        _make_directory(project.joinpath(*parts[:depth]), target, made)
    place = project.joinpath(*parts)
    if stat.S_ISDIR(status.st_mode):
        _make_directory(place, target, made)
        return
    try:
        if not stat.S_ISREG(place.lstat().st_mode):
            raise BadInput(
                f"The input {target} would replace a folder or a link of the project.", "Choose another target."
            )
    except FileNotFoundError:
        place.touch(exist_ok=False)
        made.append(place)


def _make_directory(path: Path, target: str, made: list[Path]) -> None:
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise BadInput(f"'{target}' goes through {path.name}, which is no folder in the project.")
    except FileNotFoundError:
        path.mkdir()
        made.append(path)


def _parts(target: str) -> tuple[str, ...]:
    path = PurePosixPath(target)
    if path.is_absolute() or ".." in path.parts or "\0" in target:
        raise BadInput(f"'{target}' is not a place inside the project.", "Give a relative path without '..'.")
    return path.parts
