"""events.jsonl: what happens during an execution, one JSON object a line, written as it happens."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

#: Characters of text in one event. The whole output stands in executed.ipynb; events are for watching.
MAX_TEXT = 64 * 1024


class EventLog:
    """Appends to events.jsonl. A line is one write(2), so that a reader never waits for a buffer."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, event: str, **fields: Any) -> None:
        """Append one event with the present time (UTC, ISO 8601)."""
        line = json.dumps({"event": event, "time": _now(), **fields}) + "\n"
        data = memoryview(line.encode("ascii"))
        while data:
            data = data[os.write(self._descriptor, data) :]

    def close(self) -> None:
        """Make all events durable."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)


def brief_output(output: Any) -> dict[str, Any]:
    """An nbformat output, bounded for an event: at most MAX_TEXT characters, and pictures only as their type.

    ``truncated`` says that text was cut, ``mimetypes`` lists all representations that
    executed.ipynb holds (in sorted order).
    """
    kind = output["output_type"]
    if kind == "stream":
        return {"output_type": kind, "name": output["name"], **_bounded("text", output["text"])}
    if kind == "error":
        return brief_error(output) | {"output_type": kind}
    data = output.get("data", {})
    brief: dict[str, Any] = {"output_type": kind, "data": {}, "mimetypes": sorted(data)}
    if "text/plain" in data:
        plain = _bounded("text/plain", data["text/plain"])
        brief["truncated"] = plain.pop("truncated", False)
        brief["data"] = plain
    return brief


def brief_error(content: Any) -> dict[str, Any]:
    """The exception of an error output or of a kernel's reply: ename, evalue, traceback (one string), bounded."""
    return {
        "ename": _cut(str(content.get("ename", ""))),
        "evalue": _cut(str(content.get("evalue", ""))),
        "traceback": _cut("\n".join(str(line) for line in content.get("traceback", ()))),
    }


def _bounded(name: str, value: Any) -> dict[str, Any]:
    text = value if isinstance(value, str) else "".join(map(str, value))
    cut = _cut(text)
    return {name: cut, "truncated": True} if len(cut) < len(text) else {name: text}


def _cut(text: str) -> str:
    return text[:MAX_TEXT]


def _now() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
