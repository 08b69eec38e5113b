"""Bytecode of a foreign Python's standard library, where its image has none: else every run would compile it anew."""

from __future__ import annotations

import json

from engine.daemon import Engine, Mount, run_tool
from engine.environments.layers import PACKER, PACKING, layer_file, program, proven, working
from engine.environments.probing import Python
from engine.errors import EnvironmentFailed
from engine.files import read_regular
from engine.progress import Progress
from engine.settings import Home
from engine.software import Layer

_MAX_ANSWER = 64 << 10


def pack_library(image: str, python: Python, home: Home, engine: Engine, progress: Progress) -> Layer | None:
    """The layer of what is missing, packed by ``python`` in ``image``, which the engine holds; None when nothing is."""
    with working(home) as folder, progress.task("Compiling Python's standard library"):
        output = folder / "out"
        output.mkdir()
        mounts = [*program(), Mount(output.absolute(), "/out", writable=True)]
        command = [python.path, *PACKER, "library", "/out"]
        result = run_tool(engine, image, command, mounts=mounts, environment=PACKING)
        try:
            answer = json.loads(read_regular(output / "library.json", _MAX_ANSWER))
            layer = Layer(str(answer["diff_id"]), int(answer["size"]), "bytecode of the standard library")
            count = int(answer["count"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            said = result.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
            why = "".join(char for char in said[-1] if char.isprintable())[:300]
            raise EnvironmentFailed(f"The standard library of {python.path} cannot be compiled: {why}.") from None
        if not count:
            return None
        proven(output / "library.tar", layer, folder).rename(layer_file(layer, home))
        return layer
