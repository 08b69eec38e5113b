"""``verify``: judge runs that are there already."""

from __future__ import annotations

import math
from typing import Any

from cattrs import unstructure

from engine import pipeline
from engine.cli.show import judge
from engine.cli.terminal import Terminal, print_json
from engine.errors import BadInput
from engine.model import VERDICTS, Comparison, Verdict
from engine.results import NORMALISER_NAMES, Rules
from engine.settings import find_home


def rules(tolerance: float, without: list[str] | None) -> Rules:
    """The rules of the command line; BadInput for a tolerance that is none and an unknown normaliser."""
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


def verify(run: str, other: str | None, rules: Rules, at_least: Verdict, *, stored: bool, as_json: bool) -> int:
    """Compare, print, judge."""
    if stored and other is not None:
        raise BadInput("--stored compares with the notebook itself, not with another run.", "Leave one of them out.")
    home, terminal = find_home(), Terminal()
    if stored:
        record, comparison = pipeline.verify_stored(run, rules, home, terminal)
        with_what = f"the outputs stored in {record.notebook}"
        sides: dict[str, Any] = {"run": record.id, "other": None}
    else:
        record, old, comparison = pipeline.verify(run, other, rules, home, terminal)
        with_what = f"run {old.id}"
        sides = {"run": record.id, "other": old.id}
    terminal.clear()
    if as_json:
        print_json({**sides, "hash": record.hash, **unstructure(comparison)})
    else:
        print(f"run {record.id} is ", end="")
        judge(comparison, with_what)
    return verdict_code(comparison, at_least)
