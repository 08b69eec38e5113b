"""From experiments to causes: what made each difference go away, or appear.

Two kinds of units are told apart by a plain repeat. *Moving* ones differ even then: for them everything that
can be held is held, twice, and one thing at a time is set free. What comes back with one thing alone is its
doing; a unit with two causes shows both, which holding one thing at a time would not. *Still* ones are the same
in every plain repeat here, and yet not in what they are compared with: for them one thing at a time is changed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from engine.model import VERDICTS, Cause, CauseKind, Json, Verdict
from engine.results.compare import Evidence, examine
from engine.results.judging import Rules
from engine.results.scalars import harvest_scalars
from engine.results.trace import Note, find_entry, writer_of

#: What is set free, and the cause that it stands for. Threads are free twice, because two orders are needed.
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
    """The experiments so far, in order. Units count as differing when their verdict is worse than ``at_least``."""

    rules: Rules
    at_least: Verdict
    done: list[Trial] = field(default_factory=list)
    _cache: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def get(self, name: str) -> Trial | None:
        return next((trial for trial in self.done if trial.name == name), None)

    def differing(self, one: Trial, other: Trial) -> frozenset[str]:
        """The units in which two trials differ."""
        key = (one.run, other.run)
        if key not in self._cache:
            found = examine(one.evidence, other.evidence, self.rules)[0].differences
            self._cache[key] = frozenset(item.where for item in found if is_worse(item.verdict, self.at_least))
        return self._cache[key]


def is_worse(verdict: Verdict, than: Verdict) -> bool:
    """Whether a verdict is not good enough."""
    return VERDICTS.index(verdict) > VERDICTS.index(than)


def infer(units: Collection[str], trials: Trials, network: bool) -> tuple[Cause, ...]:
    """The causes of these units, which are in doubt, in their order; one that has none is unexplained.

    ``trials`` holds at least the trial "as it was" (the run itself) and "plain". ``network`` says whether the run
    had one.
    """
    return tuple(cause for unit in units for cause in _causes(unit, trials, network))


def _causes(unit: str, trials: Trials, network: bool) -> Iterator[Cause]:
    origin, plain = trials.get("as it was"), trials.get("plain")
    if origin is None or plain is None:
        yield Cause(unit, None, "unexplained", "no experiment was made")
        return
    cell = _cell_of(unit, origin, plain)
    found = list(_network(unit, cell, plain) if not network else ())
    moving = unit in trials.differing(origin, plain)
    if not found:
        found = list(_moving(unit, cell, trials) if moving else _still(unit, cell, trials, plain))
    yield from found or [Cause(unit, cell, "unexplained", _why_not(unit, moving, trials))]


def _moving(unit: str, cell: int | None, trials: Trials) -> Iterator[Cause]:
    held, again = trials.get("held"), trials.get("held again")
    if held is None or again is None or unit in trials.differing(held, again):
        return
    for name, kind in FREE.items():
        free = trials.get(name)
        against = trials.get(f"{name} again") if kind == "threads" else held
        if free is None or against is None or unit not in trials.differing(against, free):
            continue
        yield Cause(
            unit,
            cell,
            kind,
            f"the same in two runs with everything held ({held.run}, {again.run}), another when only {_WHAT[name]}"
            f" ({free.run})",
            _enters(cell, kind, free if kind == "random" else held, held),
        )


def _still(unit: str, cell: int | None, trials: Trials, plain: Trial) -> Iterator[Cause]:
    for name, kind in CHANGED.items():
        changed = trials.get(name)
        if changed is None or unit not in trials.differing(plain, changed):
            continue
        yield Cause(
            unit,
            cell,
            kind,
            f"the same when repeated here ({plain.run}), another when {_WHAT[name]} ({changed.run})",
            _enters(cell, kind, plain, None),
        )


def _network(unit: str, cell: int | None, plain: Trial) -> Iterator[Cause]:
    """A cell that asked for the network, which is off, and those that were not reached because of it."""
    asked = [note for note in plain.trace if note.kind == "network"]
    own = next((note for note in asked if note.cell == cell), None)
    if own is not None:
        line = _quote(own.cell, own.line, plain.evidence.document)
        yield Cause(unit, cell, "network", f"asked for {own.value}, and the network is off ({plain.run})", line)
        return
    last = _failed_cell(plain.evidence.document)
    ended = next((note for note in asked if note.cell == last), None)
    if ended is not None and plain.evidence.status == "failed" and (cell is None or cell > ended.cell):
        line = _quote(ended.cell, ended.line, plain.evidence.document)
        evidence = f"not reached: cell {ended.cell} failed, asking for {ended.value}, and the network is off"
        yield Cause(unit, cell, "network", f"{evidence} ({plain.run})", line)


def _why_not(unit: str, moving: bool, trials: Trials) -> str:
    """What was tried in vain."""
    missing = trials.get("held again") is None if moving else any(trials.get(name) is None for name in CHANGED)
    rest = "; not every experiment could be made" if missing else ""
    if not moving:
        return f"the same when repeated here, whatever was changed{rest}"
    held, again = trials.get("held"), trials.get("held again")
    if held is None or again is None:
        return f"differs when repeated here{rest}"
    if unit in trials.differing(held, again):
        return f"differs even with seeds, frameworks, clock and threads held ({held.run}, {again.run})"
    missing = any(trials.get(name) is None for name in FREE)
    rest = "; not every experiment could be made" if missing else ""
    return (
        f"the same in two runs with everything held ({held.run}, {again.run}), and nothing alone brought it back{rest}"
    )


def _enters(cell: int | None, kind: CauseKind, traced: Trial, held: Trial | None) -> str:
    sources = [str(item["source"]) for item in traced.evidence.document["cells"]]
    if kind not in ("random", "clock") or cell is None or not 1 <= cell <= len(sources):
        return ""
    where = find_entry(traced.trace, cell, kind, sources, held.trace if held is not None and kind == "random" else ())
    return _quote(*where, traced.evidence.document)


def _quote(cell: int, line: int, document: Json) -> str:
    """``cell 2 line 3: x = random()``; empty when there is no such line."""
    cells = document["cells"]
    if not 1 <= cell <= len(cells):
        return ""
    lines = str(cells[cell - 1]["source"]).split("\n")
    return f"cell {cell} line {line}: {lines[line - 1].strip()[:80]}" if 1 <= line <= len(lines) else ""


def _cell_of(unit: str, *trials: Trial) -> int | None:
    """The cell whose unit it is: the one that printed a scalar, wrote a file, or ended the notebook."""
    named = _CELL.match(unit)
    if named:
        return int(named[1])
    for trial in trials:
        if unit.startswith("scalar "):
            cells = [
                item.cell + 1 for item in harvest_scalars(trial.evidence.document) if f"scalar {item.name}" == unit
            ]
            if cells:
                return cells[0]
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
