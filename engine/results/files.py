"""What the run wrote, changed or deleted in its work tree, which is hostile."""

from __future__ import annotations

import errno
import hashlib
import mimetypes
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

from engine.digests import PREFIX, sha256_bytes
from engine.errors import BadInput
from engine.files import open_regular
from engine.model import Limits, OutputFile, Source

MAX_FILES = 100_000
_CHUNK = 8 << 20
_IGNORED = frozenset({"__pycache__", ".ipynb_checkpoints"})
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: freedesktop.org's shared MIME-info has names for what is not a file with content.
_LINK = "inode/symlink"
_SPECIAL = {
    stat.S_IFIFO: "inode/fifo",
    stat.S_IFSOCK: "inode/socket",
    stat.S_IFCHR: "inode/chardevice",
    stat.S_IFBLK: "inode/blockdevice",
}


def harvest_files(
    project: Path,
    source: Source,
    inputs: Collection[str] = (),
    max_bytes: int = Limits.work_tree,
    hashed: Callable[[Path], tuple[int, str]] | None = None,
) -> tuple[OutputFile, ...]:
    """The difference between the work tree and the snapshot that it began as, sorted by path.

    ``inputs`` are the targets of mounted inputs: what lies there is a mount point. Links are
    reported with the digest of their target's text and never followed; a FIFO, socket or device
    is reported by its kind and never opened. A deleted file has the size and digest that it had.
    __pycache__ and .ipynb_checkpoints do not count. ``hashed`` gives size and digest of a regular
    file where they are known, so that it is not read.
    BadInput when there are more than MAX_FILES entries or ``max_bytes`` to read.
    """
    before = {printable(file.path): file for file in source.files}
    mounted = {printable(target) for target in inputs}
    found: list[OutputFile] = []
    seen: set[str] = set()
    budget = max_bytes
    for path, entry in _walk(project):
        if path in mounted:
            continue
        seen.add(path)
        kind, size, digest, media = _describe(entry, budget, hashed or _hash)
        budget -= size
        old = before.get(path)
        if old is None or (old.kind, old.digest) != (kind, digest):
            found.append(OutputFile(path, "added" if old is None else "changed", size, digest, media))
    for path, old in before.items():
        if path not in seen and path not in mounted and not _IGNORED.intersection(path.split("/")):
            found.append(OutputFile(path, "deleted", old.size, old.digest, media_type(path)))
    return tuple(sorted(found, key=lambda item: item.path))


def read_output(project: Path, item: OutputFile, limit: int) -> bytes | None:
    """The bytes of a harvested file below ``project``; None when they are not those recorded or more than ``limit``.

    No part of its path is followed when it is a link.
    """
    *folders, name = map(_on_disk, item.path.split("/"))
    if any(part in ("", ".", "..") or "/" in part for part in (*folders, name)):
        return None
    with ExitStack() as opened:
        try:
            folder = os.open(project, os.O_RDONLY | os.O_DIRECTORY)
            opened.callback(os.close, folder)
            for part in folders:
                folder = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                opened.callback(os.close, folder)
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=folder)
            opened.callback(os.close, file)
            if not stat.S_ISREG(os.fstat(file).st_mode) or os.fstat(file).st_size > limit:
                return None
            with os.fdopen(os.dup(file), "rb") as stream:
                data = stream.read(limit)
        except (OSError, ValueError):
            return None
    return data if sha256_bytes(data) == item.sha256 else None


def _walk(project: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything but folders, with its path as text."""
    pending = [""]
    count = 0
    while pending:
        folder = pending.pop()
        for entry in _list(project / folder):
            count += 1
            if count > MAX_FILES:
                raise _too_much(f"more than {MAX_FILES:,} files and folders")
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _IGNORED:
                    pending.append(path)
            else:
                yield printable(path), entry


def _list(folder: Path) -> list[os.DirEntry[str]]:
    try:
        if not os.access(folder, os.R_OK | os.X_OK):
            folder.chmod(0o700)  # the notebook closed it, and it is ours
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        what = "folders nested deeper than a path can be" if error.errno == errno.ENAMETOOLONG else "a closed folder"
        raise _too_much(what) from error


def _describe(
    entry: os.DirEntry[str], budget: int, hashed: Callable[[Path], tuple[int, str]]
) -> tuple[str, int, str, str]:
    """Kind as in SourceFile, size, digest and media type of one entry."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError as error:
        raise _too_much("a file that cannot be looked at: its path may be too long") from error
    if stat.S_ISLNK(status.st_mode):
        target = os.fsencode(os.readlink(entry.path))  # noqa: PTH115 (pathlib would tidy the text)
        return "link", len(target), sha256_bytes(target), _LINK
    if not stat.S_ISREG(status.st_mode):
        return "special", 0, sha256_bytes(b""), _SPECIAL.get(stat.S_IFMT(status.st_mode), "application/octet-stream")
    if status.st_size > budget:  # a sparse file costs a notebook nothing and us hours
        raise _too_much("more bytes than its work tree may have")
    size, digest = hashed(Path(entry.path))
    executable = status.st_mode & stat.S_IXUSR
    return "executable" if executable else "file", size, digest, media_type(entry.name)


def _hash(path: Path) -> tuple[int, str]:
    try:
        file = open_regular(path)
    except PermissionError:
        path.chmod(0o600)
        file = open_regular(path)
    hasher = hashlib.sha256()
    size = 0
    with file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
    return size, PREFIX + hasher.hexdigest()


def media_type(name: str) -> str:
    """The type that a file's name says it has."""
    kind, encoding = _TYPES.guess_type(name)
    if encoding is not None:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}.get(
            encoding, "application/octet-stream"
        )
    return kind or "application/octet-stream"


def _types() -> mimetypes.MimeTypes:
    # Python's own table only: the module's functions would read the machine's mime.types too.
    types = mimetypes.MimeTypes()
    for suffix, kind in {
        ".ipynb": "application/x-ipynb+json",
        ".md": "text/markdown",
        ".parquet": "application/vnd.apache.parquet",
        ".jsonl": "application/jsonl",
        ".yml": "application/yaml",
        ".yaml": "application/yaml",
    }.items():
        types.add_type(kind, suffix)
    return types


_TYPES = _types()


def _too_much(what: str) -> BadInput:
    return BadInput(f"The run left {what} in its project folder.", "Let the notebook pack or remove what it writes.")


def printable(path: str) -> str:
    """A path as text: bytes that are not UTF-8 and control characters as escapes.

    The backslash before ``x`` is escaped itself, so that no two paths give one text; every other stays as it is.
    """
    text = os.fsencode(path.replace("\\x", "\\x5cx")).decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda match: "".join(f"\\x{byte:02x}" for byte in match[0].encode()), text)


def _on_disk(name: str) -> str:
    """The file name that ``printable`` made this of, as the os module takes it."""
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), name.encode()))
