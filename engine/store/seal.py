"""The seal of a run: a manifest over every file of its directory, in the form that ``sha256sum -c`` reads.

The seal itself is the digest of the manifest, which is what is signed and logged. Links, empty folders and the like
have no bytes that a manifest could hold; irregular.json lists them, and is a file like any other.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import VerificationFailed
from engine.files import read_regular
from engine.hashing import hash_files
from engine.settings import EXIT_FILE
from engine.store.directory import RunDirectory

MANIFEST = "manifest-sha256.txt"
SIGNATURE = f"{MANIFEST}.sig"
IRREGULAR = "irregular.json"
#: What a signature of a manifest is made for; ``ssh-keygen -Y verify -n`` takes it.
NAMESPACE = "nbseal-seal"
MAX_MANIFEST = 256 << 20
#: More entries than this, or more bytes than its work tree may have, and project/ stays outside of the seal.
MAX_ENTRIES = 250_000

_LINE = re.compile(rb"(\\?)([0-9a-f]{64})  (.+)", re.DOTALL)
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_KINDS = {
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}

What = Literal["changed", "added", "removed"]


@dataclass(frozen=True)
class Fault:
    """What a run's directory has that its seal does not know, or the other way round."""

    path: str
    what: What


@dataclass(frozen=True)
class Tree:
    """What is in a run directory: sizes of regular files by path, and everything else by path."""

    files: dict[str, int]
    irregular: dict[str, tuple[str, str]]  # kind, and a link's target or a reason


def walk(run: RunDirectory, work_tree: int, *, project: bool = True) -> Tree:
    """All that a seal covers, or would have to; ``work_tree`` is how many bytes project/ may have."""
    tree = Tree({}, {})
    passing = {MANIFEST, SIGNATURE, EXIT_FILE, run.spool.name}
    has_project = run.project.is_dir() and not run.project.is_symlink()
    if has_project:  # anything else of that name is told for what it is
        passing.add(run.project.name)
    _walk_into(tree, run.path, "", passing, None, 0)
    if project and has_project:
        part = Tree({}, {})
        reason = _walk_into(part, run.path, run.project.name, frozenset(), MAX_ENTRIES, work_tree)
        if reason:
            part = Tree({}, {run.project.name: ("uncovered", reason)})
        tree.files.update(part.files)
        tree.irregular.update(part.irregular)
    return tree


def _walk_into(
    tree: Tree, root: Path, start: str, passing: set[str] | frozenset[str], entries: int | None, size: int
) -> str:
    """Fill ``tree``; why it is not complete, or nothing."""
    pending = [start]
    count = total = 0
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(f"{root}/{folder}") as listing:
                found = [item for item in listing if folder or item.name not in passing]
        except OSError as error:
            tree.irregular[folder] = ("uncovered", _reason(error))
            continue
        if folder and not found:
            tree.irregular[folder] = ("folder", "")
        for item in found:
            path = f"{folder}/{item.name}" if folder else item.name
            count += 1
            if entries is not None and count > entries:
                return f"more than {entries:,} files and folders"
            try:
                if item.is_dir(follow_symlinks=False):
                    pending.append(path)
                    continue
                status = item.stat(follow_symlinks=False)
                if stat.S_ISLNK(status.st_mode):
                    tree.irregular[path] = ("link", os.readlink(item.path))  # noqa: PTH115 (the text, untidied)
                elif stat.S_ISREG(status.st_mode):
                    tree.files[path] = status.st_size
                    total += status.st_size
                else:
                    tree.irregular[path] = (_KINDS.get(stat.S_IFMT(status.st_mode), "other"), "")
            except OSError as error:
                tree.irregular[path] = ("uncovered", _reason(error))
            if entries is not None and total > size:
                return "more bytes than its work tree may have"
    return ""


def _reason(error: OSError) -> str:
    return {errno.ENAMETOOLONG: "its path is too long", errno.EACCES: "it is closed to us"}.get(
        error.errno or 0, "it cannot be read"
    )


def irregular_bytes(irregular: dict[str, tuple[str, str]]) -> bytes:
    """irregular.json; bytes that are not UTF-8 stand in it as lone surrogates, as Python has it (PEP 383)."""
    items = [{"path": path, "kind": kind, "target": text} for path, (kind, text) in sorted(irregular.items())]
    return (json.dumps(items, indent=2) + "\n").encode()


def read_irregular(run: RunDirectory) -> dict[str, tuple[str, str]]:
    """What irregular.json says; ValueError or OSError when it says nothing that makes sense."""
    items = json.loads(read_regular(run.path / IRREGULAR, MAX_MANIFEST))
    try:
        return {str(item["path"]): (str(item["kind"]), str(item["target"])) for item in items}
    except (TypeError, KeyError) as error:
        raise ValueError("it is not a list of paths") from error


def manifest_bytes(digests: dict[str, str]) -> bytes:
    """``<hex>  <path>`` by line, sorted by the bytes of the path; names as coreutils' sha256sum escapes them."""
    lines = []
    for path in sorted(digests, key=os.fsencode):
        escaped = "".join(_ESCAPES.get(character, character) for character in path)
        mark = "\\" if escaped != path else ""
        lines.append(f"{mark}{digests[path]}  ".encode() + os.fsencode(escaped) + b"\n")
    return b"".join(lines)


def parse_manifest(data: bytes) -> dict[str, str]:
    """Digests by path; ValueError for anything but what ``manifest_bytes`` writes."""
    digests: dict[str, str] = {}
    for line in data.split(b"\n")[:-1]:
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError("a line is not '<digest>  <path>'")
        path = os.fsdecode(match[3])
        digests[_unescaped(path) if match[1] else path] = match[2].decode()
    if manifest_bytes(digests) != data:
        raise ValueError("it is not written as a manifest is")
    return digests


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.?)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), text)


def digest_files(
    run: RunDirectory, files: Mapping[str, int], advance: Callable[[int], None]
) -> dict[str, str | OSError]:
    """The digest of each file below the run directory, or why there is none."""
    hashed = hash_files([(f"{run.path}/{path}", size) for path, size in files.items()], advance)
    return dict(zip(files, hashed, strict=True))


@dataclass(frozen=True)
class Check:
    """A run directory about to be held against its manifest: ``sizes`` are of the files whose digests it takes."""

    run: RunDirectory
    sealed: Mapping[str, str]
    sizes: Mapping[str, int]
    faults: tuple[Fault, ...] = ()  # what is known without reading a file

    def judge(self, digests: Mapping[str, str | OSError]) -> tuple[Fault, ...]:
        """All faults, once the files were read."""
        found = {*self.faults, *differing(self.sealed, digests)}
        return tuple(sorted(found, key=lambda fault: (os.fsencode(fault.path), fault.what)))


def check(run: RunDirectory, manifest: bytes, work_tree: int, *, project: bool = True) -> Check:
    """What to read of a run directory. ``project`` off leaves project/ aside, which may be large."""
    try:
        sealed = parse_manifest(manifest)
    except ValueError:
        return Check(run, {}, {}, (Fault(MANIFEST, "changed"),))
    tree = walk(run, work_tree, project=project)
    try:
        irregular = read_irregular(run)
    except (OSError, ValueError, RecursionError):
        irregular = {}  # a file that the manifest names: its own fault is told
    inside = f"{run.project.name}/"
    if not project:
        sealed = {path: digest for path, digest in sealed.items() if not path.startswith(inside)}
        irregular = {path: item for path, item in irregular.items() if not f"{path}/".startswith(inside)}
    uncovered = {path for path, (kind, _) in irregular.items() if kind == "uncovered"}
    odd = {
        path: item
        for path, item in tree.irregular.items()
        if not _below(path, uncovered) or (path in uncovered and item[0] == "link")
    }
    known = {path: item for path, item in irregular.items() if item[0] != "uncovered"}
    sizes = {path: size for path, size in tree.files.items() if not _below(path, uncovered)}
    return Check(run, sealed, sizes, tuple(differing(known, odd)))


def _below(path: str, folders: Collection[str]) -> bool:
    """Whether a path is one of these, or lies below one; how many they are costs nothing."""
    return bool(folders) and (path in folders or any(above in folders for above in _above(path)))


def _above(path: str) -> Iterator[str]:
    return (path[: match.start()] for match in re.finditer("/", path))


def differing(sealed: Mapping[str, object], there: Mapping[str, object]) -> Iterator[Fault]:
    for path in sealed.keys() | there.keys():
        if path not in there:
            yield Fault(path, "removed")
        elif path not in sealed:
            yield Fault(path, "added")
        elif sealed[path] != there[path]:
            yield Fault(path, "changed")


def read_manifest(run: RunDirectory) -> bytes | None:
    """The manifest's bytes; None when there is none. VerificationFailed when it is not a readable file."""
    try:
        return read_regular(run.path / MANIFEST, MAX_MANIFEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VerificationFailed(
            f"The manifest of run {run.id} cannot be read: {error.strerror}.", "Take the run from a backup."
        ) from error
