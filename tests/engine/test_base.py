"""The base image, really built: the same id again, what is in it, and what happens when parts of it are lost."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from engine.daemon import Engine, ignore_engine_errors, run_tool
from engine.digests import bare, sha256_bytes, sha256_file
from engine.environments import base_record, build_base, ensure_base, export_base, import_base, list_bases
from engine.environments.assemble import has_image, image_config
from engine.environments.base_record import current_pins, keep_record, load_pins
from engine.environments.debian import find_mirrors, kept_path, resolve_pins
from engine.environments.layers import layer_file, pack_tree
from engine.progress import Silent
from engine.settings import Home
from engine.software import Base
from tests.engine.leftovers import left_tags

pytestmark = pytest.mark.engine

#: The largest base that nbseal may have, in bytes, uncompressed.
LARGEST = 250_000_000


@pytest.fixture
def ingredients(home: Home, base: Base, tmp_path: Path) -> Home:
    """A home with the packages and wheels of the base, and nothing that was made of them."""
    second = Home(tmp_path / "second")
    for package in base.packages:
        _copy(kept_path(package, home), kept_path(package, second))
    for wheel in base.harness:
        path = Path(bare(wheel.sha256)) / wheel.filename
        _copy(home.wheels / path, second.wheels / path)
    if (home.bases / "repinned.json").exists():
        _copy(home.bases / "repinned.json", second.bases / "repinned.json")
    return second


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


class Listener(Silent):
    """Progress that remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def borrower(home: Home, base: Base, tmp_path: Path) -> Home:
    """A home without a base that has what the session's home has of its parts, so that building takes seconds."""
    second = Home(tmp_path / "borrower")
    second.bases.mkdir(parents=True)
    for name in ("layers", "packages", "wheels"):
        (second.root / name).symlink_to(home.root / name)
    shutil.copytree(home.bases / "steps", second.bases / "steps")
    if (home.bases / "repinned.json").exists():
        _copy(home.bases / "repinned.json", second.bases / "repinned.json")
    return second


def _python(engine: Engine, base: Base, program: str) -> str:
    result = run_tool(engine, base.id, ["/usr/bin/python3", "-I", "-W", "ignore", "-c", program], user="65534:65534")
    assert result.exit_code == 0, result.stderr.decode()
    return result.stdout.decode()


def test_the_same_packages_give_the_same_image(ingredients: Home, base: Base, engine: Engine) -> None:
    """Another home, process, time zone, language, file mode mask, and no network to any mirror or index."""
    program = (
        "import os, sys\n"
        "from engine import daemon, environments\n"
        "from engine.progress import Silent\n"
        "from engine.settings import find_home\n"
        "os.umask(0o077)\n"
        "print(environments.build_base(find_home(), daemon.connect(), Silent()).id)\n"
    )
    elsewhere = {
        "NBSEAL_HOME": str(ingredients.root),
        "TZ": "Asia/Tokyo",
        "LANG": "de_DE.UTF-8",
        "PYTHONHASHSEED": "7",
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **elsewhere}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == base.id
    (again,) = list_bases(ingredients)
    assert again == base
    assert not _stages(engine)


def _stages(engine: Engine) -> set[str]:
    """What building left in the engine beside bases and images."""
    return left_tags(engine, "rootfs", "stage")


def test_what_the_base_is(home: Home, base: Base, engine: Engine) -> None:
    assert sum(layer.size for layer in base.layers) < LARGEST
    assert engine.client.images.get(engine.handle(base.id)).attrs["Size"] < LARGEST
    assert len(base.layers) <= base_record.MAX_LAYERS
    for package in base.packages:
        assert sha256_file(kept_path(package, home)) == package.sha256
    document = json.loads((home.bases / bare(base.id) / "packages.json").read_bytes())
    assert [item["name"] for item in document["packages"]] == [package.name for package in base.packages]


def test_the_packages_installed_are_those_written_down(base: Base, engine: Engine) -> None:
    result = run_tool(engine, base.id, ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${Status}\n"])
    installed = sorted(result.stdout.decode().splitlines())
    assert installed == sorted(f"{item.name} {item.version} install ok installed" for item in base.packages)


def test_python_has_its_whole_library_with_bytecode_that_never_goes_stale(base: Base, engine: Engine) -> None:
    program = """
import importlib.util, os, sys, sysconfig
import bz2, ctypes, curses, dbm, decimal, distutils.core, lib2to3.pygram, lzma, readline, sqlite3, ssl, uuid
import zoneinfo
zoneinfo.ZoneInfo("Europe/Berlin")
assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 100
ctypes.CDLL("libgomp.so.1"), ctypes.CDLL("libstdc++.so.6")
count = 0
for folder in (sysconfig.get_path("stdlib"), "/opt/harness/lib"):
    for root, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".pyc"):
                with open(os.path.join(root, name), "rb") as file:
                    magic, flags = file.read(4), int.from_bytes(file.read(4), "little")
                assert magic == importlib.util.MAGIC_NUMBER and flags == 1, os.path.join(root, name)
                count += 1
print(sys.version.split()[0], os.confstr("CS_GNU_LIBC_VERSION").split()[1], count)
"""
    version, glibc, count = _python(engine, base, program).split()
    assert (version, glibc) == (base.python, base.glibc)
    assert int(count) > 700


def test_nothing_in_it_raises_privileges_or_tells_of_the_machine(base: Base, engine: Engine) -> None:
    program = """
import os, stat
for root, folders, files in os.walk("/"):
    if root in ("/proc", "/sys", "/dev"):
        folders.clear()
        continue
    for name in files:
        info = os.lstat(os.path.join(root, name))
        if stat.S_ISREG(info.st_mode) and info.st_mode & (stat.S_ISUID | stat.S_ISGID):
            print("set-id:", os.path.join(root, name))
        ours = info.st_dev == os.stat("/usr").st_dev  # an engine mounts its own init over a file
        if ours and info.st_mtime != 315532800 and root.startswith(("/usr", "/opt", "/var")):
            print("time:", os.path.join(root, name))
for path in ("/etc/apt", "/etc/machine-id", "/var/lib/apt", "/var/cache/ldconfig", "/var/log/dpkg.log"):
    if os.path.exists(path):
        print("left:", path)
"""
    assert _python(engine, base, program) == ""


def test_the_harness_is_there_apart_from_the_kernel(base: Base, engine: Engine) -> None:
    program = (
        "import json, nbclient, nbformat, zmq, nbseal_harness, sys, pathlib; "
        "print(nbseal_harness.PROTOCOL, sys.prefix, nbseal_harness.__cached__ is not None, "
        "json.loads(pathlib.Path('/opt/harness/share/jupyter/kernels/python3/kernel.json').read_bytes())['argv'][0])"
    )
    result = run_tool(engine, base.id, ["/opt/harness/bin/python3", "-I", "-c", program])
    assert result.stderr == b""
    assert result.stdout.decode().split() == [str(base.protocol), "/opt/harness", "True", "/opt/kernel/bin/python3"]


# --- losing and carrying ----------------------------------------------------------------------


@pytest.fixture
def unique(base: Base, borrower: Home, engine: Engine) -> Iterator[Base]:
    """A base of our own, that no one else on this engine uses: the session's with one small layer more."""
    top = pack_tree({"etc/unique": secrets.token_bytes(16)}, borrower, "unique")
    layers = (*base.layers, top)
    config = image_config(layers, environment={"PATH": "/usr/bin"})
    unique = replace(base, id=sha256_bytes(config), layers=layers)
    keep_record(unique, config, load_pins(base, borrower), borrower)
    yield unique
    layer_file(top, borrower).unlink(missing_ok=True)
    with ignore_engine_errors():
        engine.client.api.remove_image(engine.handle(unique.id), force=True)


def test_an_engine_that_lost_the_base_gets_it_again(unique: Base, borrower: Home, engine: Engine) -> None:
    for _ in range(2):
        assert not has_image(unique.id, engine)
        listener = Listener()
        assert ensure_base(borrower, engine, listener) == unique
        assert has_image(unique.id, engine)
        assert listener.said == []
        engine.client.api.remove_image(engine.handle(unique.id), force=True)


@pytest.mark.parametrize("damage", ["missing", "short", "changed"])
def test_a_base_whose_layers_are_lost_is_built_again(
    unique: Base, base: Base, borrower: Home, engine: Engine, damage: str
) -> None:
    path = layer_file(unique.layers[-1], borrower)
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(data[:-512] if damage == "short" else data[:-1024] + b"x" * 1024)
    listener = Listener()
    assert ensure_base(borrower, engine, listener) == base
    assert listener.said[0].endswith("building it again.")
    assert not _stages(engine)


def test_two_at_once_build_once(base: Base, borrower: Home, engine: Engine) -> None:
    listener = Listener()
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(ensure_base, borrower, engine, listener) for _ in range(2)]
        assert [job.result() for job in jobs] == [base, base]
    assert len([text for text in listener.said if text.startswith("There is no base image yet")]) == 1
    assert list_bases(borrower) == (base,)


def test_a_base_is_carried_to_a_home_that_cannot_build_it(
    home: Home, base: Base, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "base.tar"
    export_base(home, base.id, file, Silent())
    there = Home(tmp_path / "there")
    monkeypatch.setenv("PATH", str(tmp_path))  # neither mmdebstrap nor apt
    assert import_base(there, file, Silent()) == base
    listener = Listener()
    assert ensure_base(there, engine, listener) == base
    assert listener.said == []


# --- today's packages -------------------------------------------------------------------------


def test_packages_are_pinned_anew_from_the_signed_archive(base: Base, borrower: Home, engine: Engine) -> None:
    """Against Debian's own archive: the same names, each version today's; and they are current from then on."""
    today = resolve_pins(base_record.shipped_pins().wanted, find_mirrors())
    listener = Listener()
    built = build_base(borrower, engine, listener, repin=True)
    assert built.packages == today.packages
    assert "Debian packages" in listener.said[0]
    assert current_pins(borrower).packages == today.packages
    assert ensure_base(borrower, engine, Silent()) == built
    assert set(today.wanted) <= {package.name for package in today.packages}
