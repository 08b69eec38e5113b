"""Where a run lies in a registry: ``oci://HOST[:PORT]/REPOSITORY[:TAG|@sha256:DIGEST]`` (OCI distribution 1.1)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from engine.errors import BadInput

SCHEME = "oci://"
SHAPE = "oci://HOST[:PORT]/REPOSITORY[:TAG|@sha256:DIGEST]"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
#: How tags of images start, and of lists of referrers.
RESERVED = ("image-", "sha256-")
#: Docker Hub goes by these names, answers at another host, and has names without a folder in one.
_HUB, _HUB_NAMES = "docker.io", ("docker.io", "index.docker.io")
_HUB_HOST, _HUB_FOLDER = "registry-1.docker.io", "library"
#: Of host and repository together; registries refuse more.
_LONGEST = 255

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_REFERENCE = re.compile(
    rf"(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?/(?P<repository>{_PART}(?:/{_PART})*)"
    rf"(?::(?P<tag>{_TAG.pattern})|@(?P<digest>{DIGEST.pattern}))?"
)


@dataclass(frozen=True)
class Reference:
    """A repository of a registry, and what is meant in it: a tag, a digest, or nothing yet."""

    host: str  # an IPv6 address has its brackets
    port: int | None
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def registry(self) -> str:
        """HOST[:PORT], by which docker knows passwords and certificates."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def address(self) -> str:
        """HOST[:PORT] that answers."""
        return _HUB_HOST if self.registry == _HUB else self.registry

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, with which alone one speaks without TLS."""
        return is_loopback(self.host)

    def tagged(self, tag: str) -> Reference:
        return replace(self, tag=tag, digest="")

    def pinned(self, digest: str) -> Reference:
        return replace(self, tag="", digest=digest)

    @property
    def image(self) -> str:
        """As docker has it, Docker Hub written out."""
        return str(self).removeprefix(SCHEME)

    def __str__(self) -> str:
        named = f":{self.tag}" if self.tag else f"@{self.digest}" if self.digest else ""
        return f"{SCHEME}{self.registry}/{self.repository}{named}"


def parse(text: str) -> Reference:
    """BadInput with the shape that a reference has. What is wrong is not repeated: it may hold a password."""
    if not text.startswith(SCHEME):
        raise BadInput(f"A place in a registry starts with {SCHEME}.", f"Write it as {SHAPE}.")
    match = _REFERENCE.fullmatch(text.removeprefix(SCHEME))
    why = ""
    if match is None:
        why = "does not have the shape of one; repositories are in lower case, and passwords stand elsewhere"
    elif match["port"] and not 0 < int(match["port"]) < 65536:
        why = f"has the port {match['port']}, which is none"
    elif match["host"].startswith("[") and not _is_ip6(match["host"][1:-1]):
        why = "has something in brackets that is no IPv6 address"
    elif len(match["host"]) + len(match["repository"]) + 1 > _LONGEST:
        why = f"has more than {_LONGEST} characters in host and repository"
    if match is None or why:
        raise BadInput(f"This place in a registry {why}.", f"Write it as {SHAPE}.")
    port = int(match["port"]) if match["port"] else None
    host, repository = match["host"], match["repository"]
    if port is None and host.lower() in _HUB_NAMES:
        host, repository = _HUB, repository if "/" in repository else f"{_HUB_FOLDER}/{repository}"
    return Reference(host, port, repository, match["tag"] or "", match["digest"] or "")


def parse_image(text: str) -> Reference:
    """A reference as docker has it: HOST[:PORT]/ may be missing for Docker Hub, and beside a digest a tag says nothing.

    BadInput with the shape of one.
    """
    first, slash, _ = text.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    named = text if is_host else f"{_HUB}/{text}"
    tagged, at, digest = named.partition("@")
    if at:
        front, colon, tag = tagged.rpartition(":")
        named = f"{front if colon and is_tag(tag) and '/' in front else tagged}@{digest}"
    try:
        return parse(f"{SCHEME}{named}")
    except BadInput as error:
        raise BadInput(
            error.message.replace("This place in a registry", "This name of an image"),
            "Write it as [HOST[:PORT]/]REPOSITORY@sha256:DIGEST.",
        ) from None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """As docker has it: localhost and the loopback addresses."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_ip6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
