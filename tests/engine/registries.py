"""Debian's docker-registry on free ports of the loopback, a server of tokens for it, and a bad line to it."""

from __future__ import annotations

import base64
import json
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.unit.registry.conftest import Authority


@dataclass(frozen=True)
class Running:
    """A registry: where it listens, and where it keeps its content."""

    address: str
    storage: Path
    log: Path

    def blob(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        return self.storage / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data"

    def tags(self, repository: str) -> set[str]:
        folder = self.storage / f"docker/registry/v2/repositories/{repository}/_manifests/tags"
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@contextmanager
def registry(
    folder: Path, *, auth: Mapping[str, Any] | None = None, tls: Authority | None = None, host: str = "127.0.0.1"
) -> Iterator[Running]:
    """Started with this authentication, and behind TLS with a certificate of ``tls``."""
    program = shutil.which("docker-registry")
    assert program, "Debian's docker-registry is missing; `scripts/setup tests` installs it"
    folder.mkdir()
    port = free_port()
    http: dict[str, Any] = {"addr": f"{host}:{port}", "secret": "of the tests"}
    if tls is not None:
        tls.server(host)
        http["tls"] = {"certificate": str(tls.folder / "server.pem"), "key": str(tls.folder / "server.pem")}
    storage = {"filesystem": {"rootdirectory": str(folder / "storage")}}
    config = {"version": 0.1, "log": {"level": "warn"}, "storage": storage, "http": http, "auth": dict(auth or {})}
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        for _ in range(200):
            with suppress(OSError), socket.create_connection((host, port), 1):
                break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield Running(f"{host}:{port}", folder / "storage", folder / "log")
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def htpasswd(file: Path, name: str, password: str) -> dict[str, Any]:
    """The setting for one account."""
    import bcrypt

    file.write_text(f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n")
    return {"htpasswd": {"realm": "team", "path": str(file)}}


# --- tokens -------------------------------------------------------------------------------------


class TokenServer:
    """Gives tokens (JWT, RS256) for what is asked to whoever has the password; ``asked`` are the scopes."""

    def __init__(self, folder: Path, name: str, password: str) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens")])
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder(subject, subject, self.key.public_key(), 1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.bundle = folder / "tokens.pem"
        self.bundle.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.right = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
        self.asked: list[str] = []

    def token(self, scope: str) -> str:
        kind, name, actions = scope.split(":")
        now = int(time.time())
        der = base64.b64encode(self.certificate.public_bytes(serialization.Encoding.DER)).decode()
        header = {"typ": "JWT", "alg": "RS256", "x5c": [der]}
        claims = {
            "iss": "tokens", "sub": "alice", "aud": "team", "exp": now + 60, "nbf": now - 10, "iat": now, "jti": "x",
            "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
        }  # fmt: skip
        signed = b".".join(_url64(json.dumps(part).encode()) for part in (header, claims))
        return (signed + b"." + _url64(self.key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))).decode()


def _url64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@contextmanager
def serving_tokens(tokens: TokenServer) -> Iterator[dict[str, Any]]:
    """The setting for a registry that sends to it."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            allowed = self.headers.get("Authorization") == tokens.right
            scope = parse_qs(urlsplit(self.path).query).get("scope", [""])[0]
            tokens.asked.append(scope)
            body = json.dumps({"token": tokens.token(scope)} if allowed else {}).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        realm = f"http://127.0.0.1:{server.server_port}/token"
        yield {"token": {"realm": realm, "service": "team", "issuer": "tokens", "rootcertbundle": str(tokens.bundle)}}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- a bad line ---------------------------------------------------------------------------------


@dataclass
class Line:
    """Passes connections on, and breaks all of them each time so many bytes went up or came down; counts them."""

    target: str
    cuts_up: list[int] = field(default_factory=list)
    cuts_down: list[int] = field(default_factory=list)
    up: int = 0
    down: int = 0
    address: str = ""
    _lock: Any = field(default_factory=threading.Lock)

    def _passed(self, count: int, *, up: bool) -> bool:
        """Whether the line breaks now."""
        with self._lock:
            self.up, self.down = self.up + count * up, self.down + count * (not up)
            cuts, so_far = (self.cuts_up, self.up) if up else (self.cuts_down, self.down)
            if cuts and so_far > cuts[0]:
                cuts.pop(0)
                return True
            return False

    def carry(self, client: socket.socket) -> None:
        host, _, port = self.target.partition(":")
        with client, socket.create_connection((host, int(port))) as server:
            while True:
                ready, _, _ = select.select([client, server], [], [], 60)
                for source in ready:
                    data = source.recv(1 << 16)
                    if not data or self._passed(len(data), up=source is client):
                        return
                    (server if source is client else client).sendall(data)
                if not ready:
                    return


@contextmanager
def line(target: str, **cuts: list[int]) -> Iterator[Line]:
    listener = socket.create_server(("127.0.0.1", 0))
    made = Line(target, **cuts, address=f"127.0.0.1:{listener.getsockname()[1]}")  # type: ignore[arg-type]

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=carry, args=(client,), daemon=True).start()

    def carry(client: socket.socket) -> None:
        with suppress(OSError):
            made.carry(client)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
