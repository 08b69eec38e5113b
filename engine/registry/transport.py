"""Requests as they are sent: nothing is followed, retried, remembered or unpacked here, and TLS is always verified.

urllib3 and not requests, which would look for passwords in ~/.netrc, bring authorities of its own and keep cookies.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from engine import __version__
from engine.errors import EnvironmentFailed, VerificationFailed
from engine.registry.reference import Reference, is_loopback
from engine.registry.tls import trust

if TYPE_CHECKING:
    import urllib3

#: Seconds until a connection stands, and between any two bytes of an answer.
_CONNECT, _READ = 15, 90
_CHUNK = 1 << 20


class Broken(Exception):
    """The connection could not be made, or was cut; another try may do better."""


class NoTls(Broken):
    """Whoever answered does not speak TLS."""


@dataclass(frozen=True)
class Reply:
    """An answer whose body is still to be read."""

    url: str
    status: int
    headers: Any  # urllib3's: names in any case
    raw: urllib3.BaseHTTPResponse

    def body(self, limit: int) -> bytes:
        """All of a small body; VerificationFailed when there is more than ``limit``."""
        data = b""
        for piece in self.pieces():
            data += piece
            if len(data) > limit:
                self.close()
                raise VerificationFailed(
                    f"{urlsplit(self.url).netloc} answers with more than {limit:,} bytes where that is too much.",
                    "Nothing of it was kept. Tell whoever keeps the registry.",
                )
        return data

    def pieces(self) -> Iterator[bytes]:
        """The body, as it comes. Broken when it is cut."""
        with _told():
            while data := self.raw.read(_CHUNK, decode_content=False):
                yield data
            self.raw.release_conn()

    def close(self) -> None:
        """For a body that nobody will read."""
        self.raw.close()

    def location(self) -> str:
        """To where it sends us on; empty when that is no address of a server, or one with a name or password in it."""
        try:
            found = urljoin(self.url, str(self.headers.get("Location", "")))
            parts = urlsplit(found)
            fits = bool(parts.hostname) and parts.scheme in ("http", "https") and "@" not in parts.netloc
        except ValueError:
            return ""
        return found if fits and found.isprintable() and " " not in found else ""


class Transport:
    """Connections of one command to a registry, and to whom it sends us on to."""

    def __init__(self, reference: Reference) -> None:
        self._registry, self._address = reference.registry, reference.address
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._pools: dict[tuple[bool, str], urllib3.PoolManager] = {}

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Reply:
        """One request, one answer. Broken or EnvironmentFailed when there is none."""
        import urllib3

        parts = urlsplit(url)
        pool = self._pool(parts, own=parts.netloc == self._address)
        told = {"User-Agent": f"nbseal/{__version__}", **headers}
        with _told(parts.netloc):
            raw = pool.urlopen(
                method,
                url,
                body=body,
                headers=told,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=_CONNECT, read=_READ),
            )
        return Reply(url, raw.status, raw.headers, raw)

    def _pool(self, parts: SplitResult, *, own: bool) -> urllib3.PoolManager:
        import urllib3

        proxies = {} if is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc) else getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all", "")
        if (own, proxy) not in self._pools:
            if own not in self._contexts:
                self._contexts[own] = trust(self._registry, present=own)
            options: dict[str, Any] = {"ssl_context": self._contexts[own], "maxsize": 8, "retries": False}
            self._pools[own, proxy] = _proxied(proxy, options) if proxy else urllib3.PoolManager(**options)
        return self._pools[own, proxy]


def _proxied(proxy: str, options: dict[str, Any]) -> urllib3.PoolManager:
    import urllib3

    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    headers = None
    if parts.username:
        whose = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=whose)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        return urllib3.ProxyManager(bare, proxy_headers=headers, **options)
    except (ValueError, urllib3.exceptions.HTTPError):
        raise EnvironmentFailed(
            "The proxy that the environment names is none.", "Correct http_proxy, https_proxy."
        ) from None


class _told:  # noqa: N801 - a context manager, used as a function
    """Errors of the connection, by what can be done about them."""

    def __init__(self, who: str = "") -> None:
        self._who = who

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import urllib3

        if not isinstance(error, (urllib3.exceptions.HTTPError, OSError, ValueError)):
            return
        cause = _cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise EnvironmentFailed(
                f"The certificate of {self._who or 'the registry'} is not to be trusted: {cause.verify_message}.",
                f"Put the certificate of its authority into /etc/docker/certs.d/{self._who}/ca.crt or "
                f"~/.config/docker/certs.d/{self._who}/ca.crt, or name it in SSL_CERT_FILE.",
            ) from None
        if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
            raise NoTls("it does not speak TLS") from None
        raise Broken(_reason(cause)) from None


_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "UNKNOWN_PROTOCOL",
)


def _cause(error: BaseException) -> BaseException:
    """What urllib3's errors wrap."""
    while True:
        inner = [
            item for item in (*error.args, error.__cause__) if isinstance(item, BaseException) and item is not error
        ]
        if not inner:
            return error
        error = inner[0]


def _reason(error: BaseException) -> str:
    import urllib3

    if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
        return "it takes too long"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = "".join(char if char.isprintable() else " " for char in str(error))
    return text.rpartition(": ")[2][:200] or type(error).__name__
