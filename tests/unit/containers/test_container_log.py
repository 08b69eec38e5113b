"""The end of what a container printed, from engines that keep to no limit."""

from __future__ import annotations

import io
import struct
import tracemalloc

import pytest

from engine.containers import log
from engine.containers.launch import MAX_LOG
from engine.containers.log import read_end


def framed(*pieces: bytes) -> bytes:
    return b"".join(struct.pack(">BxxxL", 1, len(piece)) + piece for piece in pieces)


def test_all_of_a_short_log() -> None:
    assert read_end(io.BytesIO(framed(b"one\n", b"", b"two\n")).read) == b"one\ntwo\n"


def test_the_end_of_a_long_one() -> None:
    data = framed(b"a" * MAX_LOG, b"b" * MAX_LOG, b"end")
    assert read_end(io.BytesIO(data).read) == b"b" * (MAX_LOG - 3) + b"end"


def test_what_was_cut_off() -> None:
    assert read_end(io.BytesIO(framed(b"one\n", b"two\n")[:-2]).read) == b"one\ntw"
    assert read_end(io.BytesIO(framed(b"one\n") + b"\1\0").read) == b"one\n"


def test_one_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one frame of 4 GiB, and in frames of nothing."""
    monkeypatch.setattr(log, "_MOST", 4 * MAX_LOG)
    header = iter([struct.pack(">BxxxL", 1, 0xFFFFFFFF)])
    tracemalloc.start()
    try:
        assert len(read_end(lambda size: next(header, b"x" * size) if size == 8 else b"x" * size)) == MAX_LOG
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_LOG
    finally:
        tracemalloc.stop()
    assert read_end(lambda size: bytes(8)) == b""
