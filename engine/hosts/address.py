"""Where a container engine answers, as a user writes it: ssh://, tcp://, unix://, or the name of a docker context."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from engine.errors import BadInput

#: Where Docker's socket lies on a machine that says nothing else.
SOCKET = "/var/run/docker.sock"
#: What ssh may be given as a destination: never something that it would take for an option.
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9]+)?\]")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,62}")
_CONTEXT = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]{0,100}")
_HINT = "Write ssh://[USER@]HOST[:PORT], tcp://HOST:PORT with --tls FOLDER, unix:///PATH, or context:NAME."


@dataclass(frozen=True)
class Address:
    """One engine's address, taken apart. ``port`` is 0 where the other side's usual one is meant."""

    kind: Literal["ssh", "tcp", "unix", "context"]
    host: str = ""
    port: int = 0
    user: str = ""
    path: str = ""  # of the socket, here or there
    context: str = ""

    @property
    def tcp_url(self) -> str:
        """As clients of HTTP take it: an IPv6 address in brackets (RFC 3986, 3.2.2)."""
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """BadInput for anything that is none of the four."""
    if text.startswith("context:"):
        name = text.removeprefix("context:")
        if not _CONTEXT.fullmatch(name):
            raise BadInput(f"'{text[:80]}' names no docker context.", "`docker context ls` lists them.")
        return Address("context", context=name)
    try:
        if not text.isprintable():  # urlsplit would leave such characters out
            raise ValueError(text)
        parts = urlsplit(text)
        port = parts.port or 0
    except ValueError:
        raise BadInput(f"'{text[:80]}' is no address of a container engine.", _HINT) from None
    if parts.query or parts.fragment or parts.password is not None:
        raise BadInput(f"'{text[:80]}' says more than an address.", _HINT)
    if parts.scheme == "unix" and not parts.netloc and _is_path(parts.path):
        return Address("unix", path=unquote(parts.path))
    host = parts.netloc.rpartition("@")[2].removesuffix(f":{port}")
    if parts.scheme not in ("ssh", "tcp") or not _HOST.fullmatch(host):
        raise BadInput(f"'{text[:80]}' is no address of a container engine.", _HINT)
    host = host.strip("[]")
    if parts.scheme == "tcp":
        if not port or parts.username is not None or parts.path not in ("", "/"):
            raise BadInput(f"'{text[:80]}' is not tcp://HOST:PORT.", _HINT)
        return Address("tcp", host=host, port=port)
    user = parts.username or ""
    if user and not _USER.fullmatch(user):
        raise BadInput(f"'{text[:80]}' has a user that ssh cannot have.", _HINT)
    path = unquote(parts.path)
    if path not in ("", "/") and not _is_path(path):
        raise BadInput(f"'{text[:80]}' names no socket.", "Its path has to be absolute, without a colon.")
    return Address("ssh", host=host, port=port, user=user, path=SOCKET if path in ("", "/") else path)


def _is_path(path: str) -> bool:
    """Of a socket. `ssh -L` separates by colons."""
    path = unquote(path)
    return path.startswith("/") and len(path) < 100 and path.isprintable() and ":" not in path
