"""Pack wheels into layer tars. This program runs inside the base image, with that image's own Python.

It is one file of standard library only, because it also packs the very first wheels of a base, before
anything is installed there; the host imports ``TarWriter`` from it. Nothing of a wheel is executed.

The layout is that of the binary distribution format (packaging.python.org, "Binary distribution format",
PEP 427 and 491) as ``pip install --prefix`` would leave it: ``.data`` schemes, launchers for
``console_scripts`` and ``gui_scripts``, ``#!python`` rewritten, RECORD listing what is there (PEP 627).
Bytecode is hash-based and unchecked (PEP 552) and carries the installed path.

Each distribution is packed by a process of its own, forked from one that compiled nothing before:
marshal writes a reference for whatever has more than one owner, so that strings that another module
left interned would change the bytes. A layer therefore depends on the wheel and the interpreter alone.
"""

from __future__ import annotations

import configparser
import csv
import gc
import hashlib
import importlib.util
import io
import json
import marshal
import os
import re
import stat
import sys
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

WHEELS = "/wheels"  # <sha256>/<file name>, as in the home
LARGEST = 20 << 30  # bytes that one wheel may unpack to
LARGEST_SOURCE = 32 << 20  # bytes of one file that is compiled or rewritten; beyond that it is data
CHUNK = 1 << 20

_ENTRY_POINT = re.compile(r"([\w.]+)\s*:\s*([\w.]+)\s*(\[[^]]*\])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_LAUNCHER = """\
#!{python}
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.argv[0] = sys.argv[0].removesuffix(".exe")
    sys.exit({function}())
"""


class Refused(Exception):
    """The wheel cannot be laid out; the text says which entry and why."""


class Damaged(Exception):
    """The wheel's bytes are not those that its digest promises."""


# --- tar --------------------------------------------------------------------------------------


class TarWriter:
    """Writes tar entries in GNU format as they are given, hashing while it writes.

    The caller sorts. Owner names are never written and every time is ``mtime`` (seconds since 1970), so
    that the bytes depend on paths, modes, numeric owners and content only.
    """

    def __init__(self, file: BinaryIO, mtime: int) -> None:
        self._file = file
        self._mtime = mtime
        self._hash = hashlib.sha256()
        self.size = 0

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def add(
        self,
        path: str,
        *,
        kind: bytes = tarfile.REGTYPE,
        mode: int = 0o644,
        owner: tuple[int, int] = (0, 0),
        target: str = "",
        size: int = 0,
        content: BinaryIO | None = None,
    ) -> None:
        """Add one entry; exactly ``size`` bytes are read from ``content`` (OSError when there are fewer)."""
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.linkname, info.size = kind, mode, target, size
        info.uid, info.gid = owner
        info.mtime = self._mtime
        self._write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        left = size
        while content is not None and left:
            data = content.read(min(CHUNK, left))
            if not data:
                raise OSError(f"{path} ends {left} bytes early")
            self._write(data)
            left -= len(data)
        self._write(bytes(-size % tarfile.BLOCKSIZE))

    def finish(self) -> str:
        """Write the end of the archive; returns ``sha256:`` and the digest of everything written."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        return "sha256:" + self._hash.hexdigest()


# --- the wheel's content ----------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """One file to install: where its bytes come from, its mode, its RECORD columns (hash, size) if known."""

    source: zipfile.ZipInfo | bytes
    mode: int = 0o644
    hash: str = ""


def check_archive(archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """The files of a wheel of ``size`` bytes, none of which leads out of it, is a link or explodes."""
    files: dict[str, zipfile.ZipInfo] = {}
    packed = unpacked = 0
    for info in archive.infolist():
        name = info.filename
        check_path(name[:-1] if info.is_dir() else name)
        if name in files:
            raise Refused(f"{name!r} is there twice")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Refused(f"{name!r} is neither a file nor a folder")
        if info.flag_bits & 0x1:
            raise Refused(f"{name!r} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refused(f"{name!r} is compressed by a method that wheels do not use")
        packed += info.compress_size
        unpacked += info.file_size
        if not info.is_dir():
            files[name] = info
    # Deflate gains at most 1032 times, so that with this a small wheel stays small: the known zip bombs
    # let entries overlap.
    if packed > size:
        raise Refused("its entries overlap")
    if unpacked > LARGEST:
        raise Refused(f"it unpacks to {unpacked} bytes")
    return list(files.values())


def check_path(path: str) -> None:
    """Raise Refused for a path that is absolute, leads upwards, or means something to a container engine."""
    if _CONTROL.search(path) or len(path.encode("utf-8", "surrogatepass")) > 3000:
        raise Refused(f"{path[:200]!r} is not a usable path")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise Refused(f"{path!r} leads out of the wheel")
        if part.startswith(".wh."):  # whiteouts: they would delete files of the layers below
            raise Refused(f"{path!r} has a name that is reserved in image layers")
        if len(part.encode("utf-8", "surrogatepass")) > 255:
            raise Refused(f"{path[:200]!r} has a name of more than 255 bytes")


def lay_out(archive: zipfile.ZipFile, size: int, prefix: str, version: tuple[int, int]) -> dict[str, Item]:
    """What a wheel installs below ``prefix``: absolute path to item, without bytecode and RECORD."""
    files = check_archive(archive, size)
    metadata = metadata_folder(files)
    site = site_packages(prefix, version)
    schemes = {
        "purelib": site,
        "platlib": site,
        "scripts": f"{prefix}/bin",
        "headers": f"{prefix}/include/site/python{version[0]}.{version[1]}/{metadata.split('-')[0]}",
        "data": prefix,
    }
    data = metadata[: -len(".dist-info")] + ".data/"
    hashes = read_record(archive, metadata)
    items: dict[str, Item] = {}
    for info in files:
        name = info.filename
        if name in (f"{metadata}/{file}" for file in ("RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER")):
            continue
        mode = 0o755 if info.external_attr >> 16 & 0o111 else 0o644
        item = Item(info, mode, hashes.get(name, ""))
        path = f"{site}/{name}"
        if name.startswith(data):
            scheme, _, rest = name[len(data) :].partition("/")
            if scheme not in schemes or not rest:
                raise Refused(f"{name!r} belongs to no known scheme")
            path = f"{schemes[scheme]}/{rest}"
            if scheme == "scripts":
                item = script(archive, info, item, f"{prefix}/bin/python3")
        if path in items:
            raise Refused(f"two entries install {path}")
        items[path] = item
    items |= launchers(archive, metadata, prefix)
    items[f"{site}/{metadata}/INSTALLER"] = Item(b"nbseal\n")
    check_tree(items, prefix, version)
    return items


def site_packages(prefix: str, version: tuple[int, int]) -> str:
    return f"{prefix}/lib/python{version[0]}.{version[1]}/site-packages"


def metadata_folder(files: list[zipfile.ZipInfo]) -> str:
    """The name of the one ``.dist-info`` folder."""
    folders = {info.filename.split("/")[0] for info in files if "/" in info.filename}
    found = sorted(name for name in folders if name.endswith(".dist-info"))
    if len(found) != 1:
        raise Refused(f"it has {len(found)} .dist-info folders")
    return found[0]


def read_text(archive: zipfile.ZipFile, name: str) -> str | None:
    """A small text file of the wheel, or None when it is not there."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        return None
    if info.file_size > LARGEST_SOURCE:
        raise Refused(f"{name!r} is too large")
    try:
        return archive.read(info).decode()
    except UnicodeDecodeError:
        raise Refused(f"{name!r} is not UTF-8") from None


def read_record(archive: zipfile.ZipFile, metadata: str) -> dict[str, str]:
    """Hashes by name from the wheel's RECORD. The wheel as a whole was verified, so they stand as they are."""
    wheel = read_text(archive, f"{metadata}/WHEEL")
    if wheel is None:
        raise Refused("it has no WHEEL file")
    if not re.search(r"(?mi)^Wheel-Version:\s*1\.", wheel):
        raise Refused("its WHEEL file names no version 1 of the format")
    text = read_text(archive, f"{metadata}/RECORD")
    if text is None:
        raise Refused("it has no RECORD file")
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if len(row) == 3]
    except csv.Error as error:
        raise Refused(f"its RECORD is not CSV: {error}") from None
    return {row[0]: row[1] for row in rows if row[1].startswith("sha256=")}


def script(archive: zipfile.ZipFile, info: zipfile.ZipInfo, item: Item, python: str) -> Item:
    """A file of the scripts scheme: executable, and ``#!python`` names the environment's interpreter."""
    with archive.open(info) as file:
        start = file.read(8)
        if start != b"#!python" or info.file_size > LARGEST_SOURCE:
            return Item(info, 0o755, item.hash)
        _, newline, rest = (start + file.read()).partition(b"\n")
    return Item(b"#!" + python.encode() + newline + rest, 0o755)


def launchers(archive: zipfile.ZipFile, metadata: str, prefix: str) -> dict[str, Item]:
    """A script for each ``console_scripts`` and ``gui_scripts`` entry point."""
    text = read_text(archive, f"{metadata}/entry_points.txt")
    if text is None:
        return {}
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise Refused(f"its entry_points.txt is not readable: {error}") from None
    found = {}
    for group in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(group) if parser.has_section(group) else ():
            match = _ENTRY_POINT.fullmatch(value.strip())
            if match is None:
                raise Refused(f"entry point {name!r} is not MODULE:FUNCTION: {value!r}")
            module, function = match[1], match[2]
            if not all(part.isidentifier() for part in (*module.split("."), *function.split("."))):
                raise Refused(f"entry point {name!r} is not MODULE:FUNCTION: {value!r}")
            check_path(name)
            if "/" in name:
                raise Refused(f"entry point {name!r} is not a file name")
            source = _LAUNCHER.format(
                python=f"{prefix}/bin/python3", module=module, first=function.split(".")[0], function=function
            )
            found[f"{prefix}/bin/{name}"] = Item(source.encode(), 0o755)
    return found


def check_tree(items: dict[str, Item], prefix: str, version: tuple[int, int]) -> None:
    """No path is a file and a folder at once, and none replaces what makes the environment one."""
    for path in items:
        parent = path.rpartition("/")[0]
        while len(parent) > len(prefix):
            if parent in items:
                raise Refused(f"{parent!r} would be a file and a folder")
            parent = parent.rpartition("/")[0]
    for name in ("pyvenv.cfg", "bin/python", "bin/python3", f"bin/python{version[0]}.{version[1]}"):
        if f"{prefix}/{name}" in items:
            raise Refused(f"it would replace {prefix}/{name}")


# --- bytecode and the layer -------------------------------------------------------------------


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
    """Add what compiles, in order of path; returns the paths added. Sources stay in memory, to be read once."""
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
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise Refused(f"it is not a readable zip file: {error}") from None


# --- the program ------------------------------------------------------------------------------


def identify() -> dict[str, str]:
    """What decides the bytes of bytecode: version, magic number and the files that the interpreter is."""
    mapped = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    files = sorted(path for path in mapped if re.search(r"/(lib)?python[\d.]*[a-z]*(\.so[\d.]*)?$", path))
    code = hashlib.sha256()
    for path in files:
        code.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return {"version": sys.version, "magic": importlib.util.MAGIC_NUMBER.hex(), "code": code.hexdigest()}


def pack_one(request: dict[str, Any], wheel: dict[str, str], output: Path) -> None:
    """In a process of its own: leave ``<sha256>.tar`` and ``<sha256>.json`` in ``output``."""
    sha256 = wheel["sha256"]
    answer: dict[str, Any]
    try:
        with (output / f"{sha256}.tar").open("xb") as tar:
            diff_id, size = pack(
                Path(WHEELS, sha256, wheel["filename"]), sha256, tar, request["prefix"], request["mtime"]
            )
        answer = {"diff_id": diff_id, "size": size}
    except Refused as error:
        answer = {"refused": str(error)}
    except Damaged:
        answer = {"damaged": True}
    except (OSError, MemoryError) as error:
        answer = {"failed": str(error) or type(error).__name__}
    write_answer(output, sha256, answer)


def write_answer(output: Path, sha256: str, answer: dict[str, Any]) -> None:
    """The host takes an answer as soon as its file is there, so it must be whole then."""
    unfinished = output / f"{sha256}.json.new"
    unfinished.write_text(json.dumps(answer))
    unfinished.rename(output / f"{sha256}.json")


def wait_for_one(running: dict[int, str], output: Path) -> None:
    """Wait for one of the ``running`` processes; one that died without an answer gets one here."""
    process, status = os.wait()
    sha256 = running.pop(process)
    if status:
        write_answer(output, sha256, {"failed": f"its packing ended with status {os.waitstatus_to_exitcode(status)}"})


def main(request_file: str, output_folder: str) -> int:
    """Pack all wheels of the request in its order, as many at a time as there are processors."""
    request, output = json.loads(Path(request_file).read_bytes()), Path(output_folder)
    workers = request.get("workers") or len(os.sched_getaffinity(0))
    gc.disable()  # there are no cycles to collect, and when it runs must not depend on anything
    running: dict[int, str] = {}
    for wheel in request["wheels"]:
        if len(running) >= workers:
            wait_for_one(running, output)
        process = os.fork()
        if not process:
            try:
                pack_one(request, wheel, output)
                os._exit(0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        running[process] = wheel["sha256"]
    while running:
        wait_for_one(running, output)
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["identify"]:
        print(json.dumps(identify()))
    else:
        sys.exit(main(*sys.argv[1:]))
