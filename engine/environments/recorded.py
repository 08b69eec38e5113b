"""The image of a record again: from the engine, from kept layers, or from its base and wheels, packed anew."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.daemon import Engine
from engine.digests import bare
from engine.environments.assemble import has_image, load, skips_layers
from engine.environments.base import load_base, restore_base, restore_layers
from engine.environments.images import build, describe, pack, read_config, refuse_twins, remembered_image
from engine.environments.indexes import read_indexes, redact
from engine.environments.layers import LayersMissing, has_layer, layer_file, wheel_file, working
from engine.environments.reasons import NotOffered
from engine.environments.wheels import fetch
from engine.errors import EnvironmentFailed, VerificationFailed
from engine.files import write_json
from engine.progress import Progress
from engine.settings import Home
from engine.software import Base, Distribution, Image, Lock, Wheel

_MOST_NAMED = 5
_SHAPES = {
    "name": re.compile(r"[a-z0-9]+(-[a-z0-9]+)*"),  # normalised, PEP 503
    "version": re.compile(r"[0-9A-Za-z][0-9A-Za-z.!+_-]{0,200}"),
    "filename": re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}\.whl"),
    "sha256": re.compile(r"sha256:[0-9a-f]{64}"),
}


def load_image(image: Image, home: Home, engine: Engine, progress: Progress) -> None:
    """Make the engine hold exactly this image again: from layers in the home, else from its base and wheels.

    Raises EnvironmentFailed saying what is missing, or that these wheels give another image today.
    """
    if has_image(image.id, engine):
        return
    config = read_config(home, image.id)
    if config and image.layers:
        try:
            load(config, image.layers, home, engine, progress)
            return
        except LayersMissing:
            progress.say("Some layers of the image are gone; they are made again from its wheels.")
    base, wheels = _ingredients(image, home, engine, progress)
    made = build(base, wheels, home, engine, progress)
    if made.id != image.id:
        raise _another(image, made)


def _another(image: Image, made: Image) -> EnvironmentFailed:
    return EnvironmentFailed(
        f"The recorded base and wheels give the image {made.id}, not {image.id}.",
        "Repeat the run with the version of nbseal that recorded it.",
    )


def hold_image(image: Image, home: Home, connect: Callable[[], Engine], progress: Progress) -> tuple[Image, bytes]:
    """The image with its layers, whose tars the home has, and its config; an engine is asked only for what is gone.

    Raises EnvironmentFailed saying what is missing, or that these wheels give another image today.
    """
    known, config = remembered_image(home, image.id), read_config(home, image.id)
    if known is not None and config is not None and _is_whole(known, config, home):
        return known, config
    progress.say(f"Layers of the image {bare(image.id)[:12]} are gone; they are made again from its base and wheels.")
    engine = connect()
    base, wheels = _ingredients(image, home, engine, progress)
    restore_layers(base, home, engine, progress)
    refuse_twins(wheels)
    made, config = describe(base, wheels, *pack(base, wheels, home, engine, progress))
    if made.id != image.id:
        raise _another(image, made)
    write_json(home.images / f"{bare(made.id)}.json", {**asdict(made), "config": config.decode()})
    return made, config


def _is_whole(image: Image, config: bytes, home: Home) -> bool:
    """Whether the home has all layers, and they are those of the config, whose digest is the image's id."""
    try:
        named = json.loads(config)["rootfs"]["diff_ids"]
        layers = [layer.diff_id for layer in image.layers]
        if named != layers or not all(_SHAPES["sha256"].fullmatch(layer) for layer in layers):
            return False
        return all(has_layer(layer, home) for layer in image.layers)
    except (ValueError, KeyError, TypeError):
        return False


def rebuild(image: Image, home: Home, engine: Engine, progress: Progress) -> str:
    """The id that an image's base and wheels give when every wheel is packed anew, whatever was packed before.

    When it is the recorded one, what was packed is kept and the engine holds the image; else nothing is kept.
    """
    base, wheels = _ingredients(image, home, engine, progress)
    refuse_twins(wheels)
    with working(home) as folder:
        apart = _Apart(home.root, folder)
        made, config = describe(base, wheels, *pack(base, wheels, apart, engine, progress))
        if made.id == image.id:
            for layer in made.layers:
                if has_layer(layer, apart):
                    layer_file(layer, apart).replace(layer_file(layer, home))
            write_json(home.images / f"{bare(made.id)}.json", {**asdict(made), "config": config.decode()})
            load(config, made.layers, home, engine, progress)
    return made.id


@dataclass(frozen=True)
class _Apart(Home):
    """A home in which no layer was ever made; its bases and wheels are those of the home that it is in."""

    folder: Path

    @property
    def layers(self) -> Path:
        return self.folder


def _ingredients(image: Image, home: Home, engine: Engine, progress: Progress) -> tuple[Base, tuple[Wheel, ...]]:
    """The recorded base, held by the engine, and the recorded wheels, in the home."""
    check_wheels(image.wheels)
    base = load_base(home, image.base)
    restore_base(base, home, engine, progress)
    if not skips_layers(engine):  # it will want those of the base again, with the image's
        restore_layers(base, home, engine, progress)
    return base, _wheels(image.wheels, base, home, progress)


def check_wheels(wheels: Sequence[Wheel]) -> None:
    """VerificationFailed unless every text has its shape: they become paths and lines of pip's, and records may lie."""
    for wheel in wheels:
        for name, shape in _SHAPES.items():
            value = getattr(wheel, name)
            if not shape.fullmatch(value):
                raise VerificationFailed(
                    f"The record names a wheel whose {name} is {value[:60]!r}.",
                    "It was damaged or forged; take the run from a backup.",
                )


# --- wheels -----------------------------------------------------------------------------------


def _wheels(wanted: Sequence[Wheel], base: Base, home: Home, progress: Progress) -> tuple[Wheel, ...]:
    try:
        return fetch(_lock_of(wanted, base), base, home, progress)
    except EnvironmentFailed as error:
        missing = [wheel for wheel in wanted if not wheel_file(wheel, home).is_file()]
        if isinstance(error, NotOffered):  # pip says so of the first one, and keeps none of the others
            missing = [wheel for wheel in missing if not _offered(wheel, base, home, progress)]
            if not missing:
                return fetch(_lock_of(wanted, base), base, home, progress)
        elif not missing:
            raise
        raise _gone(missing, home, error) from error


def _lock_of(wheels: Sequence[Wheel], base: Base) -> Lock:
    """The lock that allows exactly these wheels."""
    distributions = tuple(Distribution(wheel.name, wheel.version, (wheel.sha256,)) for wheel in wheels)
    return Lock("", "", base.python, base.platform, distributions)


def _offered(wheel: Wheel, base: Base, home: Home, progress: Progress) -> bool:
    """Whether this one can be had; if so, the home has it then."""
    try:
        fetch(_lock_of([wheel], base), base, home, progress)
    except NotOffered:
        return False
    return True


def _gone(wheels: Sequence[Wheel], home: Home, why: EnvironmentFailed) -> EnvironmentFailed:
    """Which files cannot be had, where they were looked for, and how to give them."""
    named = [f"{wheel.name} {wheel.version} ({wheel.filename}, {wheel.sha256})" for wheel in wheels[:_MOST_NAMED]]
    more = f"; and {len(wheels) - _MOST_NAMED} more" if len(wheels) > _MOST_NAMED else ""
    indexes = read_indexes(os.environ)
    places = [str(home.wheels), *(redact(url) for url in (*indexes.addresses, *indexes.find_links))]
    reason = "" if isinstance(why, NotOffered) else f" {why.message}"
    mend = "" if isinstance(why, NotOffered) else f"{why.hint} Or:\n"
    count = (
        "A wheel of the recorded image is" if len(wheels) == 1 else f"{len(wheels)} wheels of the recorded image are"
    )
    return EnvironmentFailed(
        f"{count} not to be had: {'; '.join(named)}{more}; looked for in {', '.join(places)}.{reason}",
        f"{mend}Put the file into any folder and rerun with PIP_FIND_LINKS=FOLDER; a home that ran it has it as "
        "wheels/<sha256>/<file name>, and a mirror or an archive of the project may have it.",
    )
