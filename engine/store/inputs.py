"""Declared inputs: data files that a notebook reads, hashed, kept and mounted where it expects them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from engine.digests import PREFIX
from engine.errors import BadInput, VerificationFailed
from engine.files import open_regular
from engine.model import Input
from engine.progress import Progress
from engine.settings import Home
from engine.store.blobs import blob_path, damaged, keep, open_blob
from engine.store.source import folder_in, is_inside, lexical

#: Larger inputs are hashed but not kept: they must still exist, unchanged, at a rerun.
KEPT_BYTES = 1 << 30
_CHUNK = 8 << 20


def keep_inputs(specs: Sequence[str], notebook: Path, root: Path, home: Home, progress: Progress) -> tuple[Input, ...]:
    """All ``--input PATH[=TARGET]`` of a run, sorted by target, so that the order typed does not matter.

    BadInput as for ``keep_input``, and when two are to stand in the same place.
    """
    inputs = sorted((keep_input(spec, notebook, root, home, progress) for spec in specs), key=lambda item: item.target)
    for one, other in pairwise(inputs):
        if one.target == other.target or other.target.startswith(one.target + "/"):
            raise BadInput(
                f"The inputs {one.path} and {other.path} are both to be mounted at '{one.target}'.",
                "Give one of them another place: --input PATH=TARGET.",
            )
    return tuple(inputs)


def keep_input(spec: str, notebook: Path, root: Path, home: Home, progress: Progress) -> Input:
    """One ``PATH[=TARGET]``: hash the file and keep it (up to KEPT_BYTES).

    PATH is relative to the current folder and may be a link. TARGET is relative to the project;
    without it, the file stays where it is inside the project, or else comes to lie beside the
    notebook. BadInput for a path that is no readable regular file, or a target outside the project.
    """
    text, target = _split(spec)
    try:
        path = lexical(Path(text).expanduser())
    except RuntimeError:  # "~someone" who is unknown
        path = lexical(Path(text))
    if path.is_dir():
        raise BadInput(
            f"The input '{text}' is a folder, and only files can be inputs.",
            "Declare its files one by one, or put them into one archive that the notebook unpacks.",
        )
    target = target or _default_target(path, notebook, root)
    if not is_inside(target):
        raise BadInput(
            f"'{target}' is not a place inside the project for the input {text}.",
            "Give a relative path with forward slashes and without '..': --input PATH=data/file.csv.",
        )
    try:
        with open_regular(path.resolve()) as file:  # the user names it, so a link is followed
            size = os.fstat(file.fileno()).st_size
            with progress.task(f"reading the input {path.name}", size) as advance:
                if size <= KEPT_BYTES:
                    digest, size = keep(home, file, advance)
                    return Input(target, digest, size, kept=True, path=str(path))
                digest, size = _hash(file, advance)
                return Input(target, digest, size, kept=False, path=str(path))
    except FileNotFoundError:
        raise BadInput(f"There is no input file '{text}'.", "Paths are relative to the current folder.") from None
    except OSError as error:
        raise BadInput(
            f"The input '{text}' cannot be read: {error.strerror or error}.", "Give a readable regular file."
        ) from error


def materialise(item: Input, home: Home) -> Path:
    """A local file that has the bytes of an input now, to be mounted.

    VerificationFailed when kept bytes are gone or damaged, or when a file too large to be kept is
    no longer at its path with the same content.
    """
    if item.kept:
        with open_blob(home, item.digest) as file:
            if _hash(file, lambda _: None)[0] != item.digest:
                raise damaged(home, item.digest)
        return blob_path(home, item.digest)
    path = Path(item.path)
    try:
        with open_regular(path.resolve()) as file:
            unchanged = os.fstat(file.fileno()).st_size == item.size and _hash(file, lambda _: None)[0] == item.digest
    except OSError:
        raise VerificationFailed(
            f"The input {item.target} was too large to be kept, and it is no longer at {path}.",
            f"Put the file with {item.digest} back there.",
        ) from None
    if not unchanged:
        raise VerificationFailed(
            f"The input {item.target} was too large to be kept, and {path} was changed since.",
            f"Put the file with {item.digest} back there.",
        )
    return path.resolve()


def _is_file(path: str) -> bool:
    try:
        return Path(path).expanduser().is_file()
    except (OSError, RuntimeError):  # a name too long, a user unknown
        return False


def _split(spec: str) -> tuple[str, str]:
    # A file name may hold "=": what exists as a whole is the path.
    if "=" not in spec or _is_file(spec):
        return spec, ""
    path, _, target = spec.rpartition("=")
    if not path or not target:
        raise BadInput(f"'{spec}' is not an input.", "Write --input PATH or --input PATH=TARGET.")
    return path, target


def _default_target(path: Path, notebook: Path, root: Path) -> str:
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return (PurePosixPath(folder_in(root, notebook)) / path.name).as_posix()


def _hash(file: BinaryIO, advance: Callable[[int], None]) -> tuple[str, int]:
    hasher = hashlib.sha256()
    size = 0
    while chunk := file.read(_CHUNK):
        hasher.update(chunk)
        size += len(chunk)
        advance(len(chunk))
    return PREFIX + hasher.hexdigest(), size
