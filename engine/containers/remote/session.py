"""Talking to a courier: requests there, frames back, and an end to waiting when nothing comes."""

from __future__ import annotations

import json
import os
import queue
import select
import ssl
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from types import TracebackType
from typing import Any

from engine.daemon import Engine
from engine.errors import EngineUnavailable
from engine.model import Json

#: The interpreter of every base's harness.
PYTHON = "/opt/harness/bin/python3"
#: Seconds without any frame after which the link is taken for dead: a courier speaks every second.
_SILENCE = 20.0
_MAX_LINE, _MAX_DATA, _MAX_TEXT = 1 << 16, 8 << 20, 1000
_STDOUT = 1


@dataclass(frozen=True)
class Frame:
    """What a courier says; see ``program``."""

    kind: str
    fields: Json
    data: bytes

    def number(self, name: str) -> int:
        """A field that is a count of something; EngineUnavailable when it is none."""
        value = self.fields.get(name)
        if type(value) is not int or not 0 <= value < 1 << 63:
            raise _nonsense(f"the {name} of {self.kind} is no number")
        return value

    def text(self, name: str) -> str:
        """A field that is a short text; EngineUnavailable when it is none."""
        value = self.fields.get(name)
        if not isinstance(value, str) or len(value) > _MAX_TEXT:
            raise _nonsense(f"the {name} of {self.kind} is no text")
        return value


class Session:
    """One program in the courier for as long as the block lasts.

    What breaks raises ConnectionError or TimeoutError, and docker's and requests' own exceptions pass through;
    EngineUnavailable when the courier says what no courier says.
    """

    def __init__(self, engine: Engine, courier: str) -> None:
        api: Any = engine.client.api
        program = files("engine.containers.remote").joinpath("program.py").read_text("utf-8")
        self._id = api.exec_create(courier, [PYTHON, "-I", "-S", "-c", program], stdin=True, stderr=True)["Id"]
        # Nothing is said before it is asked, so no byte of it can be lost in the buffer of the answer's header.
        self._raw = api.exec_start(self._id, socket=True)
        self._socket = getattr(self._raw, "_sock", self._raw)
        self._socket.settimeout(_SILENCE)
        # TLS allows one thread at a time, so what others want to send is sent by the one that listens.
        self._outbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._bell, self._ring = os.pipe()
        self._buffer = bytearray()
        self._errors = b""

    def ask(self, do: str, **fields: Any) -> None:
        """Send one request."""
        self.send(json.dumps({"do": do, **fields}).encode("ascii") + b"\n")

    def send(self, data: bytes) -> None:
        """Send bytes that a request announced."""
        try:
            self._socket.sendall(data)
        except ssl.SSLError as error:
            raise ConnectionResetError(str(error)) from error

    def post(self, do: str, **fields: Any) -> None:
        """Have the thread that waits for a frame send a request."""
        self._outbox.put(json.dumps({"do": do, **fields}).encode("ascii") + b"\n")
        os.write(self._ring, b"!")

    def hang_up(self) -> None:
        """Have the thread that waits for a frame get a ConnectionError instead."""
        self._outbox.put(b"")
        os.write(self._ring, b"!")

    def frame(self) -> Frame:
        """The next frame that is more than a sign of life."""
        while True:
            while (end := self._buffer.find(b"\n")) < 0:
                self._receive()
                if len(self._buffer) > _MAX_LINE and b"\n" not in self._buffer:
                    raise self._failed()
            if end > _MAX_LINE:
                raise self._failed()
            try:
                fields = json.loads(bytes(self._buffer[:end]))
                kind, size = str(fields["frame"]), int(fields["size"])
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                raise self._failed() from None
            if not 0 <= size <= _MAX_DATA:
                raise self._failed()
            while len(self._buffer) < end + 1 + size:
                self._receive()
            data = bytes(self._buffer[end + 1 : end + 1 + size])
            del self._buffer[: end + 1 + size]
            if kind != "alive":
                return Frame(kind, fields, data)

    def frames(self, last: str = "") -> Iterator[Frame]:
        """Frames up to the one of this kind, and with it."""
        while True:
            frame = self.frame()
            yield frame
            if frame.kind == last:
                return

    def _receive(self) -> None:
        """One piece of the container's output as the engine frames it (Docker Engine API, "Attach to a container")."""
        stream, size = struct.unpack(">BxxxL", self._exactly(8))
        if size > _MAX_DATA:  # engines pass on what fits into their buffers, of 32 KiB
            raise self._failed()
        data = self._exactly(size)
        if stream == _STDOUT:
            self._buffer += data
        else:
            self._errors = (self._errors + data)[-2000:]

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._wait()
            try:
                piece = self._socket.recv(min(size - len(data), 1 << 20))
            except ssl.SSLError as error:  # which is no ConnectionError, though it says that there is none any more
                raise ConnectionResetError(str(error)) from error
            if not piece:
                if self._errors:
                    raise self._failed()
                raise ConnectionResetError("the courier does not speak any more")
            data += piece
        return bytes(data)

    def _wait(self) -> None:
        """Until there is something to receive; what is posted meanwhile is sent."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return
        while True:
            ready, _, _ = select.select([self._socket, self._bell], [], [], _SILENCE)
            if self._bell in ready:
                os.read(self._bell, 1)
                data = self._outbox.get()
                if not data:
                    raise ConnectionAbortedError("nobody listens any more")
                self.send(data)
            if self._socket in ready:
                return
            if not ready:
                raise TimeoutError("nothing was heard from the host")

    def _failed(self) -> EngineUnavailable:
        lines = self._errors.decode(errors="replace").strip().splitlines() or ["it said what no courier says"]
        return _nonsense(lines[-1][:300])

    def close(self) -> None:
        """The program ends when nobody asks any more."""
        with suppress(OSError):
            self._raw.close()
        with suppress(OSError):
            self._socket.close()
        for end in (self._bell, self._ring):
            with suppress(OSError):
                os.close(end)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _nonsense(why: str) -> EngineUnavailable:
    return EngineUnavailable(f"The courier on the host failed: {why}.", "`nbseal hosts check` looks.")
