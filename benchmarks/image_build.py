"""Building an image against ``docker build`` with ``pip install --require-hashes`` of the same lock.

Both begin with the base in the engine and the wheels on this machine's disk, and end with an image in the engine
that holds them with their bytecode; neither has anything left from before. ``docker build`` is Docker's own builder,
to which the wheels are sent and copied (it has no mounts); what its ``pip install`` takes alone is told too. pip is
in the image that it starts from, with pip's own bytecode. ``docker load`` of a finished archive with the same new
layers shows what the engine itself needs to take them.

Goals: at least 2 times faster when nothing but the wheels is there, at least 5 times when the home has the layers,
under 4 s for one small requirement more.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pip

from benchmarks.timing import Pair, spread
from engine import daemon, environments
from engine.daemon import LABEL, Engine
from engine.digests import bare
from engine.environments.assemble import archive, image_config, load
from engine.environments.layers import layer_file, pack_tree, share_interpreter, wheel_file
from engine.progress import Silent
from engine.settings import Home, find_home
from engine.software import Base, Image, Lock, Requirements, Wheel

REQUIREMENTS = ("numpy", "pandas", "scikit-learn", "matplotlib")
SMALL = "tabulate"
ROUNDS = 3
T = TypeVar("T")
_PREPARE = b"FROM %s\nCOPY pip /opt/installer/pip\nRUN python3 -m compileall -q /opt/installer\n"
_INSTALL = (
    b"FROM %s\n"
    b"COPY . /build\n"
    b"RUN PYTHONPATH=/opt/installer python3 -m pip install --quiet --require-hashes --no-index"
    b" --find-links /build/downloads --no-cache-dir --disable-pip-version-check --prefix /opt/pip"
    b" -r /build/requirements.txt\n"
)


@dataclass(frozen=True)
class Bench:
    """What all measurements share. ``home`` holds the base and the wheels and is only read."""

    home: Home
    engine: Engine
    base: Base

    def resolve(self, *requirements: str) -> tuple[Lock, tuple[Wheel, ...]]:
        lock = environments.resolve(Requirements(requirements), self.base, self.home, self.engine, Silent())
        return lock, environments.fetch(lock, self.base, self.home, Silent())

    def fresh_home(self, folder: Path, wheels: tuple[Wheel, ...]) -> Home:
        """A home with wheels and nothing else but what was learnt of the base; the engine holds the base."""
        home = Home(folder)
        shutil.copytree(self.home.layers / "interpreters", home.layers / "interpreters")
        for wheel in wheels:
            wheel_file(wheel, home).parent.mkdir(parents=True)
            wheel_file(wheel, home).hardlink_to(wheel_file(wheel, self.home))
        return home

    def docker_build(self, context: Path, dockerfile: bytes, image: str) -> tuple[str, float]:
        """Build with the classic builder; the id of the image, and when its RUN step began."""
        built, began = "", 0.0
        (context / "Dockerfile").write_bytes(dockerfile % image.encode())
        lines = self.engine.client.api.build(
            path=str(context),
            labels={LABEL: "benchmark"},
            tag=f"nbseal/benchmark:{secrets.token_hex(6)}",  # so that nobody's clean-up takes it
            network_mode="none",
            nocache=True,
            rm=True,
            forcerm=True,
            decode=True,
        )
        for line in lines:
            if "error" in line:
                raise SystemExit(f"docker build failed: {line['error']}")
            if line.get("stream", "").startswith("Step ") and " : RUN " in line["stream"]:
                began = time.perf_counter()
            built = str((line.get("aux") or {}).get("ID", built))
        return built, began

    def remove(self, image: str) -> None:
        self.engine.client.images.remove(image, force=True)


def main() -> None:
    home, engine = find_home(), daemon.connect()
    base = _own_base(environments.ensure_base(home, engine, Silent()), home, engine)
    bench = Bench(home, engine, base)
    try:
        _measure(bench)
    finally:
        bench.remove(base.id)


def _own_base(base: Base, home: Home, engine: Engine) -> Base:
    """The base with one more layer, so that nothing is faster because the engine holds an image that others built."""
    mark = pack_tree({"benchmark": secrets.token_bytes(16)}, home, "benchmark")
    layers = (*base.layers, mark)
    image = load(image_config(layers, environment={}), layers, home, engine, Silent(), kind="benchmark")
    layer_file(mark, home).unlink()
    share_interpreter(base.id, image, home)
    return replace(base, id=image, layers=layers)


def _measure(bench: Bench) -> None:
    home = bench.home
    lock, wheels = bench.resolve(*REQUIREMENTS)
    _, more = bench.resolve(*REQUIREMENTS, SMALL)
    home.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home.temporary) as name:
        context = _context(lock, wheels, home, Path(name))
        prepared = _prepare(bench, Path(name))
        try:
            rounds = [_round(bench, prepared, context, wheels, more, Path(name) / "home") for _ in range(ROUNDS)]
        finally:
            bench.remove(prepared)
    docker, pip_alone, loaded, cold, cached, small = (tuple(column) for column in zip(*rounds, strict=True))
    print(f"{len(wheels)} distributions for {', '.join(REQUIREMENTS)}; {ROUNDS} rounds, in turn.\n")
    print("| image build | wall time | times faster | goal | faster than its pip install alone |")
    print("|---|---|---|---|---|")
    print(f"| docker build with pip install --require-hashes | {spread(docker)} | | | |")
    print(f"| its pip install alone | {spread(pip_alone)} | | | |")
    for title, times, goal in (
        ("docker load of the finished layers", loaded, ""),
        ("nbseal, only the wheels at hand", cold, "2"),
        ("nbseal, their layers at hand", cached, "5"),
        ("nbseal, one small requirement more", small, "under 4 s"),
    ):
        faster, alone = Pair(docker, times).ratio, Pair(pip_alone, times).ratio
        print(f"| {title} | {spread(times)} | {faster:.1f} | {goal} | {alone:.1f} |")
    if Pair(docker, cold).ratio < 2 or Pair(docker, cached).ratio < 5 or statistics.median(small) >= 4:
        print("\nA goal is missed.")


def _context(lock: Lock, wheels: tuple[Wheel, ...], home: Home, folder: Path) -> Path:
    """What ``docker build`` is given: the lock and the downloads."""
    context = folder / "context"
    (context / "downloads").mkdir(parents=True)
    (context / "requirements.txt").write_text(lock.text)
    for wheel in wheels:
        (context / "downloads" / wheel.filename).hardlink_to(wheel_file(wheel, home))
    return context


def _prepare(bench: Bench, folder: Path) -> str:
    """The base with pip, from which ``docker build`` starts."""
    context = folder / "installer"
    shutil.copytree(Path(pip.__file__).parent, context / "pip", ignore=shutil.ignore_patterns("__pycache__"))
    return bench.docker_build(context, _PREPARE, bench.base.id)[0]


def _round(
    bench: Bench, prepared: str, context: Path, wheels: tuple[Wheel, ...], more: tuple[Wheel, ...], folder: Path
) -> tuple[float, ...]:
    """Seconds of docker build, its RUN step, docker load; of ours with wheels only, with layers, one small one more."""
    home = bench.fresh_home(folder, more)

    def build(chosen: tuple[Wheel, ...]) -> Image:
        return environments.build(bench.base, chosen, home, bench.engine, Silent())

    seconds, (built, installing) = _timed(lambda: bench.docker_build(context, _INSTALL, prepared))
    pip_alone = time.perf_counter() - installing
    bench.remove(built)
    cold, image = _timed(lambda: build(wheels))
    bench.remove(image.id)
    finished = folder / "image.tar"
    _write_archive(image, len(bench.base.layers), home, finished)
    loaded, _ = _timed(lambda: _load_archive(bench, finished))
    bench.remove(image.id)
    cached, image = _timed(lambda: build(wheels))
    small, larger = _timed(lambda: build(more))
    bench.remove(larger.id)
    bench.remove(image.id)
    shutil.rmtree(folder)
    return seconds, pip_alone, loaded, cold, cached, small


def _write_archive(image: Image, start: int, home: Home, path: Path) -> None:
    """The image as ``docker save`` would write it, without the layers below ``start``."""
    config = json.loads((home.images / f"{bare(image.id)}.json").read_bytes())["config"].encode()
    with path.open("wb") as file:
        file.writelines(archive(config, image.layers, start, "nbseal/benchmark:loaded", home))


def _load_archive(bench: Bench, path: Path) -> None:
    with path.open("rb") as file:
        bench.engine.client.images.load(file)


def _timed(action: Callable[[], T]) -> tuple[float, T]:
    os.sync()  # nobody pays for what the one before left to be written
    began = time.perf_counter()
    result = action()
    return time.perf_counter() - began, result


if __name__ == "__main__":
    main()
