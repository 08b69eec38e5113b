"""Registries made to do harm, and those who stand in the way to one: refused in words, and the home is as it was."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from engine import pipeline
from engine.digests import sha256_bytes
from engine.errors import BadInput, EnvironmentFailed, NbsealError, VerificationFailed
from engine.progress import Silent
from engine.settings import Home
from tests.unit.registry.conftest import HUB, Authority, Sample
from tests.unit.registry.memory_registry import (
    MANIFEST,
    Answer,
    Asked,
    MemoryRegistry,
    Misbehave,
    digest_of,
    proxying,
    serving,
    wants_password,
)

Document = dict[str, Any]


@pytest.fixture(scope="session")
def content(sample: Sample) -> MemoryRegistry:
    """One run under the tag "run"."""
    with serving(MemoryRegistry()) as running:
        pipeline.push(sample.one.id, f"oci://{running.address}/team/churn:run", (), sample.home, Silent())
    return running


@pytest.fixture
def stored(content: MemoryRegistry, registry: MemoryRegistry) -> MemoryRegistry:
    """The same in a registry of this test."""
    registry.blobs |= content.blobs
    registry.manifests |= content.manifests
    return registry


def refused(home: Home, at: MemoryRegistry, named: str = ":run", kind: type[NbsealError] = VerificationFailed) -> str:
    """The message with which a pull is refused; nothing has entered the home then."""
    with pytest.raises(kind) as error:
        pipeline.pull(f"oci://{at.address}/team/churn{named}", home, Silent())
    assert type(error.value) is kind
    text = f"{error.value.message} {error.value.hint}"
    assert text.isprintable()
    assert error.value.hint
    entered = {path.name for path in home.root.rglob("*") if path.is_file()} if home.root.exists() else set()
    if kind is not EnvironmentFailed:  # after which what came so far is kept apart
        assert not entered
    assert not any((home.root / name).exists() for name in ("runs", "blobs", "wheels", "layers", "bases", "ledger"))
    return text


def put(at: MemoryRegistry, document: Any, tag: str = "run") -> None:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    at.manifests[tag] = at.manifests[digest_of(data)] = (MANIFEST, data)


def manifest(at: MemoryRegistry, tag: str = "run") -> Document:
    found: Document = json.loads(at.manifests[tag][1])
    return found


def retitled(document: Document, title: Any) -> Document:
    document["layers"][1]["annotations"]["org.opencontainers.image.title"] = title
    return document


def changed(document: Document, **changes: Any) -> Document:
    document["layers"][1] |= changes
    return document


# --- manifests ----------------------------------------------------------------------------------

FORGED: dict[str, Callable[[Document], Any]] = {
    "too large": lambda it: {**it, "x": "x" * (4 << 20)},
    "too deep": lambda it: b'{"a":' * 200_000,
    "no JSON": lambda it: b"\x00\xff",
    "a list": lambda it: [it],
    "no layers": lambda it: {**it, "layers": []},
    "layers of another form": lambda it: {**it, "layers": {"0": it["layers"][0]}},
    "layers without a digest": lambda it: {**it, "layers": [{"mediaType": it["layers"][0]["mediaType"], "size": 1}]},
    "too many layers": lambda it: {**it, "layers": it["layers"][:1] + it["layers"][1:2] * 2001},
    "a file as the tar": lambda it: {**it, "layers": it["layers"][1:]},
    "a digest that is a path": lambda it: changed(it, digest="sha256:../../../../etc/passwd"),
    "another algorithm": lambda it: changed(it, digest="md5:" + "0" * 32),
    "a negative size": lambda it: changed(it, size=-1),
    "a size that is true": lambda it: changed(it, size=True),
    "a size with a fraction": lambda it: changed(it, size=1.5),
    "an impossible size": lambda it: changed(it, size=1 << 60),
    "another size": lambda it: changed(it, size=it["layers"][1]["size"] + 1),
    "annotations of another form": lambda it: changed(it, annotations=["x"]),
    "another media type": lambda it: changed(it, mediaType="application/x-sh"),
    "no title": lambda it: changed(it, annotations={}),
    "a title that is a number": lambda it: retitled(it, 5),
    "a title above": lambda it: retitled(it, "../../../x"),
    "a title above within": lambda it: retitled(it, "data/wheels/../../../../x"),
    "an absolute title": lambda it: retitled(it, "/etc/cron.d/x"),
    "a title that ends a terminal": lambda it: retitled(it, "data/\x1b]0;x\x07"),
    "a title with a null": lambda it: retitled(it, "data/blobs/\x00"),
    "a title that is no UTF-8": lambda it: retitled(it, "data/\ud800"),
    "a stray title": lambda it: retitled(it, "data/evil.sh"),
    "a title of the tar's": lambda it: retitled(it, "data/archive.json"),
    "a title in the image": lambda it: retitled(it, "data/image/blobs/sha256/" + "0" * 64),
    "a long title": lambda it: retitled(it, "data/" + "x" * 5000),
    "a title twice": lambda it: retitled(it, it["layers"][2]["annotations"]["org.opencontainers.image.title"]),
    "a file less": lambda it: {**it, "layers": it["layers"][:-1]},
    "no image": lambda it: {name: value for name, value in it.items() if name != "subject"},
    "another image": lambda it: {**it, "subject": {**it["subject"], "mediaType": "application/x"}},
    "itself as its image": lambda it: {**it, "subject": {**it["subject"], "digest": "sha256:" + "0" * 64}},
}  # fmt: skip


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_manifest_is_refused(what: str, stored: MemoryRegistry, target: Home) -> None:
    put(stored, FORGED[what](manifest(stored)))
    kind = EnvironmentFailed if what == "itself as its image" else VerificationFailed
    refused(target, stored, kind=kind)
    assert not (target.root.parent / "x").exists()


def test_a_run_that_no_disk_can_hold_is_not_fetched(stored: MemoryRegistry, target: Home) -> None:
    document = manifest(stored)
    document["layers"][-1]["size"] = 1 << 43
    put(stored, document)
    assert "no room" in refused(target, stored, kind=EnvironmentFailed)
    assert stored.count("GET", "/blobs/") == 1  # the tar


@pytest.mark.parametrize("document", [{}, {"schemaVersion": 2, "mediaType": MANIFEST}, {"artifactType": "x"}])
def test_what_is_no_run_is_bad_input(document: Document, stored: MemoryRegistry, target: Home) -> None:
    put(stored, document)
    assert "no run of nbseal" in refused(target, stored, kind=BadInput)


def test_a_manifest_with_another_digest_is_refused(stored: MemoryRegistry, target: Home) -> None:
    digest = digest_of(stored.manifests["run"][1])
    stored.manifests[digest] = (MANIFEST, stored.manifests["run"][1] + b" ")
    assert "another manifest" in refused(target, stored, f"@{digest}")
    subject = manifest(stored)["subject"]["digest"]
    stored.manifests[subject] = (MANIFEST, stored.manifests[subject][1] + b" ")
    assert "another manifest" in refused(target, stored)


def test_an_image_that_is_gone_is_said_to_be(stored: MemoryRegistry, target: Home) -> None:
    del stored.manifests[manifest(stored)["subject"]["digest"]]
    assert "gone from the registry" in refused(target, stored, kind=EnvironmentFailed)


# --- content ------------------------------------------------------------------------------------


def test_each_content_is_refused_by_its_name_when_it_is_other_bytes(stored: MemoryRegistry, target: Home) -> None:
    document = manifest(stored)
    image = json.loads(stored.manifests[document["subject"]["digest"]][1])
    named: dict[str, list[str]] = {}
    for item in (*document["layers"], image["config"], *image["layers"]):
        title = item.get("annotations", {}).get("org.opencontainers.image.title", "")
        title = "the bag" if item is document["layers"][0] else title or item["digest"].removeprefix("sha256:")
        named.setdefault(item["digest"], []).append(title)
    for item in (*document["layers"], image["config"], *image["layers"]):
        good = stored.blobs[item["digest"]]
        stored.blobs[item["digest"]] = bytes([good[0] ^ 1]) + good[1:]
        message = refused(target, stored)
        assert "is not what its digest says" in message
        assert any(name in message for name in named[item["digest"]])
        stored.blobs[item["digest"]] = good


LYING: dict[str, tuple[Callable[[bytes], Answer], type[NbsealError]]] = {
    "endless": (lambda data: (200, {}, repeat(b"x" * 65536)), VerificationFailed),
    "longer": (lambda data: (200, {}, data + b"x"), VerificationFailed),
    "longer than it says": (lambda data: (200, {}, iter([data, b"x"])), VerificationFailed),
    "shorter": (lambda data: (200, {}, data[:-1]), VerificationFailed),
    "empty": (lambda data: (200, {}, b""), VerificationFailed),
    "always cut": (lambda data: (200, {"Content-Length": str(len(data))}, iter([data[:10]])), EnvironmentFailed),
    "another range": (lambda data: (206, {"Content-Range": f"bytes 5-{len(data) + 4}/*"}, data), EnvironmentFailed),
    "no range": (lambda data: (206, {}, data), EnvironmentFailed),
    "gone": (lambda data: (404, {}, b""), EnvironmentFailed),
    "compressed": (lambda data: (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b" + data[2:]), VerificationFailed),
    "redirected in a circle": (lambda data: (307, {"Location": "?again"}, b""), EnvironmentFailed),
    "redirected to nothing": (lambda data: (307, {"Location": "https://"}, b""), EnvironmentFailed),
    "redirected to a file": (lambda data: (307, {"Location": "file:///etc/passwd"}, b""), EnvironmentFailed),
    "redirected without TLS": (lambda data: (307, {"Location": "http://127.0.0.1:9/"}, b""), EnvironmentFailed),
    "redirected into brackets": (lambda data: (307, {"Location": "https://[x/"}, b""), EnvironmentFailed),
    "broken": (lambda data: (500, {}, b'{"errors":[{"message":"\\u001b[2J"}]}'), EnvironmentFailed),
    "errors without a form": (lambda data: (418, {}, b'{"errors":{"message":[]}}'), EnvironmentFailed),
    "an endless error": (lambda data: (418, {}, repeat(b"x" * 65536)), EnvironmentFailed),
}  # fmt: skip


@pytest.mark.parametrize("what", LYING)
def test_a_lie_about_content_is_refused(what: str, stored: MemoryRegistry, target: Home) -> None:
    answer, kind = LYING[what]
    digest = manifest(stored)["layers"][1]["digest"]

    def lie(asked: Asked) -> Answer | None:
        return answer(stored.blobs[digest]) if digest in asked.path else None

    stored.misbehave = lie
    refused(target, stored, kind=kind)


def test_a_server_that_knows_no_ranges_begins_anew(stored: MemoryRegistry, target: Home) -> None:
    digest = manifest(stored)["layers"][1]["digest"]
    whole = stored.blobs[digest]
    answers = iter([iter([whole[:100]]), whole])

    def forgetful(asked: Asked) -> Answer | None:
        if digest not in asked.path or asked.method != "GET":
            return None
        body = next(answers)
        return (200, {} if isinstance(body, bytes) else {"Content-Length": str(len(whole))}, body)

    stored.misbehave = forgetful
    assert pipeline.pull(f"oci://{stored.address}/team/churn:run", target, Silent()).imported.runs


def test_what_an_earlier_pull_left_is_not_believed(stored: MemoryRegistry, target: Home) -> None:
    item = manifest(stored)["layers"][1]
    left = target.temporary / f"pull-{digest_of(stored.manifests['run'][1]).removeprefix('sha256:')}"
    left.mkdir(parents=True)
    left.joinpath(item["digest"].removeprefix("sha256:")).write_bytes(b"?" * (item["size"] - 1))
    assert pipeline.pull(f"oci://{stored.address}/team/churn:run", target, Silent()).imported.runs
    # A link there leads nowhere.
    other = Home(target.root / "other")
    left = other.temporary / left.name
    left.mkdir(parents=True)
    outside = target.root / "outside"
    outside.write_bytes(b"mine")
    left.joinpath(item["digest"].removeprefix("sha256:")).symlink_to(outside)
    with pytest.raises((NbsealError, OSError)):
        pipeline.pull(f"oci://{stored.address}/team/churn:run", other, Silent())
    assert outside.read_bytes() == b"mine"


# --- uploads ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:9/v2/x",
        "//127.0.0.1:9/x",
        "https://evil.example/",
        "",
        "file:///x",
        "http://127.0.0.1\x00/",
        "https://[x/",
    ],
)
def test_content_is_sent_to_the_registry_only(location: str, sample: Sample, registry: MemoryRegistry) -> None:
    if location == "":
        location = "http://alice@" + registry.address + "/v2/"

    def elsewhere(asked: Asked) -> Answer | None:
        return (202, {"Location": location}, b"") if asked.method == "POST" else None

    registry.misbehave = elsewhere
    with pytest.raises(EnvironmentFailed):
        pipeline.push(sample.one.id, f"oci://{registry.address}/team/churn", (), sample.home, Silent())
    assert registry.body("PATCH") + registry.body("PUT") == 0


def test_a_server_that_needs_a_pause_gets_it(sample: Sample, registry: MemoryRegistry) -> None:
    busy = iter([429, 503, 502])

    def pausing(asked: Asked) -> Answer | None:
        status = next(busy, None) if asked.method in ("POST", "HEAD", "PUT") else None
        return (status, {"Retry-After": "1"}, b"") if status else None

    registry.misbehave = pausing
    pipeline.push(sample.one.id, f"oci://{registry.address}/team/churn", (), sample.home, Silent())
    assert sample.one.id in registry.manifests


# --- passwords ----------------------------------------------------------------------------------

Login = Callable[[str, str, str], None]


def test_the_password_is_dockers(stored: MemoryRegistry, target: Home, login: Login) -> None:
    stored.misbehave = wants_password("alice", "correct")
    assert f"`docker login {stored.address}`" in refused(target, stored, kind=EnvironmentFailed)
    login(stored.address, "alice", "wrong-secret")
    message = refused(target, stored, kind=EnvironmentFailed)
    assert "another name or password" in message
    assert "secret" not in message
    login(stored.address, "alice", "correct")
    assert pipeline.pull(f"oci://{stored.address}/team/churn:run", target, Silent()).imported.runs


def test_nothing_else_is_taken_for_a_password(
    stored: MemoryRegistry, target: Home, login: Login, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings / ".netrc").write_text("machine 127.0.0.1 login alice password correct\n")
    (settings / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(settings / ".netrc"))
    login("127.0.0.1:1", "alice", "correct")  # of another registry on the same host
    stored.misbehave = wants_password("alice", "correct")
    refused(target, stored, kind=EnvironmentFailed)
    assert not any("authorization" in asked.headers for asked in stored.asked)


@pytest.mark.parametrize(
    "config",
    ["{", '{"auths":{"x":{"auth":"!"}}}', '{"auths":[]}', '{"credsStore":"no-such-helper"}', "[]", '{"auths":{"x":5}}'],
)
def test_settings_that_cannot_be_read_end_in_words(
    config: str, stored: MemoryRegistry, target: Home, settings: Path
) -> None:
    (settings / ".docker").mkdir()
    (settings / ".docker/config.json").write_text(config)
    stored.misbehave = wants_password("alice", "correct")
    refused(target, stored, kind=EnvironmentFailed)


def test_a_helper_of_docker_is_asked(
    stored: MemoryRegistry, target: Home, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = settings / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread server\nprintf \'{"Username":"alice","Secret":"correct"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{settings}:/usr/bin:/bin")
    (settings / ".docker").mkdir()
    (settings / ".docker/config.json").write_text(json.dumps({"credHelpers": {stored.address: "test"}}))
    stored.misbehave = wants_password("alice", "correct")
    assert pipeline.pull(f"oci://{stored.address}/team/churn:run", target, Silent()).imported.runs


# --- tokens -------------------------------------------------------------------------------------


class Tokens:
    """Gives tokens and wants them; ``answer`` takes the place of a good one."""

    def __init__(self, at: MemoryRegistry) -> None:
        self.at, self.answer, self.given, self.lives = at, b"", 0, 1_000_000
        self.realm = f"http://{at.address}/token"

    def __call__(self, asked: Asked) -> Answer | None:
        if asked.path.startswith("/token"):
            self.given += 1
            return 200, {}, self.answer or json.dumps({"token": f"t{self.given}"}).encode()
        if asked.headers.get("authorization") != f"Bearer t{self.given}" or self.lives <= 0:
            self.lives = 20
            challenge = f'Bearer realm="{self.realm}",service="reg",scope="repository:other/repo:*"'
            return 401, {"WWW-Authenticate": challenge}, b""
        self.lives -= 1
        return None


def test_a_token_is_asked_for_this_repository_and_again_when_it_ends(
    stored: MemoryRegistry, target: Home, login: Login
) -> None:
    login(stored.address, "alice", "correct")
    stored.misbehave = tokens = Tokens(stored)
    assert pipeline.pull(f"oci://{stored.address}/team/churn:run", target, Silent()).imported.runs
    asked = [item for item in stored.asked if item.path.startswith("/token")]
    assert tokens.given == len(asked) >= 1
    assert "scope=repository%3Ateam%2Fchurn%3Apull&" in asked[0].path
    assert "service=reg" in asked[0].path
    assert base64.b64decode(asked[0].headers["authorization"].partition(" ")[2]) == b"alice:correct"


def test_a_token_that_ends_is_asked_for_anew(sample: Sample, registry: MemoryRegistry) -> None:
    registry.misbehave = tokens = Tokens(registry)
    pipeline.push(sample.one.id, f"oci://{registry.address}/team/churn", (), sample.home, Silent())
    assert tokens.given > 1
    asked = [item for item in registry.asked if item.path.startswith("/token")]
    assert all("%3Apull%2Cpush" in item.path for item in asked)
    assert all("authorization" not in item.headers for item in asked)  # nobody logged in


@pytest.mark.parametrize(
    "realm",
    ["http://evil.example/token", "ftp://127.0.0.1/", "", "token", "https://", "http://alice@127.0.0.1/", "https://[/"],
)
def test_a_password_is_sent_nowhere_without_tls(realm: str, stored: MemoryRegistry, target: Home, login: Login) -> None:
    login(stored.address, "alice", "correct")
    stored.misbehave = tokens = Tokens(stored)
    tokens.realm = realm
    assert "Nothing was sent there" in refused(target, stored, kind=EnvironmentFailed)


@pytest.mark.parametrize(
    "answer", [b"x", b"[]", b'{"token":5}', b'{"token":""}', b'{"token":"a\\nX: y"}', b"{" * 99_999]
)
def test_what_is_no_token_ends_in_words(answer: bytes, stored: MemoryRegistry, target: Home) -> None:
    stored.misbehave = tokens = Tokens(stored)
    tokens.answer = answer
    refused(target, stored, kind=EnvironmentFailed)


# --- TLS ----------------------------------------------------------------------------------------

Trusted = Callable[[str], None]


@pytest.fixture
def secure(stored: MemoryRegistry, authority: Authority) -> Iterator[MemoryRegistry]:
    """The same content behind TLS."""
    with serving(MemoryRegistry(stored.blobs, stored.manifests), authority.server()) as running:
        yield running


def test_an_unknown_authority_is_not_trusted(
    secure: MemoryRegistry, target: Home, trusted: Trusted, login: Login
) -> None:
    login(secure.address, "alice", "correct")
    message = refused(target, secure, kind=EnvironmentFailed)
    assert "is not to be trusted" in message
    assert f"/etc/docker/certs.d/{secure.address}/ca.crt" in message
    assert not secure.asked
    trusted(secure.address)
    assert pipeline.pull(f"oci://{secure.address}/team/churn:run", target, Silent()).imported.runs


def test_an_authority_can_be_named_in_the_environment(
    secure: MemoryRegistry, target: Home, authority: Authority, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings / "ca.pem").write_bytes(authority.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(settings / "ca.pem"))
    assert pipeline.pull(f"oci://{secure.address}/team/churn:run", target, Silent()).imported.runs


def test_a_certificate_that_is_none_is_named(secure: MemoryRegistry, target: Home, settings: Path) -> None:
    folder = settings / ".config/docker/certs.d" / secure.address
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_text("x")
    assert "ca.crt cannot be used" in refused(target, secure, kind=EnvironmentFailed)
    (folder / "ca.crt").unlink()
    (folder / "me.cert").write_text("x")
    assert "me.cert cannot be used" in refused(target, secure, kind=EnvironmentFailed)


def test_where_content_lies_is_not_told_who_asks(
    secure: MemoryRegistry, target: Home, authority: Authority, trusted: Trusted, login: Login
) -> None:
    trusted(secure.address)
    login(secure.address, "alice", "correct")
    with serving(MemoryRegistry(secure.blobs), authority.server()) as elsewhere:

        def away(asked: Asked) -> Answer | None:
            if "/blobs/" not in asked.path:
                return None
            return 307, {"Location": f"https://{elsewhere.address}{asked.path}"}, b""

        secure.misbehave = wants_password("alice", "correct", away)
        elsewhere.cuts = [100]
        assert pipeline.pull(f"oci://{secure.address}/team/churn:run", target, Silent()).imported.runs
        assert elsewhere.asked
        assert not any("authorization" in asked.headers for asked in elsewhere.asked)


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io"])
@pytest.mark.parametrize("known_as", ["https://index.docker.io/v1/", "docker.io"])
def test_docker_hub_is_asked_where_it_answers(
    host: str, known_as: str, sample: Sample, authority: Authority, trusted: Trusted, login: Login,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trusted("docker.io")
    login(known_as, "alice", "correct")
    with (
        serving(MemoryRegistry(misbehave=wants_password("alice", "correct")), authority.server()) as hub,
        proxying(hub.address) as (proxy, wanted),
    ):
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("https_proxy", f"http://{proxy}")
        done = pipeline.push(sample.one.id, f"oci://{host}/churn", ("image", "wheels"), sample.home, Silent())
    assert set(wanted) == {f"{HUB}:443"}
    assert {asked.path.partition("/churn/")[0] for asked in hub.asked} == {"/v2/", "/v2/library"}
    assert str(done.reference) == f"oci://docker.io/library/churn:{sample.one.id}"


def test_nobody_is_sent_from_tls_to_none(
    secure: MemoryRegistry, stored: MemoryRegistry, target: Home, trusted: Trusted
) -> None:
    trusted(secure.address)
    stored.asked.clear()
    plain: Misbehave = lambda asked: (  # noqa: E731
        (307, {"Location": f"http://{stored.address}{asked.path}"}, b"") if "/blobs/" in asked.path else None
    )
    secure.misbehave = plain
    assert "without TLS" in refused(target, secure, kind=EnvironmentFailed)
    assert not stored.asked


def test_what_is_no_registry_is_said_to_be_none(registry: MemoryRegistry, target: Home) -> None:
    registry.misbehave = lambda asked: (200 if asked.path == "/" else 404, {}, b"<html>")
    assert "is no registry" in refused(target, registry, kind=EnvironmentFailed)


def test_nobody_answers(target: Home) -> None:
    nobody = MemoryRegistry(address="127.0.0.1:9")
    message = refused(target, nobody, kind=EnvironmentFailed)
    assert "does not answer" in message
    assert message.endswith("Look at the host and the port.")


def test_the_digest_is_that_of_the_bytes_whatever_the_registry_says(stored: MemoryRegistry, target: Home) -> None:
    data = stored.manifests["run"][1]
    stored.misbehave = lambda asked: (
        (200, {"Docker-Content-Digest": "sha256:" + "0" * 64}, data) if asked.path.endswith("/manifests/run") else None
    )
    done = pipeline.pull(f"oci://{stored.address}/team/churn:run", target, Silent())
    assert done.reference.digest == sha256_bytes(data)
