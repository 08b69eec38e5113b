"""Reading events that a notebook may have forged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.containers.events import EventTail, parse_event

TIME = "2026-01-01T00:00:00.000Z"


def line(event: str, **fields: Any) -> bytes:
    return json.dumps({"event": event, "time": TIME, **fields}).encode()


def test_only_the_fields_of_the_kind_pass() -> None:
    event = parse_event(line("cell_started", cell=3, extra="x" * 100))
    assert event == {"event": "cell_started", "time": TIME, "cell": 3}


@pytest.mark.parametrize(
    "data",
    [
        line("started", protocol=2, cells=3),
        line("cell_started", cell=0),
        line("output", cell=0, output={"output_type": "stream", "name": "stdout", "text": "x"}),
        line("cell_done", cell=0, status="ok", duration=0.5),
        line("error", cell=0, name="ValueError", value="no", traceback="..."),
        line("measured", name="gpu/0/memory_peak", value=5),
        line("finished", status="completed", reason="", limit=""),
    ],
)
def test_every_kind_passes_as_it_is(data: bytes) -> None:
    assert parse_event(data) == json.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"not json",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"event": "cell_started", "cell": 1}',
        line("unknown"),
        line("cell_started"),
        line("cell_started", cell="1"),
        line("cell_started", cell=True),
        line("cell_started", cell=-1),
        line("cell_started", cell=10**9),
        line("cell_started", cell=1.5),
        b'{"event": "cell_started", "time": "", "cell": 1' + b"0" * 10_000 + b"}",
        line("started", protocol=1, cells=-5),
        line("cell_done", cell=1, status="x" * 1000, duration=1),
        line("cell_done", cell=1, status="ok", duration="1"),
        line("cell_done", cell=1, status="ok", duration=float("nan")),
        line("cell_done", cell=1, status="ok", duration=10**400),
        line("cell_done", cell=1, status="ok", duration=-1),
        line("output", cell=1, output=[]),
        line("output", cell=1, output={"output_type": "exploit"}),
        line("output", cell=1, output={"output_type": "stream", "text": {}}),
        line("output", cell=1, output={"output_type": "display_data", "data": {"text/plain": 1}}),
        line("finished", status="completed", reason=None, limit=""),
        line("cell_started", cell=1, filler="x" * (2 << 20)),
    ],
)
def test_what_is_malformed_is_no_event(data: bytes) -> None:
    assert parse_event(data) is None


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    assert parse_event(data) is None


@given(
    st.dictionaries(
        st.sampled_from(["event", "time", "cell", "cells", "output", "status", "reason", "limit", "protocol"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
        | st.sampled_from(["started", "output", "finished", "cell_done"]),
    )
)
def test_no_json_breaks_the_reader(value: dict[str, Any]) -> None:
    parse_event(json.dumps(value).encode())


def test_lines_are_read_as_they_grow(tmp_path: Path) -> None:
    tail = EventTail(tmp_path / "events.jsonl")
    assert tail.read() == []
    whole = line("cell_started", cell=0) + b"\n"
    with (tmp_path / "events.jsonl").open("ab", buffering=0) as file:
        file.write(whole[:20])
        assert tail.read() == []
        file.write(whole[20:] + whole)
        assert [event["cell"] for event in tail.read()] == [0, 0]
        assert tail.read() == []
    tail.close()


def test_an_endless_line_is_skipped_without_being_kept(tmp_path: Path) -> None:
    good = line("cell_started", cell=0) + b"\n"
    (tmp_path / "events.jsonl").write_bytes(good + b"x" * (5 << 20) + b"\n" + good)
    tail = EventTail(tmp_path / "events.jsonl")
    events, before = [], -1
    while tail.offset > before:
        before = tail.offset
        events += tail.read()
    tail.close()
    assert [event["cell"] for event in events] == [0, 0]


def test_links_fifos_and_folders_are_not_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(line("cell_started", cell=0) + b"\n")
    (tmp_path / "link").symlink_to(secret)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("link", "fifo", "folder"):
        assert EventTail(tmp_path / name).read() == []
