"""How an execution ended: told from the harness's last events, the container's state, and what we did to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from engine.harness.memory import format_bytes
from engine.model import CellError, Json, Limits, Outcome, Status

#: What we stopped a container for; "" when we did not.
Stop = Literal["", "interrupt", "work_tree", "timeout"]

_KILLED = 137  # 128 + SIGKILL
#: What an engine says of a container that it finds dead when it starts.
_FOUND_DEAD = 255
_LIMITS = ("", "memory", "timeout", "cell_timeout")
_MAX_REASON = 4000
# CSI and OSC sequences and two-character escapes (ECMA-48); a traceback in colour has many.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")


@dataclass(frozen=True)
class Exit:
    """A container's end as the engine tells it."""

    code: int
    oom_killed: bool = False


@dataclass(frozen=True)
class LastEvents:
    """The events that decide: the last "error" and the last "finished" that were seen."""

    error: Json | None = None
    finished: Json | None = None

    def with_event(self, event: Json) -> LastEvents:
        if event["event"] == "finished":
            return replace(self, finished=event)
        if event["event"] == "error":
            return replace(self, error=event)
        return self


def decide(events: LastEvents, exit_: Exit | None, stop: Stop, limits: Limits) -> Outcome:
    """Status, reason, limit, error and exit code; times and host are added by the caller.

    ``exit_`` is None when the container is gone and nobody saw it end.
    """
    status, reason, limit = _judge(events.finished, exit_, stop, limits)
    return Outcome(
        status=status,
        reason=reason[:_MAX_REASON],
        limit=limit,
        error=_error(events.error) if status == "failed" and limit in ("", "memory") else None,
        exit_code=exit_.code if exit_ else None,
    )


def _judge(finished: Json | None, exit_: Exit | None, stop: Stop, limits: Limits) -> tuple[Status, str, str]:
    if exit_ is None:  # before the events: without an exit code, a notebook could forge that it completed
        return "lost", "The run's container is gone, and nothing that can be trusted says how it ended.", ""
    if finished is not None:
        judged = _believe(finished, exit_)
        if judged is not None and not (judged[0] == "interrupted" and stop in ("work_tree", "timeout")):
            return judged
    if stop == "interrupt":
        return "interrupted", "The run was stopped; what its cells had printed until then was kept.", ""
    if stop == "work_tree":
        return "failed", f"The work tree grew over {format_bytes(limits.work_tree)}.", "work_tree"
    if stop == "timeout":
        return "failed", f"The notebook took longer than {limits.timeout:g} seconds.", "timeout"
    if exit_.oom_killed:
        return "failed", "The container was killed: out of memory.", "memory"
    if exit_.code == _KILLED:
        return "failed", "The container was killed, by the notebook or from outside.", ""
    if exit_.code == _FOUND_DEAD:
        return "lost", "The machine or its container engine was restarted while the run was under way.", ""
    return "failed", f"The harness ended without finishing (exit code {exit_.code}); log.txt may say why.", ""


def _believe(finished: Json, exit_: Exit) -> tuple[Status, str, str] | None:
    """What the event "finished" says, unless it contradicts the exit code: a notebook can write events too."""
    code = {"completed": 0, "failed": 1, "interrupted": 130}.get(finished["status"])
    if code is None or finished["limit"] not in _LIMITS or exit_.code != code:
        return None
    status: Status = finished["status"]
    return status, finished["reason"], finished["limit"]


def _error(event: Json | None) -> CellError | None:
    if event is None:
        return None
    return CellError(
        cell=event["cell"],
        name=strip_escapes(event["name"]),
        value=strip_escapes(event["value"]),
        traceback=strip_escapes(event["traceback"]),
    )


def strip_escapes(text: str) -> str:
    """Text without terminal escape sequences."""
    return _ESCAPES.sub("", text)
