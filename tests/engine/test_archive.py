"""Archives as somebody else gets them: opened with tar, and checked with none of our software."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine import daemon, merkle
from engine.settings import Home
from engine.software import Base
from tests.conftest import MakeNotebook, Nbseal, own
from tests.engine.archive_tools import (
    call,
    is_podmans,
    is_valid_bag,
    is_valid_crate,
    is_valid_sbom,
    names,
    opened,
    openssl_verifies,
    peak,
    without_attestations,
)
from tests.engine.authority import time_stamping_authority

pytestmark = pytest.mark.engine

CELLS = ("factor = 3", "open('out.txt', 'w').write(str(factor))\nprint('loss:', factor)")


def shown(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def run(nbseal: Nbseal, notebook: MakeNotebook) -> str:
    """A finished run of a home without a key."""
    return str(shown(nbseal("run", notebook(*CELLS, tags={0: ["parameters"]}), "--json"))["id"])


@contextmanager
def without(path: Path) -> Iterator[None]:
    """Have a file away for a while."""
    away = path.with_name(f".{path.name}.away")
    path.rename(away)
    try:
        yield
    finally:
        away.replace(path)


def test_what_is_archived_is_checked_without_us(
    nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home, tmp_path: Path, engine: daemon.Engine
) -> None:
    key = shown(nbseal("keys", "new", "--name", "alice@example.org", "--unencrypted", "--json"))
    data = tmp_path / "data.csv"
    data.write_text("a,b\n1,2\n")
    path = notebook(*CELLS, f"print({time.time()})", tags={0: ["parameters"]}, image=time.time())
    (path.parent / "helper.py").write_text("x = 1\n")
    record = shown(nbseal("run", path, "--input", data, "--requirement", "six", "--json"))
    assert nbseal("comment", record["id"], "looks right").returncode == 0

    told = shown(nbseal("archive", record["id"][:8], "-o", "a.tar.zst", "--json"))
    assert (told["runs"], told["left_out"], told["missing"]) == ([record["id"]], [], [])
    assert told["key"] == key["fingerprint"]
    bag = opened(tmp_path / "a.tar.zst", tmp_path / "opened")
    assert bag.name == told["name"] == f"run-{record['id'][:12]}"
    assert told["tagmanifest"] == f"sha256:{hashlib.sha256((bag / 'tagmanifest-sha256.txt').read_bytes()).hexdigest()}"

    is_valid_bag(bag)
    for profile in ("process-run-crate-0.5", "workflow-run-crate-0.5"):
        is_valid_crate(bag, profile, fresh_home)
    payload = bag / "data"
    folder = payload / "runs" / record["id"]
    sums = call("sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt", cwd=folder)
    assert sums.returncode == 0, sums.stdout
    assert f"External-Identifier: {record['seal']['digest']}" in (bag / "bag-info.txt").read_text().splitlines()
    assert (folder / "original.ipynb").read_bytes() == path.read_bytes()
    assert (folder / "project/out.txt").read_text() == "3"
    assert "loss: 3" in (payload / "pages" / f"{record['id']}.html").read_text()
    for file in (path.parent / "helper.py", data):
        assert (payload / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()).read_bytes() == file.read_bytes()
    kinds = [
        json.loads(line)["kind"] for line in (payload / "ledger" / f"{record['id']}.json").read_text().splitlines()
    ]
    assert kinds == ["begun", "ended", "comment"]
    assert record["hash"] in (payload / "README.md").read_text()

    is_signed(bag, key, fresh_home, tmp_path, record)
    is_the_image(payload, record["image"], engine)
    is_podmans(payload, record["image"])
    bom = is_valid_sbom(payload / "sbom" / f"{record['image'].removeprefix('sha256:')}.cdx.json")
    digests = {item["hashes"][0]["content"] for item in bom["components"]}
    kept = {item.name for kind in ("wheels", "packages") for item in (payload / kind).iterdir()}
    assert digests == kept
    assert {"six", "libc6"} <= {item["name"] for item in bom["components"]}


def is_signed(bag: Path, key: Any, home: Home, tmp_path: Path, record: Any) -> None:
    """By ssh-keygen, by openssl, and by the tree of the ledger."""
    attestations = bag / "attestations"
    tag_manifest = (bag / "tagmanifest-sha256.txt").read_bytes()
    command = ("ssh-keygen", "-Y", "verify", "-f", home.root / "keys/allowed_signers", "-n", "nbseal-archive",
               "-I", key["name"], "-s", attestations / "tagmanifest-sha256.txt.sig")  # fmt: skip
    assert call(*command, stdin=tag_manifest).returncode == 0
    assert call(*command, stdin=tag_manifest + b" ").returncode != 0
    bundle = json.loads((attestations / "provenance.sigstore.json").read_bytes())
    assert openssl_verifies(bundle, key["public"], tmp_path)
    envelope = bundle["dsseEnvelope"]
    assert (
        envelope["signatures"][0]["keyid"] == bundle["verificationMaterial"]["publicKey"]["hint"] == key["fingerprint"]
    )
    assert bundle["verificationMaterial"]["tlogEntries"] == []
    statement = json.loads(base64.b64decode(envelope["payload"]))
    [subject] = statement["subject"]
    assert subject["digest"]["sha256"] == hashlib.sha256(tag_manifest).hexdigest()
    assert statement["predicate"]["buildDefinition"]["externalParameters"]["runs"][0]["id"] == record["id"]
    envelope["payload"] = base64.b64encode(base64.b64decode(envelope["payload"]) + b" ").decode()
    assert not openssl_verifies(bundle, key["public"], tmp_path)

    proof, _, checkpoint = (attestations / f"{record['id']}.tlog-proof").read_text().partition("\n\n")
    assert checkpoint.encode() == (attestations / "checkpoint").read_bytes()
    first, index, *path = proof.splitlines()
    assert first == "c2sp.org/tlog-proof@v1"
    _, size, root, *_ = checkpoint.splitlines()
    lines = (bag / "data/ledger" / f"{record['id']}.json").read_bytes().splitlines()
    [ended] = [line for line in lines if json.loads(line)["kind"] == "ended"]
    number = int(index.removeprefix("index "))
    steps = [base64.b64decode(step) for step in path]
    assert merkle.includes(base64.b64decode(root), int(size), merkle.leaf_hash(ended), number, steps)


def is_the_image(payload: Path, image: str, engine: daemon.Engine) -> None:
    """To skopeo, and to docker, which loads it under the same id."""
    config = call("skopeo", "inspect", "--raw", "--config", f"oci:{payload / 'image'}")
    assert config.returncode == 0, config.stderr
    assert f"sha256:{hashlib.sha256(config.stdout).hexdigest()}" == image
    tag = f"nbseal/image:{image.removeprefix('sha256:')[:12]}"
    assert call("skopeo", "inspect", f"oci:{payload / 'image'}:{tag}").returncode == 0
    engine.client.images.remove(tag, force=True)
    tar = subprocess.Popen(["tar", "-C", str(payload / "image"), "-cf", "-", "."], stdout=subprocess.PIPE)
    assert tar.stdout is not None
    loaded = b"".join(line.get("stream", "").encode() for line in engine.client.api.load_image(tar.stdout, quiet=True))
    tar.stdout.close()
    assert tar.wait(60) == 0
    assert tag.encode() in loaded
    assert engine.client.images.get(tag).id == image


def test_the_same_bytes_twice_and_from_a_copied_home(
    nbseal: Nbseal, run: str, fresh_home: Home, tmp_path: Path
) -> None:
    for name in ("a.tar", "b.tar"):
        told = shown(nbseal("archive", run, "-o", name, "--json"))
        assert (told["key"], told["unsigned"]) == ("", "the home has no key; `nbseal keys` makes one")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()

    other = Home(tmp_path / "other")
    shutil.copytree(fresh_home.root, other.root, symlinks=True)
    (other.root / "index.sqlite").unlink()
    assert nbseal("keys", "new", "--unencrypted", home=other).returncode == 0
    assert nbseal("archive", run, "-o", "c.tar", home=other).returncode == 0
    assert (tmp_path / "c.tar").read_bytes() != (tmp_path / "a.tar").read_bytes()
    assert without_attestations(tmp_path / "c.tar") == without_attestations(tmp_path / "a.tar")


def test_runs_share_and_parts_are_left_out(
    nbseal: Nbseal, notebook: MakeNotebook, run: str, fresh_home: Home, tmp_path: Path
) -> None:
    notebook("open('a%b\\nc', 'w').write('x')\nimport os\nos.symlink('x', 'link')", name="odd.ipynb")
    odd = shown(nbseal("run", tmp_path / "project/odd.ipynb", "--json"))["id"]
    nbseal("rerun", run)
    ids = [item["id"] for item in shown(nbseal("runs", "--json"))]
    assert len(ids) == 3
    assert nbseal("archive", *ids, run, "-o", "all.tar").returncode == 0
    assert nbseal("archive", run, "-o", "one.tar").returncode == 0
    both, one = ((tmp_path / name).stat().st_size for name in ("all.tar", "one.tar"))
    assert both - one < 2_000_000 < 200_000_000 < one
    bag = opened(tmp_path / "all.tar", tmp_path / "all")
    is_valid_bag(bag)
    is_valid_crate(bag, "process-run-crate-0.5", fresh_home)
    assert (bag / "bag-info.txt").read_text().count("External-Identifier: sha256:") == 3
    contents = json.loads((bag / "data/archive.json").read_bytes())
    assert contents["packed"] == [odd]
    [missing] = contents["missing"]
    assert missing["what"] == f"1 links, empty folders or special files of run {odd}"
    folder = bag / "data/runs" / odd
    assert not (folder / "project").exists()
    assert call("tar", "-xf", "project.tar", cwd=folder).returncode == 0
    sums = call("sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt", cwd=folder)
    assert sums.returncode == 0, sums.stderr

    done = nbseal("archive", run, "-o", "bare.tar", "--no-image", "--no-wheels", "--no-inputs")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "left out" in line] == [
        "left out: image", "left out: inputs", "left out: wheels",
    ]  # fmt: skip
    places = {name.split("/")[2] for name in names(tmp_path / "bare.tar") if "/data/" in name}
    assert places >= {"README.md", "bases", "ledger", "runs", "sbom"}
    assert not places & {"image", "wheels", "packages"}
    bag = opened(tmp_path / "bare.tar", tmp_path / "bare")
    is_valid_bag(bag)
    assert json.loads((bag / "data/archive.json").read_bytes())["left_out"] == ["image", "inputs", "wheels"]
    assert "Left out on purpose: the image" in (bag / "data/README.md").read_text()


def test_what_cannot_be_archived(
    nbseal: Nbseal, run: str, home: Home, fresh_home: Home, tmp_path: Path, base: Base
) -> None:
    own(home, fresh_home, ("packages",))

    def refused(code: int, *words: str, options: tuple[object, ...] = ("-o", "x.tar")) -> None:
        done = nbseal("archive", run, *options)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert all(word in done.stderr for word in words), done.stderr
        assert "Traceback" not in done.stderr
        assert [path.name for path in tmp_path.iterdir() if "x.tar" in path.name] == []

    refused(2, "x.zip", ".tar.zst", options=("-o", "x.zip"))
    refused(2, "no folder", options=("-o", "no/x.tar"))
    refused(2, "http", options=("-o", "x.tar", "--tsa", "file:///etc/passwd"))
    (tmp_path / "there.tar").write_text("mine")
    refused(2, "there.tar already", options=("-o", "there.tar"))
    assert (tmp_path / "there.tar").read_text() == "mine"
    refused(5, "does not answer", options=("-o", "x.tar", "--no-image", "--tsa", "http://127.0.0.1:9/"))

    folder = fresh_home.runs / run
    for name, code in (("project/out.txt", 4), ("scalars.jsonl", 4)):
        path = folder / name
        whole = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(bytes(len(whole)))
        refused(code, name)
        path.write_bytes(whole)
        path.rename(tmp_path / "away")
        refused(code, name)
        (tmp_path / "away").rename(path)
    (folder / "project/new").touch()
    refused(4, "project/new")
    (folder / "project/new").unlink()

    package = base.packages[0]
    path = fresh_home.packages / package.sha256.removeprefix("sha256:") / package.filename.rpartition("/")[2]
    with without(path):
        refused(5, path.name, "--no-wheels")
        assert nbseal("archive", run, "-o", "y.tar", "--no-wheels").returncode == 0
    with without(path):
        path.write_bytes(bytes(package.size))
        refused(5, path.name, "--no-wheels", options=("-o", "x.tar", "--no-image"))
    assert nbseal("archive", run, "-o", "z.tar", "--no-image").returncode == 0


def test_layers_that_are_gone_or_damaged_are_made_again(
    nbseal: Nbseal, run: str, home: Home, fresh_home: Home, tmp_path: Path, base: Base
) -> None:
    own(home, fresh_home, ("layers",))
    assert nbseal("archive", run, "-o", "before.tar", "--no-wheels").returncode == 0
    record = shown(nbseal("show", run, "--json"))
    image = json.loads((fresh_home.images / f"{record['image'].removeprefix('sha256:')}.json").read_bytes())
    layers = [layer["diff_id"].removeprefix("sha256:") for layer in image["layers"]]
    for number, name in enumerate((layers[0], layers[-1])):
        path = fresh_home.layers / f"{name}.tar"
        with without(path):
            if number:  # as long as it was, so that only reading it shows
                path.write_bytes(bytes(next(x["size"] for x in image["layers"] if x["diff_id"].endswith(name))))
            done = nbseal("archive", run, "-o", f"after{number}.tar", "--no-wheels")
            assert done.returncode == 0, done.stderr
            assert "made again" in done.stderr
        assert (tmp_path / f"after{number}.tar").read_bytes() == (tmp_path / "before.tar").read_bytes()


def test_a_killed_writer_leaves_nothing_that_stays(nbseal: Nbseal, run: str, fresh_home: Home, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "engine", "archive", run, "-o", "k.tar.zst"]
    environment = {"NBSEAL_HOME": str(fresh_home.root), "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    while not (left := list(tmp_path.glob(".k.tar.zst.*"))) or not left[0].stat().st_size:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert not (tmp_path / "k.tar.zst").exists()
    assert nbseal("archive", run, "-o", "k.tar.zst").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir() if "k.tar" in path.name) == ["k.tar.zst"]
    is_valid_bag(opened(tmp_path / "k.tar.zst", tmp_path / "opened"))
    process = subprocess.Popen(
        [*command[:-1], "i.tar.zst"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob(".i.tar.zst.*")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir() if "i.tar" in path.name] == []


def test_memory_does_not_grow_with_the_archive(nbseal: Nbseal, run: str, fresh_home: Home, tmp_path: Path) -> None:
    held = peak(sys.executable, "-m", "engine", "archive", run, "-o", "m.tar.zst", home=fresh_home, cwd=tmp_path)
    assert held < 200_000_000
    program = """
import os, sys
from pathlib import Path
from engine import archives
from engine.progress import Silent
big, size = Path("big"), 1536 << 20
with big.open("wb") as file:
    file.truncate(size)
    for start in range(0, size, 128 << 20):
        file.seek(start)
        file.write(os.urandom(4 << 20))
member = archives.of_file("blobs/" + "a" * 64, big, size, "", "blob")
archives.write(Path(sys.argv[1]), "run-" + "a" * 12, [member], [], lambda tags: {}, Silent())
"""
    alone = peak(sys.executable, "-c", program, "big.tar.zst", home=fresh_home, cwd=tmp_path)
    assert alone < 150_000_000


# --- time stamps --------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Its address and its folder, with ca.pem."""
    with time_stamping_authority(tmp_path / "tsa") as url:
        yield url, tmp_path / "tsa"


def test_a_time_stamp_that_openssl_verifies(
    nbseal: Nbseal, run: str, tmp_path: Path, authority: tuple[str, Path]
) -> None:
    url, folder = authority
    slim = ("--no-image", "--no-wheels")
    told = shown(nbseal("archive", run, "-o", "t.tar", *slim, "--tsa", url, "--json"))
    assert told["timestamp"] is True
    bag = opened(tmp_path / "t.tar", tmp_path / "opened")
    command = ("openssl", "ts", "-verify", "-in", bag / "attestations/tagmanifest-sha256.txt.tsr")
    trusted = ("-CAfile", folder / "ca.pem", "-untrusted", folder / "tsa.pem")
    assert call(*command, "-data", bag / "tagmanifest-sha256.txt", *trusted).returncode == 0
    assert call(*command, "-data", bag / "manifest-sha256.txt", *trusted).returncode != 0
    for wrong in ("other", "junk"):
        done = nbseal("archive", run, "-o", "w.tar", *slim, "--tsa", f"{url}/{wrong}")
        assert (done.returncode, done.stdout) == (5, ""), done.stderr
        assert "Traceback" not in done.stderr
        assert [path.name for path in tmp_path.iterdir() if "w.tar" in path.name] == []
