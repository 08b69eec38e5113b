"""NumPy arrays and archives in files: read without trusting a size that they claim, and without unpickling."""

from __future__ import annotations

import gzip
import io
import math
import zipfile
import zlib
from typing import Any

from engine.results.budget import Budget

_ARRAY = b"\x93NUMPY"
_ZIP = b"PK\x03\x04"
_ENTRY = b"PK\x01\x02"
_GZIP = b"\x1f\x8b"
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAX_MEMBERS = 10_000


def is_array(data: bytes) -> bool:
    """Whether this is meant to be a .npy file."""
    return data.startswith(_ARRAY)


def read_array(data: bytes) -> Any:
    """The array of a .npy file, a view of ``data``; None for objects, and what is malformed."""
    import numpy as np

    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            return None
        # What a header claims must be what is there: nothing is made of its size before.
        if dtype.hasobject or dtype.itemsize * math.prod(shape) != len(data) - stream.tell():
            return None
        flat = np.frombuffer(data, dtype, math.prod(shape), stream.tell())
        return flat.reshape(shape, order="F" if fortran else "C")
    except (ValueError, TypeError, OverflowError, MemoryError):
        return None


def paired_members(old: bytes, new: bytes, budget: Budget) -> list[tuple[str, bytes, bytes]] | None:
    """Name and both contents of each member of two archives; None when they are none or have other members.

    ZIP (also .npz and Office documents) and gzip. What unpacks to more than is left of the budget is none either.
    """
    if old.startswith(_GZIP) and new.startswith(_GZIP):
        one, other = _gunzip(old, budget), _gunzip(new, budget)
        return None if one is None or other is None else [("content", one, other)]
    if not (old.startswith(_ZIP) and new.startswith(_ZIP)):
        return None
    if max(old.count(_ENTRY), new.count(_ENTRY)) > _MAX_MEMBERS:  # before each becomes an object
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(old)) as first, zipfile.ZipFile(io.BytesIO(new)) as second:
            if _outside(first) != _outside(second):
                return None
            pairs = []
            for a, b in zip(first.infolist(), second.infolist(), strict=True):
                one, other = _member(first, a, budget), _member(second, b, budget)
                if one is None or other is None:
                    return None
                pairs.append((a.filename, one, other))
            return pairs
    except (zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError, EOFError, OSError, zlib.error):
        return None


def _outside(archive: zipfile.ZipFile) -> tuple[bytes, list[tuple[str, int, bytes]]]:
    """What an archive says beside contents, times and how they are packed."""
    return archive.comment, [(item.filename, item.external_attr, item.comment) for item in archive.infolist()]


def _member(archive: zipfile.ZipFile, item: zipfile.ZipInfo, budget: Budget) -> bytes | None:
    # Encrypted, packed in a way that cannot be unpacked piece by piece, or more than is left.
    if item.flag_bits & 1 or item.compress_type not in _BOUNDED or not budget.read(item.file_size):
        return None
    with archive.open(item) as stream:
        content = stream.read(item.file_size)
        return content if not stream.read(1) else None


def _gunzip(data: bytes, budget: Budget) -> bytes | None:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            content = stream.read(budget.bytes_left + 1)
    except (OSError, EOFError, zlib.error):
        return None
    return content if budget.read(len(content)) else None
