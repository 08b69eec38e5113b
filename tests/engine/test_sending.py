"""Images on their way to a second machine's engine: what goes over the cable, what a break costs, what is left."""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest

from engine import daemon, hosts, pipeline
from engine.digests import bare, sha256_bytes
from engine.environments import LayersMissing, Sent, build, remove_parts, send_image
from engine.environments.assemble import image_config
from engine.environments.images import remembered_image
from engine.environments.layers import layer_file, pack_tree
from engine.errors import EngineUnavailable, EnvironmentFailed
from engine.files import write_json
from engine.link import Link
from engine.progress import Silent
from engine.settings import Home
from engine.software import Base, Image, Layer
from tests.engine.machines import Machine
from tests.engine.test_image import Watched, make_wheel

pytestmark = pytest.mark.engine

MB = 1 << 20
OWNER = "0123456789abcdef"
T = TypeVar("T")


@dataclass(frozen=True)
class Made:
    """An image of bytes that do not compress, and that nobody else has."""

    image: Image
    config: bytes

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.image.layers)


@dataclass(frozen=True)
class Desk:
    """A home and the way to the second machine."""

    home: Home
    machine: Machine
    host: hosts.Host

    def layers(self, *sizes: int) -> tuple[Layer, ...]:
        """New ones."""
        return tuple(pack_tree({"content": secrets.token_bytes(size)}, self.home, "content") for size in sizes)

    def image(self, layers: Sequence[Layer]) -> Made:
        config = image_config(layers, environment={})
        return Made(Image(sha256_bytes(config), "", (), tuple(layers)), config)

    def by(self, way: str) -> Desk:
        """The same, by ssh or TLS."""
        over_tls = hosts.Host("gpu1", self.machine.tcp_url, str(self.machine.tls))
        return self if way == "ssh" else replace(self, host=over_tls)

    def send(self, made: Made, progress: Silent | None = None, owner: str = OWNER, *, kind: type[Link] = Link) -> Sent:
        with kind(self.host) as link:
            return send_image(made.image, made.config, owner, self.home, link, progress or Silent())

    def measured(self, made: Made) -> tuple[Sent, int]:
        """The same, and what went through the cable."""
        before = self.machine.received()
        sent = self.send(made)
        return sent, self.machine.received() - before

    def holds(self, made: Made) -> bool:
        """Whether exactly that image is there, with all its layers and under our name."""
        found = [image for image in self.there() if image["Id"] == made.image.id]
        if not found:
            return False
        with self.machine.engine() as client:
            layers = client.api.inspect_image(made.image.id)["RootFS"]["Layers"]
        assert layers == [layer.diff_id for layer in made.image.layers]
        return bool(found[0]["RepoTags"] == [f"nbseal/image:{bare(made.image.id)[:12]}"])

    def there(self, label: str = "nbseal") -> list[dict[str, Any]]:
        with self.machine.engine() as client:
            return list(client.api.images(filters={"label": label}))

    def parts(self) -> list[dict[str, Any]]:
        return self.there("nbseal=part")

    def forget(self, *images: str) -> None:
        with self.machine.engine() as client:
            for image in images:
                client.api.remove_image(image, force=True)


@pytest.fixture
def desk(second: Machine, tmp_path: Path) -> Iterator[Desk]:
    known = {image["Id"] for image in Desk(Home(tmp_path), second, hosts.Host("", "")).there()}
    desk = Desk(Home(tmp_path / "home"), second, hosts.Host("gpu1", second.ssh_url))
    yield desk
    desk.forget(*{image["Id"] for image in desk.there()} - known)


class Hasty(Link):
    """Gives up soon."""

    def attempt(self, action: Callable[[daemon.Engine], T], **settings: Any) -> T:
        return super().attempt(action, **{**settings, "patience": 10.0})


def watching(machine: Machine, amount: int, action: Callable[[], None]) -> threading.Thread:
    """Do it once so many more bytes have gone through the cable."""
    goal = machine.received() + amount

    def watch() -> None:
        while machine.received() < goal:
            time.sleep(0.002)
        action()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


# --- what is sent -----------------------------------------------------------------------------


def test_only_layers_that_are_lacking_go(desk: Desk) -> None:
    first = desk.image(desk.layers(40 * MB, 40 * MB, 20 * MB))
    sent, through = desk.measured(first)
    assert desk.holds(first)
    assert (sent.layers, sent.held, sent.size) == (3, 0, first.size)
    assert first.size < through < 1.05 * first.size
    assert not desk.parts()

    changed = desk.image((*first.image.layers, *desk.layers(MB)))
    sent, through = desk.measured(changed)
    assert desk.holds(changed)
    assert (sent.layers, sent.held) == (1, 3)
    assert MB < through < 1.3 * MB

    sent, through = desk.measured(changed)
    assert sent == Sent(held=4)
    assert through < 30_000  # the way itself, and one question


def test_what_compresses_goes_compressed(desk: Desk) -> None:
    text = "".join(f"{number * 7919 % 1000003}\n" for number in range(2_000_000)).encode()
    made = desk.image((pack_tree({"text": text, "mark": secrets.token_bytes(16)}, desk.home, "text"),))
    sent, through = desk.measured(made)
    assert desk.holds(made)
    assert sent.wire < 0.6 * made.size
    assert through < 1.1 * sent.wire + 50_000


def test_over_tls_too(desk: Desk) -> None:
    made = desk.image(desk.layers(MB))
    desk.by("tls").send(made)
    assert desk.holds(made)


def test_an_image_that_was_removed_there_goes_again(desk: Desk) -> None:
    made = desk.image(desk.layers(MB, MB))
    desk.send(made)
    desk.forget(made.image.id)
    assert desk.send(made).layers == 2
    assert desk.holds(made)


def test_two_at_once_send_it_once(desk: Desk) -> None:
    made = desk.image(desk.layers(30 * MB))
    before = desk.machine.received()
    watched = [Watched(), Watched()]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda progress: desk.send(made, progress), watched))
    assert sorted(sent.layers for sent in results) == [0, 1]
    assert desk.machine.received() - before < 1.2 * made.size
    assert [line for progress in watched for line in progress.lines if "waiting for it" in line]
    assert desk.holds(made)


# --- breaks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_cut_costs_what_was_under_way(seed: int, desk: Desk) -> None:
    made = desk.image(desk.layers(*[16 * MB] * 12))
    draw = random.Random(seed)  # noqa: S311
    before, watched = desk.machine.received(), Watched()
    cuts = [watching(desk.machine, draw.randrange(made.size), desk.machine.cut) for _ in range(2)]
    sent = desk.send(made, watched)
    for cut in cuts:
        cut.join(10)
    assert desk.holds(made)
    assert sent.layers == 12
    broken = [line for line in watched.lines if "The link to gpu1 broke" in line]
    assert broken
    # Two parts may be under way, of at most 64 MB and a layer each.
    assert desk.machine.received() - before < 1.1 * (made.size + len(cuts) * 2 * 80 * MB)
    assert not desk.parts()


@pytest.mark.parametrize("way", ["ssh", "tls"])
def test_a_frozen_link_is_noticed_and_gone_on_with(way: str, desk: Desk) -> None:
    made = desk.image(desk.layers(*[16 * MB] * 12))
    before, watched = desk.machine.received(), Watched()

    def freeze() -> None:
        desk.machine.freeze()
        time.sleep(40)
        desk.machine.thaw()

    frozen = watching(desk.machine, 130 * MB, freeze)
    sent = desk.by(way).send(made, watched)
    frozen.join(60)
    assert desk.holds(made)
    assert sent.layers == 12
    assert [line for line in watched.lines if "The link to gpu1 broke" in line]
    assert desk.machine.received() - before < 1.1 * (made.size + 2 * 80 * MB)
    assert not desk.parts()


def test_a_link_that_stays_frozen_is_a_sentence(desk: Desk) -> None:
    made = desk.image(desk.layers(*[16 * MB] * 12))
    frozen = watching(desk.machine, 130 * MB, desk.machine.freeze)
    began = time.monotonic()
    with pytest.raises(EngineUnavailable) as caught:
        desk.by("tls").send(made, kind=Hasty)
    assert time.monotonic() - began < 120
    frozen.join(10)
    assert caught.value.message.startswith("The engine of gpu1 does not answer any more: ")
    assert caught.value.hint == "What has arrived stays there: the same command goes on from it."
    assert caught.value.exit_code == 3
    desk.machine.thaw()
    assert desk.send(made).held >= 4  # of the first part
    assert desk.holds(made)


def test_whoever_is_killed_leaves_what_came(desk: Desk) -> None:
    made = desk.image(desk.layers(*[16 * MB] * 12))
    write_json(desk.home.root / "made.json", [[layer.diff_id, layer.size, layer.of] for layer in made.image.layers])
    program = (
        "import json, sys; from pathlib import Path; from engine import hosts; from engine.link import Link\n"
        "from engine.digests import sha256_bytes; from engine.environments import send_image\n"
        "from engine.environments.assemble import image_config; from engine.software import Image, Layer\n"
        "from engine.progress import Silent; from engine.settings import Home\n"
        "home = Home(Path(sys.argv[1]))\n"
        "layers = tuple(Layer(*item) for item in json.loads((home.root / 'made.json').read_text()))\n"
        "config = image_config(layers, environment={})\n"
        "with Link(hosts.Host('gpu1', sys.argv[2])) as link:\n"
        "    image = Image(sha256_bytes(config), '', (), layers)\n"
        "    send_image(image, config, sys.argv[3], home, link, Silent())\n"
    )
    command = [sys.executable, "-c", program, str(desk.home.root), desk.host.url, OWNER]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], env={**os.environ}) as victim:
        while not desk.parts():
            assert victim.poll() is None
            time.sleep(0.02)
        victim.send_signal(signal.SIGKILL)
    left = desk.parts()
    assert all(part["Labels"] == {"nbseal": "part", "nbseal.home": OWNER} for part in left)
    sent = desk.send(made)
    assert desk.holds(made)
    assert sent.held >= 4  # of the first part
    assert sent.layers == 12 - sent.held
    assert not desk.parts()


def test_layers_that_vanish_meanwhile_go_again(desk: Desk) -> None:
    made = desk.image(desk.layers(*[16 * MB] * 10))
    removed: list[str] = []

    def remove_first_part() -> None:
        while not (parts := desk.parts()):
            time.sleep(0.005)
        removed.extend(part["Id"] for part in parts)
        desk.forget(*removed)

    with ThreadPoolExecutor(1) as pool:
        tidy = pool.submit(remove_first_part)
        desk.send(made)
        tidy.result(10)
    assert removed
    assert desk.holds(made)


def test_what_a_killed_sender_left_is_removed_by_its_home_alone(desk: Desk) -> None:
    layers = desk.layers(MB, MB)
    with part_of(desk, OWNER, layers[:1]) as own, part_of(desk, "fedcba9876543210", layers) as other:
        with Link(desk.host) as link:
            assert remove_parts(OWNER, desk.home, link) == (f"nbseal/image:{bare(own)[:12]}",)
            assert remove_parts(OWNER, desk.home, link) == ()
        assert {part["Id"] for part in desk.parts()} == {other}


# --- others, and what is wrong ----------------------------------------------------------------


@contextmanager
def part_of(desk: Desk, owner: str, layers: Sequence[Layer]) -> Iterator[str]:
    """What a sender that was killed leaves."""
    config = image_config(layers, environment={}, labels={"nbseal": "part", "nbseal.home": owner})
    made = Made(Image(sha256_bytes(config), "", (), tuple(layers)), config)
    desk.send(made, owner="ffffffffffffffff")
    yield made.image.id


def test_another_homes_parts_stay_and_our_own_go(desk: Desk) -> None:
    layers = desk.layers(MB, MB, MB)
    with part_of(desk, OWNER, layers[:1]) as own, part_of(desk, "fedcba9876543210", layers[:2]) as other:
        sent = desk.send(desk.image(layers))
        assert (sent.layers, sent.held) == (1, 2)  # what others left serves, too
        left = {part["Id"] for part in desk.parts()}
        assert own not in left
        assert other in left
    desk.forget(other)
    assert desk.holds(desk.image(layers))


def test_a_full_disk_is_a_sentence(desk: Desk) -> None:
    made = desk.image(desk.layers(30 * MB, 30 * MB))
    with desk.machine.cramped(20 * MB), pytest.raises(EnvironmentFailed) as caught:
        desk.send(made)
    assert caught.value.message == "The disk of gpu1 has no room for the image."
    assert caught.value.exit_code == 5
    assert desk.send(made).layers == 2
    assert desk.holds(made)


@pytest.mark.parametrize("damage", ["gone", "cut short", "changed"])
def test_damaged_layers_are_named(damage: str, desk: Desk) -> None:
    made = desk.image(desk.layers(MB, MB))
    bad = made.image.layers[1]
    path = layer_file(bad, desk.home)
    if damage == "gone":
        path.unlink()
    elif damage == "cut short":
        path.write_bytes(path.read_bytes()[:MB])
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(LayersMissing) as caught:
        desk.send(made)
    assert caught.value.layers == (bad,)
    assert not desk.holds(made)
    assert path.exists() == (damage == "cut short")  # whose size alone shows that it is none


def test_damaged_layers_are_made_again_from_wheels(
    desk: Desk, base: Base, engine: daemon.Engine, home: Home, tmp_path: Path
) -> None:
    own = Home(tmp_path / "own")
    own.wheels.mkdir(parents=True)
    own.bases.symlink_to(home.bases.resolve())
    own.layers.mkdir()
    for layer in base.layers:
        layer_file(layer, own).hardlink_to(layer_file(layer, home))
    wheel = make_wheel(own, f"mine{secrets.token_hex(4)}")
    image = build(base, [wheel], own, engine, Silent())
    try:
        path = layer_file(image.layers[-1], own)
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
        with Link(desk.host) as link:
            pipeline.ensure_image(image, link, own, Silent())
            pipeline.ensure_image(image, link, own, Silent())
        assert desk.holds(Made(image, b""))
        assert remembered_image(own, image.id) == image
    finally:
        engine.client.images.remove(image.id, force=True)


# --- another kind of engine, on a socket of this machine ----------------------------------------


@pytest.fixture
def podman() -> Iterator[hosts.Host]:
    """podman's API with a storage of its own, which opens every layer of what it loads."""
    with TemporaryDirectory(prefix="podman-") as folder:  # podman wants a path of less than 50 characters
        address = f"unix://{folder}/podman.sock"
        storage = ("--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs")
        command = ["podman", *storage, "system", "service", "--time", "0", address]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as service:
            try:
                while not Path(folder, "podman.sock").exists():
                    assert service.poll() is None
                    time.sleep(0.02)
                yield hosts.Host("pod", address)
            finally:
                service.terminate()
                service.wait(20)


def test_podman_gets_all_layers_in_one_piece(podman: hosts.Host, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    layers = tuple(pack_tree({f"{n}": secrets.token_bytes(40 * MB)}, home, "content") for n in range(3))
    with Link(podman) as link:
        for lowest in (2, 3):
            config = image_config(layers[:lowest], environment={})
            image = Image(sha256_bytes(config), "", (), layers[:lowest])
            sent = send_image(image, config, OWNER, home, link, Silent())
            assert sent.wire > lowest * 40 * MB  # on a socket of this machine nothing is compressed
            assert link.engine.client.images.get(image.id).id == image.id
        assert not link.engine.client.api.images(filters={"label": "nbseal=part"})
