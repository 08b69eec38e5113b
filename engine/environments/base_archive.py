"""A base in one file, to carry to a machine that cannot build it.

The file is an uncompressed tar whose entries follow from the first one: ``base.json``, ``config.json``,
``packages.json``, then ``layers/<sha256>``, ``packages/<sha256>`` and ``wheels/<sha256>`` in the order in which
``base.json`` names them. In place of ``packages.json`` a base of an image of a registry has what that said of it.
The same base always gives the same bytes. Reading takes plain ustar headers alone (POSIX.1-1988), in that order, and
believes no size, name or content before it was compared.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.digests import PREFIX, bare, sha256_bytes
from engine.environments.base_ingredients import recipe_of
from engine.environments.base_origin import check_upstream
from engine.environments.base_record import (
    MAX_RECORD_BYTES,
    base_files,
    current_pins,
    find_base,
    keep_record,
    load_base,
    make_current,
    read_base,
)
from engine.environments.debian import Pins, kept_path, read_pins
from engine.environments.layers import layer_file, wheel_file
from engine.environments.upstream import CONFIG, INDEX, MANIFEST, Upstream
from engine.errors import BadInput, EnvironmentFailed, VerificationFailed
from engine.files import locked, remove_tree
from engine.progress import Progress
from engine.settings import SOURCE_DATE_EPOCH, Home
from engine.software import Base

_CHUNK = 1 << 20
_NO_BASE = "Take the file that `nbseal base export` wrote, whole and unchanged."


@dataclass(frozen=True)
class _Part:
    """A large entry: its name, the digest and size of its bytes, and where the home keeps it."""

    name: str
    digest: str
    size: int
    path: Path


def export_base(home: Home, base_id: str, path: Path, progress: Progress) -> None:
    """Write a base to the file ``path``. Raises EnvironmentFailed when the home does not have all of it any more."""
    base = load_base(home, base_id)
    documents = base_files(base, home)
    parts = _parts(base, home)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with (
            temporary.open("xb") as file,
            progress.task(f"Writing {path.name}", sum(part.size for part in parts)) as advance,
        ):
            for name in document_names(base):
                _write(file, name, len(documents[name]), io.BytesIO(documents[name]))
            for part in parts:
                with _kept(part) as content:
                    _write(file, part.name, part.size, content)
                advance(part.size)
            file.write(bytes(2 * tarfile.BLOCKSIZE))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def import_base(home: Home, path: Path, progress: Progress) -> Base:
    """Take a base from the file ``path`` into the home; all its bytes are compared with its id and its pins first.

    When it differs from the base of this version of nbseal only in its Debian packages, and the home has none of
    that yet, its packages become the home's current ones. Raises VerificationFailed for bytes that are not what
    they should be, BadInput for a file that is no base. Nothing of such a file enters the home.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from None
    work = home.temporary / f"import-{secrets.token_hex(8)}"
    work.mkdir(parents=True)
    try:
        with file:
            record = _document(file, "base.json")
            names = document_names(read_base(record))
            found = {"base.json": record, **{name: _document(file, name) for name in names[1:]}}
            base, made_of = check_base(path.name, found)
            parts = _parts(base, home)
            with progress.task(f"Reading {path.name}", sum(part.size for part in parts)) as advance:
                for part in parts:
                    _receive(file, part, work / part.name.replace("/", "-"))
                    advance(part.size)
            if file.read(2 * tarfile.BLOCKSIZE + 1) != bytes(2 * tarfile.BLOCKSIZE):
                raise BadInput(f"{path.name} does not end where its base does.", _NO_BASE)
        with locked(home.bases / ".lock"):
            known = find_base(base.recipe, home)
            if known is not None and known.id != base.id:
                raise VerificationFailed(
                    f"{path.name} has the recipe of the base {known.id}, but other bytes.",
                    "The home keeps the base that it has; whoever made this file should build it again.",
                )
            for part in parts:
                part.path.parent.mkdir(parents=True, exist_ok=True)
                (work / part.name.replace("/", "-")).replace(part.path)
            keep_record(base, found["config.json"], made_of, home)
            ours = find_base(recipe_of(current_pins(home).packages), home)
            if ours is None and isinstance(made_of, Pins) and recipe_of(base.packages) == base.recipe:
                make_current(made_of, home)
        return base
    except OSError as error:
        raise EnvironmentFailed(f"{path.name} cannot be taken into the home: {error.strerror or error}.") from None
    finally:
        remove_tree(work)


def document_names(base: Base) -> tuple[str, ...]:
    """What the record of a base consists of, in the order in which a file has it."""
    if base.origin is None:
        return ("base.json", "config.json", "packages.json")
    alone = base.origin.reference.endswith(f"@{base.origin.manifest}")
    return ("base.json", "config.json", *(() if alone else (INDEX,)), MANIFEST, CONFIG)


def check_base(name: str, documents: Mapping[str, bytes]) -> tuple[Base, Pins | Upstream]:
    """A base and what it is made of, from the documents of its record in a file ``name``, which must fit each other."""
    base, config = read_base(documents["base.json"]), documents["config.json"]
    if sha256_bytes(config) != base.id or diff_ids(config) != [layer.diff_id for layer in base.layers]:
        raise VerificationFailed(f"{name} is not the base that its record says.", _NO_BASE)
    if base.origin is not None:
        index = documents.get(INDEX, b"")
        return base, check_upstream(base, base.origin, index, documents[MANIFEST], documents[CONFIG])
    pins = read_pins(documents["packages.json"])
    if pins.packages != base.packages:
        raise VerificationFailed(f"The packages listed in {name} are not those of its base.", _NO_BASE)
    return base, pins


def _parts(base: Base, home: Home) -> list[_Part]:
    """The large entries, each once, in the order of the file."""
    every = [
        *(_Part(f"layers/{bare(x.diff_id)}", x.diff_id, x.size, layer_file(x, home)) for x in base.layers),
        *(_Part(f"packages/{bare(x.sha256)}", x.sha256, x.size, kept_path(x, home)) for x in base.packages),
        *(_Part(f"wheels/{bare(x.sha256)}", x.sha256, x.size, wheel_file(x, home)) for x in base.harness),
    ]
    return list({part.name: part for part in every}.values())


def _kept(part: _Part) -> BinaryIO:
    """A part's bytes in the home, compared with its digest."""
    try:
        file = part.path.open("rb")
    except OSError:
        file = None
    if file is None or PREFIX + hashlib.file_digest(file, "sha256").hexdigest() != part.digest:
        raise EnvironmentFailed(
            f"The home has lost {part.name}, which belongs to the base.",
            "Make it again with `nbseal base build`, then export again.",
        )
    file.seek(0)
    return file


def diff_ids(config: bytes) -> object:
    """The layers that an image's config names; None when it is none."""
    try:
        return json.loads(config)["rootfs"]["diff_ids"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


# --- entries ----------------------------------------------------------------------------------


def _write(file: BinaryIO, name: str, size: int, content: BinaryIO) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, SOURCE_DATE_EPOCH
    file.write(info.tobuf(tarfile.USTAR_FORMAT))
    while data := content.read(_CHUNK):
        file.write(data)
    file.write(bytes(-size % tarfile.BLOCKSIZE))


def _header(file: BinaryIO, name: str) -> int:
    """The size of the next entry, which must be a plain file called ``name``."""
    try:
        info = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise BadInput(f"{_name(file)} is not the file of a base, or ends early: no {name}.", _NO_BASE) from None
    if info.name != name or info.type != tarfile.REGTYPE:
        raise BadInput(f"{_name(file)} is not the file of a base: {name} is not where it should be.", _NO_BASE)
    return info.size


def _document(file: BinaryIO, name: str) -> bytes:
    size = _header(file, name)
    if size > MAX_RECORD_BYTES:
        raise BadInput(f"{name} of {_name(file)} is larger than {MAX_RECORD_BYTES >> 20} MiB.", _NO_BASE)
    return b"".join(_content(file, name, size))


def _receive(file: BinaryIO, part: _Part, target: Path) -> None:
    """Copy the next entry to ``target``, comparing size and digest."""
    if _header(file, part.name) != part.size:
        raise VerificationFailed(f"{part.name} of {_name(file)} has another size than its record says.", _NO_BASE)
    digest = hashlib.sha256()
    with target.open("xb") as output:
        for data in _content(file, part.name, part.size):
            digest.update(data)
            output.write(data)
        output.flush()
        os.fsync(output.fileno())
    if PREFIX + digest.hexdigest() != part.digest:
        raise VerificationFailed(f"{part.name} of {_name(file)} is not what its digest says.", _NO_BASE)
    target.chmod(0o444)


def _content(file: BinaryIO, name: str, size: int) -> Iterator[bytes]:
    left = size
    while left:
        data = file.read(min(_CHUNK, left))
        if not data:
            raise BadInput(f"{_name(file)} ends within {name}.", _NO_BASE)
        left -= len(data)
        yield data
    if len(file.read(-size % tarfile.BLOCKSIZE)) != -size % tarfile.BLOCKSIZE:
        raise BadInput(f"{_name(file)} ends after {name}.", _NO_BASE)


def _name(file: BinaryIO) -> str:
    return Path(file.name).name
