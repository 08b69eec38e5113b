"""``hosts.json``: the machines that a home knows, by name, groups of them, and which is meant when none is named."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
_RULE = "Use lower case letters, digits, '.', '_' and '-'."
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
    """All of them; ``default`` is the name of a host or a group, "local" unless it was said."""

    hosts: Mapping[str, Host] = field(default_factory=dict)
    default: str = LOCAL
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # names of hosts, or "local"


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
        known = Hosts(hosts)
        groups = {
            _named(known, str(name)): _members(known, [str(member) for member in members])
            for name, members in document.get("groups", {}).items()
        }
        default = str(document["default"])
    except (KeyError, TypeError, AttributeError, BadInput):
        raise _damaged(home) from None
    return Hosts(hosts, default if default in {*hosts, *groups} else LOCAL, groups)


def add(home: Home, name: str, url: str, tls: Path | None = None, via: str = "") -> Host:
    """Remember a machine. BadInput for a name or an address that is none, and for a name that is taken."""
    host = _checked(name, url, str(tls.absolute()) if tls else "", via)
    if host.tls:
        check_certificates(Path(host.tls))
    with locked(home.root / "hosts.lock"):
        known = read(home)
        if name in {*known.hosts, *known.groups}:
            what = "host" if name in known.hosts else "group"
            raise BadInput(f"There is a {what} {name} already.", f"`nbseal hosts remove {name}` forgets it.")
        _write(home, replace(known, hosts={**known.hosts, name: host}))
    return host


def group(home: Home, name: str, members: Sequence[str]) -> tuple[str, ...]:
    """Have a name mean several machines, instead of those that it meant before. BadInput for a host's name."""
    with locked(home.root / "hosts.lock"):
        known = read(home)
        meant = _members(known, members)
        _write(home, replace(known, groups={**known.groups, _named(known, name): meant}))
    return meant


def remove(home: Home, name: str) -> None:
    """Forget a machine, in its groups too, or a group; nothing is done on any machine."""
    with locked(home.root / "hosts.lock"):
        known = read(home)
        if name not in known.groups:
            find(known, name)
        hosts = {other: host for other, host in known.hosts.items() if other != name}
        left = {
            other: tuple(member for member in members if member != name)
            for other, members in known.groups.items()
            if other != name
        }
        groups = {other: members for other, members in left.items() if members}
        default = known.default if known.default in {*hosts, *groups} else LOCAL
        _write(home, Hosts(hosts, default, groups))


def set_default(home: Home, name: str) -> None:
    """Which machine, or which group of them, is meant when none is named."""
    with locked(home.root / "hosts.lock"):
        known = read(home)
        if name != LOCAL and name not in known.groups:
            find(known, name)
        _write(home, replace(known, default=name))


def resolve(hosts: Hosts, text: str) -> tuple[str, ...]:
    """The machines that NAME[,NAME]... means, each of a host, a group or "local"; the default's when empty.

    BadInput for a name that nobody gave.
    """
    names = [part.strip() for part in (text or hosts.default).split(",")]
    meant = [member for name in names for member in hosts.groups.get(name, (name,))]
    return _members(hosts, list(dict.fromkeys(meant)))


def _members(hosts: Hosts, names: Sequence[str]) -> tuple[str, ...]:
    """Of a group. BadInput for no host's name, and for a name that stands there twice."""
    for name in names:
        if name != LOCAL:
            find(hosts, name)
    if not names:
        raise BadInput("A group of no hosts means none.", "Name at least one host that it is to have.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"{twice[0]} stands there twice.", "A group has each host once.")
    return tuple(names)


def _named(hosts: Hosts, name: str) -> str:
    """A group's name. BadInput for one that a host has."""
    if not _NAME.fullmatch(name) or name == LOCAL or name in hosts.hosts:
        hint = "A host is called so." if name in hosts.hosts or name == LOCAL else _RULE
        raise BadInput(f"A group cannot be called '{name[:80]}'.", hint)
    return name


def find(hosts: Hosts, name: str) -> Host:
    """BadInput with the nearest names for one that nobody added."""
    if name in hosts.hosts:
        return hosts.hosts[name]
    if name in hosts.groups:
        raise BadInput(f"{name} is a group, and one host is wanted.", f"It has {', '.join(hosts.groups[name])}.")
    every = {*hosts.hosts, *hosts.groups}
    near = get_close_matches(name, every) or sorted(every)[:10]
    known = f"Known are: {', '.join(near)}." if near else "`nbseal hosts add NAME URL` adds one."
    raise BadInput(f"There is no host '{name[:80]}'.", known)


def _checked(name: str, url: str, tls: str = "", via: str = "") -> Host:
    if not _NAME.fullmatch(name) or name == LOCAL:
        raise BadInput(f"A host cannot be called '{name[:80]}'.", _RULE)
    kind = parse_address(url).kind
    if (kind == "tcp") != bool(tls):
        raise BadInput(
            "tcp:// needs --tls, and nothing else takes it.",
            "Name the folder with ca.pem, cert.pem and key.pem; an engine without TLS obeys everybody.",
        )
    if not isinstance(via, str) or not isinstance(tls, str):
        raise BadInput("What a host's images go through, or where its certificates lie, is no text.")
    return Host(name, url, tls, via)


def check_certificates(folder: Path) -> None:
    """Whether it is what a host over TLS needs: when one is added, and each time that one is used. BadInput if not."""
    for file in ("ca.pem", "cert.pem", "key.pem"):
        if not (folder / file).is_file():
            raise BadInput(f"{folder} has no {file}.", "It has to hold ca.pem, cert.pem and key.pem.")


def _write(home: Home, hosts: Hosts) -> None:
    items = {
        name: {"url": host.url, "tls": host.tls} | ({"via": host.via} if host.via else {})
        for name, host in sorted(hosts.hosts.items())
    }
    groups = {name: list(members) for name, members in sorted(hosts.groups.items())}
    document = {"schema": SCHEMA, "default": hosts.default, "hosts": items} | ({"groups": groups} if groups else {})
    write_json(_path(home), document)


def _path(home: Home) -> Path:
    return home.root / "hosts.json"


def _damaged(home: Home) -> VerificationFailed:
    return VerificationFailed(f"{_path(home)} is damaged.", "Mend it, or remove it and add the hosts again.")
