"""Runs whose host process died: the container went on, and its spool says how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.containers.events import EventTail
from engine.containers.execute import format_time, keep_log, release, remove_container
from engine.containers.host import describe_host
from engine.containers.launch import ENGINE_ID, PROJECT, Place, container_name
from engine.containers.outcome import Exit, LastEvents, decide
from engine.containers.refusals import explained
from engine.daemon import Engine
from engine.files import write_json
from engine.model import Json, Limits, Outcome
from engine.settings import EXIT_FILE


def settle(engine: Engine, run_id: str, spool: Path, on_event: Callable[[Json], None]) -> Outcome | None:
    """How a run ended that nobody followed: None while its container still runs.

    ``on_event`` is called with every event of the spool. The container is removed, and its folders
    given back, once it has ended. The status is "lost" when nothing was executed or nothing is left
    that says how it ended. Raises EngineUnavailable when the engine does not answer.
    """
    from docker.errors import NotFound

    if not _is_ours(engine, spool):
        return None
    name = container_name(run_id)
    details: dict[str, Any] | None = None
    with explained(), suppress(NotFound):
        details = engine.client.api.inspect_container(name)
    state = details["State"] if details else {}
    if state.get("Running") or state.get("Paused") or state.get("Restarting"):
        return None
    never_started = details is not None and state.get("Status") == "created"
    exit_ = Exit(int(state["ExitCode"]), bool(state.get("OOMKilled"))) if details and not never_started else None
    if exit_ is not None:
        # Noted where no notebook can write: whoever is killed before the record is written asks a second time.
        write_json(spool.with_name(EXIT_FILE), {"code": exit_.code, "oom_killed": exit_.oom_killed})
    elif details is None:
        exit_ = _noted_exit(spool)
    if details is not None:
        keep_log(engine, run_id, spool)
        remove_container(engine, run_id)
    release(Place(_project_of(details, spool), spool))
    last, first_time, last_time = _read_all(spool, on_event)
    outcome = decide(last, exit_, "", Limits())
    if never_started:
        outcome = replace(outcome, reason="Its process was killed before the notebook was started.")
    return replace(outcome, **_times(state, first_time, last_time), host=describe_host(engine))


def _noted_exit(spool: Path) -> Exit | None:
    try:
        noted = json.loads(spool.with_name(EXIT_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return Exit(int(noted["code"]), bool(noted["oom_killed"]))


def _is_ours(engine: Engine, spool: Path) -> bool:
    """Whether the run was begun at this engine: another one knows nothing of its container."""
    try:
        begun_at = (spool.with_name("identity") / ENGINE_ID).read_text()
    except OSError:
        return True
    return begun_at == str(engine.info.get("ID", ""))


def _project_of(details: dict[str, Any] | None, spool: Path) -> Path:
    """The work tree: where the container had it from, else the folder of that name beside the spool."""
    for mount in (details or {}).get("Mounts", ()):
        if mount.get("Destination") == PROJECT:
            return Path(mount["Source"])
    return spool.with_name("project")


def _read_all(spool: Path, on_event: Callable[[Json], None]) -> tuple[LastEvents, str, str]:
    last, first_time, last_time = LastEvents(), "", ""
    tail = EventTail(spool / "events.jsonl")
    try:
        read = -1
        while tail.offset > read:
            read = tail.offset
            for event in tail.read():
                last = last.with_event(event)
                first_time = first_time or event["time"]
                last_time = event["time"]
                on_event(event)
    finally:
        tail.close()
    return last, first_time, last_time


def _times(state: dict[str, Any], first_time: str, last_time: str) -> dict[str, Any]:
    """Start, end and duration in seconds: the engine's, else those of the first and last event."""
    began = _moment(state.get("StartedAt", "")) or _moment(first_time)
    ended = _moment(state.get("FinishedAt", "")) or _moment(last_time)
    if began is None or ended is None:
        return {}
    duration = max(0.0, (ended - began).total_seconds())
    return {"started": format_time(began), "finished": format_time(ended), "duration": round(duration, 3)}


def _moment(text: str) -> datetime | None:
    """An ISO 8601 time; None for no time, which the engine writes as year 1."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.year > 1 and moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
