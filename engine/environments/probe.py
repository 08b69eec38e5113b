"""Runs inside an image of a registry, with the Python that is asked about: ``python3 -I -c SOURCE PATH...``.

Prints one JSON object. Written for any Python 3, so that one that is too old can still say so. PATHs are folders that
nbseal is going to make.
"""

# ruff: noqa: PTH114, PTH120, PTH123, UP031
import json
import os
import sys

#: What nbseal's harness and kernels cannot do without.
NEEDED = ("asyncio", "ctypes", "hashlib", "multiprocessing", "select", "socket", "ssl", "uuid", "zipfile", "zlib")


def libc() -> str:
    """``glibc 2.36``, ``musl``, or nothing that is known."""
    with open("/proc/self/maps") as file:
        if "ld-musl" in file.read():
            return "musl"
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""


def lacking() -> "list[str]":
    missing = []
    for name in NEEDED:
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
    return missing


def in_the_way(paths: "list[str]") -> "list[str]":
    """What lies where nbseal puts its own, and links above it."""
    found = [path for path in paths if os.path.lexists(path)]
    for path in paths:
        while len(path) > 1:
            path = os.path.dirname(path)
            if os.path.islink(path) and path not in found:
                found.append(path)
    return found


print(
    json.dumps(
        {
            "implementation": sys.implementation.name,
            "version": "%d.%d.%d" % sys.version_info[:3],
            "bits": sys.maxsize.bit_length() + 1,
            "libc": libc(),
            "executable": os.path.realpath(sys.executable) if sys.executable else "",
            "prefix": sys.base_prefix,
            "lacking": lacking(),
            "in_the_way": in_the_way(sys.argv[1:]),
        }
    )
)
