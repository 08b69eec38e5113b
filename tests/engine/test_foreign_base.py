"""Bases of images that nbseal did not make: pulled from Debian's docker-registry, run on, archived, refused."""

from __future__ import annotations

import base64
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from engine.digests import bare, sha256_bytes
from engine.files import remove_tree
from engine.settings import Home
from engine.software import Base
from tests.conftest import MakeNotebook, Nbseal, borrow
from tests.engine.foreign_images import (
    DOCKER_GZIP,
    Entry,
    Repository,
    debian,
    gzipped,
    plain,
    program_of,
    tar_of,
    zstandarded,
)
from tests.engine.registries import Running, htpasswd, line, registry

pytestmark = pytest.mark.engine

ENV = (
    "PATH=/opt/tool/bin:relative:/usr/local/bin:/usr/bin:/bin",
    "LD_LIBRARY_PATH=/usr/local/cuda/lib64",
    "CUDA_HOME=/usr/local/cuda",
    "NVIDIA_VISIBLE_DEVICES=all",
    "PYTHONPATH=/opt/tool/lib",
    "NBSEAL_TRACE=1",
    "TZ=Mars/Olympus",
    "https_proxy=http://127.0.0.1:9",
)
#: What layers can do: new files, links, devices, rights; and things of lower layers gone, or all of a folder.
LAYER = tar_of(
    Entry("opt/tool/bin", kind=tarfile.DIRTYPE, mode=0o755),
    Entry("opt/tool/bin/tool", b"#!/bin/sh\necho tool\n", mode=0o755),
    Entry("opt/tool/bin/again", kind=tarfile.LNKTYPE, mode=0o755, target="opt/tool/bin/tool"),
    Entry("opt/tool/null", kind=tarfile.CHRTYPE, mode=0o666),
    Entry("opt/tool/marked", b"x", headers={"SCHILY.xattr.user.mark": "yes"}),
    Entry("usr/bin/.wh.dpkg", b""),
    Entry("usr/share/zoneinfo/.wh..wh..opq", b""),
    Entry("etc/skel/.wh..wh..opq", b""),
    Entry("etc/skel/new", b"new"),
    Entry("usr/lib/python3.13/json/__pycache__/.wh..wh..opq", b""),
)
DROPPED = ("NVIDIA_VISIBLE_DEVICES", "PYTHONPATH", "NBSEAL_TRACE", "https_proxy")
CELL = f"""
DROPPED = {DROPPED}
import os, subprocess, sys
print("python", sys.version_info[:2], sys.base_prefix)
print("gone", os.path.exists("/usr/bin/dpkg"), sorted(os.listdir("/etc/skel")))
print("tool", subprocess.run(["again"], capture_output=True, text=True).stdout.strip(), open("/opt/packed").read())
print("raised", subprocess.check_output(["/opt/raised", "-I", "-c", "import os; print(os.geteuid())"]))
print("mode", oct(os.stat("/opt/raised").st_mode), os.stat("/opt/raised").st_uid, os.stat("/opt/tool/null").st_rdev)
for name in ("CUDA_HOME", "LD_LIBRARY_PATH", "PATH", "TZ", *DROPPED):
    print(name, os.environ.get(name))
import json.decoder as module
print("compiled", open(module.__cached__, "rb").read(8)[4:], module.__cached__)
print("clock", __import__("time").time())
print("loss:", 0.5)
"""


@dataclass(frozen=True)
class Foreign:
    """A home with a base of an image, which an index of two platforms named, and what the registry was given."""

    home: Home
    running: Running
    reference: str
    manifest: str
    base: dict[str, Any]
    said: str


@pytest.fixture(scope="module")
def own_home(home: Home, base: Base) -> Iterator[Home]:
    """A home that has Debian's base, and made nothing else."""
    fresh = Home(Path(tempfile.mkdtemp(prefix="foreign-", dir=home.root.parent)))
    borrow(home, fresh, ("packages", "wheels", "resolutions"))
    shutil.copytree(home.bases / bare(base.id), fresh.bases / bare(base.id))
    fresh.layers.mkdir()
    for layer in base.layers:
        os.link(home.layers / f"{bare(layer.diff_id)}.tar", fresh.layers / f"{bare(layer.diff_id)}.tar")
    yield fresh
    remove_tree(fresh.root)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with registry(tmp_path_factory.mktemp("foreign") / "registry") as found:
        yield found


@pytest.fixture(scope="module")
def foreign(own_home: Home, running: Running) -> Foreign:
    """Made over a line that breaks in the middle of the largest layer."""
    place = Repository(running.address, "team/python")
    python = program_of(debian("trixie"), "usr/bin/python3.13")
    layers = [
        debian("trixie"),
        gzipped(LAYER, DOCKER_GZIP),
        zstandarded(tar_of(Entry("opt/packed", b"zstd"))),
        plain(tar_of(Entry("opt/raised", python, mode=0o4755, owner=4321))),
    ]
    amd, arm = place.push(layers, env=ENV), place.push([plain(b"\0" * 1024)], platform=("linux", "arm64"))
    sizes = {digest: running.blob(digest).stat().st_size for digest in (amd, arm)}
    index = place.push_index([(arm, "linux/arm64"), (amd, "linux/amd64")], sizes, tag="3")
    with line(running.address, cuts_down=[20_000_000, 40_000_000]) as bad:
        reference = f"{bad.address}/team/python@{index}"
        done = _call(own_home, "base", "build", "--from", reference, "--json")
    assert done.returncode == 0, done.stderr
    return Foreign(own_home, running, reference, amd, json.loads(done.stdout), done.stderr)


def _call(home: Home, *arguments: str, **env: str) -> Any:
    import subprocess
    import sys

    return subprocess.run(
        [sys.executable, "-m", "engine", *arguments],
        env={**os.environ, "NBSEAL_HOME": str(home.root), **env},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_what_the_registry_said_is_kept_byte_for_byte(foreign: Foreign, nbseal: Nbseal) -> None:
    folder = foreign.home.bases / bare(foreign.base["id"])
    assert foreign.base["from"] == foreign.reference
    assert foreign.base["python"].startswith("3.13.")
    index, manifest, config = ((folder / name).read_bytes() for name in ("index.json", "manifest.json", "image.json"))
    assert (folder / "index.json").read_bytes() == foreign.running.blob(
        foreign.reference.partition("@")[2]
    ).read_bytes()
    assert sha256_bytes(manifest) == foreign.manifest
    assert sha256_bytes(manifest) in index.decode()
    record = json.loads((folder / "base.json").read_text())
    own = json.loads(config)["rootfs"]["diff_ids"]
    assert [layer["diff_id"] for layer in record["layers"]][: len(own)] == own
    assert record["origin"]["python"] == "/usr/bin/python3.13"

    again = nbseal("base", "build", "--from", foreign.reference, home=foreign.home)  # over a line that is gone
    assert again.returncode == 5
    assert "does not answer" in again.stderr
    there = foreign.reference.partition("/")[2]
    again = nbseal("base", "build", "--from", f"{foreign.running.address}/{there}", "--json", home=foreign.home)
    assert json.loads(again.stdout) == foreign.base
    assert "Pulling" not in again.stderr
    listed = nbseal("base", "list", home=foreign.home).stdout
    assert foreign.reference in listed
    assert "Debian packages" in listed


def test_a_run_on_it_and_all_that_happens_to_runs(
    foreign: Foreign, nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home, tmp_path: Path
) -> None:
    home, path = foreign.home, notebook(CELL)
    done = nbseal("run", path, "--base", "team/python", "--deterministic", "--json", home=home)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["base"] == foreign.base["id"]
    said = dict(line.split(" ", 1) for line in nbseal("logs", record["id"], home=home).stdout.splitlines())
    assert said["python"] == "(3, 13) /usr"
    assert said["gone"] == "False ['new']"
    assert said["tool"] == "tool zstd"
    assert said["mode"] == "0o104755 4321 259"
    assert "4321" not in said["raised"]
    assert said["raised"].startswith("b'")
    assert len(said["raised"]) > 3
    assert said["CUDA_HOME"] == "/usr/local/cuda"
    assert said["LD_LIBRARY_PATH"] == "/usr/local/cuda/lib64"
    assert said["PATH"] == "/opt/kernel/bin:/opt/tool/bin:/usr/local/bin:/usr/bin:/bin"
    assert said["TZ"] == "UTC"
    assert said["compiled"].startswith("b'\\x01\\x00\\x00\\x00' /usr/lib/python3.13/json/")  # PEP 552, unchecked
    assert said["clock"].startswith("17356896")  # held by what was compiled for Debian's base
    assert {said[name] for name in DROPPED} == {"None"}

    archive = tmp_path / "run.tar"
    assert nbseal("archive", record["id"], "-o", archive, home=home).returncode == 0
    audit = nbseal("audit", archive, home=fresh_home)
    assert audit.returncode == 0, audit.stdout + audit.stderr
    with tarfile.open(archive) as bag:
        [sbom] = [name for name in bag.getnames() if "/sbom/" in name]
        listed = json.load(bag.extractfile(sbom))["components"]  # type: ignore[arg-type]
        assert any(
            "raw" not in name and name.endswith("/manifest.json") and "/bases/" in name for name in bag.getnames()
        )
    [container] = [item for item in listed if item["type"] == "container"]
    assert container["version"] == foreign.manifest
    assert container["purl"].startswith(f"pkg:oci/python@{foreign.manifest.replace(':', '%3A')}?")

    elsewhere = Home(Path(tempfile.mkdtemp(prefix="elsewhere-", dir=home.root.parent)))
    try:
        borrow(fresh_home, elsewhere, ("wheels", "packages"))
        assert nbseal("import", archive, home=elsewhere).returncode == 0
        rebuilt = nbseal("rerun", record["id"], "--image-only", "--json", home=elsewhere)
        assert rebuilt.returncode == 0, rebuilt.stderr
        again = nbseal("rerun", record["id"], "--exact", home=elsewhere)
        assert again.returncode == 0, again.stdout + again.stderr
        assert nbseal("fsck", home=elsewhere).returncode == 0
    finally:
        remove_tree(elsewhere.root)


def test_it_travels_in_a_file_and_damage_is_told(foreign: Foreign, nbseal: Nbseal, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "base.tar"
    done = nbseal("base", "export", foreign.base["id"][7:19], "-o", file, home=foreign.home)
    assert done.returncode == 0, done.stderr
    other = Home(Path(tempfile.mkdtemp(prefix="imported-", dir=home.root.parent)))
    try:
        assert nbseal("base", "import", file, home=other).returncode == 0
        names = ("base.json", "config.json", "index.json", "manifest.json", "image.json")
        for name in names:
            kept = [item.bases / bare(foreign.base["id"]) / name for item in (foreign.home, other)]
            assert kept[0].read_bytes() == kept[1].read_bytes()
        first = json.loads((other.bases / bare(foreign.base["id"]) / "base.json").read_text())["layers"][0]["diff_id"]
        (other.layers / f"{bare(first)}.tar").unlink()
        lost = nbseal("base", "export", foreign.base["id"], "-o", tmp_path / "b.tar", home=other)
        assert lost.returncode == 5
        data = file.read_bytes().replace(b'"image.json', b'"image.jsoM', 1)
        at = data.index(foreign.manifest.encode())
        file.write_bytes(data[:at] + foreign.manifest.encode()[::-1] + data[at + len(foreign.manifest) :])
        forged = nbseal("base", "import", file, home=other)
        assert forged.returncode in (2, 4), forged.stderr
    finally:
        remove_tree(other.root)


def test_images_that_no_base_can_be_made_of(own_home: Home, running: Running, nbseal: Nbseal) -> None:
    place = Repository(running.address, "team/others")
    nothing = tar_of(Entry("etc/os-release", b"ID=none\n"))
    faked = tar_of(
        Entry("usr/bin/.wh.python3"), Entry("usr/bin/.wh.python3.13"),
        Entry("usr/local/bin/python3", _answering(version="3.8.20", libc="glibc 2.41"), mode=0o755),
    )  # fmt: skip
    taken = tar_of(Entry("opt/kernel/bin/python3", b""))
    wrong = replace(gzipped(nothing), diff_id="sha256:" + "1" * 64)
    for layers, code, words in (
        ([plain(nothing)], 5, "has no Python that a user can run"),
        ([plain(tar_of(Entry("lib/ld-musl-x86_64.so.1", b"")))], 5, "musl"),
        ([debian("trixie"), plain(faked)], 5, "Python 3.8.20, which is older than 3.9"),
        ([debian("trixie"), plain(taken)], 5, "/opt/kernel"),
        ([wrong], 4, "is not what its diff id says"),
    ):
        digest = place.push(layers)
        done = nbseal("base", "build", "--from", f"{place.name}@{digest}", home=own_home)
        assert (done.returncode, done.stdout) == (code, ""), (words, done.stderr)
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def _answering(**said: str) -> bytes:
    """A program that says of itself what is wanted, whatever it is asked."""
    answer = {"implementation": "cpython", "bits": 64, "executable": "/usr/local/bin/python3", **said}
    return f"#!/bin/sh\necho '{json.dumps(answer)}'\n".encode()


def test_a_tag_is_refused_with_its_digest_which_docker_s_password_finds(tmp_path: Path, nbseal: Nbseal) -> None:
    with registry(tmp_path / "closed", auth=htpasswd(tmp_path / "users", "alice", "secret")) as closed:
        proof = base64.b64encode(b"alice:secret").decode()
        place = Repository(closed.address, "team/python", {"Authorization": f"Basic {proof}"})
        digest = place.push([plain(tar_of(Entry("a")))], tag="3.12")
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker/config.json").write_text(json.dumps({"auths": {closed.address: {"auth": proof}}}))
        settings = {"DOCKER_CONFIG": str(tmp_path / "docker")}
        done = nbseal("base", "build", "--from", f"{place.name}:3.12", env=settings)
        assert done.returncode == 2
        assert f"nbseal base build --from {place.name}@{digest}" in done.stderr
        refused = nbseal("base", "build", "--from", f"{place.name}:3.12", env={"DOCKER_CONFIG": str(tmp_path)})
        assert refused.returncode == 2
        assert "password" in refused.stderr
        missing = nbseal("base", "build", "--from", f"{place.name}@sha256:{'0' * 64}", env=settings)
        assert missing.returncode == 2
        assert "Traceback" not in missing.stderr


def test_what_contradicts_itself_or_names_nothing_is_wrong_usage(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    both = nbseal("base", "build", "--from", "python", "--repin")
    assert (both.returncode, both.stdout) == (2, "")
    nowhere = nbseal("run", notebook("1"), "--base", "nowhere")
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    assert "nbseal base list" in nowhere.stderr
