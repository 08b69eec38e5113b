"""Finding causes by experiment: a run is repeated with things held, set free and changed. See ``results.causes``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from engine import containers, environments, results, store
from engine.errors import BadInput
from engine.hosts import LOCAL
from engine.link import Link
from engine.model import Json, Limits, Record, Verdict
from engine.pipeline.launching import Where
from engine.pipeline.reading import ended
from engine.pipeline.story import execute, rerun, restore
from engine.pipeline.verifying import Verification, evidence_of, has_counterpart, verify, verify_stored
from engine.progress import Progress, Silent
from engine.settings import Home

Variables = Mapping[str, str]


def _held(measures: tuple[str, ...]) -> Callable[[Variables], Variables]:
    """One thread, and these measures."""
    return lambda variables: containers.holding(containers.with_one_thread(variables), measures)


#: Of a base whose harness can hold things.
_PROTOCOL = 2
#: What each experiment makes of the run's environment.
_CHANGES: Mapping[str, Callable[[Variables], Variables]] = {
    "plain": lambda variables: variables,
    "held": _held(containers.MEASURES),
    "free seeds": _held(("clock", "frameworks")),
    "free clock": _held(("frameworks", "seeds")),
    "free threads": lambda variables: containers.holding(variables, ("clock", "seeds")),
    "clock held": lambda variables: containers.holding(variables, {*containers.held(variables), "clock"}),
    "other hashes": containers.with_other_hashes,
    "elsewhere": containers.elsewhere,
    "one thread": containers.with_one_thread,
    "plain processor": containers.on_plain_processor,
}
#: The first of each of these is traced.
_TRACED = ("plain", "held", "free seeds")
#: How often things are set free, one by one, to find what moves a unit: a coin may fall the same way twice.
_ROUNDS = 3


def diagnose(
    prefix: str,
    other: str | None,
    rules: results.Rules,
    home: Home,
    progress: Progress,
    *,
    stored: bool,
    at_least: Verdict,
    budget: float,
) -> Verification:
    """Compare as ``verify`` and ``verify_stored`` do, and find the cause of each difference by experiment.

    A run that has no other to be compared with is repeated first. Units that are at least ``at_least`` are not
    asked about. No experiment is begun that would probably end after ``budget`` seconds, and one
    that goes on beyond them is stopped.
    """
    end = time.monotonic() + budget
    run = ended(prefix, home, progress)
    if not stored and other is None and not has_counterpart(run, home):
        other = _repeat(run, budget, home, progress)
    if stored:
        verification = verify_stored(run.id, rules, home, progress)
    else:
        verification = verify(run.id, other, rules, home, progress)
    units = [item.where for item in verification.comparison.differences if results.is_worse(item.verdict, at_least)]
    if not units:
        return verification
    laboratory = _Laboratory(run, results.Trials(rules, at_least), home, progress, end)
    if verification.other is not None:
        laboratory.take(verification.other)
    interrupted = False
    try:
        laboratory.investigate(frozenset(units))
    except KeyboardInterrupt:
        interrupted = True  # what was found so far is not lost
    causes = results.infer(units, laboratory.trials, bool(run.spec.get("network")))
    return replace(verification, causes=causes, experiments=tuple(laboratory.records), interrupted=interrupted)


def _repeat(run: Record, budget: float, home: Home, progress: Progress) -> str:
    """The id of a rerun to compare with; BadInput when the budget does not allow one."""
    took = run.outcome.duration if run.outcome else 0.0
    if took > budget:
        raise BadInput(
            f"Run {run.id} took {took:.0f} seconds, and the budget is {budget:.0f}.",
            "There is no other run to compare it with, so it has to be repeated first: give a larger --budget.",
        )
    with progress.task("repeating the run, to have something to compare it with"):
        again = rerun(
            run.id, Limits(timeout=min(budget, run.limits.timeout or budget)), home, Silent(), _ignore, Where(LOCAL)
        )
    if again.status == "interrupted":
        raise KeyboardInterrupt
    return again.id


class _Laboratory:
    """Makes experiments with one run until ``end`` (monotonic, seconds). ``records`` are the runs that they are."""

    def __init__(self, run: Record, trials: results.Trials, home: Home, progress: Progress, end: float) -> None:
        self.trials = trials
        self.records: list[Record] = []
        self._run, self._home, self._progress = run, home, progress
        self._link = Link()
        self._plan = restore(run, home, self._link, progress)
        if environments.load_base(home, self._plan.image.base).protocol < _PROTOCOL:
            raise BadInput(
                f"The base image of run {run.id} is of an earlier nbseal and cannot hold anything.",
                "Run the notebook anew, and diagnose that run.",
            )
        self._end = end
        self._longest = run.outcome.duration if run.outcome else 0.0
        trials.done.append(results.Trial(results.ORIGIN, run.id, evidence_of(run, home)))

    def take(self, other: Record) -> None:
        """Count a run of the same hash among those that were made alike, if it was made on a machine like this."""
        mine, others = (item.outcome.host if item.outcome else None for item in (self._run, other))
        if mine == others and other.id != self._run.id:
            self.trials.done.append(results.Trial(results.ORIGIN, other.id, evidence_of(other, self._home)))

    def investigate(self, units: frozenset[str]) -> None:
        """Make the experiments that tell the causes of these units."""
        if not self._make(results.PLAIN):
            return
        still = units - self.trials.moving()
        if still:
            for name in results.CHANGED:
                changed = self._make(name)
                if changed and still & self.trials.differing(self.trials.done[0], changed):
                    self._make(name)
        moving = units & self.trials.moving()
        if moving and self._make(results.HELD) and self._make(results.HELD):
            self._set_free(moving)

    def _set_free(self, moving: frozenset[str]) -> None:
        """One thing at a time, until each unit that can be held has a cause, a few times; and then all held again."""
        if not moving - self.trials.held():
            return
        self._make("free threads")  # whose order takes two to be seen
        for _ in range(_ROUNDS):
            tried = [self._make(name) for name in results.FREE]
            if None in tried:
                break
            found = frozenset[str]().union(*map(self.trials.freed, results.FREE))
            if moving - self.trials.held() <= found:
                break
        self._make(results.HELD)

    def _make(self, name: str) -> results.Trial | None:
        """One experiment; None when the budget does not allow it, or when the run ends in another way under it."""
        left = self._end - time.monotonic()
        if left < self._longest:
            self._progress.say(f"  The budget is used up: no experiment '{name}'.")
            return None
        variables = _CHANGES[name](self._plan.spec.environment)
        if name in _TRACED and not self.trials.named(name):
            variables = containers.traced(variables)
        plan = replace(self._plan, spec=replace(self._plan.spec, environment=dict(sorted(variables.items()))))
        limits = replace(self._run.limits, timeout=min(left, self._run.limits.timeout or left))
        began = time.monotonic()
        with self._progress.task(f"experiment: {name}"):
            record = execute(
                plan,
                limits,
                self._home,
                self._link,
                Silent(),
                _ignore,
                parent=self._run.id,
                experiment=name,
            )
        self._longest = max(self._longest, time.monotonic() - began)
        self.records.append(record)
        if record.status == "interrupted":
            raise KeyboardInterrupt
        if record.outcome and record.outcome.limit == "timeout" and time.monotonic() > self._end:
            self._progress.say(f"  The budget ended the experiment '{name}'.")
            return None
        if name != results.PLAIN and record.status != self._run.status:
            self._progress.say(f"  The experiment '{name}' {record.status}, unlike the run: it proves nothing.")
            return None
        evidence = evidence_of(record, self._home)
        trace = results.read_trace(store.open_run(self._home, record.id).trace, evidence.document)
        trial = results.Trial(name, record.id, evidence, trace)
        self.trials.done.append(trial)
        return trial


def _ignore(event: Json) -> None:
    """Experiments are told of as a whole."""
