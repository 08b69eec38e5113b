"""Images of users' environments: a base, a frame for the kernel environment, and layers of distributions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from engine.daemon import Engine
from engine.digests import bare, sha256_bytes
from engine.environments.assemble import has_image, image_config, load
from engine.environments.early import load_early
from engine.environments.frame import frame
from engine.environments.grouping import group
from engine.environments.layers import (
    LayersMissing,
    pack_tree,
    pack_wheels,
    recall_groups,
)
from engine.environments.wheels import fetch
from engine.errors import EnvironmentFailed
from engine.files import write_json
from engine.model import Base, Distribution, Image, Layer, Lock, Wheel
from engine.progress import Progress
from engine.settings import Home

PREFIX = "/opt/kernel"
_ENVIRONMENT = {"PATH": f"{PREFIX}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def build(base: Base, wheels: Sequence[Wheel], home: Home, engine: Engine, progress: Progress) -> Image:
    """The image of ``base`` with ``wheels``, in the engine and remembered in the home.

    Nothing is packed or loaded when both have it. The engine must hold the base. Raises
    EnvironmentFailed when a wheel cannot be laid out or the engine does not take the image.
    """
    _refuse_twins(wheels)
    image = _recall(base, wheels, home, engine)
    if image is not None and has_image(image.id, engine) and remembered_image(home, image.id) == image:
        return image
    try:
        return _make(base, wheels, home, engine, progress)
    except LayersMissing:
        # What was damaged has been removed, so this packs it again; a base's own layers stay missing.
        return _make(base, wheels, home, engine, progress)


def load_image(image: Image, home: Home, engine: Engine, progress: Progress) -> None:
    """Make the engine hold exactly this image again: from layers in the home, else from its base and wheels.

    Raises EnvironmentFailed saying what is missing, or that these wheels give another image today.
    """
    from engine.environments.base import hold_base, load_base

    if has_image(image.id, engine):
        return
    config = _read_config(home, image.id)
    if config and image.layers:
        try:
            load(config, image.layers, home, engine, progress)
            return
        except LayersMissing:
            progress.say("Some layers of the image are gone; they are made again from its wheels.")
    base = load_base(home, image.base)
    hold_base(base, home, engine, progress)
    fetch(_lock_of(image, base), base, home, progress)
    made = build(base, image.wheels, home, engine, progress)
    if made.id != image.id:
        raise EnvironmentFailed(
            f"The recorded base and wheels give the image {made.id}, not {image.id}.",
            "Repeat the run with the version of nbseal that recorded it.",
        )


def _lock_of(image: Image, base: Base) -> Lock:
    """The lock that allows exactly the wheels of an image, to fetch those that the home has lost."""
    distributions = tuple(Distribution(wheel.name, wheel.version, (wheel.sha256,)) for wheel in image.wheels)
    return Lock("", "", base.python, base.platform, distributions)


def remembered_image(home: Home, image_id: str) -> Image | None:
    """What an image was made of, or None when the home does not know it."""
    try:
        document = json.loads((home.images / f"{bare(image_id)}.json").read_bytes())
        return Image(
            id=document["id"],
            base=document["base"],
            wheels=tuple(Wheel(**wheel) for wheel in document["wheels"]),
            layers=tuple(Layer(**layer) for layer in document["layers"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _read_config(home: Home, image_id: str) -> bytes | None:
    """The recorded config: another version of nbseal might write another one for the same layers."""
    try:
        config = json.loads((home.images / f"{bare(image_id)}.json").read_bytes())["config"].encode()
    except (FileNotFoundError, ValueError, KeyError, AttributeError):
        return None
    return config if sha256_bytes(config) == image_id else None


def _refuse_twins(wheels: Sequence[Wheel]) -> None:
    names = [wheel.name for wheel in wheels]
    for name in names:
        if names.count(name) > 1:
            raise EnvironmentFailed(f"The lock holds {name} more than once.", "Resolve it again with --upgrade.")


def _frame(base: Base, home: Home) -> Layer:
    """It lies under the distributions, because they change more often."""
    return pack_tree(frame(PREFIX, base.python), home, "frame of the kernel environment")


def _groups(base: Base, wheels: Sequence[Wheel]) -> tuple[tuple[Wheel, ...], ...]:
    """The distributions as they share layers of the image, lowest first."""
    return group(wheels, len(base.layers) + 1)


def _describe(base: Base, wheels: Sequence[Wheel], frame: Layer, distributions: Sequence[Layer]) -> tuple[Image, bytes]:
    layers = (*base.layers, frame, *distributions)
    config = image_config(layers, environment=_ENVIRONMENT)
    ordered = tuple(sorted(wheels, key=lambda wheel: wheel.name))
    return Image(sha256_bytes(config), base.id, ordered, layers), config


def _recall(base: Base, wheels: Sequence[Wheel], home: Home, engine: Engine) -> Image | None:
    """The image that these wheels became before, or None when some layer of it was never made here."""
    known = recall_groups(base.id, _groups(base, wheels), PREFIX, home, engine)
    layers = [layer for layer in known if layer is not None]
    return _describe(base, wheels, _frame(base, home), layers)[0] if len(layers) == len(known) else None


def _make(base: Base, wheels: Sequence[Wheel], home: Home, engine: Engine, progress: Progress) -> Image:
    groups, frame_layer = _groups(base, wheels), _frame(base, home)
    with load_early((*base.layers, frame_layer), _ENVIRONMENT, home, engine) as early:
        packed = pack_wheels(base.id, groups, PREFIX, home, engine, progress, early.take)
        earlier = early.finish()
        image, config = _describe(base, wheels, frame_layer, packed)
        load(config, image.layers, home, engine, progress, earlier=earlier)
    write_json(home.images / f"{bare(image.id)}.json", {**asdict(image), "config": config.decode()})
    return image
