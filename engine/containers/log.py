"""What a run's container itself printed, as its engine has it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from engine.containers.launch import MAX_LOG, container_name
from engine.containers.site import Site
from engine.daemon import Engine, ignore_engine_errors
from engine.files import write_atomic

_CHUNK = 1 << 16
#: Bytes after which an engine is not listened to any longer; it was told to keep MAX_LOG.
_MOST = 64 * MAX_LOG


def keep_log(site: Site, run: str) -> None:
    """Write it to log.txt of the spool, at most MAX_LOG bytes of its end."""
    log = b""
    with ignore_engine_errors():
        log = site.link.attempt(lambda engine: _fetch(engine, container_name(run)), patience=site.patience)
    with suppress(OSError):
        write_atomic(site.folders.spool / "log.txt", log)


def _fetch(engine: Engine, name: str) -> bytes:
    api: Any = engine.client.api  # whose own ``logs`` holds all that comes, in frames of up to 4 GiB
    url = f"{api.base_url}/v{api.api_version}/containers/{name}/logs"
    wanted = {"stdout": "1", "stderr": "1"}
    with api.get(url, params=wanted, stream=True, timeout=api.timeout) as response:
        if response.status_code != 200:
            return b""
        return read_end(lambda size: bytes(response.raw.read(size, decode_content=False)))


def read_end(read: Callable[[int], bytes]) -> bytes:
    """The end of what is framed as engines do (Docker Engine API, "Attach to a container"); ``read`` is a file's."""
    end, taken = bytearray(), 0
    while len(header := read(8)) == 8 and taken < _MOST:
        taken += len(header)
        left = int.from_bytes(header[4:], "big")
        while left and taken < _MOST and (data := read(min(left, _CHUNK))):
            left, taken = left - len(data), taken + len(data)
            end += data
            del end[:-MAX_LOG]
    return bytes(end)
