"""What the harness measured while a run went, found again in its events."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from engine.containers.events import parse_event
from engine.files import open_regular
from engine.model import Scalar

#: How the harness begins the only lines that count; a notebook may have written any others, and many.
_MEASURED, _CELL = b'{"event": "measured"', b'{"event": "cell_started"'
_MAX_LINE = 4096
_MAX_VALUES = 200_000


def measured(events: Path, limit: int) -> tuple[Scalar, ...]:
    """The values in the first ``limit`` bytes, each with the cell that was under way. None without a regular file."""
    found: list[Scalar] = []
    cell = 0
    with suppress(OSError), open_regular(events) as file:
        left = limit
        beginning = True  # of a line: the rest of a longer one is none
        while left > 0 and len(found) < _MAX_VALUES and (line := file.readline(min(left, _MAX_LINE))):
            left -= len(line)
            whole = line.endswith(b"\n")
            event = parse_event(line) if beginning and whole and line.startswith((_MEASURED, _CELL)) else None
            beginning = whole
            if event is not None and event["event"] == "measured":
                found.append(Scalar(event["name"], float(event["value"]), None, cell))
            elif event is not None:
                cell = event["cell"]
    return tuple(found)
