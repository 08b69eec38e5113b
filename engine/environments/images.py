"""Images of users' environments: a base, a frame for the kernel environment, and layers of distributions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict

from engine.daemon import Engine
from engine.digests import bare, sha256_bytes
from engine.environments.assemble import has_image, image_config, load
from engine.environments.base_record import folder_of
from engine.environments.early import load_early
from engine.environments.frame import frame
from engine.environments.grouping import group
from engine.environments.layers import (
    LayersMissing,
    pack_tree,
    pack_wheels,
    recall_groups,
)
from engine.environments.variables import variables_of
from engine.errors import EnvironmentFailed
from engine.files import write_json
from engine.progress import Progress
from engine.settings import Home
from engine.software import Base, Image, Layer, Wheel

PREFIX = "/opt/kernel"
_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")


def build(base: Base, wheels: Sequence[Wheel], home: Home, engine: Engine, progress: Progress) -> Image:
    """The image of ``base`` with ``wheels``, in the engine and remembered in the home.

    Nothing is packed or loaded when both have it. The engine must hold the base. Raises
    EnvironmentFailed when a wheel cannot be laid out or the engine does not take the image.
    """
    refuse_twins(wheels)
    image = _recall(base, wheels, home, engine)
    if image is not None and has_image(image.id, engine) and remembered_image(home, image.id) == image:
        return image
    try:
        return _make(base, wheels, home, engine, progress)
    except LayersMissing:
        # What was damaged has been removed, so this packs it again; a base's own layers stay missing.
        return _make(base, wheels, home, engine, progress)


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


def read_config(home: Home, image_id: str) -> bytes | None:
    """The recorded config: another version of nbseal might write another one for the same layers."""
    try:
        config = json.loads((home.images / f"{bare(image_id)}.json").read_bytes())["config"].encode()
    except (FileNotFoundError, ValueError, KeyError, AttributeError):
        return None
    return config if sha256_bytes(config) == image_id else None


def known_layers(home: Home, image_id: str) -> tuple[str, ...]:
    """The layers of an image or base that the home knows; none of one that it does not."""
    if not _IMAGE_ID.fullmatch(image_id):
        return ()
    config = read_config(home, image_id)
    if config is None:
        try:
            config = (folder_of(image_id, home) / "config.json").read_bytes()
        except OSError:
            return ()
    if sha256_bytes(config) != image_id:
        return ()
    try:
        return tuple(str(layer) for layer in json.loads(config)["rootfs"]["diff_ids"])
    except (ValueError, KeyError, TypeError):
        return ()


def refuse_twins(wheels: Sequence[Wheel]) -> None:
    """EnvironmentFailed when a distribution is named twice."""
    names = [wheel.name for wheel in wheels]
    for name in names:
        if names.count(name) > 1:
            raise EnvironmentFailed(f"The lock holds {name} more than once.", "Resolve it again with --upgrade.")


def _frame(base: Base, home: Home) -> Layer:
    """It lies under the distributions, because they change more often."""
    return pack_tree(frame(PREFIX, base), home, "frame of the kernel environment")


def _groups(base: Base, wheels: Sequence[Wheel]) -> tuple[tuple[Wheel, ...], ...]:
    """The distributions as they share layers of the image, lowest first."""
    return group(wheels, len(base.layers) + 1)


def pack(
    base: Base, wheels: Sequence[Wheel], home: Home, engine: Engine, progress: Progress
) -> tuple[Layer, tuple[Layer, ...]]:
    """The layers above the base, in the home and not in the engine: the frame, and those of the distributions."""
    return _frame(base, home), pack_wheels(base, _groups(base, wheels), PREFIX, home, engine, progress)


def describe(base: Base, wheels: Sequence[Wheel], frame: Layer, distributions: Sequence[Layer]) -> tuple[Image, bytes]:
    """The image of these layers, and its config."""
    layers = (*base.layers, frame, *distributions)
    config = image_config(layers, environment=variables_of(base.origin))
    ordered = tuple(sorted(wheels, key=lambda wheel: wheel.name))
    return Image(sha256_bytes(config), base.id, ordered, layers), config


def _recall(base: Base, wheels: Sequence[Wheel], home: Home, engine: Engine) -> Image | None:
    """The image that these wheels became before, or None when some layer of it was never made here."""
    known = recall_groups(base, _groups(base, wheels), PREFIX, home, engine)
    layers = [layer for layer in known if layer is not None]
    return describe(base, wheels, _frame(base, home), layers)[0] if len(layers) == len(known) else None


def _make(base: Base, wheels: Sequence[Wheel], home: Home, engine: Engine, progress: Progress) -> Image:
    groups, frame_layer = _groups(base, wheels), _frame(base, home)
    with load_early((*base.layers, frame_layer), variables_of(base.origin), home, engine) as early:
        packed = pack_wheels(base, groups, PREFIX, home, engine, progress, early.take)
        earlier = early.finish()
        image, config = describe(base, wheels, frame_layer, packed)
        load(config, image.layers, home, engine, progress, earlier=earlier)
    write_json(home.images / f"{bare(image.id)}.json", {**asdict(image), "config": config.decode()})
    return image
