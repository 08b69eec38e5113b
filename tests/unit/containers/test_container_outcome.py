"""How an execution is judged."""

from __future__ import annotations

from typing import Any

import pytest

from engine.containers.outcome import Exit, LastEvents, decide, strip_escapes
from engine.model import Limits

LIMITS = Limits(timeout=5, memory=1 << 29, work_tree=20 << 30)


def events(status: str = "", *, reason: str = "", limit: str = "", error: bool = False) -> LastEvents:
    last = LastEvents()
    if error:
        last = last.with_event(
            {"event": "error", "cell": 2, "name": "E", "value": "\x1b[31mv\x1b[0m", "traceback": "\x1b[31mt\x1b[0m"}
        )
    if status:
        last = last.with_event({"event": "finished", "status": status, "reason": reason, "limit": limit})
    return last


def test_a_completed_run() -> None:
    outcome = decide(events("completed"), Exit(0), "", LIMITS)
    assert (outcome.status, outcome.reason, outcome.limit, outcome.error, outcome.exit_code) == (
        "completed",
        "",
        "",
        None,
        0,
    )


def test_a_failing_cell_carries_its_error_without_escapes() -> None:
    outcome = decide(events("failed", reason="Cell 3 raised E: v", error=True), Exit(1), "", LIMITS)
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert (outcome.error.cell, outcome.error.name, outcome.error.value, outcome.error.traceback) == (2, "E", "v", "t")


def test_a_time_limit_has_no_error() -> None:
    outcome = decide(events("failed", reason="r", limit="cell_timeout", error=True), Exit(1), "", LIMITS)
    assert (outcome.limit, outcome.error) == ("cell_timeout", None)


@pytest.mark.parametrize(
    ("last", "exit_", "stop", "status", "limit", "says"),
    [
        # interrupted by Ctrl-C, in time and too late
        (events("interrupted", reason="in cell 2"), Exit(130), "interrupt", "interrupted", "", "in cell 2"),
        (events("completed"), Exit(0), "interrupt", "completed", "", ""),
        (events(), Exit(137), "interrupt", "interrupted", "", "stopped"),
        # stopped by us for a limit: the harness only knows that it was interrupted
        (events("interrupted"), Exit(130), "work_tree", "failed", "work_tree", "20 GiB"),
        (events(), Exit(137), "work_tree", "failed", "work_tree", "20 GiB"),
        (events("interrupted"), Exit(130), "timeout", "failed", "timeout", "5 seconds"),
        # the harness itself did not get to its end
        (events(), Exit(137, oom_killed=True), "", "failed", "memory", "out of memory"),
        (events(), Exit(137), "", "failed", "", "killed"),
        (events(), Exit(70), "", "failed", "", "exit code 70"),
        (events(), None, "", "lost", "", "gone"),
        # followed by nobody, but it had finished
        (events("completed"), None, "", "lost", "", "trusted"),
        # forged: the exit code says otherwise
        (events("completed"), Exit(137), "", "failed", "", "killed"),
        (events("completed"), Exit(1), "", "failed", "", "exit code 1"),
        (events("lost"), Exit(0), "", "failed", "", "exit code 0"),
        (events("failed", limit="none of ours"), Exit(1), "", "failed", "", "exit code 1"),
    ],
)
def test_judgements(last: LastEvents, exit_: Exit | None, stop: Any, status: str, limit: str, says: str) -> None:
    outcome = decide(last, exit_, stop, LIMITS)
    assert (outcome.status, outcome.limit) == (status, limit)
    assert says in outcome.reason


def test_a_reason_is_bounded() -> None:
    assert len(decide(events("failed", reason="x" * 10**6), Exit(1), "", LIMITS).reason) <= 4000


def test_escapes_of_all_kinds_go() -> None:
    assert strip_escapes("\x1b[1;31ma\x1b[0m\x1b]0;title\x07b\x1b]8;;url\x1b\\c\x1bMd") == "abcd"
