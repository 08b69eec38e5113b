"""What the home knows of bases: their records, and which Debian packages are current.

``bases/<hex of id>/`` holds ``base.json`` (the Base), ``config.json`` (the image's config, byte for byte) and
``packages.json`` (the pin list); or, of an image of a registry, what that said of it: ``manifest.json``, ``image.json``
and, for one of several platforms, ``index.json``. ``bases/repinned.json`` holds the pin list that took the place of the
shipped one, and the digest of that: a newer nbseal with a newer list is stronger again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from engine.digests import bare, sha256_bytes
from engine.environments.base_origin import check_upstream, read_origin
from engine.environments.debian import Pins, read_package, read_pins
from engine.environments.grouping import MOST_LAYERS, SHARED
from engine.environments.upstream import CONFIG, INDEX, MANIFEST, Upstream
from engine.errors import BadInput, EnvironmentFailed, VerificationFailed
from engine.files import json_bytes, read_regular, write_atomic, write_json
from engine.model import Json
from engine.settings import PLATFORM, Home, resources
from engine.software import Base, Layer, Origin, Wheel

MAX_RECORD_BYTES = 4 << 20
#: An empty file beside the record of a base that came with archived runs. Such a base serves to repeat these; that it
#: was built from the recipe that it names is only said, so no new run may stand on it for that.
ARCHIVED = "archived"
#: An image that stands on a base may have a hundred, some of which are its own.
MAX_LAYERS = MOST_LAYERS - SHARED - 1
MAX_WHEELS = 200

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TEXT = re.compile(r"[\x20-\x7e]{1,300}")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){1,3}")
_WHEEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}\.whl")


# --- pins ----------------------------------------------------------------------------------------


def shipped_pins() -> Pins:
    """The pin list that comes with this version of nbseal."""
    return read_pins(_shipped())


def current_pins(home: Home) -> Pins:
    """The packages of a base that is built now: pinned anew in this home, else those shipped."""
    shipped = _shipped()
    try:
        document = json.loads((home.bases / "repinned.json").read_bytes())
        if document["instead_of"] == sha256_bytes(shipped):
            return read_pins(json.dumps(document["pins"]).encode())
    except (FileNotFoundError, ValueError, KeyError, TypeError, BadInput):
        pass  # there is none, or it is damaged: the shipped list always works
    return read_pins(shipped)


def make_current(pins: Pins, home: Home) -> None:
    """Use ``pins`` in this home from now on, until a newer shipped list comes."""
    write_json(home.bases / "repinned.json", {"instead_of": sha256_bytes(_shipped()), "pins": pins.to_json()})


def _shipped() -> bytes:
    return (resources() / "images" / "debian.json").read_bytes()


# --- records ----------------------------------------------------------------------------------


def folder_of(base_id: str, home: Home) -> Path:
    """Where the record of a base is, or would be."""
    return home.bases / bare(base_id)


def keep_record(base: Base, config: bytes, made_of: Pins | Upstream, home: Home) -> None:
    """Remember a base. ``base.json`` comes last: without it there is no base."""
    folder = folder_of(base.id, home)
    for name, data in documents(base, config, made_of).items():
        write_atomic(folder / name, data)
    (folder / ARCHIVED).unlink(missing_ok=True)


def documents(base: Base, config: bytes, made_of: Pins | Upstream) -> dict[str, bytes]:
    """The record's files by name, ``base.json`` last."""
    record = asdict(base)
    if isinstance(made_of, Upstream):
        return {"config.json": config, **made_of.documents, "base.json": json_bytes(record)}
    del record["origin"]
    return {"config.json": config, "packages.json": json_bytes(made_of.to_json()), "base.json": json_bytes(record)}


def load_base(home: Home, base_id: str) -> Base:
    """The recorded base; EnvironmentFailed when the home does not have it or its record is damaged."""
    if not _DIGEST.fullmatch(base_id):
        raise EnvironmentFailed(f"'{base_id[:80]}' is no base's id.")
    path = folder_of(base_id, home) / "base.json"
    try:
        base = read_base(path.read_bytes())
    except FileNotFoundError:
        raise EnvironmentFailed(
            f"The base {bare(base_id)[:12]} is not in this home.",
            "Import it from where it was used: `nbseal base export` there, `nbseal base import` here.",
        ) from None
    except BadInput as error:
        raise EnvironmentFailed(f"The record {path} is damaged: {error.message}") from None
    if base.id != base_id:
        raise EnvironmentFailed(f"The record {path} is that of another base.")
    return base


def load_config(base: Base, home: Home) -> bytes:
    """The base's config, checked against its id."""
    try:
        config = (folder_of(base.id, home) / "config.json").read_bytes()
    except FileNotFoundError:
        config = b""
    if sha256_bytes(config) != base.id:
        raise EnvironmentFailed(
            f"The config of the base {bare(base.id)[:12]} is missing or damaged.", "Import or build the base again."
        )
    return config


def load_pins(base: Base, home: Home) -> Pins:
    """The base's pin list; its packages are the record's own where the list is missing or damaged."""
    try:
        pins = read_pins((folder_of(base.id, home) / "packages.json").read_bytes())
    except (FileNotFoundError, BadInput):
        pins = Pins({}, ())
    return pins if pins.packages == base.packages else Pins({}, base.packages)


def load_upstream(base: Base, origin: Origin, home: Home) -> Upstream:
    """What the registry said of the base's image, checked; EnvironmentFailed when that is missing or damaged."""
    folder = folder_of(base.id, home)
    try:
        index, manifest, config = (_optional(folder / name) for name in (INDEX, MANIFEST, CONFIG))
        return check_upstream(base, origin, index, manifest, config)
    except (OSError, VerificationFailed):
        raise EnvironmentFailed(
            f"What the registry said of the base {bare(base.id)[:12]} is missing or damaged.",
            f"Fetch it again: `nbseal base build --from {origin.reference}`.",
        ) from None


def _optional(path: Path) -> bytes:
    """An index is only there where the reference was that of one."""
    try:
        return read_regular(path, MAX_RECORD_BYTES)
    except FileNotFoundError:
        return b""


def base_files(base: Base, home: Home) -> dict[str, bytes]:
    """The record's files by name, as ``keep_record`` writes them."""
    made_of = load_upstream(base, base.origin, home) if base.origin else load_pins(base, home)
    return documents(base, load_config(base, home), made_of)


def list_bases(home: Home) -> tuple[Base, ...]:
    """All readable bases of the home, newest first."""
    found = []
    for path in home.bases.glob("*/base.json"):
        try:
            found.append((path.stat().st_mtime, read_base(path.read_bytes())))
        except (FileNotFoundError, BadInput):
            continue
    return tuple(base for _, base in sorted(found, key=lambda item: (-item[0], item[1].id)))


def find_base(recipe: str, home: Home) -> Base | None:
    """The base that was built from ``recipe``, as far as this home or its user says so."""
    return next((base for base in list_bases(home) if base.recipe == recipe and not _is_archived(base, home)), None)


def _is_archived(base: Base, home: Home) -> bool:
    return (folder_of(base.id, home) / ARCHIVED).exists()


def read_base(data: bytes) -> Base:
    """A base from its JSON. Raises BadInput for anything that is none: it may come from somebody else's file."""
    try:
        if len(data) > MAX_RECORD_BYTES:
            raise ValueError("it is too large")
        document = json.loads(data)
        base = Base(
            id=_matching(_DIGEST, document["id"]),
            python=_matching(_VERSION, document["python"]),
            glibc=_matching(_VERSION, document["glibc"]),
            layers=tuple(_layer(item) for item in document["layers"]),
            packages=tuple(read_package(item) for item in document["packages"]),
            harness=tuple(_wheel(item) for item in document["harness"]),
            protocol=_count(document["protocol"]),
            recipe=_matching(_DIGEST, document["recipe"]),
            platform=_matching(_TEXT, document["platform"]),
            origin=read_origin(document.get("origin")),
        )
        if base.origin and base.packages:
            raise ValueError("it is of Debian packages and of an image of a registry at once")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"The record of the base cannot be read: {error}.") from None
    if base.platform != PLATFORM:
        raise BadInput(f"The base is for {base.platform}, not {PLATFORM}.")
    if not 0 < len(base.layers) <= MAX_LAYERS or len(base.harness) > MAX_WHEELS:
        raise BadInput("The record of the base has no layers, or too many of something.")
    return base


def read_step(path: Path) -> Layer | None:
    """The layer that a step of building left, as remembered in ``path``; None when nothing usable is there."""
    try:
        return _layer(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _layer(item: Mapping[str, Any]) -> Layer:
    return Layer(_matching(_DIGEST, item["diff_id"]), _count(item["size"]), _matching(_TEXT, item["of"]))


def _wheel(item: Json) -> Wheel:
    wheel = Wheel(**{field.name: item[field.name] for field in fields(Wheel)})
    _matching(_TEXT, wheel.name)
    _matching(_TEXT, wheel.version)
    _matching(_WHEEL_NAME, wheel.filename)
    _matching(_DIGEST, wheel.sha256)
    _count(wheel.size)
    return wheel


def _matching(form: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"{str(value)[:60]!r} is not what it should be")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 < value < 1 << 40:
        raise ValueError(f"{str(value)[:60]!r} is no count")
    return value
