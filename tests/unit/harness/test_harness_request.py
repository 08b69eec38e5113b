"""request.json as host and harness understand it, and how limits are worded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.containers.gpus import Given, parse, without
from engine.containers.identity import request
from engine.harness.memory import format_bytes
from engine.harness.request import Request, UnknownProtocol, read_request
from engine.model import Limits


def test_the_harness_reads_what_the_host_writes(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request("sub/dir", {}, Limits(timeout=60, cell_timeout=1.5, memory=1 << 29))))
    assert read_request(file) == Request("sub/dir", 60.0, 1.5, 1 << 29)
    assert read_request(file).folder == Path("/project/sub/dir")


def test_no_limits(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request(".", {}, Limits())))
    assert read_request(file) == Request()
    file.write_text(json.dumps(request(".", {}, Limits(), Given(parse("all"), "cdi"))))
    assert read_request(file) == Request(gpus=True)
    file.write_text(json.dumps(request(".", {}, Limits(), without(parse("all")))))
    assert read_request(file) == Request()
    assert read_request(file).folder == Path("/project")


def test_another_protocol_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"protocol": 3}')
    with pytest.raises(UnknownProtocol, match="protocol 3"):
        read_request(file)


@pytest.mark.parametrize("value", [0, -1, True, "5"])
def test_an_unusable_time_limit_is_refused(tmp_path: Path, value: object) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"protocol": 1, "timeout": value}))
    with pytest.raises(ValueError, match="time limit"):
        read_request(file)


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, ""), (100, "100 bytes"), (512 << 20, "512 MiB"), (20 << 30, "20 GiB"), (3 << 29, "1.5 GiB")],
)
def test_sizes_are_readable(size: int | None, text: str) -> None:
    assert format_bytes(size) == text
