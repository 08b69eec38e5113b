"""A registry's interface (OCI distribution 1.1) as far as runs need it: answers are bounded, errors are in words."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from engine.digests import sha256_bytes
from engine.errors import BadInput, EnvironmentFailed, NbsealError, VerificationFailed
from engine.registry.authorization import Authorization, denied
from engine.registry.parallel import pause
from engine.registry.reference import DIGEST, RESERVED, Reference, is_tag
from engine.registry.transport import Broken, NoTls, Reply, Transport

T = TypeVar("T")

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
#: What the specification asks registries to take at most.
MAX_MANIFEST = 4 << 20
_MAX_ERROR = 64 << 10
_MAX_TAGS = 1 << 20
_MOST_REDIRECTS = 5
_ATTEMPTS = 8
#: Of who never answered yet: most likely its name was mistyped.
_FIRST_ATTEMPTS = 3
_LOOK = "Look at the host and the port."
_GO_ON = "What is there stays: the same command goes on from it."
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
_REDIRECTS = (301, 302, 303, 307, 308)
#: Said by servers that may do better next time.
_PASSING = (408, 429, 500, 502, 503, 504)


class Patience:
    """How often something is tried again that a broken connection ended; what was achieved in between counts."""

    def __init__(self, registry: str, attempts: int, hint: str) -> None:
        self._registry, self._attempts, self._hint, self._failures = registry, attempts, hint, 0

    def progressed(self) -> None:
        self._failures = 0

    def lose(self, error: Broken) -> None:
        """Wait a little longer each time; EnvironmentFailed when it is enough."""
        self._failures += 1
        if self._failures >= self._attempts:
            raise EnvironmentFailed(f"{self._registry} does not answer: {error}.", self._hint) from None
        pause(min(_FIRST_PAUSE * 2 ** (self._failures - 1), _LONGEST_PAUSE))


class Client:
    """One repository of a registry. ``actions`` are "pull" or "pull,push"; safe to use from threads."""

    def __init__(self, reference: Reference, actions: str) -> None:
        self.reference = reference
        self._transport = Transport(reference)
        self._authorization = Authorization(reference, actions, self._transport)
        self._origin = f"{self._greet()}://{reference.address}"
        #: Bytes of content that went out and came in.
        self.sent = self.received = 0
        self._counting = threading.Lock()

    def count(self, *, sent: int = 0, received: int = 0) -> None:
        with self._counting:
            self.sent += sent
            self.received += received

    def patience(self) -> Patience:
        return Patience(self.reference.registry, _ATTEMPTS, _GO_ON)

    def patiently(self, attempt: Callable[[], T]) -> T:
        """What ``attempt`` returns, tried again when the connection breaks."""
        patience = self.patience()
        while True:
            try:
                return attempt()
            except Broken as error:
                patience.lose(error)

    # --- content ------------------------------------------------------------------------------

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has it."""
        reply = self.patiently(lambda: self.ask("HEAD", f"blobs/{digest}"))
        reply.close() if reply.status != 200 else reply.body(0)
        if reply.status in (200, 404):
            return reply.status == 200
        raise self.refused(reply, "look for content")

    def blob(self, digest: str, start: int) -> Reply:
        """Its bytes, from ``start`` on if the registry can; whoever it sends us on to learns nothing of us."""
        ranged = {"Range": f"bytes={start}-"} if start else {}
        reply = self.ask("GET", f"blobs/{digest}", ranged)
        for _ in range(_MOST_REDIRECTS):
            if reply.status not in _REDIRECTS:
                break
            reply = self._follow(reply, ranged)
        if reply.status in (200, 206):
            return reply
        if reply.status == 404:
            reply.close()
            raise EnvironmentFailed(
                f"{self.reference.registry} no longer has the content {digest} of {self.reference}.",
                "It was removed there; have it pushed again.",
            )
        raise self.refused(reply, "give content")

    def manifest(self, named: str, *, accept: str = MANIFEST) -> bytes | None:
        """A manifest by tag or digest, byte for byte; None when there is none. A digest that was said is checked."""

        def attempt() -> tuple[Reply, bytes]:
            reply = self.ask("GET", f"manifests/{named}", {"Accept": accept})
            return reply, reply.body(MAX_MANIFEST) if reply.status == 200 else b""

        reply, data = self.patiently(attempt)
        if reply.status == 404:
            reply.close()
            return None
        if reply.status != 200:
            raise self.refused(reply, "give a manifest")
        if DIGEST.fullmatch(named) and sha256_bytes(data) != named:
            raise VerificationFailed(
                f"{self.reference.registry} answers with another manifest than {named}.",
                "Its content was changed; nothing of it entered the home.",
            )
        return data

    def put_manifest(self, named: str, data: bytes, media_type: str = MANIFEST) -> bool:
        """Store a manifest under a tag or its digest; whether the registry keeps the list of referrers itself."""
        reply = self.patiently(lambda: self.ask("PUT", f"manifests/{named}", {"Content-Type": media_type}, data))
        if reply.status != 201:
            raise self.refused(reply, "take the manifest")
        reply.body(_MAX_ERROR)
        return "OCI-Subject" in reply.headers

    def name(self, tag: str, data: bytes) -> None:
        """Give a manifest a tag. One that it has is left alone, because some registries let none be written twice."""
        if self.manifest(tag) != data:
            self.put_manifest(tag, data)

    def tags(self) -> list[str]:
        """Some runs' tags, for whoever named one that is not there; empty when they cannot be had."""
        try:
            reply = self.ask("GET", "tags/list?n=100")
            document = json.loads(reply.body(_MAX_TAGS)) if reply.status == 200 else {}
            found = document.get("tags") or []
            return [tag for tag in found if isinstance(tag, str) and is_tag(tag) and not tag.startswith(RESERVED)][:10]
        except (Broken, NbsealError, ValueError, AttributeError, TypeError, RecursionError):
            return []

    # --- requests -----------------------------------------------------------------------------

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Reply:
        """One request about the repository, or to where the registry wants its content; authorised anew on a 401.

        Broken when the connection broke, or the server says that another try may do better.
        """
        url = path if path.startswith(f"{self._origin}/") else f"{self._origin}/v2/{self.reference.repository}/{path}"
        for _ in range(2):
            shown = self._authorization.header
            proof = {"Authorization": shown} if shown else {}
            reply = self._transport.send(method, url, {**(headers or {}), **proof}, body)
            if reply.status != 401:
                break
            reply.close()
            if not self._authorization.renew(shown, reply):
                break
        if reply.status in _PASSING:
            why = _said(reply)
            raise Broken(f"it says {why}" if why else f"it answers with HTTP {reply.status}")
        return reply

    def place(self, reply: Reply) -> str:
        """Where the registry wants the next part of an upload: with itself, since it gets our password and bytes."""
        location = reply.location()
        # Behind a proxy that ends TLS some registries name themselves without it.
        if urlsplit(location).netloc == self.reference.address and location.startswith("http://"):
            location = urlsplit(self._origin).scheme + location.removeprefix("http")
        if not location.startswith(f"{self._origin}/"):
            raise EnvironmentFailed(
                f"{self.reference.registry} wants the content sent to another place.",
                "Nothing was sent there. Tell whoever keeps the registry.",
            )
        return location

    def refused(self, reply: Reply, what: str) -> NbsealError:
        """The error for an answer that is none of those that the specification has."""
        registry = self.reference.registry
        why = _said(reply) or f"HTTP {reply.status}"
        if reply.status == 401:
            return denied(
                registry, "it wants another name or password" if self._authorization.header else "it wants a password"
            )
        if reply.status == 403:
            return denied(registry, f"this account may not do that ({why})")
        if reply.status in (413, 507):
            return EnvironmentFailed(f"{registry} has no room: {why}.", "Free some, or ask whoever keeps the registry.")
        return EnvironmentFailed(f"{registry} does not {what}: {why}.", "Tell whoever keeps the registry.")

    def unknown(self) -> BadInput:
        """The error for a tag or digest that is not there."""
        tags = self.tags()
        hint = f"It has {', '.join(tags)}." if tags else "Look at the name; what nobody may see looks the same."
        return BadInput(f"There is no {self.reference}.", hint)

    def _greet(self) -> str:
        """Find out how the registry speaks: with TLS, or without on this machine only, as docker does."""
        registry = self.reference.registry
        patience = Patience(registry, _FIRST_ATTEMPTS, _LOOK)
        schemes = ["https", "http"] if self.reference.is_loopback else ["https"]
        while True:
            try:
                reply = self._transport.send("GET", f"{schemes[0]}://{self.reference.address}/v2/", {})
                break
            except NoTls as error:
                schemes = schemes[1:]
                if not schemes:
                    raise EnvironmentFailed(
                        f"{registry} does not answer: {error}.", "Without TLS only a registry on this machine is used."
                    ) from None
            except Broken as error:
                patience.lose(error)
        reply.close()
        if reply.status == 401:
            self._authorization.renew("", reply)
        elif reply.status != 200:
            raise EnvironmentFailed(f"{registry} is no registry: it answers with HTTP {reply.status}.", _LOOK)
        return schemes[0]

    def _follow(self, reply: Reply, headers: dict[str, str]) -> Reply:
        """To where content really lies: with TLS, unless that is the registry, and elsewhere without our password."""
        reply.close()
        target = reply.location()
        if not target.startswith(("https://", f"{self._origin}/")):
            raise EnvironmentFailed(
                f"{self.reference.registry} sends us on to an address without TLS, or to none.",
                "Nothing was fetched from there. Tell whoever keeps the registry.",
            )
        if target.startswith(f"{self._origin}/"):
            return self.ask("GET", target, headers)
        return self._transport.send("GET", target, headers)


def _said(reply: Reply) -> str:
    """What the server says of an error (errors[0] of the specification), as it can be printed."""
    try:
        document: Any = json.loads(reply.body(_MAX_ERROR))
        error = document["errors"][0]
        text = f"{error.get('message') or ''}" or str(error.get("code") or "")
    except (Broken, NbsealError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        reply.close()
        return ""
    return "".join(char for char in text if char.isprintable())[:200].rstrip(".")
