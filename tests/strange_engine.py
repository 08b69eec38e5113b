"""An engine in a thread that says what a test wants: none that is what it should be would."""

from __future__ import annotations

import json
import re
import socketserver
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from engine.progress import Silent

#: Of an engine that knows nothing else.
SOUND: Mapping[str, Any] = {
    "/version": {"ApiVersion": "1.41", "Components": [{"Name": "Engine"}]},
    "/info": {"ServerVersion": "20.10", "Driver": "overlay2", "ID": "X", "NCPU": 2, "MemTotal": 1},
    "/_ping": {},
    "/images/json": [],
    "/containers/json": [],
    "/volumes": {"Volumes": None},
}
#: An answer that is an error, in words meant for a terminal.
REFUSAL = object()
#: There is no such thing.
MISSING = object()


class Said(Silent):
    """Progress that remembers its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@contextmanager
def strange_engine(answers: Mapping[str, Any], removed: list[str] | None = None) -> Iterator[str]:
    """Its address. ``answers`` has what it says by path instead of what is sound; ``removed`` gets what is deleted."""
    said = {**SOUND, **answers}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = re.sub(r"^/v[0-9.]+", "", self.path).partition("?")[0]
            answer = said.get(path, REFUSAL)
            code = {id(REFUSAL): 500, id(MISSING): 404}.get(id(answer), 200)
            if code != 200:
                answer = {"message": "boom \x1b]0;title\x07"}
            body = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def do_DELETE(self) -> None:
            assert removed is not None
            removed.append(re.sub(r"^/v[0-9.]+", "", self.path).partition("?")[0])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *arguments: Any) -> None: ...

        def address_string(self) -> str:
            return "test"

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with tempfile.TemporaryDirectory() as folder:  # a socket's path is short
        path = Path(folder) / "engine.sock"
        with Server(str(path), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield f"unix://{path}"
            finally:
                server.shutdown()
                thread.join()
