"""One wheel into one layer tar: laid out, compiled, with a RECORD of what is there (PEP 627).

Bytecode is hash-based and unchecked (PEP 552) and carries the installed path.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import marshal
import os
import struct
import sys
import tarfile
import zipfile
import zlib
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import BinaryIO

from .layout import LARGEST_SOURCE, Item, Refused, lay_out, metadata_folder, site_packages
from .tarwriter import CHUNK, TarWriter


class Damaged(Exception):
    """The wheel's bytes are not those that its digest promises."""


def bytecode(source: bytes, path: str) -> bytes | None:
    """An unchecked hash-based .pyc (PEP 552), or None for a file that is no module of this Python."""
    try:
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
        body = marshal.dumps(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None  # such files ship as templates, tests and code for other versions
    flags = (0b01).to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + flags + importlib.util.source_hash(source) + body


def add_bytecode(archive: zipfile.ZipFile, items: dict[str, Item], site: str) -> list[str]:
    """Add it for what compiles, in order of path; returns the paths added.

    The sources stay in memory, so that they are unpacked once.
    """
    added = []
    for path in sorted(items):
        item = items[path]
        size = len(item.source) if isinstance(item.source, bytes) else item.source.file_size
        if not path.endswith(".py") or not path.startswith(site + "/") or size > LARGEST_SOURCE:
            continue
        source = item.source if isinstance(item.source, bytes) else archive.read(item.source)
        items[path] = Item(source, item.mode, item.hash)
        compiled = bytecode(source, path)
        if compiled is not None:
            cached = importlib.util.cache_from_source(path, optimization="")
            items[cached] = Item(compiled)
            added.append(cached)
    return added


def add_record(archive: zipfile.ZipFile, items: dict[str, Item], metadata: str, site: str, compiled: list[str]) -> None:
    """Add RECORD: every installed file by its path from site-packages; bytecode without a hash, as pip does."""
    rows = []
    without = set(compiled)
    record = f"{site}/{metadata}/RECORD"
    for path, item in items.items():
        size = len(item.source) if isinstance(item.source, bytes) else item.source.file_size
        where = os.path.relpath(path, site)
        rows.append((where, "", "") if path in without else (where, item.hash or digest(archive, item), str(size)))
    rows.append((os.path.relpath(record, site), "", ""))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    items[record] = Item(text.getvalue().encode())


def digest(archive: zipfile.ZipFile, item: Item) -> str:
    """RECORD's form of a sha256."""
    result = hashlib.sha256()
    with archive.open(item.source) if isinstance(item.source, zipfile.ZipInfo) else io.BytesIO(item.source) as file:
        while data := file.read(CHUNK):
            result.update(data)
    return "sha256=" + urlsafe_b64encode(result.digest()).decode().rstrip("=")


def write_items(archive: zipfile.ZipFile, items: dict[str, Item], tar: TarWriter) -> None:
    """All items and the folders above them, sorted by path."""
    folders = set()
    for path in items:
        parent = path.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    for path in sorted([*items, *folders]):
        name = path.lstrip("/")
        if path in folders:
            tar.add(name, kind=tarfile.DIRTYPE, mode=0o755)
            continue
        item = items[path]
        if isinstance(item.source, bytes):
            tar.add(name, mode=item.mode, size=len(item.source), content=io.BytesIO(item.source))
        else:
            with archive.open(item.source) as content:
                tar.add(name, mode=item.mode, size=item.source.file_size, content=content)  # type: ignore[arg-type]


def pack(wheel: Path, sha256: str, output: BinaryIO, prefix: str, mtime: int) -> tuple[str, int]:
    """Write the layer tar of one wheel; returns its digest and size. Raises Refused or Damaged."""
    version = (sys.version_info[0], sys.version_info[1])
    try:
        with wheel.open("rb") as file:
            found = hashlib.sha256()
            while data := file.read(CHUNK):
                found.update(data)
            if found.hexdigest() != sha256:
                raise Damaged
            tar = TarWriter(output, mtime)
            with zipfile.ZipFile(file) as archive:
                items = lay_out(archive, wheel.stat().st_size, prefix, version)
                site = site_packages(prefix, version)
                metadata = metadata_folder(archive.infolist())
                add_record(archive, items, metadata, site, add_bytecode(archive, items, site))
                write_items(archive, items, tar)
            return tar.finish(), tar.size
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError) as error:
        raise Refused(f"it is not a readable zip file: {error}") from None
