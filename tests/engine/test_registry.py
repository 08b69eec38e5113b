"""Runs through Debian's docker-registry: what skopeo and docker read there, what is sent, and what bad lines cost."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import daemon
from engine.digests import bare
from engine.files import remove_tree
from engine.settings import Home
from tests.conftest import CONTENT, MADE, borrow
from tests.engine.archive_tools import call
from tests.engine.registries import Running, TokenServer, free_port, htpasswd, line, registry, serving_tokens
from tests.unit.registry.conftest import Authority
from tests.unit.registry.memory_registry import Asked, MemoryRegistry, Misbehave, serving

pytestmark = pytest.mark.engine

CELL = "open('out.bin', 'wb').write(bytes([n]) * 300_000)\nprint('loss:', 0.5 * n)"
#: Nothing answers there.
NOWHERE = "http://127.0.0.1:9/simple"


@dataclass(frozen=True)
class Team:
    """A signed home with two runs of one project, and a user whose settings are in a folder of the test."""

    home: Home
    one: Any
    other: Any

    def user(self, folder: Path) -> User:
        folder.mkdir(exist_ok=True)
        return User(self.home, folder)


@dataclass(frozen=True)
class User:
    home: Home
    folder: Path

    def elsewhere(self, home: Home) -> User:
        return User(home, self.folder)

    def environment(self) -> dict[str, str]:
        """Docker's settings of this test, and no index of packages."""
        settings = dict.fromkeys(("PIP_INDEX_URL", "UV_INDEX_URL", "http_proxy", "https_proxy"), NOWHERE)
        folders = {
            "HOME": self.folder,
            "DOCKER_CONFIG": self.folder / ".docker",
            "XDG_CONFIG_HOME": self.folder / ".config",
        }
        named = {name: str(place) for name, place in folders.items()}
        return {**os.environ, **settings, **named, "NBSEAL_HOME": str(self.home.root)}

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "engine", *map(str, arguments)]

    def nbseal(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.environment(), capture_output=True, text=True, timeout=300, check=False
        )

    def document(self, *arguments: object) -> Any:
        done = self.nbseal(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, code: int, *arguments: object) -> str:
        """What is said; nothing on stdout, and no traceback."""
        done = self.nbseal(*arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert "Traceback" not in done.stderr
        assert "\nhint: " in done.stderr
        return done.stderr

    def login(self, address: str, name: str, password: str) -> None:
        """As `docker login` writes it."""
        (self.folder / ".docker").mkdir(exist_ok=True)
        auth = base64.b64encode(f"{name}:{password}".encode()).decode()
        (self.folder / ".docker/config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))


@pytest.fixture(scope="module")
def team(home: Home, kernel_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    fresh = Home(Path(tempfile.mkdtemp(prefix="team-", dir=home.root.parent)))
    borrow(home, fresh, (*CONTENT, *MADE))
    folder = tmp_path_factory.mktemp("team")
    (folder / "nbseal.yml").touch()
    (folder / "rows.csv").write_text("1,2\n" * 50_000)
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
        for i, source in enumerate(("n = 3", CELL))
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    document = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "n.ipynb").write_text(json.dumps(document))
    environment = {**os.environ, "NBSEAL_HOME": str(fresh.root)}

    def nbseal(*arguments: str) -> Any:
        command = [sys.executable, "-m", "engine", *arguments, "--json"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    nbseal("keys", "new", "--name", "alice@example.org", "--unencrypted")
    yield Team(fresh, nbseal("run", "n.ipynb"), nbseal("run", "n.ipynb", "n=4"))
    remove_tree(fresh.root)


@pytest.fixture
def empty_home(home: Home) -> Iterator[Home]:
    """A home with nothing in it, on the same file system as all homes of the tests."""
    folder = Path(tempfile.mkdtemp(prefix="empty-", dir=home.root.parent))
    yield Home(folder)
    remove_tree(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with registry(tmp_path_factory.mktemp("plain") / "registry") as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def user(team: Team, tmp_path: Path) -> User:
    return team.user(tmp_path / "user")


def inspected(place: str) -> Any:
    done = call("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{place}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_team_shares_runs(
    team: Team, user: User, plain: Running, empty_home: Home, engine: daemon.Engine, tmp_path: Path
) -> None:
    place = f"oci://{plain.address}/team/churn"
    first = user.document("push", team.one["id"], place)
    assert (first["tag"], first["run"], first["skipped"]) == (team.one["id"], team.one["id"], 0)
    assert first["reference"] == f"{place}@{first['digest']}"
    again = user.document("push", team.one["hash"][:12], place)
    assert (again["sent"], again["digest"]) == (0, first["digest"])
    # Of another run of the project only what is its own: the tar, and its output.
    other = user.document("push", team.other["id"], f"{place}:v2")
    manifest = inspected(f"{plain.address}/team/churn:v2")
    own = {item["digest"]: item["size"] for item in manifest["layers"][:1]}
    own |= {item["digest"]: item["size"] for item in manifest["layers"] if item["size"] == 300_000}
    assert (other["sent"], len(own)) == (sum(own.values()), 2)
    assert other["sent"] < first["sent"] / 100

    # What others read there: the run's manifest, who refers to the image, and the image.
    assert manifest["artifactType"] == "application/vnd.nbseal.run.v1"
    subject = manifest["subject"]["digest"]
    index = inspected(f"{plain.address}/team/churn:{subject.replace(':', '-')}")
    assert [item["digest"] for item in index["manifests"]] == [first["digest"], other["digest"]]
    assert first["image"] == f"{plain.address}/team/churn:image-{bare(team.one['image'])[:12]}"
    assert inspected(first["image"])["config"]["digest"] == team.one["image"]
    copied = call(
        "skopeo", "copy", "--src-tls-verify=false", f"docker://{first['image']}", f"dir:{tmp_path / 'copied'}"
    )
    assert copied.returncode == 0, copied.stderr
    assert json.loads((tmp_path / "copied/manifest.json").read_bytes())["config"]["digest"] == team.one["image"]
    engine.client.images.remove(team.one["image"], force=True)
    pulled = engine.client.images.pull(first["image"])
    assert pulled.id == team.one["image"]
    engine.client.images.remove(team.one["image"], force=True)

    # A colleague, without the index, the image and the wheels.
    colleague = user.elsewhere(empty_home)
    rerun = colleague.document("rerun", first["reference"], "--exact")
    assert (rerun["rerun_of"], rerun["verdict"], rerun["image"]) == (team.one["id"], "identical", team.one["image"])
    rebuilt = colleague.document("rerun", first["reference"], "--image-only")
    assert (rebuilt["equal"], rebuilt["rebuilt"]) == (True, team.one["image"])
    second = colleague.document("pull", f"{place}:v2")
    assert second["digest"] == other["digest"]
    assert second["received"] < second["skipped"] / 100
    assert [(run["id"], run["known"]) for run in second["runs"]] == [(team.other["id"], False)]
    assert {word["what"]: word["state"] for word in second["attestations"]}["signature"] == "unknown"


def test_a_password_and_tls(team: Team, user: User, empty_home: Home, tmp_path: Path, authority: Authority) -> None:
    auth = htpasswd(tmp_path / "htpasswd", "alice", "correct")
    with registry(tmp_path / "registry", auth=auth, tls=authority) as running:
        place = f"oci://{running.address}/team/churn"
        parts = ("--no-image", "--no-wheels")
        message = user.refused(5, "push", team.one["id"], place, *parts)
        assert "not to be trusted" in message
        assert f"/etc/docker/certs.d/{running.address}/ca.crt" in message
        folder = user.folder / ".config/docker/certs.d" / running.address
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.certificate)
        assert f"docker login {running.address}" in user.refused(5, "push", team.one["id"], place, *parts)
        user.login(running.address, "alice", "wrong-secret")
        message = user.refused(5, "push", team.one["id"], place, *parts)
        assert f"docker login {running.address}" in message
        assert "secret" not in message
        user.login(running.address, "alice", "correct")
        done = user.document("push", team.one["id"], place, *parts)
        assert done["image"] == ""
        came = user.elsewhere(empty_home).document("pull", f"{place}:{team.one['id']}")
        assert came["absent"][:2] == ["left out: image", "left out: wheels"]
        assert "correct" not in running.log.read_text()


def test_tokens(team: Team, user: User, empty_home: Home, tmp_path: Path) -> None:
    tokens = TokenServer(tmp_path, "alice", "correct")
    with serving_tokens(tokens) as auth, registry(tmp_path / "registry", auth=auth) as running:
        place = f"oci://{running.address}/team/churn"
        parts = ("--no-image", "--no-wheels")
        assert f"docker login {running.address}" in user.refused(5, "push", team.one["id"], place, *parts)
        user.login(running.address, "alice", "correct")
        tokens.asked.clear()
        done = user.document("push", team.one["id"], place, *parts)
        assert set(tokens.asked) == {"repository:team/churn:pull,push"}
        tokens.asked.clear()
        user.elsewhere(empty_home).document("pull", done["reference"])
        assert set(tokens.asked) == {"repository:team/churn:pull"}


def test_a_bad_line(team: Team, user: User, plain: Running, empty_home: Home) -> None:
    whole = user.document("push", team.one["id"], f"oci://{plain.address}/whole")
    largest = max(item["size"] for item in inspected(whole["image"])["layers"])
    with line(plain.address, cuts_up=[5 << 20, 60 << 20, 150 << 20]) as up:
        done = user.document("push", team.one["id"], f"oci://{up.address}/cut/churn")
        assert not up.cuts_up
        assert done["digest"] == whole["digest"]
        # This registry drops an upload that was cut within a part: each cut costs what that one had sent.
        assert whole["sent"] < up.up < whole["sent"] + 3 * largest
    with line(plain.address, cuts_down=[5 << 20, 60 << 20, 150 << 20]) as down:
        came = user.elsewhere(empty_home).document("pull", f"oci://{down.address}/cut/churn@{done['digest']}")
        assert not down.cuts_down
        assert came["runs"][0]["id"] == team.one["id"]
        # Downloads go on where they were cut: what is lost is what was on its way.
        assert whole["sent"] < down.down < whole["sent"] + (8 << 20)


def test_a_killed_push_is_gone_on_with(team: Team, user: User, plain: Running) -> None:
    place = f"oci://{plain.address}/killed/churn"
    before = set(user.home.temporary.iterdir())
    with line(plain.address) as passing:
        through = f"oci://{passing.address}/killed/churn"
        process = subprocess.Popen(
            user.command("push", team.one["id"], through), env=user.environment(), stderr=subprocess.DEVNULL
        )
        while passing.up < 160 << 20 and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not plain.tags("killed/churn")
    assert set(user.home.temporary.iterdir()) == before
    done = user.document("push", team.one["id"], place)
    assert done["skipped"] > 0
    assert plain.tags("killed/churn") >= {team.one["id"]}


def interrupted(user: User, stalled: threading.Event, *arguments: object) -> float:
    """Ctrl-C once a transfer stalls: how many seconds the command lives on. A registry would be waited for 90 s."""
    process = subprocess.Popen(user.command(*arguments), env=user.environment(), stderr=subprocess.PIPE, text=True)
    try:
        assert stalled.wait(120)
        time.sleep(1)  # until all transfers stall
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, told = process.communicate(timeout=60)
        took = time.monotonic() - begun
    finally:
        process.kill()
    assert process.returncode == 130, told
    assert told.endswith("error: Interrupted.\n")
    assert "Traceback" not in told
    return took


def test_ctrl_c_waits_for_no_registry(team: Team, user: User, empty_home: Home) -> None:
    stalled, over = threading.Event(), threading.Event()

    def stalls(method: str, but: str = "") -> Misbehave:
        def answer(asked: Asked) -> None:
            if asked.method == method and "/blobs/" in asked.path and not (but and but in asked.path):
                stalled.set()
                over.wait(120)

        return answer

    with serving(MemoryRegistry()) as memory:
        place = f"oci://{memory.address}/team/churn:x"
        command = ("push", team.one["id"], place, "--no-image")
        memory.misbehave = stalls("POST")
        assert interrupted(user, stalled, *command) < 10
        assert not memory.manifests
        memory.misbehave = lambda asked: None
        assert user.nbseal(*command).returncode == 0

        stalled.clear()
        colleague = user.elsewhere(empty_home)
        bag = json.loads(memory.manifests["x"][1])["layers"][0]["digest"]
        memory.misbehave = stalls("GET", but=bag)
        assert interrupted(colleague, stalled, "pull", place) < 10
        assert not empty_home.runs.exists()
        memory.misbehave = lambda asked: None
        assert colleague.document("pull", place)["runs"][0]["id"] == team.one["id"]
        assert not list(empty_home.temporary.iterdir())
        over.set()


def test_a_tampered_registry(team: Team, user: User, empty_home: Home, tmp_path: Path) -> None:
    with registry(tmp_path / "registry") as running:
        place = f"oci://{running.address}/team/churn"
        user.document("push", team.one["id"], place, "--no-wheels", "--no-image")
        output = next(
            item
            for item in inspected(f"{running.address}/team/churn:{team.one['id']}")["layers"]
            if item["annotations"]["org.opencontainers.image.title"].endswith("out.bin")
        )
        blob = running.blob(output["digest"])
        blob.write_bytes(b"?" + blob.read_bytes()[1:])
        colleague = user.elsewhere(empty_home)
        message = colleague.refused(4, "pull", f"{place}:{team.one['id']}")
        assert f"runs/{team.one['id']}/project/out.bin" in message
        assert "is not what its digest says" in message
        assert not any((empty_home.root / name).exists() for name in ("runs", "blobs", "bases", "ledger"))


def test_what_is_refused(team: Team, user: User, plain: Running) -> None:
    place = f"oci://{plain.address}/team/other"
    done = user.document("push", team.one["id"], place, "--no-wheels", "--no-inputs")
    image = done["image"].rpartition(":")[2]
    assert "is no run of nbseal" in user.refused(2, "pull", f"{place}:{image}")
    assert "is no run of nbseal" in user.refused(2, "rerun", f"{place}:{image}")
    assert team.one["id"] in user.refused(2, "pull", f"{place}:v9")
    assert "There is no" in user.refused(2, "pull", f"{place}@sha256:{'0' * 64}")
    assert "There is no" in user.refused(2, "pull", f"oci://{plain.address}/team/nothing:x")
    for wrong in ("oci://UPPER/Case", f"{plain.address}/team", "oci://alice:secret@registry.example/x"):
        message = user.refused(2, "push", team.one["id"], wrong)
        assert "oci://HOST" in message
        assert "secret" not in message
    assert "does not answer" in user.refused(5, "pull", f"oci://127.0.0.1:{free_port()}/team/churn:x")
    user.refused(2, "push", "ffffffffffff", place)
