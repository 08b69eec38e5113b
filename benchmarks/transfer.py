"""An image to another machine's engine, over ssh: nbseal against ``docker save | ssh docker load``, in turn.

The other machine is one of the tests': a network, a mount table and processes of its own, an engine with its own
storage, and an OpenSSH server, all on this machine, so that both ends share its processors. The times of nbseal begin
with the opening of the link. Goals: a first send at least as fast; 20 times faster when one small layer changed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable

from benchmarks.image_build import REQUIREMENTS, SMALL
from benchmarks.timing import Pair, spread
from engine import daemon, environments, pipeline
from engine.hosts import Host
from engine.link import Link
from engine.progress import Silent
from engine.settings import Home, find_home
from engine.software import Base, Image, Requirements
from tests.engine.machines import Machine, machine

ROUNDS = 3


def main() -> None:
    if os.getuid() != 0:
        print("Not measured: a second machine needs root.")
        return
    home, engine = find_home(), daemon.connect()
    base = environments.ensure_base(home, engine, Silent())
    whole = _build(REQUIREMENTS, base, home, engine)
    changed = _build((*REQUIREMENTS, SMALL), base, home, engine)
    with machine("benchmark") as other:
        other.boot()
        # As a user would have it in the settings of ssh.
        os.environ["PATH"] = f"{other.commands}{os.pathsep}{os.environ['PATH']}"
        rounds = [_round(other, whole, changed, home) for _ in range(ROUNDS + 1)][1:]  # the first one warms up
    first, first_theirs, small, small_theirs, again = (tuple(column) for column in zip(*rounds, strict=True))
    lacking = [layer for layer in changed.layers if layer not in whole.layers]
    size, more = (sum(layer.size for layer in layers) / 1e6 for layers in (whole.layers, lacking))
    print(f"{len(whole.layers)} layers for {', '.join(REQUIREMENTS)}; {ROUNDS} rounds, in turn.\n")
    print("| image | nbseal | docker save \\| ssh docker load | **times faster** | goal |\n|---|---|---|---|---|")
    for title, ours, theirs, goal in (
        (f"nothing of it is there ({size:,.0f} MB)", first, first_theirs, 1),
        (f"one more requirement ({more:.1f} MB of it are lacking)", small, small_theirs, 20),
    ):
        print(f"| {title} | {spread(ours)} | {spread(theirs)} | **{Pair(theirs, ours).ratio:.1f}** | {goal} |")
    print(f"| all of it is there | {spread(again)} | | **{Pair(small_theirs, again).ratio:.0f}** | |")


def _build(requirements: tuple[str, ...], base: Base, home: Home, engine: daemon.Engine) -> Image:
    lock = environments.resolve(Requirements(requirements), base, home, engine, Silent())
    return environments.build(base, environments.fetch(lock, base, home, Silent()), home, engine, Silent())


def _round(other: Machine, whole: Image, changed: Image, home: Home) -> tuple[float, ...]:
    """Seconds: first sends, ours and theirs; sends of what changed, ours and theirs; ours of what is there."""

    def ours(image: Image) -> None:
        with Link(Host(other.name, other.ssh_url)) as link:
            pipeline.ensure_image(image, link, home, Silent())

    def theirs(image: Image) -> None:
        command = f"docker save {image.id} | ssh {shlex.quote(other.name)} docker load"
        subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.DEVNULL)

    def timed(action: Callable[[Image], None], image: Image) -> float:
        os.sync()  # nobody pays for what the one before left to be written
        began = time.perf_counter()
        action(image)
        return time.perf_counter() - began

    _forget(other)
    first_theirs = timed(theirs, whole)
    small_theirs = timed(theirs, changed)
    _forget(other)
    first = timed(ours, whole)
    small = timed(ours, changed)
    return first, first_theirs, small, small_theirs, timed(ours, changed)


def _forget(other: Machine) -> None:
    with other.engine() as client:
        for image in client.api.images(quiet=True):
            client.api.remove_image(image, force=True)


if __name__ == "__main__":
    main()
