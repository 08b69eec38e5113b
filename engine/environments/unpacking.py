"""A layer as registries keep it becomes the tar that its diff id is of; whoever packed it may be hostile."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from engine.digests import PREFIX, sha256_file
from engine.environments.layers import layer_file
from engine.environments.upstream import Blob
from engine.errors import EnvironmentFailed, VerificationFailed
from engine.files import open_regular, sync_directory
from engine.settings import Home
from engine.software import Layer

_CHUNK = 1 << 20
#: A layer may become so many times larger, and so many bytes on top. File systems of images become two to five times
#: larger; what is made to fill a disk, a thousand times (gzip) and more (zstd).
_TIMES, _MORE = 100, 64 << 20
#: Bytes of the disk that are left alone.
_RESERVE = 1 << 30
_CHECK_EVERY = 64 << 20
#: Bytes of memory that a zstd frame may ask for: what its own tools allow.
_WINDOW = 1 << 27
_DAMAGED = "Nothing of it entered the home. Have the image pushed again."


def kept_layer(blob: Blob, of: str, home: Home) -> Layer | None:
    """The layer when the home has it already, as its diff id says."""
    layer = Layer(blob.diff_id, 0, of)
    path = layer_file(layer, home)
    try:
        size = path.stat().st_size
        return Layer(blob.diff_id, size, of) if sha256_file(path) == blob.diff_id else None
    except OSError:
        return None


def unpack_layer(packed: Path, blob: Blob, of: str, home: Home) -> Layer:
    """Put the tar of a layer into the home. ``packed``, as it was fetched, lies in a folder of ours on its file system.

    VerificationFailed when it is other bytes than its diff id says, or more than such a layer can have.
    """
    most = blob.size if not blob.packing else _TIMES * blob.size + _MORE
    home.layers.mkdir(parents=True, exist_ok=True)
    temporary = packed.with_name(f"{packed.name}.tar")
    try:
        with temporary.open("wb") as target:
            digest, size = _copy(packed, blob, most, of, target)
            target.flush()
            os.fsync(target.fileno())
        if digest != blob.diff_id:
            raise VerificationFailed(f"{of} is not what its diff id says.", _DAMAGED)
        temporary.chmod(0o644)
        layer = Layer(blob.diff_id, size, of)
        temporary.replace(layer_file(layer, home))
        sync_directory(home.layers)
        return layer
    finally:
        temporary.unlink(missing_ok=True)


def _copy(packed: Path, blob: Blob, most: int, of: str, target: BinaryIO) -> tuple[str, int]:
    import zstandard

    digest, size, looked = hashlib.sha256(), 0, -_CHECK_EVERY
    try:
        with ExitStack() as stack:
            source = _opened(packed, blob.packing, stack)
            while data := source.read(_CHUNK):
                size += len(data)
                if size > most:
                    raise VerificationFailed(
                        f"{of} unpacks to more than {most:,} bytes, far more than it has.", _DAMAGED
                    )
                if size - looked >= _CHECK_EVERY:
                    looked = size
                    _check_room(target)
                digest.update(data)
                target.write(data)
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise VerificationFailed(f"{of} cannot be unpacked: {error}.", _DAMAGED) from None
    return PREFIX + digest.hexdigest(), size


def _opened(packed: Path, packing: str, stack: ExitStack) -> BinaryIO:
    import zstandard

    file = stack.enter_context(open_regular(packed))
    if packing == "gzip":
        return cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file)))
    if packing == "zstd":
        reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(file, read_across_frames=True)
        return cast(BinaryIO, stack.enter_context(reader))
    return file


def _check_room(target: BinaryIO) -> None:
    if shutil.disk_usage(Path(target.name).parent).free < _RESERVE:
        raise EnvironmentFailed("There is no room for the image.", "Free some of the disk of the home.")
