"""Judging runs that are there already, without executing anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from engine import results, store
from engine.errors import BadInput
from engine.model import Cause, Comparison, Record
from engine.pipeline.harvest import evidence
from engine.pipeline.reading import ended
from engine.progress import Progress
from engine.settings import Home


@dataclass(frozen=True)
class Verification:
    """A run, the other one (None for the notebook's own outputs), and how they compare."""

    run: Record
    other: Record | None
    comparison: Comparison
    page: Callable[[Sequence[Cause]], str]  # HTML with these causes; see ``results.render_comparison``
    causes: tuple[Cause, ...] = ()  # of what is not good enough, after a diagnosis
    experiments: tuple[Record, ...] = ()
    interrupted: bool = False  # whether the user ended the experiments


def verify(prefix: str, other: str | None, rules: results.Rules, home: Home, progress: Progress) -> Verification:
    """Compare a run with another of its hash.

    Without ``other`` it is the run that this one repeats, else the newest other one that completed. BadInput when
    there is none, or when the two are of different hashes.
    """
    run = ended(prefix, home, progress)
    with_whom = ended(other if other is not None else _counterpart(run, home), home, progress)
    if with_whom.hash != run.hash:
        raise BadInput(
            f"Runs {run.id} and {with_whom.id} are of different hashes: they were asked to compute different things.",
            "`nbseal runs` shows which runs share a hash.",
        )
    return _examine(run, with_whom, evidence_of(with_whom, home), evidence_of(run, home), rules)


def has_counterpart(run: Record, home: Home) -> bool:
    """Whether ``verify`` finds a run to compare this one with."""
    return bool(run.rerun_of) or any(item.hash == run.hash and item.id != run.id for item in store.list_runs(home))


def verify_stored(prefix: str, rules: results.Rules, home: Home, progress: Progress) -> Verification:
    """Compare the cells of a run with the outputs that the user's own notebook held when it was run."""
    run = ended(prefix, home, progress)
    kept = store.open_run(home, run.id)
    store.verify_run(kept, run)
    stored = results.Evidence(run.status, results.read_stored(kept.original))
    return _examine(run, None, stored, results.Evidence(run.status, results.read_executed(kept.executed)), rules)


def _examine(
    run: Record, other: Record | None, old: results.Evidence, new: results.Evidence, rules: results.Rules
) -> Verification:
    comparison, differing = results.examine(old, new, rules)
    names = (f"run {other.id}" if other else f"stored in {run.notebook}", f"run {run.id}")
    title = f"{run.notebook}: {names[1]} against {names[0]}"
    page = partial(results.render_comparison, comparison, differing, title, names)
    return Verification(run, other, comparison, page)


def _counterpart(run: Record, home: Home) -> str:
    if run.rerun_of:
        return run.rerun_of
    others = [item for item in store.list_runs(home) if item.hash == run.hash and item.id != run.id]
    completed = [item for item in others if item.status == "completed"]
    if not others:
        raise BadInput(
            f"Run {run.id} is the only one of its hash.",
            f"`nbseal rerun {run.id}` repeats it; `nbseal verify {run.id} --stored` compares with your notebook.",
        )
    return (completed or others)[0].id


def evidence_of(record: Record, home: Home) -> results.Evidence:
    """What a comparison looks at of a recorded run, after holding its files against the record."""
    kept = store.open_run(home, record.id)
    store.verify_run(kept, record)
    return evidence(record, results.read_executed(kept.executed), kept.project)
