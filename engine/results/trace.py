"""What a traced run says about its lines: where they draw random numbers, read the clock, ask the network, write files.

See ``engine.harness.instrument``, which writes it. The notebook could have written it as well: it is bounded and
believed only as a hint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.files import read_regular
from engine.model import Json
from engine.results.flow import feeding

_MAX_BYTES = 16 << 20
_KINDS = ("clock", "random", "network", "writes")
#: Where the work tree stands in a container.
_PROJECT = "/project/"


@dataclass(frozen=True)
class Note:
    """What a line did while ``cell`` was executed; ``defined`` is the cell that holds it. All are counted from 1."""

    cell: int
    defined: int
    line: int
    kind: str
    value: str


def read_trace(path: Path, document: Json) -> tuple[Note, ...]:
    """The notes of a run whose executed notebook is ``document``, in the order written; none without a trace."""
    try:
        lines = read_regular(path, _MAX_BYTES).splitlines()
    except OSError:
        return ()
    cells = {
        cell["execution_count"]: index
        for index, cell in enumerate(document["cells"], 1)
        if cell["cell_type"] == "code" and isinstance(cell.get("execution_count"), int)
    }
    return tuple(note for line in lines if (note := _note(line, cells)) is not None)


def _note(line: bytes, cells: Mapping[Any, int]) -> Note | None:
    try:
        item = json.loads(line)
        number = item["line"]
        kind = next(kind for kind in _KINDS if kind in item)
        if type(number) is not int:
            return None
        return Note(cells[item["execution"]], cells[item["defined"]], number, kind, str(item[kind]))
    except (ValueError, KeyError, TypeError, StopIteration, RecursionError):
        return None


def writer_of(path: str, notes: tuple[Note, ...]) -> int | None:
    """The cell that opened this file of the work tree for writing, the last one of several."""
    cells = [note.cell for note in notes if note.kind == "writes" and note.value == f"{_PROJECT}{path}"]
    return cells[-1] if cells else None


def find_entry(
    notes: tuple[Note, ...], cell: int, kind: str, sources: Sequence[str], held: tuple[Note, ...] = ()
) -> Note | None:
    """Where something enters a cell: the first such line that it executes, else the first of the nearest cell that
    feeds it; None when there is none.

    Lines that ``held`` has with the same value are left out: a generator that the notebook seeds itself is in the
    same state in every run.
    """
    same = {note for note in held if note.kind == kind and note.value != "entropy"}
    entries = [note for note in notes if note.kind == kind and note not in same]
    for source in feeding(sources, cell):
        for note in entries:
            if note.cell == source:
                return note
    return None
