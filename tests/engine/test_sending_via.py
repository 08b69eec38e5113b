"""Images to a second machine's engine through a registry that both sides reach, and each way that this fails."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from engine import hosts, pipeline, registry
from engine.digests import bare
from engine.environments import Source, layer_file, pull_image
from engine.errors import EngineUnavailable, EnvironmentFailed, VerificationFailed
from engine.files import write_json
from engine.link import Link
from engine.progress import Silent
from engine.settings import Home
from engine.software import Image
from tests.conftest import MakeNotebook, Nbseal
from tests.engine import registries
from tests.engine.machines import Machine
from tests.engine.registries import Running, htpasswd
from tests.engine.test_image import Watched
from tests.engine.test_sending import MB, Desk, Hasty, Made, watching
from tests.unit.registry.conftest import Authority

pytestmark = pytest.mark.engine


@pytest.fixture
def desk(second: Machine, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(Home(tmp_path / "home"), second, hosts.Host("gpu1", second.ssh_url))
    known = {image["Id"] for image in desk.there()}
    yield desk
    desk.forget(*{image["Id"] for image in desk.there()} - known)


@dataclass(frozen=True)
class Place:
    """A registry behind TLS and a password, on the cable to the second machine; this user knows both."""

    running: Running
    machine: Machine
    authority: Authority
    settings: Path

    @property
    def via(self) -> str:
        return f"{self.running.address}/team/images"

    @property
    def _there(self) -> Path:
        return self.machine.folder / "etc/certs.d" / self.running.address

    def trusted_there(self) -> None:
        self._there.mkdir(parents=True, exist_ok=True)
        (self._there / "ca.crt").write_bytes(self.authority.certificate)

    def distrusted_there(self) -> None:
        shutil.rmtree(self._there, ignore_errors=True)


@pytest.fixture
def place(second: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    authority = Authority(tmp_path)
    auth = htpasswd(tmp_path / "htpasswd", "alice", "secret of alice")
    with registries.registry(tmp_path / "registry", auth=auth, tls=authority, host=second.gateway) as running:
        known = tmp_path / "settings/docker/certs.d" / running.address
        known.mkdir(parents=True)
        (known / "ca.crt").write_bytes(authority.certificate)
        account = base64.b64encode(b"alice:secret of alice").decode()
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker/config.json").write_text(json.dumps({"auths": {running.address: {"auth": account}}}))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        made = Place(running, second, authority, tmp_path / "docker")
        made.trusted_there()
        yield made
        made.distrusted_there()


def known(desk: Desk, *sizes: int) -> Made:
    """An image that the home remembers, as after a build."""
    made = desk.image(desk.layers(*sizes))
    layers = [{"diff_id": layer.diff_id, "size": layer.size, "of": layer.of} for layer in made.image.layers]
    document = {"id": made.image.id, "base": "", "wheels": [], "layers": layers, "config": made.config.decode()}
    write_json(desk.home.images / f"{bare(made.image.id)}.json", document)
    return made


def ensure(desk: Desk, made: Made, via: str = "") -> None:
    with Link(desk.host) as link:
        pipeline.ensure_image(made.image, link, desk.home, Silent(), via)


def test_through_the_registry_and_not_over_the_link_twice(desk: Desk, place: Place) -> None:
    made = known(desk, 5 * MB, MB)
    ensure(desk, made, place.via)
    assert desk.holds(made)
    assert place.running.tags("team/images") == {f"image-{bare(made.image.id)[:12]}"}
    before = desk.machine.received()
    ensure(desk, made, place.via)
    assert desk.machine.received() - before < 30_000
    # What the registry has is not pushed again, and what the engine has is not pulled again.
    desk.forget(made.image.id)
    pushed = place.running.blob(made.image.layers[0].diff_id).stat().st_mtime_ns
    ensure(desk, made, place.via)
    assert desk.holds(made)
    assert place.running.blob(made.image.layers[0].diff_id).stat().st_mtime_ns == pushed


def test_a_host_says_it_once(desk: Desk, place: Place) -> None:
    made = known(desk, MB)
    ensure(replace(desk, host=replace(desk.host, via=f"oci://{place.via}")), made)
    assert desk.holds(made)
    assert place.running.tags("team/images")


def test_the_password_is_in_no_log(desk: Desk, place: Place) -> None:
    made = known(desk, MB)
    ensure(desk, made, place.via)
    assert "secret of alice" not in desk.machine.log()
    assert base64.b64encode(b"alice:secret of alice").decode() not in desk.machine.log()


def test_an_engine_that_does_not_trust_the_registry(desk: Desk, place: Place) -> None:
    made = known(desk, MB)
    place.distrusted_there()
    with pytest.raises(EnvironmentFailed, match=r"^gpu1 does not trust the certificate of") as caught:
        ensure(desk, made, place.via)
    assert f"/etc/docker/certs.d/{place.running.address}/ca.crt on gpu1" in caught.value.hint
    assert not desk.holds(made)


def test_an_engine_that_cannot_reach_the_registry(desk: Desk, tmp_path: Path) -> None:
    made = known(desk, MB)
    with registries.registry(tmp_path / "near") as near, pytest.raises(EnvironmentFailed) as caught:
        ensure(desk, made, f"{near.address}/team/images")
    assert caught.value.message == f"gpu1 does not reach {near.address}."
    assert caught.value.exit_code == 5


def test_a_registry_that_refuses(desk: Desk, place: Place) -> None:
    made = known(desk, MB)
    ensure(desk, made, place.via)
    desk.forget(made.image.id)
    stranger = Source(place.running.address, "team/images", digest_there(place, made))
    with Link(desk.host) as link, pytest.raises(EnvironmentFailed, match="refuses access to gpu1"):
        pull_image(made.image, stranger, link, Silent())


@pytest.mark.parametrize("way", ["ssh", "tls"])
@pytest.mark.parametrize("what", ["cut", "frozen"])
def test_a_link_that_breaks_while_the_engine_fetches(way: str, what: str, desk: Desk, place: Place) -> None:
    made = known(desk, 150 * MB)
    ensure(desk, made, place.via)
    desk.forget(made.image.id)

    def strike() -> None:
        if what == "cut":
            desk.machine.cut()
            return
        desk.machine.freeze()
        time.sleep(40)
        desk.machine.thaw()

    struck, watched = watching(desk.machine, 20 * MB, strike), Watched()
    with Link(desk.by(way).host) as link:
        pipeline.ensure_image(made.image, link, desk.home, watched, place.via)
    struck.join(60)
    assert [line for line in watched.lines if "The link to gpu1 broke" in line]
    assert desk.holds(made)


def test_a_link_that_stays_frozen_while_the_engine_fetches(desk: Desk, place: Place) -> None:
    made = known(desk, 150 * MB)
    ensure(desk, made, place.via)
    desk.forget(made.image.id)
    frozen = watching(desk.machine, 20 * MB, desk.machine.freeze)
    began = time.monotonic()
    with Hasty(desk.by("tls").host) as link, pytest.raises(EngineUnavailable) as caught:
        pipeline.ensure_image(made.image, link, desk.home, Silent(), place.via)
    assert time.monotonic() - began < 120
    frozen.join(10)
    assert caught.value.message.startswith("The engine of gpu1 does not answer any more: ")
    assert "the same command" in caught.value.hint


def digest_there(place: Place, made: Made) -> str:
    """The digest of the manifest that the image has in the registry."""
    folder = place.running.storage / "docker/registry/v2/repositories/team/images/_manifests/tags"
    return (folder / f"image-{bare(made.image.id)[:12]}/current/link").read_text()


def test_another_image_is_refused_and_removed(desk: Desk, place: Place) -> None:
    made = known(desk, MB)
    ensure(desk, made, place.via)
    desk.forget(made.image.id)
    account = registry.find_credentials(place.running.address).for_docker(place.running.address)
    source = Source(place.running.address, "team/images", digest_there(place, made), account)
    other = Image("sha256:" + secrets.token_hex(32), "", (), made.image.layers)
    with Link(desk.host) as link, pytest.raises(VerificationFailed, match=f"not {other.id}"):
        pull_image(other, source, link, Silent())
    assert not desk.holds(made)
    assert made.image.id not in {image["Id"] for image in desk.there()}


def test_a_damaged_layer_is_not_pushed(desk: Desk, place: Place) -> None:
    made = known(desk, MB, MB)
    path = layer_file(made.image.layers[1], desk.home)
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(EnvironmentFailed):
        ensure(desk, made, place.via)
    assert not place.running.tags("team/images")
    assert not desk.holds(made)


def test_a_run_goes_there_through_the_registry(
    nbseal: Nbseal, notebook: MakeNotebook, place: Place, second: Machine, kernel_image: str
) -> None:
    with second.engine() as client:
        held = [image["Id"] for image in client.api.images()]
        if kernel_image in held:
            client.api.remove_image(kernel_image, force=True)
    assert nbseal("hosts", "add", "gpu1", second.ssh_url, "--via", place.via).returncode == 0
    assert f"images via {place.via}" in nbseal("hosts").stdout
    done = nbseal("run", notebook("print('loss:', 0.5)"), "--host", "gpu1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["image"] == kernel_image
    assert f"gpu1 fetches the image from {place.running.address}" in done.stderr
    assert "secret" not in done.stderr


def test_a_repository_is_checked_before_anything_is_built(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook("print(1)")
    repository = ("--via", "registry.example/team")
    for arguments in (("run", path, *repository), ("hosts", "add", "x", "unix:///x", "--via", "No")):
        done = nbseal(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr
    assert "--via is for a run on another machine." in nbseal("run", path, *repository).stderr
