"""What the harness measured, found again in events that a notebook may have forged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.containers.measured import measured
from engine.model import Scalar

TIME = "2026-01-01T00:00:00.000Z"
PEAK = "gpu/0/memory_peak"


def line(event: str, **fields: Any) -> bytes:
    return json.dumps({"event": event, "time": TIME, **fields}).encode() + b"\n"


def of(folder: Path, *lines: bytes, limit: int = 1 << 20) -> tuple[Scalar, ...]:
    (folder / "events.jsonl").write_bytes(b"".join(lines))
    return measured(folder / "events.jsonl", limit)


def test_a_value_belongs_to_the_cell_under_way(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        line("started", protocol=2, cells=2),
        line("measured", name=PEAK, value=5),
        line("cell_started", cell=3),
        line("output", cell=3, output={"output_type": "stream", "name": "stdout", "text": "x" * 9000}),
        line("measured", name="gpu/12/utilisation", value=37.5),
    )
    assert found == (Scalar(PEAK, 5.0, None, 0), Scalar("gpu/12/utilisation", 37.5, None, 3))


@pytest.mark.parametrize(
    "forged",
    [
        line("measured", name="loss", value=1),
        line("measured", name="gpu/00/memory_peak", value=1),
        line("measured", name="gpu/1/memory_peak/x", value=1),
        line("measured", name=PEAK, value=-1),
        line("measured", name=PEAK, value=2**61),
        line("measured", name=PEAK, value=True),
        line("measured", name=PEAK, value="1"),
        line("measured", name=PEAK, value=float("nan")),
        line("measured", name=PEAK, value=float("inf")),
        line("measured", name=PEAK),
        line("measured", name=PEAK, value=1)[:-1],  # cut off
        b" " + line("measured", name=PEAK, value=1),
        b"x" * 4096 + line("measured", name=PEAK, value=1),  # the rest of a longer line
        b'{"event": "measured"' * 1000 + b"\n",
    ],
)
def test_forged_values(tmp_path: Path, forged: bytes) -> None:
    assert of(tmp_path, forged) == ()


def test_only_a_regular_file_and_only_so_much_of_it(tmp_path: Path) -> None:
    one = line("measured", name=PEAK, value=1)
    assert len(of(tmp_path, one, one, limit=len(one))) == 1
    assert len(of(tmp_path, one, one, limit=2 * len(one) - 1)) == 1
    (tmp_path / "link").symlink_to(tmp_path / "events.jsonl")
    assert measured(tmp_path / "link", 1 << 20) == ()
    assert measured(tmp_path / "absent", 1 << 20) == ()
