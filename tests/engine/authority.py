"""A time stamping authority of our own (RFC 3161): openssl behind an HTTP server of this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from tests.engine.archive_tools import call

CONFIG = """
[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical,CA:true
[tsa]
extendedKeyUsage = critical,timeStamping
[ts]
default_tsa = authority
[authority]
serial = serial
signer_cert = tsa.pem
certs = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
"""


@contextmanager
def time_stamping_authority(folder: Path) -> Iterator[str]:
    """Its address; the new ``folder`` holds ca.pem and tsa.pem. At /other and /junk it answers what nobody asked."""
    folder.mkdir()
    (folder / "openssl.cnf").write_text(CONFIG)
    (folder / "serial").write_text("01\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "openssl.cnf")
    for command in (
        ("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=CA", "-extensions", "ca"),
        ("req", *key, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=TSA"),
        ("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "tsa.pem",
         "-extfile", "openssl.cnf", "-extensions", "tsa"),
    ):  # fmt: skip
        done = call("openssl", *command, cwd=folder)
        assert done.returncode == 0, done.stderr

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (folder / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/other":
                call("openssl", "ts", "-query", "-data", "openssl.cnf", "-sha256", "-out", "query", cwd=folder)
            command = ("ts", "-reply", "-config", "openssl.cnf", "-section", "authority", "-queryfile", "query")
            done = call("openssl", *command, "-out", "reply", cwd=folder)
            self.send_response(500 if done.returncode else 200)
            self.end_headers()
            self.wfile.write(b"junk" if self.path == "/junk" else (folder / "reply").read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
