"""Tars that are the same bytes wherever and whenever they are made: normalised, merged, or from small trees."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.environments.packing.tarwriter import TarWriter
from engine.errors import EnvironmentFailed
from engine.settings import SOURCE_DATE_EPOCH

_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.GNUTYPE_SPARSE, tarfile.CONTTYPE)


@dataclass(frozen=True)
class Program:
    """An executable file of a tree."""

    content: bytes


@dataclass(frozen=True)
class Link:
    """A symbolic link of a tree."""

    target: str


#: Path in the image, without a leading slash, to a file's bytes, a program, a link, or None for a folder.
Tree = Mapping[str, bytes | Program | Link | None]


def write_tree(files: Tree, output: BinaryIO) -> tuple[str, int]:
    """Write ``files`` and the folders above them, owned by root; returns the digest and the size of the tar."""
    tar = TarWriter(output, SOURCE_DATE_EPOCH)
    folders = {str(parent) for path in files for parent in Path(path).parents} - {"."}
    for path in sorted({*files, *folders}):
        entry = files.get(path)
        match entry:
            case None:
                tar.add(path, kind=tarfile.DIRTYPE, mode=0o755)
            case Link(target):
                tar.add(path, kind=tarfile.SYMTYPE, mode=0o777, target=target)
            case Program(content):
                tar.add(path, mode=0o755, size=len(content), content=io.BytesIO(content))
            case bytes():
                tar.add(path, size=len(entry), content=io.BytesIO(entry))
    return tar.finish(), tar.size


def merge(sources: Sequence[Path], output: BinaryIO) -> tuple[str, int]:
    """Merge tars into one, in order: of two entries with one path the later one stays, as with stacked layers.

    Paths, types, modes, numeric owners, link targets and contents are kept; times become
    SOURCE_DATE_EPOCH; hard links become files; devices, sockets and FIFOs, which every container gets
    from its engine, extended attributes and owner names are left out. Whiteouts pass as the files that
    they are. Returns digest and size. Raises EnvironmentFailed for what is no tar or leads out of it.
    """
    with ExitStack() as opened:
        archives = [opened.enter_context(_open(path)) for path in sources]
        entries: dict[str, tuple[tarfile.TarFile, tarfile.TarInfo]] = {}
        for archive in archives:
            _collect(archive, entries)
        tar = TarWriter(output, SOURCE_DATE_EPOCH)
        for path, (archive, info) in sorted(entries.items()):
            owner = (info.uid, info.gid)
            mode = info.mode & 0o7777
            if info.isdir():
                tar.add(path, kind=tarfile.DIRTYPE, mode=mode, owner=owner)
            elif info.issym():
                tar.add(path, kind=tarfile.SYMTYPE, mode=0o777, owner=owner, target=info.linkname)
            else:
                content = archive.extractfile(info)
                tar.add(path, mode=mode, owner=owner, size=info.size, content=content)  # type: ignore[arg-type]
        return tar.finish(), tar.size


def _open(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:*")
    except tarfile.TarError as error:
        raise EnvironmentFailed(f"{path.name} is not a tar archive: {error}.") from error


def _collect(archive: tarfile.TarFile, entries: dict[str, tuple[tarfile.TarFile, tarfile.TarInfo]]) -> None:
    """Put the members of ``archive`` over ``entries``."""
    own: dict[str, tarfile.TarInfo] = {}  # what a hard link may point to: earlier members of the same tar
    try:
        for info in archive:
            path = _normal(info.name)
            if info.islnk():
                target = own.get(_normal(info.linkname))
                if target is None or target.isdir():
                    raise EnvironmentFailed(f"The hard link {path!r} points to nothing in its archive.")
                info = target
            if not (info.isdir() or info.issym() or info.type in _FILES) or not path:
                continue
            own[path] = info
            below = entries.get(path)
            if below is not None and below[1].isdir() and not info.isdir():
                for inside in [name for name in entries if name.startswith(path + "/")]:
                    del entries[inside]
            entries[path] = (archive, info)
            parent = path.rpartition("/")[0]
            while parent:  # a folder now where a file was
                above = entries.get(parent)
                if above is not None and not above[1].isdir():
                    del entries[parent]
                parent = parent.rpartition("/")[0]
    except tarfile.TarError as error:
        raise EnvironmentFailed(f"The archive is damaged: {error}.") from error


def _normal(name: str) -> str:
    """A member's name as ``a/b``; "" for the root itself."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise EnvironmentFailed(f"The archive's entry {name!r} leads out of it.")
    return "/".join(parts)
