"""The file that is being written: under a temporary name until it is whole, compressed when its name says so."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from engine.archives.layout import ENDINGS
from engine.errors import BadInput, EnvironmentFailed
from engine.files import rename_new, sync_directory

#: zstd's own default. With at least one worker its output does not depend on how many there are.
_LEVEL = 3
_WORKERS = 2
#: What each worker takes at a time. zstd's own choice needs 50 MB more of memory, and saves less than 1% of the file.
_JOB = 2 << 20


def check(path: Path) -> None:
    """BadInput unless a new archive can be written there."""
    if not path.name.endswith(ENDINGS):
        raise BadInput(f"'{path.name}' does not end with {' or '.join(ENDINGS)}.", "Say by its name what it is to be.")
    if path.exists() or path.is_symlink():
        raise BadInput(f"There is a {path} already.", "Remove it, or give another name to -o.")
    if not path.parent.is_dir():
        raise BadInput(f"There is no folder {path.parent}.", "Make it, or give another name to -o.")


@contextmanager
def created(path: Path) -> Iterator[IO[bytes]]:
    """Write the file ``path``: whole and on the disk when the block ends, and not there at all when it fails.

    Whoever is killed leaves a file under a temporary name beside it; the next archive of this name removes it.
    """
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            # The kernel drops the lock with its holder: so it tells what is being written from what was left.
            fcntl.flock(file, fcntl.LOCK_EX)
            with _compressed(file) if path.name.endswith(ENDINGS[1]) else nullcontext(file) as output:
                yield output
            file.flush()
            os.fsync(file.fileno())
            check(path)
            rename_new(temporary, path)
        sync_directory(path.parent)
    except FileExistsError:  # somebody else took the name just now
        check(path)
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EnvironmentFailed(
                f"There is no room for {path}.", "Free some of its disk, or write to another."
            ) from error
        reason = error.strerror or error
        raise BadInput(
            f"{path} cannot be written: {reason}.", "Give the name of a file in a folder of yours."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _compressed(file: BinaryIO) -> Any:
    import zstandard

    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, threads=_WORKERS, job_size=_JOB, write_checksum=True
    )
    return zstandard.ZstdCompressor(compression_params=parameters).stream_writer(file, closefd=False)


def _sweep(path: Path) -> None:
    """Remove what writers of this name left when they were killed."""
    form = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}")
    with suppress(OSError):
        for left in [item for item in path.parent.iterdir() if form.fullmatch(item.name)]:
            with suppress(OSError), left.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
