"""A registry in a thread, as the specification has it, that counts what it is asked and can be told to misbehave.

Uploads can be resumed at any byte and downloads at any range, which Debian's registry does not do for uploads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Asked:
    """A request: its method, path and headers, and how many bytes of its body came."""

    method: str
    path: str
    headers: dict[str, str]
    body: int = 0


#: Answers in the registry's place: status, headers, body; None leaves it to the registry. An answer's body may be
#: an iterator, which is sent as it comes and without a length.
Answer = tuple[int, dict[str, str], Any]
Misbehave = Callable[[Asked], Answer | None]


@dataclass
class MemoryRegistry:
    """What it holds and heard. ``cuts`` are after how many bytes of content connections break, one after the other."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    misbehave: Misbehave = lambda asked: None
    knows_referrers: bool = False
    lock: Any = field(default_factory=threading.Lock)
    address: str = ""

    def count(self, method: str, path: str) -> int:
        return sum(item.method == method and re.search(path, item.path) is not None for item in self.asked)

    def body(self, method: str) -> int:
        """Bytes that came with requests of a method."""
        return sum(item.body for item in self.asked if item.method == method)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextmanager
def serving(registry: MemoryRegistry, tls: ssl.SSLContext | None = None) -> Iterator[MemoryRegistry]:
    """Answer on a free port of the loopback, until the block ends."""
    server = _Server(("127.0.0.1", 0), _handler(registry))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    registry.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        """Clients that go away are what is tested."""


class _Cut(Exception):
    pass


def _handler(registry: MemoryRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def _serve(self) -> None:
            asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
            with registry.lock:
                registry.asked.append(asked)
            try:
                answer = registry.misbehave(asked)
                if answer is not None:
                    self._body(asked, bytearray())
                self._send(*(answer or self._answer(asked)))
            except (_Cut, OSError):
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _serve  # noqa: N815

        def _send(self, status: int, headers: dict[str, str], body: Any) -> None:
            self.send_response(status)
            if isinstance(body, bytes) and not any(name.lower() == "content-length" for name in headers):
                headers = {**headers, "Content-Length": str(len(body))}
            if not isinstance(body, bytes):
                headers = {**headers, "Connection": "close"}
                self.close_connection = True
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if not isinstance(body, bytes):
                for piece in body:
                    self.wfile.write(piece)
                return
            if registry.cuts and len(body) > registry.cuts[0] and "/blobs/" in self.path:
                self.wfile.write(body[: registry.cuts.pop(0)])
                raise _Cut
            self.wfile.write(body)

        def _body(self, asked: Asked, into: bytearray) -> None:
            """Takes what comes; a cut leaves what came until then."""
            left = int(self.headers.get("Content-Length", 0))
            most = registry.cuts.pop(0) if registry.cuts and left > registry.cuts[0] else left
            while left and most:
                data = self.rfile.read(min(left, most, 1 << 16))
                into += data
                asked.body += len(data)
                left, most = left - len(data), most - len(data)
            if left:
                raise _Cut

        def _answer(self, asked: Asked) -> Answer:
            parts = urlsplit(self.path)
            if parts.path == "/v2/":
                return 200, {}, b"{}"
            if match := re.fullmatch(r"/v2/(.+)/blobs/uploads/([a-z0-9]*)", parts.path):
                return self._upload(asked, match[1], match[2], parse_qs(parts.query))
            if match := re.fullmatch(r"/v2/.+/blobs/(sha256:[0-9a-f]{64})", parts.path):
                return self._blob(match[1])
            if match := re.fullmatch(r"/v2/.+/manifests/([^/]+)", parts.path):
                return self._manifest(asked, match[1])
            if parts.path.endswith("/tags/list"):
                tags = [name for name in registry.manifests if not name.startswith("sha256:")]
                return 200, {}, json.dumps({"tags": tags}).encode()
            return 404, {}, b""

        def _upload(self, asked: Asked, name: str, identity: str, query: dict[str, list[str]]) -> Answer:
            if asked.method == "POST":
                identity = f"u{len(registry.asked)}"
                registry.uploads[identity] = bytearray()
                return 202, {"Location": f"/v2/{name}/blobs/uploads/{identity}"}, b""
            if identity not in registry.uploads:
                return 404, {}, b""
            data, place = registry.uploads[identity], {"Location": f"/v2/{name}/blobs/uploads/{identity}"}
            if asked.method == "PATCH" and not asked.headers.get("content-range", "").startswith(f"{len(data)}-"):
                return 416, {}, b""
            if asked.method in ("PATCH", "PUT"):
                self._body(asked, data)
            if asked.method == "PUT":
                if digest_of(bytes(data)) != query["digest"][0]:
                    return 400, {}, b'{"errors":[{"code":"DIGEST_INVALID"}]}'
                registry.blobs[query["digest"][0]] = bytes(registry.uploads.pop(identity))
                return 201, {}, b""
            return 204 if asked.method == "GET" else 202, {**place, "Range": f"0-{max(len(data) - 1, 0)}"}, b""

        def _blob(self, digest: str) -> Answer:
            data = registry.blobs.get(digest)
            if data is None:
                return 404, {}, b""
            match = re.fullmatch(r"bytes=([0-9]+)-", self.headers.get("Range", ""))
            if match:
                start = int(match[1])
                return 206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:]
            return 200, {}, data

        def _manifest(self, asked: Asked, name: str) -> Answer:
            if asked.method == "PUT":
                data = bytearray()
                self._body(asked, data)
                found = (asked.headers["content-type"], bytes(data))
                registry.manifests[name] = registry.manifests[digest_of(bytes(data))] = found
                told = {"OCI-Subject": "sha256:0"} if registry.knows_referrers and b'"subject"' in data else {}
                return 201, told, b""
            if name not in registry.manifests:
                return 404, {}, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'
            kind, stored = registry.manifests[name]
            return 200, {"Content-Type": kind}, stored

    return Handler


@contextmanager
def proxying(target: str) -> Iterator[tuple[str, list[str]]]:
    """A proxy for TLS that leads to ``target`` whatever it is asked for: its address, and what it was asked for."""
    wanted: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_CONNECT(self) -> None:
            wanted.append(self.path)
            host, _, port = target.partition(":")
            with socket.create_connection((host, int(port))) as server:
                self.send_response(200)
                self.end_headers()
                thread = threading.Thread(target=pass_on, args=(server, self.connection), daemon=True)
                thread.start()
                pass_on(self.connection, server)
                thread.join()

    def pass_on(source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)

    proxy = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{proxy.server_port}", wanted
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def wants_password(name: str, password: str, then: Misbehave = lambda asked: None) -> Misbehave:
    """Basic authentication (RFC 7617) before everything else."""
    right = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()

    def answer(asked: Asked) -> Answer | None:
        if asked.headers.get("authorization") != right:
            return 401, {"WWW-Authenticate": 'Basic realm="registry"', "Connection": "close"}, b""
        return then(asked)

    return answer
