"""From experiments to causes: what made each difference go away, or appear.

Units that *move* differ between runs that were made alike: for them everything that can be held is held, more than
once, and one thing at a time is set free. What comes back with one thing alone is its doing; a unit with two
causes shows both, which holding one thing at a time would not. Units that *stay* are the same in every run made
alike here, and yet not in what they are compared with: for them one thing at a time is changed.

A coin that falls the same way twice has not been held, so every conclusion takes several runs: see ``Trials``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from engine.model import VERDICTS, Cause, CauseKind, Json, Verdict
from engine.results.compare import Evidence, examine
from engine.results.judging import Rules
from engine.results.scalars import harvest_scalars
from engine.results.trace import Note, find_entry, writer_of

#: Names of runs that were made alike, under the run's own conditions.
ORIGIN, PLAIN = "as it was", "plain"
HELD = "held"
#: What is set free, and the cause that it stands for.
FREE: Mapping[str, CauseKind] = {"free seeds": "random", "free clock": "clock", "free threads": "threads"}
#: What is changed.
CHANGED: Mapping[str, CauseKind] = {
    "clock held": "clock",
    "other hashes": "hash-order",
    "elsewhere": "identity",
    "one thread": "threads",
    "plain processor": "hardware",
}
_WHAT = {
    "free seeds": "seeds are free",
    "free clock": "the clock is free",
    "free threads": "threads are free",
    "clock held": "the clock stands at another time",
    "other hashes": "PYTHONHASHSEED is another",
    "elsewhere": "user, home folder and host name are others",
    "one thread": "numeric libraries have one thread",
    "plain processor": "numeric libraries do without newer processor features",
}
_CELL = re.compile(r"cell (\d+) ")


@dataclass(frozen=True)
class Trial:
    """One experiment that was executed: ``name``, the run that it is, what came out, and its trace."""

    name: str
    run: str
    evidence: Evidence
    trace: tuple[Note, ...] = ()


@dataclass
class Trials:
    """The experiments so far, in order; several may have one name. Units differ when worse than ``at_least``."""

    rules: Rules
    at_least: Verdict
    done: list[Trial] = field(default_factory=list)
    _cache: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def named(self, *names: str) -> list[Trial]:
        return [trial for trial in self.done if trial.name in names]

    def differing(self, one: Trial, other: Trial) -> frozenset[str]:
        """The units in which two trials differ."""
        key = (one.run, other.run)
        if key not in self._cache:
            found = examine(one.evidence, other.evidence, self.rules)[0].differences
            self._cache[key] = frozenset(item.where for item in found if is_worse(item.verdict, self.at_least))
        return self._cache[key]

    def unsettled(self, trials: Sequence[Trial]) -> frozenset[str]:
        """The units in which any two of these differ."""
        return frozenset[str]().union(*(self.differing(one, other) for one, other in combinations(trials, 2)))

    def moving(self) -> frozenset[str]:
        """The units that differ between runs that were made alike, under the run's conditions or changed ones."""
        return frozenset[str]().union(
            self.unsettled(self.named(ORIGIN, PLAIN)), *(self.unsettled(self.named(name)) for name in CHANGED)
        )

    def held(self) -> frozenset[str]:
        """The units that still differ when everything is held."""
        return self.unsettled(self.named(HELD))

    def freed(self, name: str) -> frozenset[str]:
        """The units that one thing alone, set free, makes another.

        Threads count when two runs with them free differ: another *number* of threads gives many results other last
        digits without making them move.
        """
        free = self.named(name)
        if FREE[name] == "threads":
            return self.unsettled(free)
        return frozenset[str]().union(*(self.differing(held, one) for held in self.named(HELD)[:1] for one in free))

    def changed(self, name: str) -> frozenset[str]:
        """The units that a change makes another, in the same way each of at least two times."""
        changed, alike = self.named(name), self.named(ORIGIN, PLAIN)
        if len(changed) < 2:
            return frozenset()
        pairs = [self.differing(one, other) for one in alike for other in changed]
        return frozenset.intersection(*pairs) - self.unsettled(changed)


def is_worse(verdict: Verdict, than: Verdict) -> bool:
    """Whether a verdict is not good enough."""
    return VERDICTS.index(verdict) > VERDICTS.index(than)


def infer(units: Collection[str], trials: Trials, network: bool) -> tuple[Cause, ...]:
    """The causes of these units, in their order; one that has none is unexplained.

    ``trials`` holds at least the run itself, as ORIGIN. ``network`` says whether the run had one.
    """
    return tuple(cause for unit in units for cause in _causes(unit, trials, network))


def _causes(unit: str, trials: Trials, network: bool) -> Iterator[Cause]:
    plain = trials.named(PLAIN)
    if not plain:
        yield Cause(unit, _cell_of(unit, trials.named(ORIGIN)), "unexplained", "no experiment was made")
        return
    cell = _cell_of(unit, [*trials.named(ORIGIN), *plain])
    if unit in trials.moving():
        found = list(_moving(unit, cell, trials))
        why = _why_it_moves(unit, trials)
    else:
        found = list(_still(unit, cell, trials, plain[0]))
        if not network:
            found = [*_network(unit, cell, plain[0]), *found]
        tried = all(trials.named(name) for name in CHANGED)
        why = "the same when repeated here, whatever was changed" + ("" if tried else _NOT_ALL)
    yield from found or [Cause(unit, cell, "unexplained", why)]


_NOT_ALL = "; not every experiment could be made"


def _moving(unit: str, cell: int | None, trials: Trials) -> Iterator[Cause]:
    held = trials.named(HELD)
    if len(held) < 2 or unit in trials.held():
        return
    runs = ", ".join(trial.run for trial in held)
    for name, kind in FREE.items():
        if unit not in trials.freed(name):
            continue
        free = trials.named(name)
        yield Cause(
            unit,
            cell,
            kind,
            f"the same in {len(held)} runs with everything held ({runs}), another when only {_WHAT[name]}"
            f" ({', '.join(trial.run for trial in free)})",
            _enters(cell, kind, free[0] if kind == "random" else held[0], held[0]),
        )


def _why_it_moves(unit: str, trials: Trials) -> str:
    """What was tried in vain."""
    held = trials.named(HELD)
    if len(held) < 2:
        return f"differs when repeated{_NOT_ALL}"
    runs = ", ".join(trial.run for trial in held)
    if unit in trials.held():
        return f"differs even with seeds, frameworks, clock and threads held ({runs})"
    tried = all(trials.named(name) for name in FREE)
    return f"the same in {len(held)} runs with everything held ({runs}), and nothing alone brought it back" + (
        "" if tried else _NOT_ALL
    )


def _still(unit: str, cell: int | None, trials: Trials, plain: Trial) -> Iterator[Cause]:
    for name, kind in CHANGED.items():
        if unit not in trials.changed(name):
            continue
        runs = ", ".join(trial.run for trial in trials.named(name))
        yield Cause(
            unit,
            cell,
            kind,
            f"the same when repeated here ({plain.run}), another when {_WHAT[name]} ({runs})",
            _enters(cell, kind, plain, None),
        )


def _network(unit: str, cell: int | None, plain: Trial) -> Iterator[Cause]:
    """A cell that asked for the network, which is off, and those that were not reached because of it.

    This is seen, not tried: the network is never opened for an experiment.
    """
    asked = [note for note in plain.trace if note.kind == "network"]
    own = next((note for note in asked if note.cell == cell), None)
    document = plain.evidence.document
    if own is not None:
        evidence = f"asked for {own.value}, and the network is off ({plain.run})"
        yield Cause(unit, cell, "network", evidence, _quote(own, document))
        return
    last = _failed_cell(document)
    ended = next((note for note in asked if note.cell == last), None)
    if ended is not None and plain.evidence.status == "failed" and (cell is None or cell > ended.cell):
        evidence = f"not reached: cell {ended.cell} failed, asking for {ended.value}, and the network is off"
        yield Cause(unit, cell, "network", f"{evidence} ({plain.run})", _quote(ended, document))


def _enters(cell: int | None, kind: CauseKind, traced: Trial, held: Trial | None) -> str:
    sources = [str(item["source"]) for item in traced.evidence.document["cells"]]
    if kind not in ("random", "clock") or cell is None or not 1 <= cell <= len(sources):
        return ""
    note = find_entry(traced.trace, cell, kind, sources, held.trace if held is not None and kind == "random" else ())
    return _quote(note, traced.evidence.document) if note is not None else ""


def _quote(note: Note, document: Json) -> str:
    """``cell 2 line 3: x = random()``; empty when there is no such line."""
    lines = str(document["cells"][note.defined - 1]["source"]).split("\n")
    if not 1 <= note.line <= len(lines):
        return ""
    return f"cell {note.defined} line {note.line}: {lines[note.line - 1].strip()[:80]}"


def _cell_of(unit: str, trials: Sequence[Trial]) -> int | None:
    """The cell whose unit it is: the one that printed a scalar, wrote a file, or ended the notebook."""
    named = _CELL.match(unit)
    if named:
        return int(named[1])
    for trial in trials:
        if unit.startswith("scalar "):
            scalars = harvest_scalars(trial.evidence.document)
            cell = next((item.cell + 1 for item in scalars if f"scalar {item.name}" == unit), None)
            if cell is not None:
                return cell
        elif unit.startswith("file "):
            cell = writer_of(unit.removeprefix("file "), trial.trace)
            if cell is not None:
                return cell
        elif unit == "status" and trial.evidence.status == "failed":
            return _failed_cell(trial.evidence.document)
    return None


def _failed_cell(document: Json) -> int | None:
    """The last cell with an error, from 1."""
    failed = [
        index
        for index, cell in enumerate(document["cells"], 1)
        if any(output["output_type"] == "error" for output in cell.get("outputs", ()))
    ]
    return failed[-1] if failed else None
