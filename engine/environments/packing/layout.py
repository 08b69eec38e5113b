"""What a wheel installs, and where: every wheel may come from somebody hostile.

The layout is that of the binary distribution format (packaging.python.org, "Binary distribution format",
PEP 427 and 491) as ``pip install --prefix`` would leave it: ``.data`` schemes, launchers for
``console_scripts`` and ``gui_scripts``, ``#!python`` rewritten.
"""

from __future__ import annotations

import configparser
import csv
import io
import re
import stat
import zipfile
from dataclasses import dataclass

LARGEST = 20 << 30  # bytes that one wheel may unpack to
LARGEST_SOURCE = 32 << 20  # bytes of one file that is compiled or rewritten; beyond that it is data

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
