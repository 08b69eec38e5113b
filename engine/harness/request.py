"""What the host asks for: request.json of the spool."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from . import PROTOCOL

#: The work tree; the notebook starts in its own folder there.
PROJECT = Path("/project")


class UnknownProtocol(Exception):
    """The host speaks another version than this harness: base image and host do not belong together."""


@dataclass(frozen=True)
class Request:
    """``directory`` is relative to the project; times are seconds, ``memory`` is bytes; None is no limit.

    The container enforces the memory limit; here it only makes a message say which one was hit. ``gpus`` asks for
    measurements of the GPUs that it has.
    """

    directory: str = "."
    timeout: float | None = None
    cell_timeout: float | None = None
    memory: int | None = None
    gpus: bool = False

    @property
    def folder(self) -> Path:
        """Where the notebook starts."""
        return PROJECT / self.directory


def read_request(path: Path) -> Request:
    """Read request.json; UnknownProtocol when its version is newer than ours, ValueError when a field is not usable."""
    fields = json.loads(path.read_bytes())
    if fields.get("protocol") not in range(1, PROTOCOL + 1):
        raise UnknownProtocol(f"the host speaks protocol {fields.get('protocol')}, this base image {PROTOCOL}")
    memory = fields.get("memory")
    return Request(
        directory=str(fields.get("directory", ".")),
        timeout=_seconds(fields.get("timeout")),
        cell_timeout=_seconds(fields.get("cell_timeout")),
        memory=None if memory is None else int(memory),
        gpus=fields.get("gpus") is True,
    )


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(f"{value!r} is not a time limit")
    return float(value)
