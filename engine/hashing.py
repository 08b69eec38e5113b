"""Many files hashed at once: hashlib and the disk both work while another thread of Python waits."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike

_CHUNK = 1 << 20
#: What one task of a thread holds: handing over one small file at a time would cost more than hashing it.
_BATCH_BYTES = 8 << 20
_BATCH_FILES = 64

_local = threading.local()


def hash_files(
    files: Sequence[tuple[str | PathLike[str], int]], advance: Callable[[int], None]
) -> Iterator[str | OSError]:
    """The 64 hex digits of each file, in order, or why it could not be read.

    ``files`` are paths and the sizes that they are known to have, which only decide who hashes what. A link is not
    followed and nothing but a regular file is waited for; whoever names a path vouches for its folders.
    """
    threads = max(2, min(8, os.cpu_count() or 2))
    with ThreadPoolExecutor(threads) as pool:
        for results in pool.map(lambda batch: [_hash(path, advance) for path in batch], _batches(files)):
            yield from results


def _batches(files: Sequence[tuple[str | PathLike[str], int]]) -> Iterator[list[str | PathLike[str]]]:
    batch: list[str | PathLike[str]] = []
    size = 0
    for path, length in files:
        batch.append(path)
        size += length
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_FILES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _hash(path: str | PathLike[str], advance: Callable[[int], None]) -> str | OSError:
    if not hasattr(_local, "buffer"):
        _local.buffer = memoryview(bytearray(_CHUNK))
    buffer = _local.buffer
    hasher = hashlib.sha256()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            while read := os.readv(descriptor, [buffer]):
                hasher.update(buffer[:read])
                advance(read)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error
    return hasher.hexdigest()
