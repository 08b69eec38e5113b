"""``rerun`` of several runs: each in a process of its own, told as it ends and in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine import pipeline
from engine.cli.running import exit_code
from engine.cli.show import record_json, styled_status, styled_verdict
from engine.cli.signers import unlock
from engine.cli.terminal import Terminal, complain, print_json, seconds_text, table
from engine.cli.verifying import verdict_code
from engine.errors import BadInput
from engine.model import Limits, Record, Verdict
from engine.progress import Progress
from engine.settings import Home, find_home


def rerun(
    names: Sequence[str],
    assignments: Sequence[str],
    limits: Limits,
    at_least: Verdict,
    where: pipeline.Where,
    at_once: int,
    *,
    cpu: bool,
    as_json: bool,
) -> int:
    """Repeat runs, or run their specs with other flag values; the exit code is that of the first which is not 0."""
    home, terminal = find_home(), Terminal()
    unlock(home)
    runs = [pipeline.ended(name, home, terminal) for name in names]
    twice = next((run.id for run in runs if runs.count(run) > 1), None)
    if twice:
        raise BadInput(f"Run {twice} is named twice.", "Name each run once.")

    def job(run: Record) -> pipeline.Job:
        def start(host: str, progress: Progress) -> Record:
            there = replace(where, host=host)
            flags = tuple(assignments) if assignments else None
            return pipeline.rerun(run.id, limits, home, progress, _ignore, there, assignments=flags, cpu=cpu)

        return pipeline.Job(run.id, "" if cpu else str(run.spec.get("gpus", "")), start)

    ended = pipeline.run_all(
        [job(run) for run in runs], where.host, at_once, home, terminal, lambda one: _tell(one, terminal)
    )
    if as_json:
        print_json([_document(one, home) for one in ended])
    else:
        print(table(["run", "repeats", "host", "status", "verdict", "took"], [_row(one) for one in ended]))
    return next((code for code in (_code(one, at_least) for one in ended) if code), 0)


def _ignore(event: dict[str, Any]) -> None:
    """Which cell of which run is at work is more than a screen has lines for."""


def _tell(one: pipeline.Ended, terminal: Terminal) -> None:
    terminal.clear()
    if one.error is not None:
        complain(f"{one.job.name} on {one.host}: {one.error.message}", one.error.hint)
    elif one.record is not None:
        terminal.say(f"  {one.job.name}  {one.record.status} on {one.host} as {one.record.id}")


def _row(one: pipeline.Ended) -> list[str]:
    record = one.record
    if record is None:
        return ["", one.job.name, one.host, "no record" if one.error else "not begun", "", ""]
    verdict = styled_verdict(record.comparison) if record.comparison else ""
    took = seconds_text(record.outcome.duration) if record.outcome and record.outcome.duration else ""
    return [record.id, one.job.name, one.host, styled_status(record), verdict, took]


def _document(one: pipeline.Ended, home: Home) -> dict[str, Any]:
    """The record, or which run there is no record for, and why."""
    if one.record is not None:
        return record_json(one.record, pipeline.look(one.record, home))
    problem = one.error or BadInput("It was not begun any more.", "Ctrl-C came first.")
    return {"rerun_of": one.job.name, "status": None, "problem": problem.message, "hint": problem.hint}


def _code(one: pipeline.Ended, at_least: Verdict) -> int:
    if one.record is None:
        return one.error.exit_code if one.error else 130
    if one.record.comparison is None or one.record.status == "interrupted":
        return exit_code(one.record)
    return verdict_code(one.record.comparison, at_least)
