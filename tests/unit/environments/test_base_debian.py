"""Pin lists, and fetching packages from a mirror that is real but local."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.digests import sha256_bytes
from engine.environments import base_record, debian
from engine.environments.debian import Mirrors, Pins, fetch_packages, kept_path, read_pins, read_stanzas
from engine.errors import BadInput, EnvironmentFailed
from engine.progress import Silent
from engine.settings import Home
from engine.software import DebianPackage

CONTENT = b"!<arch>\ndebian-binary"
PACKAGE = DebianPackage(
    name="libstdc++6",
    version="12.2.0-14+deb12u1",
    architecture="amd64",
    filename="pool/main/g/gcc-12/libstdc++6_12.2.0-14+deb12u1_amd64.deb",
    sha256=sha256_bytes(CONTENT),
    size=len(CONTENT),
)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A mirror that serves what is put into the dictionary; ``asked`` in it counts requests."""
    served: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served["asked"] = served.get("asked", b"") + b"."
            content = served.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(debian, "find_mirrors", lambda: Mirrors(f"{address}/debian", f"{address}/security"))
    yield served
    server.shutdown()
    server.server_close()


def test_the_shipped_list_is_closed_and_complete() -> None:
    pins = base_record.shipped_pins()
    names = {package.name for package in pins.packages}
    assert set(pins.wanted) <= names
    assert {"dpkg", "libc6", "python3.11", "libpython3.11-stdlib"} <= names
    assert "apt" not in names


def test_pins_survive_their_own_json() -> None:
    pins = Pins({"libstdc++6": "wheels want it"}, (PACKAGE,))
    assert read_pins(json.dumps(pins.to_json()).encode()) == pins


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../x"),
        ("name", "Upper"),
        ("name", 7),
        ("version", "1 2"),
        ("version", "1\n2"),
        ("architecture", "arm64"),
        ("filename", "pool/../../etc/passwd.deb"),
        ("filename", "/pool/main/x/x.deb"),
        ("filename", "pool/main/x/.hidden.deb"),
        ("filename", "pool/main/x/x.tar"),
        ("sha256", "sha256:00"),
        ("size", -1),
        ("size", True),
        ("size", 10**12),
    ],
)
def test_a_pin_that_is_not_of_its_form_is_refused(field: str, value: object) -> None:
    document = {"suite": "bookworm", "wanted": {}, "packages": [{**asdict(PACKAGE), field: value}]}
    with pytest.raises(BadInput):
        read_pins(json.dumps(document).encode())


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"suite": "trixie", "wanted": {}, "packages": []}',
        b'{"suite": "bookworm", "wanted": {}, "packages": []}',
        b'{"suite": "bookworm", "wanted": 3, "packages": []}',
        json.dumps({"suite": "bookworm", "wanted": {}, "packages": [asdict(PACKAGE)] * 2}).encode(),
    ],
)
def test_what_is_no_pin_list_is_refused(document: bytes) -> None:
    with pytest.raises(BadInput):
        read_pins(document)


def test_stanzas_keep_folded_fields_and_colons() -> None:
    text = "Package: a\nVersion: 1:2.0\nDescription: short\n long\n .\n\n\nPackage: b\nVersion: 3\n"
    first, second = read_stanzas(text)
    assert first == {"Package": "a", "Version": "1:2.0", "Description": "short\n long\n ."}
    assert second == {"Package": "b", "Version": "3"}


def test_security_updates_come_from_their_own_archive() -> None:
    update = replace(PACKAGE, filename="pool/updates/main/o/openssl/openssl_3.0.22-1~deb12u2_amd64.deb")
    mirrors = Mirrors("http://m/debian", "http://m/debian-security")
    assert mirrors.address(update).startswith("http://m/debian-security/pool/updates/")
    assert mirrors.address(PACKAGE) == (
        "http://m/debian/pool/main/g/gcc-12/libstdc%2B%2B6_12.2.0-14%2Bdeb12u1_amd64.deb"
    )


def test_a_package_is_fetched_once(tmp_path: Path, mirror: dict[str, bytes]) -> None:
    mirror["/debian/pool/main/g/gcc-12/libstdc%2B%2B6_12.2.0-14%2Bdeb12u1_amd64.deb"] = CONTENT
    home = Home(tmp_path)
    for _ in range(2):
        (path,) = fetch_packages([PACKAGE], home, Silent())
        assert path.read_bytes() == CONTENT
    assert mirror["asked"] == b"."


def test_a_version_that_has_left_the_mirror_is_named(tmp_path: Path, mirror: dict[str, bytes]) -> None:
    with pytest.raises(EnvironmentFailed) as caught:
        fetch_packages([PACKAGE], Home(tmp_path), Silent())
    assert caught.value.exit_code == 5
    assert caught.value.message.startswith("libstdc++6 12.2.0-14+deb12u1 has left the mirror")
    assert "nbseal base build --repin" in caught.value.hint


@pytest.mark.parametrize("sent", [b"", b"<html>sign in</html>", CONTENT + b"x", CONTENT[:-1]])
def test_other_bytes_than_the_pin_says_are_not_kept(tmp_path: Path, mirror: dict[str, bytes], sent: bytes) -> None:
    mirror["/debian/pool/main/g/gcc-12/libstdc%2B%2B6_12.2.0-14%2Bdeb12u1_amd64.deb"] = sent
    home = Home(tmp_path)
    with pytest.raises(EnvironmentFailed, match="not what its pin says"):
        fetch_packages([PACKAGE], home, Silent())
    assert not kept_path(PACKAGE, home).exists()


def test_a_mirror_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(debian, "find_mirrors", lambda: Mirrors("http://127.0.0.1:1/debian"))
    with pytest.raises(EnvironmentFailed, match="cannot be fetched"):
        fetch_packages([PACKAGE], Home(tmp_path), Silent())
