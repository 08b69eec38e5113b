"""The folder ``identity`` of a run under way: who its container's user is, and at which engine it was begun."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

from engine.containers.gpus import Given
from engine.containers.launch import Folders, Launch
from engine.containers.profile import needs_instrument
from engine.containers.user import User
from engine.files import read_regular, write_atomic, write_json
from engine.harness import PROTOCOL
from engine.model import Json, Limits

_FILE, _GPUS = "whereabouts.json", "gpus.json"
_MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Whereabouts:
    """Where a run was begun, so that whoever finds it knows whom to ask about its container."""

    engine: str  # the id that the engine gives itself
    host: str = ""  # as the home calls it; empty for this machine
    url: str = ""  # where that led when the run was begun


def write_identity(folders: Folders, user: User, launch: Launch, where: Whereabouts) -> None:
    """The folder, and the request to the harness in the spool."""
    environment = launch.environment
    asked = request(launch.directory, environment, launch.limits, launch.gpus)
    write_json(folders.spool / "request.json", asked, durable=False)
    folders.identity.mkdir(exist_ok=True)
    write_atomic(folders.identity / "passwd", user.passwd(environment["USER"], environment["HOME"]).encode())
    write_atomic(folders.identity / "group", user.group(environment["USER"]).encode())
    write_json(folders.identity / _FILE, asdict(where))


def note_gpus(folders: Folders, launch: Launch) -> None:
    """How the run gets its GPUs, and which; before its container is made."""
    if launch.gpus is not None:
        write_json(folders.identity / _GPUS, launch.gpus.described())


def request(directory: str, environment: Mapping[str, str], limits: Limits, gpus: Given | None = None) -> Json:
    """request.json: what the harness is to do. What every harness can do is asked for in the first protocol.

    ``gpus`` asks for measurements, which no result depends on: a harness that does not know it passes over it.
    """
    return {
        "protocol": PROTOCOL if needs_instrument(environment) else 1,
        "directory": directory,
        "timeout": limits.timeout,
        "cell_timeout": limits.cell_timeout,
        "memory": limits.memory,
        **({"gpus": True} if gpus is not None and gpus.way != "none" else {}),
    }


def read_gpus(folders: Folders) -> Json | None:
    """How the run that is under way got its GPUs, also for whoever finds it without the process that began it."""
    with suppress(OSError, ValueError):
        noted = json.loads(read_regular(folders.identity / _GPUS, _MAX_BYTES))
        return noted if isinstance(noted, dict) else None
    return None


def read_whereabouts(folders: Folders) -> Whereabouts | None:
    """None when the run was not begun at any engine yet, or is not under way any more."""
    try:
        fields = json.loads(read_regular(folders.identity / _FILE, _MAX_BYTES))
        return Whereabouts(str(fields["engine"]), str(fields["host"]), str(fields["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
