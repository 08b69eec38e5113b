"""The base image: Debian's packages, Dockerfile.base and the harness, in four layers of ours.

The same packages, Dockerfile.base and harness give the same image id on every machine: no step's output
depends on the time, the folder, the user, the host's name or its settings. Packages, wheels and layers
stay in the home by digest, so that a base can be loaded again, or made again, without the network.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from engine import harness
from engine.daemon import Engine, ignore_engine_errors, run_tool
from engine.digests import bare, digest_of, sha256_bytes
from engine.environments import base_ingredients, base_record, layers
from engine.environments.assemble import has_image, image_config, load
from engine.environments.base_harness import harness_layers
from engine.environments.base_ingredients import LAYOUT, recipe_of
from engine.environments.base_recipe import apply_recipe
from engine.environments.base_record import (
    current_pins,
    find_base,
    keep_record,
    list_bases,
    load_base,
    load_config,
)
from engine.environments.base_rootfs import bootstrap
from engine.environments.debian import Pins, fetch_packages, find_mirrors, resolve_pins
from engine.environments.variables import variables_of
from engine.errors import EnvironmentFailed
from engine.files import locked, write_json
from engine.progress import Progress
from engine.settings import Home
from engine.software import Base, Layer

__all__ = ["build_base", "ensure_base", "hold_base", "list_bases", "load_base"]

_ENVIRONMENT = variables_of(None)
_IDENTIFY = "import os, platform; print(platform.python_version(), os.confstr('CS_GNU_LIBC_VERSION').split()[1])"


def ensure_base(home: Home, engine: Engine, progress: Progress) -> Base:
    """The base of this version of nbseal with the home's current packages, built when missing, held by the engine.

    Of two processes at once one builds and the other waits. Raises EnvironmentFailed.
    """
    recipe = recipe_of(current_pins(home).packages)
    base = find_base(recipe, home)
    if base is not None and has_image(base.id, engine):
        return base
    with locked(home.bases / ".lock"):
        base = find_base(recipe, home)
        if base is None:
            progress.say("There is no base image yet: building it (once, about a minute).")
            return _build(current_pins(home), home, engine, progress)
        try:
            hold_base(base, home, engine, progress)
        except layers.LayersMissing:
            progress.say("Layers of the base image are gone or damaged: building it again.")
            return _build(base_record.load_pins(base, home), home, engine, progress)
        return base


def build_base(home: Home, engine: Engine, progress: Progress, *, repin: bool = False) -> Base:
    """Build the base again from the home's current packages.

    ``repin`` takes today's versions from Debian's archive first, says what changed, and makes them the
    home's current ones. Raises EnvironmentFailed when a package, a tool or the network is missing.
    """
    with locked(home.bases / ".lock"):
        pins = current_pins(home)
        if repin:
            with progress.task("Asking Debian's archive for today's versions"):
                new = resolve_pins(pins.wanted, find_mirrors())
            progress.say(describe_changes(pins, new))
            pins = new
        base = _build(pins, home, engine, progress)
        if repin:
            base_record.make_current(pins, home)
        return base


def hold_base(base: Base, home: Home, engine: Engine, progress: Progress) -> None:
    """Make the engine hold ``base`` again; LayersMissing (EnvironmentFailed) when the home lost its layers."""
    load(load_config(base, home), base.layers, home, engine, progress, kind="base")


def restore_base(base: Base, home: Home, engine: Engine, progress: Progress) -> None:
    """The same; when its layers are gone, they are made again from its packages, if this version still makes them."""
    try:
        hold_base(base, home, engine, progress)
    except layers.LayersMissing:
        _make_again(base, home, engine, progress)


def restore_layers(base: Base, home: Home, engine: Engine, progress: Progress) -> None:
    """Make the home have the layers of ``base``, whether the engine holds it or not."""
    if not all(layers.has_layer(layer, home) for layer in base.layers):
        _make_again(base, home, engine, progress)


def _make_again(base: Base, home: Home, engine: Engine, progress: Progress) -> None:
    made = ""
    if base.origin:
        raise EnvironmentFailed(
            f"The layers of the base {bare(base.id)[:12]} are gone.",
            f"Fetch them again: `nbseal base build --from {base.origin.reference}`, or import the base from elsewhere.",
        )
    if base.recipe == recipe_of(base.packages):
        with locked(home.bases / ".lock"):
            made = _build(base_record.load_pins(base, home), home, engine, progress).id
    if made != base.id:
        raise EnvironmentFailed(
            f"The layers of the base {bare(base.id)[:12]} are gone, and this version of nbseal makes another base.",
            "Import it from where it was used: `nbseal base export` there, `nbseal base import` here.",
        )


def describe_changes(old: Pins, new: Pins) -> str:
    """One sentence on how two pin lists differ."""
    before = {package.name: package.version for package in old.packages}
    after = {package.name: package.version for package in new.packages}
    changed = [
        f"{name} {before.get(name, '(new)')} -> {after.get(name, '(gone)')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    if not changed:
        return f"All {len(after)} Debian packages are at today's versions already."
    shown = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
    return f"{len(changed)} of {len(after)} Debian packages changed: {shown}."


# --- building ---------------------------------------------------------------------------------


def _build(pins: Pins, home: Home, engine: Engine, progress: Progress) -> Base:
    """Fetch, install, pack and load, reusing the home's layers; without them, when one turns out to be damaged."""
    start = time.monotonic()
    files = fetch_packages(pins.packages, home, progress)
    try:
        base = _assemble(pins, files, home, engine, progress)
    except layers.LayersMissing:
        _forget_steps(home)
        base = _assemble(pins, files, home, engine, progress)
    size = sum(layer.size for layer in base.layers)
    progress.say(
        f"Base image {bare(base.id)[:12]}: {len(pins.packages)} Debian packages, Python {base.python}, "
        f"{size / 1e6:.0f} MB, built in {time.monotonic() - start:.0f} s."
    )
    return base


def _assemble(pins: Pins, files: Sequence[Path], home: Home, engine: Engine, progress: Progress) -> Base:
    root = _once(
        ["rootfs", [package.sha256 for package in pins.packages]],
        home,
        lambda: bootstrap(pins.packages, files, home, progress),
    )

    def recipe() -> Layer:
        with held([root], "rootfs", _ENVIRONMENT, home, engine, progress) as image:
            return apply_recipe(
                base_ingredients.dockerfile(), base_ingredients.build_context(), image, home, engine, progress
            )

    copied = [sha256_bytes(content) for content in base_ingredients.build_context().values()]
    added = _once(["dockerfile", root.diff_id, sha256_bytes(base_ingredients.dockerfile()), *copied], home, recipe)
    with held([root, added], "stage", _ENVIRONMENT, home, engine, progress) as image:
        python, glibc = _identify(image, engine)
        stage = Base(
            id=image,
            python=python,
            glibc=glibc,
            layers=(root, added),
            packages=pins.packages,
            harness=(),
            protocol=harness.PROTOCOL,
            recipe=recipe_of(pins.packages),
        )
        own, wheels = harness_layers(stage, home, engine, progress)
        config = image_config((*stage.layers, *own), environment=_ENVIRONMENT)
        base_id = load(config, (*stage.layers, *own), home, engine, progress, kind="base")
        layers.share_interpreter(stage.id, base_id, home)
    base = replace(stage, id=base_id, layers=(*stage.layers, *own), harness=wheels)
    keep_record(base, config, pins, home)
    return base


def _once(ingredients: list[object], home: Home, make: Callable[[], Layer]) -> Layer:
    """The layer that these ingredients became before, while the home has it; else a new one."""
    path = home.bases / "steps" / f"{bare(digest_of([LAYOUT, layers.LAYOUT, *ingredients]))}.json"
    layer = base_record.read_step(path)
    if layer is None or not layers.has_layer(layer, home):
        layer = make()
        write_json(path, asdict(layer))
    return layer


def _forget_steps(home: Home) -> None:
    """Forget which layers there were: some are not in the home any more, or not as they were."""
    for path in (home.bases / "steps").glob("*.json"):
        path.unlink(missing_ok=True)


@contextmanager
def held(
    below: Sequence[Layer],
    kind: str,
    environment: Mapping[str, str],
    home: Home,
    engine: Engine,
    progress: Progress,
) -> Iterator[str]:
    """Have the engine hold an image of these layers, with these variables, for a while.

    It is held by a tag that only we know: another home's build may hold the same image at the same time.
    """
    image = load(image_config(below, environment=environment), below, home, engine, progress, kind=kind)
    repository, tag = f"nbseal/{kind}", secrets.token_hex(8)
    engine.client.api.tag(engine.handle(image), repository, tag)
    with ignore_engine_errors():
        engine.client.api.remove_image(f"{repository}:{bare(image)[:12]}")
    try:
        yield image
    finally:
        with ignore_engine_errors():
            engine.client.api.remove_image(f"{repository}:{tag}")


def _identify(image: str, engine: Engine) -> tuple[str, str]:
    """The versions of an image's Python and glibc."""
    result = run_tool(engine, image, ["/usr/bin/python3", "-I", "-c", _IDENTIFY])
    if result.exit_code:
        raise EnvironmentFailed(f"The base's Python does not run: {result.stderr.decode(errors='replace')[-300:]}")
    python, glibc = result.stdout.decode().split()
    return python, glibc
