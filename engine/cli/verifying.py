"""``verify``: judge runs that are there already."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from cattrs import unstructure

from engine import pipeline
from engine.cli.pages import check_page, write_page
from engine.cli.show import explain, judge, seal_json
from engine.cli.signers import unlock
from engine.cli.terminal import Terminal, print_json
from engine.errors import BadInput
from engine.model import VERDICTS, Comparison, Record, Verdict
from engine.results import NORMALISER_NAMES, TOLERANCE, Rules, clean_text
from engine.settings import find_home

#: Seconds for experiments when nothing is said.
_BUDGET = 1800.0


def rules(tolerance: float | None, without: list[str] | None) -> Rules:
    """The rules of the command line; BadInput for a tolerance that is none and an unknown normaliser."""
    if tolerance is None:
        tolerance = TOLERANCE
    if not 0 <= tolerance < 1 or not math.isfinite(tolerance):
        raise BadInput(f"A tolerance of {tolerance:g} is none.", "Give a relative difference from 0 to below 1.")
    for name in without or ():
        if name not in NORMALISER_NAMES:
            raise BadInput(f"There is no normaliser '{name}'.", f"There are: {', '.join(NORMALISER_NAMES)}.")
    return Rules(tolerance, frozenset(without or ()))


def required(at_least: Verdict | None, *, exact: bool) -> Verdict:
    """The worst verdict that is good enough; BadInput when the options contradict each other."""
    if exact and at_least not in (None, "identical"):
        raise BadInput("--exact and --at-least contradict each other.", "Leave one of them out.")
    return "identical" if exact else at_least or "equivalent"


def verdict_code(comparison: Comparison, at_least: Verdict) -> int:
    """docs/reference/exit-codes.md: 0 when the verdict is good enough, else 4."""
    return 0 if VERDICTS.index(comparison.verdict) <= VERDICTS.index(at_least) else 4


def budget(seconds: float | None, *, diagnose: bool) -> float | None:
    """The seconds that experiments may take, None for no experiments; BadInput for a budget for nothing."""
    if seconds is not None and not math.isfinite(seconds):
        raise BadInput(f"A budget of {seconds} seconds is none.", "Give a number of seconds.")
    if seconds is not None and not diagnose:
        raise BadInput("--budget bounds the experiments of --diagnose.", "Add --diagnose, or leave --budget out.")
    return (seconds or _BUDGET) if diagnose else None


def verify(
    run: str,
    other: str | None,
    rules: Rules,
    at_least: Verdict,
    *,
    stored: bool,
    budget: float | None,
    page: Path | None,
    as_json: bool,
) -> int:
    """Compare, find causes within ``budget`` (None: do not), print, write the page, judge."""
    if stored and other is not None:
        raise BadInput("--stored compares with the notebook itself, not with another run.", "Leave one of them out.")
    if page is not None:
        check_page(page)
    home, terminal = find_home(), Terminal()
    if budget is not None:
        unlock(home)  # the experiments are runs
        found = pipeline.diagnose(run, other, rules, home, terminal, stored=stored, at_least=at_least, budget=budget)
    elif stored:
        found = pipeline.verify_stored(run, rules, home, terminal)
    else:
        found = pipeline.verify(run, other, rules, home, terminal)
    terminal.clear()
    if page is not None:
        write_page(page, found.page(found.causes))
    seals = {side.id: pipeline.look(side, home).seal for side in (found.run, found.other) if side}
    if as_json:
        sides = {"run": found.run.id, "other": found.other.id if found.other else None, "hash": found.run.hash}
        diagnosis = {
            "causes": unstructure(found.causes),
            "experiments": [_experiment(item) for item in found.experiments],
        }
        told = {"seals": {name: seal_json(seal) for name, seal in seals.items()}}
        print_json({**sides, **told, **unstructure(found.comparison), **(diagnosis if budget is not None else {})})
    else:
        print(f"run {found.run.id} is ", end="")
        judge(found.comparison, f"run {found.other.id}" if found.other else f"what {found.run.notebook} holds")
        for name, seal in seals.items():
            if seal.digest:
                print(f"run {name} is {clean_text(str(seal))}")
        explain(found.causes)
    if found.interrupted:
        return 130
    return verdict_code(found.comparison, at_least)


def _experiment(record: Record) -> dict[str, Any]:
    return {
        "name": record.experiment,
        "run": record.id,
        "status": record.status,
        "duration": record.outcome.duration if record.outcome else None,
    }
