"""Tiny wheels and the indexes that serve them: a folder, or a JSON index (PEP 691, 700) with upload times."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def make_wheel(
    folder: Path, name: str, version: str, requires: Sequence[str] = (), tag: str = "py3-none-any", python: str = ""
) -> Path:
    """A valid wheel (binary distribution format 1.0) with one module that holds its version."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-{tag}.whl"
    info = f"{stem}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {line}" for line in requires]
    metadata += [f"Requires-Python: {python}"] if python else []
    files = {
        f"{name.replace('-', '_')}.py": f"version = {version!r}\n",
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{place},sha256={_digest(text)},{len(text)}\n" for place, text in files.items())
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(place), text)
    return path


def sha256(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@contextmanager
def serve(folder: Path, dates: dict[str, str], *, status: int = 200) -> Iterator[str]:
    """An index over the wheels of ``folder``; ``dates`` are upload times by file name. Yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self.path.split("#")[0].strip("/").split("/")
            if status != 200:
                self._answer(status, "text/plain", b"no")
            elif parts[0] == "files" and (folder / parts[-1]).is_file():
                self._answer(200, "application/octet-stream", (folder / parts[-1]).read_bytes())
            elif parts[0] == "simple" and (page := _page(folder, parts[-1], dates)):
                self._answer(200, "application/vnd.pypi.simple.v1+json", json.dumps(page).encode())
            else:
                self._answer(404, "text/plain", b"not here")

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    finally:
        server.shutdown()
        server.server_close()


def _page(folder: Path, project: str, dates: dict[str, str]) -> dict[str, object] | None:
    files = []
    for path in sorted(folder.glob("*.whl")):
        if path.name.split("-")[0].replace("_", "-") == project:
            entry: dict[str, object] = {
                "filename": path.name,
                "url": f"/files/{path.name}",
                "hashes": {"sha256": sha256(path).removeprefix("sha256:")},
                "size": path.stat().st_size,
            }
            files.append(entry | ({"upload-time": dates[path.name]} if path.name in dates else {}))
    if not files:
        return None
    return {"meta": {"api-version": "1.1"}, "name": project, "versions": [], "files": files}
