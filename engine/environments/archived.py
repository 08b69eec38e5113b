"""Bases and images that come with archived runs: their records, checked, and written so that a rerun finds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from engine.digests import bare, sha256_bytes
from engine.environments.base_archive import check_base, diff_ids, document_names
from engine.environments.base_record import ARCHIVED, MAX_RECORD_BYTES, read_base
from engine.environments.debian import kept_path
from engine.environments.layers import wheel_file
from engine.environments.lockfile import marker_environment, parse_lock
from engine.environments.recorded import check_wheels
from engine.errors import BadInput, EnvironmentFailed, VerificationFailed
from engine.files import read_regular
from engine.settings import Home
from engine.software import Base, Image, Layer, Wheel

_HINT = "The archive was damaged or forged; take it from where it was made."


def archived_base(home: Home, base_id: str) -> Base:
    """A base of a home that is being put together from an archive; VerificationFailed unless its record holds."""
    folder = home.bases / bare(base_id)
    try:
        names = document_names(read_base(read_regular(folder / "base.json", MAX_RECORD_BYTES)))
        found = {name: read_regular(folder / name, MAX_RECORD_BYTES) for name in names}
        if strays := sorted({path.name for path in folder.iterdir()} - {*names, ARCHIVED}):
            raise VerificationFailed(f"bases/{folder.name}/{strays[0]} belongs to no base.", _HINT)
        base, _ = check_base(f"bases/{folder.name}", found)
    except FileNotFoundError as error:
        raise VerificationFailed(f"bases/{folder.name} has no {Path(str(error.filename)).name}.", _HINT) from None
    except (OSError, BadInput, EnvironmentFailed) as error:
        reason = error.message if isinstance(error, BadInput | EnvironmentFailed) else error.strerror
        raise VerificationFailed(
            f"bases/{folder.name}/base.json is not the record of a base: {reason}", _HINT
        ) from None
    if base.id != base_id:
        raise VerificationFailed(f"bases/{folder.name}/base.json is that of another base.", _HINT)
    (folder / ARCHIVED).touch()
    return base


def ingredients(home: Home, base: Base, wheels: Sequence[Wheel]) -> tuple[set[str], set[str]]:
    """The paths, below the folders of wheels and of packages, of what an image is made of."""
    check_wheels(wheels)
    wheel_paths = {str(wheel_file(wheel, home).relative_to(home.wheels)) for wheel in (*wheels, *base.harness)}
    package_paths = {str(kept_path(package, home).relative_to(home.packages)) for package in base.packages}
    return wheel_paths, package_paths


def check_locked(text: str, wheels: Sequence[Wheel], base: Base) -> None:
    """VerificationFailed unless a lock allows exactly these wheels: one file for each of its distributions."""
    try:
        entries = {entry.name: entry for entry in parse_lock(text, marker_environment(base))}
    except EnvironmentFailed as error:
        raise VerificationFailed(f"requirements.lock is no lock: {error.message}", _HINT) from None
    for wheel in wheels:
        if wheel.name not in entries or wheel.sha256 not in entries[wheel.name].hashes:
            raise VerificationFailed(f"requirements.lock does not allow the wheel {wheel.filename}.", _HINT)
    if lacking := sorted(entries.keys() - {wheel.name for wheel in wheels}):
        raise VerificationFailed(f"The image has no wheel of {lacking[0]}, which requirements.lock names.", _HINT)


def keep_archived_image(home: Home, image: Image, config: bytes, layers: Sequence[tuple[str, int]], base: Base) -> None:
    """Remember what an image is made of. VerificationFailed unless it is the image that its id says, on its base."""
    below = [layer.diff_id for layer in base.layers]
    found = [diff_id for diff_id, _ in layers]
    if sha256_bytes(config) != image.id or diff_ids(config) != found or found[: len(below)] != below:
        raise VerificationFailed(f"The image {image.id} is not made of its layers on its base.", _HINT)
    if [size for _, size in layers][: len(below)] != [layer.size for layer in base.layers]:
        raise VerificationFailed(f"The record of the base {base.id} gives other sizes of its layers.", _HINT)
    names: Mapping[str, str] = {layer.diff_id: layer.of for layer in base.layers}
    known = tuple(
        Layer(diff_id, size, names.get(diff_id, f"layer {place} of an archive"))
        for place, (diff_id, size) in enumerate(layers, 1)
    )
    made = Image(image.id, base.id, image.wheels, known)
    home.images.mkdir(parents=True, exist_ok=True)
    document = json.dumps({**asdict(made), "config": config.decode()})
    (home.images / f"{bare(image.id)}.json").write_text(document, encoding="utf-8")
