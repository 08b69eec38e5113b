"""Reading events.jsonl while it grows. A notebook can write to it too, so nothing in it is believed unchecked."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

from engine.files import open_regular
from engine.model import Json

#: Bytes of one line; a longer one is no event of the harness.
_MAX_LINE = 1 << 20
_CHUNK = 1 << 20
_MAX_CELL = 1_000_000
_MAX_STATUS = 32
#: More than this is not read: a notebook can make the file as long as it likes, at no cost.
_MAX_BYTES = 2 << 30
_MAX_DURATION = 1e9
#: What a harness measures: of each GPU that the container has, by its number there.
MEASURED = re.compile(r"gpu/(?:0|[1-9][0-9]{0,2})/(?:utilisation|memory_peak)")
_MAX_VALUE = 1 << 60
_OUTPUT_KINDS = ("stream", "display_data", "execute_result", "error")
#: The fields of each kind of event with their types, beside "event" and "time".
_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "started": {"protocol": int, "cells": int},
    "cell_started": {"cell": int},
    "output": {"cell": int, "output": dict},
    "cell_done": {"cell": int, "status": str, "duration": (int, float)},
    "error": {"cell": int, "name": str, "value": str, "traceback": str},
    "measured": {"name": str, "value": (int, float)},
    "finished": {"status": str, "reason": str, "limit": str},
}


class EventTail:
    """The events of a growing file. Links, FIFOs and devices are not opened, long or malformed lines are skipped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._offset = 0
        self._rest = b""
        self._skipping = False

    def read(self) -> list[Json]:
        """The events that came since the last call, at most 1 MiB of them; empty when there are none."""
        if self._offset >= _MAX_BYTES:
            return []
        if self._file is None:
            try:
                self._file = open_regular(self._path)
            except OSError:
                return []
        try:
            data = os.pread(self._file.fileno(), _CHUNK, self._offset)
        except OSError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._skipping and lines:
            del lines[0]
            self._skipping = False
        if len(self._rest) > _MAX_LINE:
            self._rest, self._skipping = b"", True
        return [event for event in map(parse_event, lines) if event is not None]

    @property
    def offset(self) -> int:
        """How many bytes were read so far."""
        return self._offset

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def parse_event(line: bytes) -> Json | None:
    """One line as an event with exactly the fields of its kind (protocol 1), or None."""
    if len(line) > _MAX_LINE:
        return None
    try:
        event = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    fields = _FIELDS.get(event["event"])
    if fields is None or not isinstance(event.get("time"), str):
        return None
    if not all(_is(event.get(name), kind) for name, kind in fields.items()):
        return None
    event = {name: event[name] for name in ("event", "time", *fields)}  # what else it has was not looked at
    if not 0 <= event.get("cell", 0) <= _MAX_CELL or not 0 <= event.get("cells", 0) <= _MAX_CELL:
        return None
    if "duration" in fields and not 0 <= event["duration"] <= _MAX_DURATION:
        return None
    if event["event"] == "measured" and not (MEASURED.fullmatch(event["name"]) and 0 <= event["value"] <= _MAX_VALUE):
        return None
    if len(event.get("status", "")) > _MAX_STATUS or len(event["time"]) > _MAX_STATUS:
        return None
    if "output" in fields and not _is_output(event["output"]):
        return None
    return event


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_output(output: Json) -> bool:
    """Whether it has the form of an nbformat output as far as anyone looks at it: kind, text, data."""
    data = output.get("data", {})
    return (
        output.get("output_type") in _OUTPUT_KINDS
        and all(isinstance(output.get(name, ""), str) for name in ("name", "text", "ename", "evalue", "traceback"))
        and isinstance(data, dict)
        and all(isinstance(value, str) for value in data.values())
    )
