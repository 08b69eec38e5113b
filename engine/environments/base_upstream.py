"""A base of an image of a registry: the image's own layers as they are, and above them what every base has.

Nothing of the image is changed. Its programs may have the right to gain privileges; no container of ours lets them.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import replace

from engine import harness
from engine.daemon import Engine, ignore_engine_errors, run_tool
from engine.digests import bare
from engine.environments import base_harness, images, layers
from engine.environments.assemble import image_config, load
from engine.environments.base import held, hold_base, restore_layers
from engine.environments.base_ingredients import recipe_of_origin
from engine.environments.base_record import find_base, keep_record
from engine.environments.layers import LayersMissing, layer_file, merge_layers, pack_tree
from engine.environments.library import pack_library
from engine.environments.probing import NOBODY, find_python
from engine.environments.tars import Tree
from engine.environments.upstream import Upstream
from engine.environments.variables import variables_of
from engine.errors import EnvironmentFailed
from engine.files import locked
from engine.progress import Progress
from engine.settings import Home
from engine.software import Base, Layer, Origin

_STEADY = "usr/local/lib/nbseal/steady.so"
_FOLDERS = ("project", "run/nbseal", "home/nbseal")
#: What the image must not have: folders that are ours alone, and links on the way to these or to mounts.
_OURS = (images.PREFIX, base_harness.PREFIX, "/usr/local/lib/nbseal", *(f"/{name}" for name in _FOLDERS))
_MAX_STEADY = 1 << 20
_ADDED = "what nbseal adds"


def find_built(manifest: str, home: Home, engine: Engine, progress: Progress) -> Base | None:
    """The base of the image with this manifest that this version made before, held by the engine."""
    base = find_base(recipe_of_origin(manifest), home)
    if base is not None:
        try:
            hold_base(base, home, engine, progress)
        except LayersMissing:
            return None
    return base


def build_on(
    upstream: Upstream, manifest: str, own: Sequence[Layer], ours: Base, home: Home, engine: Engine, progress: Progress
) -> Base:
    """The base of ``upstream``, whose layers ``own`` are in the home; what is compiled for bases is that of ``ours``.

    Raises EnvironmentFailed when no base can be made of it.
    """
    name = upstream.reference
    origin = Origin(name, manifest, upstream.environment, "")
    variables = variables_of(origin)
    with locked(home.bases / ".lock"):
        with held(own, "rootfs", variables, home, engine, progress) as image:
            python = find_python(image, name, _OURS, engine)
            library = pack_library(image, python, home, engine, progress)
        origin = replace(origin, python=python.path)
        added = pack_tree(_additions(ours, home, engine, progress), home, _ADDED)
        if library is not None:
            added = merge_layers([added, library], home, _ADDED)
        below = (*own, added)
        with held(below, "stage", variables, home, engine, progress) as image:
            stage = Base(
                id=image,
                python=python.version,
                glibc=python.glibc,
                layers=below,
                packages=(),
                harness=(),
                protocol=harness.PROTOCOL,
                recipe=recipe_of_origin(manifest),
                origin=origin,
            )
            above, wheels = base_harness.harness_layers(stage, home, engine, progress)
            config = image_config((*below, *above), environment=variables)
            base_id = load(config, (*below, *above), home, engine, progress, kind="base")
            layers.share_interpreter(stage.id, base_id, home)
        try:
            _check_harness(base_id, name, engine)
        except EnvironmentFailed:
            with ignore_engine_errors():
                engine.client.api.remove_image(f"nbseal/base:{bare(base_id)[:12]}")
            raise
        base = replace(stage, id=base_id, layers=(*below, *above), harness=wheels)
        keep_record(base, config, upstream, home)
    size = sum(layer.size for layer in base.layers)
    progress.say(f"Base {bare(base.id)[:12]} of {name}: Python {base.python} ({python.path}), {size / 1e6:.0f} MB.")
    return base


def _check_harness(image: str, name: str, engine: Engine) -> None:
    """EnvironmentFailed unless what executes notebooks runs there: wheels expect some libraries of any Linux."""
    command = [f"{base_harness.PREFIX}/bin/python3", "-I", "-c", f"import {base_harness.NAME}.run"]
    said = run_tool(engine, image, command, user=NOBODY, environment={"LD_PRELOAD": f"/{_STEADY}"})
    if said.exit_code:
        lines = said.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        why = "".join(char for char in lines[-1] if char.isprintable())[:300].rstrip(".")
        raise EnvironmentFailed(
            f"What executes notebooks does not run in {name}: {why}.",
            "Wheels expect some libraries of any Linux (PEP 600), libstdc++ among them: take an image that has them.",
        )


def _additions(ours: Base, home: Home, engine: Engine, progress: Progress) -> Tree:
    """The folders that runs mount, and what Dockerfile.base compiles."""
    restore_layers(ours, home, engine, progress)
    for layer in reversed(ours.layers):
        with tarfile.open(layer_file(layer, home)) as archive:
            for member in archive:
                if member.name == _STEADY and member.isreg() and member.size <= _MAX_STEADY:
                    content = archive.extractfile(member)
                    return {**dict.fromkeys(_FOLDERS), _STEADY: content.read() if content else b""}
    raise EnvironmentFailed(f"The base {bare(ours.id)[:12]} has no {_STEADY}.", "Build it again: `nbseal base build`.")
