"""Images on a real engine: the same id everywhere, only changes moved, damage repaired, hostile wheels refused."""

from __future__ import annotations

import hashlib
import os
import random
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from engine.daemon import Engine
from engine.digests import bare, sha256_bytes
from engine.environments import fetch, load_base, resolve
from engine.environments.assemble import skips_layers
from engine.environments.grouping import MOST_LAYERS
from engine.environments.images import build, remembered_image
from engine.environments.layers import layer_file, pack_wheels, wheel_file
from engine.environments.recorded import load_image
from engine.errors import EnvironmentFailed
from engine.progress import Silent
from engine.settings import Home
from engine.software import Base, Image, Layer, Requirements, Wheel
from tests.engine.leftovers import left_tags

pytestmark = pytest.mark.engine


class Watched(Silent):
    """Progress that remembers the size of each piece of work by its text."""

    def __init__(self) -> None:
        self.tasks: dict[str, int | None] = {}
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def task(self, text: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        self.tasks[text] = total
        yield lambda amount: None


class Bench:
    """A base, an engine and homes; what is built here is removed from the engine afterwards."""

    def __init__(self, base: Base, engine: Engine, real: Home, root: Path) -> None:
        self.base, self.engine, self.real, self.root = base, engine, real, root
        self.built: set[str] = set()

    def home(self, name: str = "one") -> Home:
        """A home with nothing but the record of the base, whose layers the engine holds."""
        home = Home(self.root / name)
        home.wheels.mkdir(parents=True, exist_ok=True)
        if not skips_layers(self.engine):  # it reads them again with every image
            home.layers.mkdir(exist_ok=True)
            for layer in self.base.layers:
                if not layer_file(layer, home).is_symlink():
                    layer_file(layer, home).symlink_to(layer_file(layer, self.real).resolve())
        if not home.bases.exists():
            home.bases.symlink_to(self.real.bases.resolve())
        return home

    def build(self, wheels: Sequence[Wheel], home: Home, progress: Silent | None = None) -> Image:
        image = build(self.base, wheels, home, self.engine, progress or Silent())
        self.built.add(image.id)
        return image

    def remove(self, image: Image) -> None:
        self.engine.client.images.remove(self.engine.handle(image.id), force=True)

    def run(self, image: Image, *command: str) -> str:
        handle = self.engine.handle(image.id)
        output: bytes = self.engine.client.containers.run(handle, list(command), network_mode="none", remove=True)
        return output.decode()


@pytest.fixture
def bench(base: Base, engine: Engine, home: Home, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(base, engine, home, tmp_path)
    yield bench
    for image in bench.built:
        if _held(image, engine):
            engine.client.images.remove(engine.handle(image), force=True)


def _held(image: str, engine: Engine) -> bool:
    return any(listed["Id"] == engine.handle(image) for listed in engine.client.api.images(all=True))


def make_wheel(home: Home, name: str, files: Mapping[str, str | bytes] | None = None) -> Wheel:
    """A wheel in the home: a module of its own name, and ``files``."""
    info = f"{name}-1.0.dist-info"
    path = home.temporary / f"{name}-1.0-py3-none-any.whl"
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = {
        f"{name}.py": f"name = {name!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
        **(files or {}),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, content in contents.items():
            archive.writestr(zipfile.ZipInfo(place), content)
    data = path.read_bytes()
    wheel = Wheel(name, "1.0", path.name, sha256_bytes(data), len(data))
    wheel_file(wheel, home).parent.mkdir(parents=True, exist_ok=True)
    path.rename(wheel_file(wheel, home))
    return wheel


def lend(wheels: Sequence[Wheel], source: Home, target: Home) -> None:
    """Let ``target`` have the wheels of ``source``."""
    for wheel in wheels:
        wheel_file(wheel, target).parent.mkdir(parents=True, exist_ok=True)
        wheel_file(wheel, target).write_bytes(wheel_file(wheel, source).read_bytes())


def bytes_of(seed: str, size: int) -> bytes:
    """Bytes that do not compress, always the same."""
    return random.Random(seed).randbytes(size)  # noqa: S311


# --- identity ---------------------------------------------------------------------------------


def test_same_id_after_deleting_everything_and_in_another_home(bench: Bench) -> None:
    lock = resolve(Requirements(("numpy",)), bench.base, bench.real, bench.engine, Silent())
    wheels = fetch(lock, bench.base, bench.real, Silent())
    first, second = bench.home("one"), bench.home("two")
    lend(wheels, bench.real, first)
    lend(wheels, bench.real, second)
    mine = make_wheel(first, "mine", {"old.py": "print 'Python 2'\n"})  # so that nobody else has this image
    lend([mine], first, second)

    image = bench.build([*wheels, mine], first)
    assert _held(image.id, bench.engine)
    bench.remove(image)
    # In other company and in another order: neither that nor parallel work may change a layer.
    backwards = [mine, *reversed(wheels)]
    for some in (backwards[:3], backwards[3:]):
        pack_wheels(bench.base, [(wheel,) for wheel in some], "/opt/kernel", second, bench.engine, Silent())
    again = bench.build([mine, *reversed(wheels)], second)
    assert again == image

    assert "1.0 ok" in bench.run(image, "python", "-c", "import numpy, mine; print(numpy.ones(1)[0], 'ok')")


def test_nothing_is_done_twice(bench: Bench) -> None:
    home = bench.home()
    wheels = [make_wheel(home, "mine"), make_wheel(home, "yours")]
    image = bench.build(wheels, home)
    watched = Watched()
    assert bench.build(wheels, home, watched) == image
    assert watched.tasks == {}
    bench.remove(image)
    assert bench.build(wheels, home, watched) == image
    assert [text for text in watched.tasks if "Packing" in text] == []


def test_two_at_once_make_one_image(bench: Bench) -> None:
    home = bench.home()
    wheels = [make_wheel(home, f"mine{number}") for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda _: bench.build(wheels, home), range(4)))
    assert len(set(images)) == 1


# --- many distributions -----------------------------------------------------------------------


def test_160_distributions_share_layers_and_one_more_moves_little(bench: Bench) -> None:
    home = bench.home()
    wheels = [
        make_wheel(home, f"dist{number:03}", {f"dist{number:03}.bin": bytes_of(str(number), 2000 * number + 500)})
        for number in range(160)
    ]
    image = bench.build(wheels, home)
    assert len(image.layers) <= MOST_LAYERS
    names = [wheel.name for wheel in wheels]
    code = f"import importlib; print(sum(bool(importlib.import_module(name).name) for name in {names!r}))"
    assert bench.run(image, "python", "-c", code).strip() == "160"

    watched = Watched()
    added = make_wheel(home, "added")
    more = bench.build([*wheels, added], home, watched)
    assert watched.tasks["Packing layers"] == 1
    loaded = watched.tasks["Loading the image into the engine"]
    assert loaded is not None
    assert loaded < 2_000_000  # of 25 MB
    assert bench.run(more, "python", "-c", "import added, dist159; print(added.name)").strip() == "added"


def test_of_two_distributions_with_one_path_the_smaller_wins(bench: Bench) -> None:
    home = bench.home()
    show = ["python", "-c", "from shared import both; print(both.owner)"]
    for size, layers in ((2_000_000, 2), (3000, 1)):  # in layers of their own, and in one
        name = f"large{size}"
        large = make_wheel(home, name, {"shared/both.py": "owner = 'large'\n", "data.bin": bytes_of("x", size)})
        small = make_wheel(home, "small", {"shared/both.py": "owner = 'small'\n"})
        for wheels in ([large, small], [small, large]):
            image = bench.build(wheels, home)
            assert len(image.layers) == len(bench.base.layers) + 1 + layers
            assert bench.run(image, *show).strip() == "small"


def test_large_layers_are_loaded_while_others_are_packed(bench: Bench) -> None:
    home = bench.home()
    large = [make_wheel(home, f"large{n}", {f"{n}.bin": bytes_of(str(n), 40 << 20)}) for n in range(2)]
    slow = make_wheel(home, "slow", {f"m{n}.py": f"x = [{', '.join(['1'] * 40_000)}]\n" for n in range(60)})
    watched = Watched()
    image = bench.build([*large, slow], home, watched)
    assert bench.run(image, "python", "-c", "import large0, large1, slow; print('ok')").strip() == "ok"
    loaded = watched.tasks["Loading the image into the engine"]
    assert loaded is not None
    assert loaded < sum(layer.size for layer in image.layers[len(bench.base.layers) :]) - (40 << 20)
    assert not left_tags(bench.engine, "part")


# --- what is in it ----------------------------------------------------------------------------


def test_scripts_run_and_bytecode_is_used_as_it_is(bench: Bench) -> None:
    home = bench.home()
    wheel = make_wheel(
        home,
        "tool",
        {
            "tool-1.0.dist-info/entry_points.txt": "[console_scripts]\ntool = tool_cli:main\n",
            "tool-1.0.data/scripts/other-tool": "#!python\nimport sys\nprint(sys.prefix)\n",
            "tool_cli.py": "def main():\n    print('from the launcher')\n    return 0\n",
        },
    )
    image = bench.build([wheel], home)
    assert bench.run(image, "tool").strip() == "from the launcher"
    assert bench.run(image, "other-tool").strip() == "/opt/kernel"
    # An unchecked .pyc is taken even when the source has become another; and nothing is written beside it.
    changed = (
        "cd /opt/kernel/lib/python3*/site-packages && echo 'name = \"changed\"' > tool.py && ls __pycache__ > /tmp/a"
        " && python -c 'import tool; print(tool.name)' && ls __pycache__ | diff /tmp/a - "
        " && find /opt/kernel -newer /tmp/a"
    )
    assert bench.run(image, "sh", "-c", changed).split() == ["tool"]


def test_installed_distributions_are_known_by_name(bench: Bench) -> None:
    home = bench.home()
    image = bench.build([make_wheel(home, "tool")], home)
    code = (
        "from importlib.metadata import version, files; "
        "print(version('tool'), all(file.locate().exists() for file in files('tool')))"
    )
    assert bench.run(image, "python", "-c", code).split() == ["1.0", "True"]


# --- damage -----------------------------------------------------------------------------------


def test_damaged_layers_are_made_again(bench: Bench) -> None:
    home = bench.home()
    wheels = [make_wheel(home, f"mine{number}") for number in range(3)]
    image = bench.build(wheels, home)
    merged = layer_file(image.layers[-1], home)
    all_of_them = sorted(path for path in home.layers.glob("*.tar") if not path.is_symlink())
    assert len(all_of_them) == len(wheels) + 2  # with the frame and the merged layer
    for damage in (_flip, _truncate, Path.unlink):
        # Those that were merged are needed only when the merged one is gone, so that comes after their damage.
        for paths in ([merged], all_of_them, [path for path in all_of_them if path != merged]):
            bench.remove(image)
            for path in paths:
                damage(path)
            assert bench.build(wheels, home) == image
            assert _held(image.id, bench.engine)


def test_damaged_and_missing_wheels_are_said(bench: Bench) -> None:
    home = bench.home()
    wheel = make_wheel(home, "mine")
    _flip(wheel_file(wheel, home))
    with pytest.raises(EnvironmentFailed, match=r"mine-1\.0-py3-none-any\.whl in the home was damaged"):
        bench.build([wheel], home)
    assert not wheel_file(wheel, home).exists()
    with pytest.raises(EnvironmentFailed, match=r"mine-1\.0-py3-none-any\.whl is not in the home"):
        bench.build([wheel], home)


def test_a_hostile_wheel_is_named_with_its_entry(bench: Bench) -> None:
    home = bench.home()
    good, bad = make_wheel(home, "good"), make_wheel(home, "bad", {"../../../../bin/sh": "x"})
    with pytest.raises(EnvironmentFailed, match=r"bad-1\.0-py3-none-any\.whl .*'\.\./\.\./\.\./\.\./bin/sh'"):
        bench.build([good, bad], home)
    assert not list((home.layers / "work").iterdir())


def _layer_of(image: Image, name: str) -> Layer:
    return next(layer for layer in image.layers if layer.of == f"{name} 1.0")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


# --- reruns -----------------------------------------------------------------------------------


def test_a_recorded_image_comes_back_from_layers_or_wheels(bench: Bench) -> None:
    home = bench.home()
    wheels = [make_wheel(home, f"mine{number}") for number in range(3)]
    image = bench.build(wheels, home)
    known = remembered_image(home, image.id)
    assert known == image
    unknown = Image(image.id, image.base, image.wheels, ())  # as a record alone gives it
    for wanted, lost in ((known, False), (known, True), (unknown, True)):
        bench.remove(image)
        for layer in image.layers if lost else ():
            layer_file(layer, home).unlink(missing_ok=True)
        load_image(wanted, home, bench.engine, Silent())
        assert _held(image.id, bench.engine)
    assert remembered_image(home, "sha256:" + "0" * 64) is None


def test_an_image_that_cannot_come_back_says_why(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    home = bench.home()
    wheel = make_wheel(home, "mine")
    image = bench.build([wheel], home)
    bench.remove(image)
    layer_file(_layer_of(image, "mine"), home).unlink()
    wheel_file(wheel, home).unlink()
    with pytest.raises(EnvironmentFailed, match="mine"):
        load_image(image, home, bench.engine, Silent())
    other = make_wheel(home, "other")
    with pytest.raises(EnvironmentFailed, match=f"not {image.id}"):
        load_image(replace(image, wheels=(other,), layers=()), home, bench.engine, Silent())
    bench.built.add(build(load_base(home, bench.base.id), [other], home, bench.engine, Silent()).id)


def test_the_engine_verifies_what_it_loads(bench: Bench) -> None:
    home = bench.home()
    image = bench.build([make_wheel(home, "mine")], home)
    config = bench.engine.client.images.get(bench.engine.handle(image.id)).attrs
    assert config["RootFS"]["Layers"] == [layer.diff_id for layer in image.layers]
    assert config["Created"] == "1980-01-01T00:00:00Z"
    assert config["RepoTags"] == [f"nbseal/image:{bare(image.id)[:12]}"]
    assert hashlib.sha256(layer_file(_layer_of(image, "mine"), home).read_bytes()).hexdigest() == bare(
        _layer_of(image, "mine").diff_id
    )
