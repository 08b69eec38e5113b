"""What is heard from a courier, when the engine in between says something else."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from engine.containers.remote.session import Frame, Session
from engine.errors import EngineUnavailable

STDOUT, STDERR = 1, 2


@pytest.fixture
def there() -> Iterator[tuple[Session, socket.socket]]:
    """A session, and the other end of its connection."""
    here, there = socket.socketpair()
    api = SimpleNamespace(exec_create=lambda *_, **__: {"Id": "x"}, exec_start=lambda *_, **__: here)
    with Session(SimpleNamespace(client=SimpleNamespace(api=api)), "courier") as session, there:  # type: ignore[arg-type]
        yield session, there


def say(connection: socket.socket, data: bytes, stream: int = STDOUT) -> None:
    connection.sendall(struct.pack(">BxxxL", stream, len(data)) + data)


def test_frames_come_in_any_pieces(there: tuple[Session, socket.socket]) -> None:
    session, connection = there
    for piece in (b'{"frame": "alive", "size": 0}\n{"frame"', b': "data", "size": 5, "n": 7}\nab', b"cde"):
        say(connection, piece)
    frame = session.frame()
    assert (frame.kind, frame.data, frame.number("n")) == ("data", b"abcde", 7)


@pytest.mark.parametrize(
    "line",
    [
        b"text",
        b"[]",
        b'{"frame": "usage"}',
        b'{"frame": "usage", "size": Infinity}',
        b'{"frame": "usage", "size": NaN}',
        b'{"frame": "usage", "size": -1}',
        b'{"frame": "usage", "size": 1000000000}',
        b'{"frame": "usage", "size": 0, "more": "' + b"x" * 70_000 + b'"}',
        b"[" * 60_000,
    ],
)
def test_nonsense_is_refused(line: bytes, there: tuple[Session, socket.socket]) -> None:
    session, connection = there
    say(connection, line + b"\n")
    with pytest.raises(EngineUnavailable, match="what no courier says"):
        session.frame()


@pytest.mark.parametrize("stream", [STDOUT, STDERR])
def test_what_an_engine_announces_is_not_waited_for_when_it_is_too_much(
    stream: int, there: tuple[Session, socket.socket]
) -> None:
    session, connection = there
    connection.sendall(struct.pack(">BxxxL", stream, 700 << 20))  # and nothing of it
    with pytest.raises(EngineUnavailable, match="what no courier says"):
        session.frame()


def test_the_reason_is_what_the_courier_said_last(there: tuple[Session, socket.socket]) -> None:
    session, connection = there
    say(connection, b"Traceback:\nOSError: disk full\n", STDERR)
    connection.shutdown(socket.SHUT_WR)
    with pytest.raises(EngineUnavailable, match="OSError: disk full"):
        session.frame()


@pytest.mark.parametrize("value", [None, "1", -1, 1.5, True, float("inf"), 1 << 63, []])
def test_a_number_is_one(value: Any) -> None:
    frame = Frame("usage", json.loads(json.dumps({"bytes": value})), b"")
    with pytest.raises(EngineUnavailable, match="bytes of usage is no number"):
        frame.number("bytes")


@pytest.mark.parametrize("value", [None, 1, ["x"], "x" * 2000])
def test_a_text_is_one_and_short(value: Any) -> None:
    with pytest.raises(EngineUnavailable, match="version of notebook is no text"):
        Frame("notebook", {"version": value}, b"").text("version")
