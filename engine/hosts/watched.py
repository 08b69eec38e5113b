"""Connections over TCP that end when nobody is at their other end any more, as those of ssh do."""

from __future__ import annotations

import socket
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

from engine.hosts.tunnel import ALIVE

_TRIES = 3
#: tcp(7). One kind alone is not enough: who only listens has nothing to be acknowledged, and who waits for that sends
#: no signs of life.
_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ALIVE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ALIVE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _TRIES),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * ALIVE * _TRIES),
)


class WatchedAdapter(HTTPAdapter):
    """For requests' sessions: a frozen link is an error, also where no answer is due; ``patience`` is for connecting.

    Without it, a request that may take any time (a pull) waits for ever for a machine that is gone.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        """Every connection of the pool has the options."""
        options = [*HTTPConnection.default_socket_options, *_OPTIONS]
        super().init_poolmanager(*arguments, socket_options=options, **settings)

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """With a time for connecting apart from that for an answer."""
        return super().send(request, stream, (self._patience, timeout), verify, cert, proxies)
