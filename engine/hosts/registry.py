"""``hosts.json``: the machines that a home knows, by name, and which of them is meant when none is named."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from engine.errors import BadInput, VerificationFailed
from engine.files import locked, read_regular, write_json
from engine.hosts.address import parse_address
from engine.settings import Home

SCHEMA = 1
#: The engine of this machine; nobody else can be called so.
LOCAL = "local"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Host:
    """A machine with a container engine. ``tls`` is a folder with ca.pem, cert.pem and key.pem, for tcp:// only.

    ``via`` is a repository through which its images go; whoever uses it checks it.
    """

    name: str
    url: str
    tls: str = ""
    via: str = ""


@dataclass(frozen=True)
class Hosts:
    """All of them; ``default`` is a name, "local" unless it was said."""

    hosts: Mapping[str, Host] = field(default_factory=dict)
    default: str = LOCAL


def read(home: Home) -> Hosts:
    """VerificationFailed when the file is damaged."""
    try:
        document = json.loads(read_regular(_path(home), _MAX_BYTES))
    except FileNotFoundError:
        return Hosts()
    except (OSError, ValueError, RecursionError):
        raise _damaged(home) from None
    try:
        if document["schema"] != SCHEMA:
            raise VerificationFailed(f"{_path(home)} is of a newer nbseal.", "Upgrade to read it.")
        hosts = {str(name): _checked(str(name), **item) for name, item in document["hosts"].items()}
        default = str(document["default"])
    except (KeyError, TypeError, AttributeError, BadInput):
        raise _damaged(home) from None
    return Hosts(hosts, default if default in hosts else LOCAL)


def add(home: Home, name: str, url: str, tls: Path | None = None, via: str = "") -> Host:
    """Remember a machine. BadInput for a name or an address that is none, and for a name that is taken."""
    host = _checked(name, url, str(tls.absolute()) if tls else "", via)
    with locked(home.root / "hosts.lock"):
        known = read(home)
        if name in known.hosts:
            raise BadInput(f"There is a host {name} already.", f"`nbseal hosts remove {name}` forgets it.")
        _write(home, Hosts({**known.hosts, name: host}, known.default))
    return host


def remove(home: Home, name: str) -> None:
    """Forget a machine; nothing is done on it."""
    with locked(home.root / "hosts.lock"):
        known = read(home)
        find(known, name)
        hosts = {other: host for other, host in known.hosts.items() if other != name}
        _write(home, Hosts(hosts, known.default if known.default != name else LOCAL))


def set_default(home: Home, name: str) -> None:
    """Which machine is meant when none is named."""
    with locked(home.root / "hosts.lock"):
        known = read(home)
        if name != LOCAL:
            find(known, name)
        _write(home, Hosts(known.hosts, name))


def find(hosts: Hosts, name: str) -> Host:
    """BadInput with the nearest names for one that nobody added."""
    if name in hosts.hosts:
        return hosts.hosts[name]
    near = get_close_matches(name, hosts.hosts) or sorted(hosts.hosts)[:10]
    known = f"Known are: {', '.join(near)}." if near else "`nbseal hosts add NAME URL` adds one."
    raise BadInput(f"There is no host '{name[:80]}'.", known)


def _checked(name: str, url: str, tls: str = "", via: str = "") -> Host:
    if not _NAME.fullmatch(name) or name == LOCAL:
        raise BadInput(f"A host cannot be called '{name[:80]}'.", "Use lower case letters, digits, '.', '_' and '-'.")
    kind = parse_address(url).kind
    if (kind == "tcp") != bool(tls):
        raise BadInput(
            "tcp:// needs --tls, and nothing else takes it.",
            "Name the folder with ca.pem, cert.pem and key.pem; an engine without TLS obeys everybody.",
        )
    if lacking := [file for file in ("ca.pem", "cert.pem", "key.pem") if tls and not (Path(tls) / file).is_file()]:
        raise BadInput(f"{tls} has no {lacking[0]}.", "It has to hold ca.pem, cert.pem and key.pem.")
    if not isinstance(via, str):
        raise BadInput("What a host's images go through is no text.")
    return Host(name, url, tls, via)


def _write(home: Home, hosts: Hosts) -> None:
    items = {
        name: {"url": host.url, "tls": host.tls} | ({"via": host.via} if host.via else {})
        for name, host in sorted(hosts.hosts.items())
    }
    write_json(_path(home), {"schema": SCHEMA, "default": hosts.default, "hosts": items})


def _path(home: Home) -> Path:
    return home.root / "hosts.json"


def _damaged(home: Home) -> VerificationFailed:
    return VerificationFailed(f"{_path(home)} is damaged.", "Mend it, or remove it and add the hosts again.")
