"""What a registry wants to see before it answers: a password (RFC 7617), or a token for which one asks elsewhere.

The password goes to the registry itself, or to the address that it names for tokens, and to neither without TLS; a
token goes to the registry. What a token is asked for is said here: whoever asks for it decides nothing of it.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from urllib.parse import urlencode, urlsplit

from engine.errors import EnvironmentFailed
from engine.registry import credentials
from engine.registry.credentials import Credentials
from engine.registry.reference import Reference, is_loopback
from engine.registry.transport import Broken, Reply, Transport

_CHALLENGE = re.compile(r"\s*(basic|bearer)\s+(.*)", re.IGNORECASE | re.DOTALL)
_PARAMETER = re.compile(r'([A-Za-z_]{1,30})="([^"\\]{0,2000})"')
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_MAX_ANSWER = 256 << 10
_CLIENT = "nbseal"


class Authorization:
    """The header that goes with requests to one repository. ``actions`` are "pull" or "pull,push"."""

    def __init__(self, reference: Reference, actions: str, transport: Transport) -> None:
        self._reference, self._transport = reference, transport
        self._scope = f"repository:{reference.repository}:{actions}"
        self._lock = threading.Lock()
        self.header = ""

    def renew(self, refused: str, reply: Reply) -> bool:
        """Whether there is another header now than the ``refused`` one, by the challenges of a 401."""
        challenges = dict(reversed([_challenge(text) for text in reply.headers.getlist("WWW-Authenticate")]))
        with self._lock:
            if self.header == refused:
                self.header = self._answer(challenges, plain=reply.url.startswith("http://"))
            return self.header not in ("", refused)

    def _answer(self, challenges: dict[str, dict[str, str]], *, plain: bool) -> str:
        if "bearer" in challenges:
            return f"Bearer {self._token(challenges['bearer'], plain=plain)}"
        known = credentials.find(self._reference.registry)
        if "basic" in challenges and known.name:
            return _basic(known)
        return ""

    def _token(self, challenge: dict[str, str], *, plain: bool) -> str:
        """A token by the rules of docker's and OCI's registries; an anonymous one where no password is known."""
        registry = self._reference.registry
        realm = challenge.get("realm", "")
        self._check_realm(realm, plain=plain)
        known = credentials.find(registry)
        asked = {"service": challenge.get("service", ""), "scope": self._scope, "client_id": _CLIENT}
        try:
            if known.token:
                form = urlencode({**asked, "grant_type": "refresh_token", "refresh_token": known.token}).encode()
                kind = {"Content-Type": "application/x-www-form-urlencoded"}
                reply = self._transport.send("POST", realm, kind, form)
            else:
                proof = {"Authorization": _basic(known)} if known else {}
                joint = "&" if urlsplit(realm).query else "?"
                reply = self._transport.send("GET", f"{realm}{joint}{urlencode(asked)}", proof)
            answer = reply.body(_MAX_ANSWER)
        except Broken as error:
            raise EnvironmentFailed(
                f"{urlsplit(realm).netloc}, where {registry} gives out tokens, does not answer: {error}.",
                "Try again later.",
            ) from None
        if reply.status != 200:
            raise denied(registry, f"it gives no token (HTTP {reply.status})")
        try:
            document = json.loads(answer)
            token = document.get("token") or document.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise EnvironmentFailed(
                f"{urlsplit(realm).netloc} answers with no token that could be used.",
                "Tell whoever keeps the registry.",
            )
        return token

    def _check_realm(self, realm: str, *, plain: bool) -> None:
        try:
            parts = urlsplit(realm)
            host = parts.hostname or ""
        except ValueError:
            parts, host = urlsplit(""), ""
        safe = parts.scheme == "https" or (parts.scheme == "http" and plain and is_loopback(host))
        if not host or "@" in parts.netloc or not safe or not realm.isprintable():
            raise EnvironmentFailed(
                f"{self._reference.registry} wants the password sent to an address without TLS, or to none.",
                "Nothing was sent there. Tell whoever keeps the registry.",
            )


def denied(registry: str, why: str) -> EnvironmentFailed:
    """The error for a request that may not be made."""
    return EnvironmentFailed(
        f"{registry} refuses access: {why}.", f"`docker login {registry}` tells nbseal the password, too."
    )


def _challenge(text: str) -> tuple[str, dict[str, str]]:
    match = _CHALLENGE.match(text[:8192])
    if match is None:
        return "", {}
    return match[1].lower(), {name.lower(): value for name, value in _PARAMETER.findall(match[2])}


def _basic(known: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{known.name}:{known.password}".encode()).decode()
