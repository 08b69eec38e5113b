"""What the harness writes to events.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

from engine.containers.events import parse_event
from engine.harness.events import MAX_TEXT, EventLog, brief_error, brief_output


def test_each_event_is_one_line_that_the_host_accepts(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.write("started", protocol=1, cells=2)
    log.write("output", cell=0, output=brief_output({"output_type": "stream", "name": "stdout", "text": "a\nb\u2028c"}))
    log.write("finished", status="completed", reason="", limit="")
    log.close()
    lines = (tmp_path / "events.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["started", "output", "finished"]
    assert all(parse_event(line) is not None for line in lines)


def test_a_line_is_there_as_soon_as_it_was_written(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.write("cell_started", cell=0)
    assert (tmp_path / "events.jsonl").read_bytes().endswith(b"}\n")
    log.close()


def test_long_text_is_cut_and_says_so() -> None:
    brief = brief_output({"output_type": "stream", "name": "stdout", "text": "x" * (MAX_TEXT + 1)})
    assert brief == {"output_type": "stream", "name": "stdout", "text": "x" * MAX_TEXT, "truncated": True}


def test_the_worst_text_still_fits_into_a_line_that_the_host_reads(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.write("output", cell=0, output=brief_output({"output_type": "stream", "name": "stdout", "text": "\0" * 10**6}))
    log.close()
    assert parse_event((tmp_path / "events.jsonl").read_bytes()) is not None


def test_pictures_are_only_named() -> None:
    output = {"output_type": "display_data", "data": {"image/png": "iVBOR" * 1000, "text/plain": "<Figure>"}}
    assert brief_output(output) == {
        "output_type": "display_data",
        "data": {"text/plain": "<Figure>"},
        "mimetypes": ["image/png", "text/plain"],
        "truncated": False,
    }


def test_an_output_without_text_has_no_data() -> None:
    brief = brief_output({"output_type": "display_data", "data": {"image/png": "iVBOR"}})
    assert brief == {"output_type": "display_data", "data": {}, "mimetypes": ["image/png"]}


def test_an_error_is_one_traceback() -> None:
    error = {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["one", "two"]}
    assert brief_error(error) == {"ename": "E", "evalue": "v", "traceback": "one\ntwo"}
    assert brief_output(error)["output_type"] == "error"
