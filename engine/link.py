"""The way to a host's engine: open when it is used, and opened again after it broke."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from engine.daemon import Engine, connect, no_answer, reach, reason_of
from engine.errors import BadInput, EngineUnavailable, NbsealError
from engine.hosts import LOCAL, Address, Host, Tunnel, check_certificates, parse_address

_CONTEXTS = "`docker context ls` lists them."
#: Seconds for which a host that has answered before is asked again, and between two attempts, at first and at most.
PATIENCE = 300.0
#: Seconds in which a machine has to take a connection: when a run is to go there, and when one only wants to know.
CONNECT, GLANCE = 20, 5
_PAUSE, _LONGEST_PAUSE = 0.25, 5.0
#: Seconds after which what broke is taken for a way that had worked.
_WORKED = 10.0

#: Two threads that import docker in parts get halves of it.
_IMPORTING = threading.Lock()

T = TypeVar("T")


class Link:
    """To one host, or to this machine when ``host`` is None; for several threads.

    ``patience`` is for how many seconds the machine may not answer a connection.

    ``engine`` is whoever answers there. What a thread got of it is good until the link breaks: then requests raise,
    ``drop`` closes what is left, and ``engine`` opens it anew.
    """

    def __init__(self, host: Host | None = None, *, patience: int = CONNECT) -> None:
        self.host = host
        self._patience = patience
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._tunnel: Tunnel | None = None
        self._failure: NbsealError | None = None  # of ``begin``, until somebody wants to know
        self._closed = threading.Event()

    @property
    def name(self) -> str:
        """What the user calls the machine."""
        return self.host.name if self.host else LOCAL

    @property
    def is_remote(self) -> bool:
        return self.host is not None

    def begin(self) -> None:
        """Open it while something else is done; ``engine`` waits for that, and raises what went wrong."""
        _import_library()

        def open_now() -> None:
            try:
                _ = self.engine
            except NbsealError as error:
                self._failure = error

        threading.Thread(target=open_now, daemon=True, name="nbseal-link").start()

    @property
    def engine(self) -> Engine:
        """EngineUnavailable when it cannot be reached; BadInput when its docker context or certificates are gone."""
        with self._lock:
            if self._closed.is_set():
                raise EngineUnavailable(f"The link to {self.name} was closed.")
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self._engine is None:
                _import_library()
                self._engine = connect() if self.host is None else self._open(self.host)
            return self._engine

    def drop(self, engine: Engine) -> None:
        """Close what has broken. Nothing happens when another thread has opened it anew since."""
        with self._lock:
            if self._engine is engine:
                self._shut()

    def attempt(
        self,
        action: Callable[[Engine], T],
        *,
        patience: float = PATIENCE,
        on_break: Callable[[str], None] | None = None,
    ) -> T:
        """What ``action`` returns, which is called again after the link broke: doing it twice must do no harm.

        What the engine refuses is raised as it came. ``on_break`` is told why, each time. EngineUnavailable when
        there was no way for ``patience`` seconds.
        """
        lost: float | None = None  # since when there has been no way
        pause = _PAUSE
        while True:
            engine, began = None, time.monotonic()
            try:
                engine = self.engine
                return action(engine)
            except Exception as error:
                if not (is_broken(error) or (engine is None and isinstance(error, EngineUnavailable))):
                    raise
                now = time.monotonic()
                if lost is None or (engine is not None and now - began > _WORKED):
                    lost, pause = now, _PAUSE
                if engine is not None:
                    self.drop(engine)
                why = error.message if isinstance(error, EngineUnavailable) else f"{reason_of(error)}."
                if self._closed.is_set() or now - lost > patience:
                    raise EngineUnavailable(
                        f"The engine of {self.name} does not answer any more: {why}",
                        "`nbseal attach` takes a run up again once it does.",
                    ) from error
                if on_break is not None:
                    on_break(why)
            self._closed.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """For good."""
        with self._lock:
            self._closed.set()
            self._shut()

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _shut(self) -> None:
        if self._engine is not None and self.host is not None:
            self._engine.client.close()
        self._engine = None
        if self._tunnel is not None:
            self._tunnel.close()
        self._tunnel = None

    def _open(self, host: Host) -> Engine:
        address, tls = parse_address(host.url), Path(host.tls) if host.tls else None
        if address.kind == "context":
            address, tls = _of_context(address.context)
        if tls is not None:
            check_certificates(tls)
        url = address.tcp_url
        if address.kind == "unix":
            url = f"unix://{address.path}"
        elif address.kind == "ssh":
            self._tunnel = Tunnel(address, self._patience)
            url = f"unix://{self._tunnel.socket}"
        try:
            return reach(url, host.url, host.name, tls, self._patience)
        except no_answer() as error:
            try:
                if self._tunnel is not None:
                    self._tunnel.check()
            finally:
                self._shut()
            raise EngineUnavailable(
                f"No container engine answers on {host.name} ({host.url}): {reason_of(error)}.",
                f"`nbseal hosts check {host.name}` looks again.",
            ) from error


def _import_library() -> None:
    with _IMPORTING:
        import docker  # noqa: F401


def is_broken(error: BaseException) -> bool:
    """Whether a request ended because the link did, and not by the engine's word."""
    from docker.errors import APIError
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    if isinstance(error, APIError):
        return False
    return isinstance(error, (RequestException, HTTPError, ConnectionError, TimeoutError, EOFError))


def _of_context(name: str) -> tuple[Address, Path | None]:
    """Where a docker context leads, and the folder with its certificates."""
    from docker.context import ContextAPI
    from docker.errors import DockerException

    try:
        context = ContextAPI.get_context(name)
        url = str(context.Host) if context else ""
        folder = Path(context.tls_path) / "docker" if context and "docker" in context.tls_cfg else None
    except (DockerException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"The docker context {name} cannot be read: {reason_of(error)}.", _CONTEXTS) from error
    if not url:
        raise BadInput(f"There is no docker context {name}.", _CONTEXTS)
    address = parse_address(url.replace("http+unix://", "unix://"))
    if address.kind == "tcp" and folder is None:
        raise BadInput(
            f"The docker context {name} leads to {url} without TLS.", "An engine without TLS obeys everybody."
        )
    return address, folder
