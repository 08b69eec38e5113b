"""Building an image against ``docker build`` with ``pip install --require-hashes`` of the same lock.

Downloads are at hand for both and bytecode is included in both, but nbseal leaves out that of test modules.
Goals: at least 2 times faster when nothing but
the wheels is there, at least 5 times when the home has the layers, under 4 s for one small requirement more.
What only ``docker build`` would need besides (sending the wheels and copying them into a layer) is done before
the clock starts.
"""

from __future__ import annotations

import io
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
from engine.environments.assemble import image_config, load
from engine.environments.layers import layer_file, pack_tree, wheel_file
from engine.model import Base, Image, Lock, Requirements, Wheel
from engine.progress import Silent
from engine.settings import Home, find_home

REQUIREMENTS = ("numpy", "pandas", "scikit-learn", "matplotlib")
SMALL = "tabulate"
ROUNDS = 3
T = TypeVar("T")
_PREPARE = b"FROM %s\nCOPY . /build\n"
_INSTALL = (
    b"FROM %s\n"
    b"RUN PYTHONPATH=/build python3 -m pip install --quiet --require-hashes --no-index --find-links /build/downloads"
    b" --no-cache-dir --disable-pip-version-check --prefix /opt/pip -r /build/requirements.txt\n"
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
        """A home with wheels and nothing else; the engine holds the base."""
        home = Home(folder)
        for wheel in wheels:
            wheel_file(wheel, home).parent.mkdir(parents=True)
            wheel_file(wheel, home).hardlink_to(wheel_file(wheel, self.home))
        return home

    def docker_build(self, dockerfile: bytes, image: str, context: Path | None = None) -> str:
        """Build with the classic builder; the id of the image."""
        built = ""
        instructions = dockerfile % image.encode()
        if context:
            (context / "Dockerfile").write_bytes(instructions)
        lines = self.engine.client.api.build(
            **({"path": str(context)} if context else {"fileobj": io.BytesIO(instructions)}),
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
            built = str((line.get("aux") or {}).get("ID", built))
        return built

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
    return replace(base, id=image, layers=layers)


def _measure(bench: Bench) -> None:
    home = bench.home
    lock, wheels = bench.resolve(*REQUIREMENTS)
    _, more = bench.resolve(*REQUIREMENTS, SMALL)
    home.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home.temporary) as name:
        prepared = _prepare(bench, lock, wheels, Path(name))
        try:
            times = [_round(bench, prepared, wheels, more, Path(name) / str(number)) for number in range(ROUNDS)]
        finally:
            bench.remove(prepared)
    docker, cold, cached, small = (tuple(column) for column in zip(*times, strict=True))
    print(f"{len(wheels)} distributions for {', '.join(REQUIREMENTS)}; {ROUNDS} rounds, in turn.\n")
    print("| image build | wall time | times faster | goal |\n|---|---|---|---|")
    print(f"| docker build, pip install --require-hashes | {spread(docker)} | | |")
    print(f"| nbseal, only the wheels at hand | {spread(cold)} | {Pair(docker, cold).ratio:.1f} | 2 |")
    print(f"| nbseal, their layers at hand | {spread(cached)} | {Pair(docker, cached).ratio:.1f} | 5 |")
    print(f"| nbseal, one small requirement more | {spread(small)} | {Pair(docker, small).ratio:.1f} | under 4 s |")
    if Pair(docker, cold).ratio < 2 or Pair(docker, cached).ratio < 5 or statistics.median(small) >= 4:
        print("\nA goal is missed.")


def _prepare(bench: Bench, lock: Lock, wheels: tuple[Wheel, ...], folder: Path) -> str:
    """An image with pip, the lock and the downloads, from which ``docker build`` starts."""
    context = folder / "context"
    shutil.copytree(Path(pip.__file__).parent, context / "pip", ignore=shutil.ignore_patterns("__pycache__"))
    (context / "requirements.txt").write_text(lock.text)
    (context / "downloads").mkdir()
    for wheel in wheels:
        (context / "downloads" / wheel.filename).hardlink_to(wheel_file(wheel, bench.home))
    return bench.docker_build(_PREPARE, bench.base.id, context)


def _round(
    bench: Bench, prepared: str, wheels: tuple[Wheel, ...], more: tuple[Wheel, ...], folder: Path
) -> tuple[float, float, float, float]:
    """Seconds of docker build, of ours with wheels only, with layers, and with one small requirement more."""
    home = bench.fresh_home(folder, more)

    def build(chosen: tuple[Wheel, ...]) -> Image:
        return environments.build(bench.base, chosen, home, bench.engine, Silent())

    seconds, built = _timed(lambda: bench.docker_build(_INSTALL, prepared))
    bench.remove(built)
    cold, image = _timed(lambda: build(wheels))
    bench.remove(image.id)
    cached, image = _timed(lambda: build(wheels))
    small, larger = _timed(lambda: build(more))
    bench.remove(larger.id)
    bench.remove(image.id)
    shutil.rmtree(folder)
    return seconds, cold, cached, small


def _timed(action: Callable[[], T]) -> tuple[float, T]:
    os.sync()  # nobody pays for what the one before left to be written
    began = time.perf_counter()
    result = action()
    return time.perf_counter() - began, result


if __name__ == "__main__":
    main()
