"""Writing flag values into a copy of the notebook, character for character."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.errors import BadInput
from engine.model import Cell, Flag, FlagValue, Notebook
from engine.notebooks.assignments import Assignment, assignments
from engine.notebooks.literals import parse_literal, render, same


def substitute(notebook: Notebook, flags: Sequence[Flag], values: Sequence[FlagValue]) -> Notebook:
    """The notebook with the values in place of the literals, everything else as it was.

    ``flags`` must come from this very notebook. A flag at its default is left alone, and so is a place that
    holds the value already. Raises BadInput when the notebook would not then hold exactly the
    given values: ``x = y = 1`` cannot have another x and the same y.
    """
    literals = {value.name: value.literal for value in values}
    edits: dict[int, dict[tuple[int, int], Any]] = defaultdict(dict)
    expected: dict[int, dict[tuple[str, int], tuple[Flag, Any]]] = defaultdict(dict)
    for flag in flags:
        wanted = parse_literal(literals.get(flag.name, flag.default))
        for place in flag.places:
            now = parse_literal(_text(notebook.cells[place.cell], place.start, place.end))
            changed = literals.get(flag.name, flag.default) != flag.default and not same(now, wanted, flag.type)
            if changed:
                edits[place.cell][place.start, place.end] = wanted
            expected[place.cell][flag.name, place.start] = (flag, wanted if changed else now)
    cells = list(notebook.cells)
    for index, cell_edits in edits.items():
        before = cells[index]
        cells[index] = replace(before, source=_rewritten(before.source, cell_edits))
        _verify(index, before.source, cells[index].source, expected[index])
    return replace(notebook, cells=tuple(cells))


def _text(cell: Cell, start: int, end: int) -> str:
    # Parentheses, because a literal that stood in some may go over several lines.
    return f"({cell.source[start:end]})"


def _rewritten(source: str, edits: dict[tuple[int, int], Any]) -> str:
    for (start, end), value in sorted(edits.items(), reverse=True):
        source = source[:start] + render(value) + source[end:]
    return source


def _verify(index: int, before: str, after: str, expected: dict[tuple[str, int], tuple[Flag, Any]]) -> None:
    """Read the new source back: the same assignments in the same order, with the values that were meant."""
    old, new = assignments(before), assignments(after)
    if [item.names for item in old] != [item.names for item in new]:
        raise BadInput(
            f"The flags of cell {index + 1} cannot be written into it without changing its meaning.",
            "Put the flags on lines of their own.",
        )
    for was, now in zip(old, new, strict=True):
        for name in was.names:
            flag, value = expected.get((name, was.start), (None, was.value))
            if flag is not None and not same(now.value, value, flag.type):
                raise BadInput(_conflict(index, was), "Give these flags the same value, or assign them separately.")


def _conflict(index: int, assignment: Assignment) -> str:
    names = " and ".join(f"'{name}'" for name in dict.fromkeys(assignment.names))
    return f"{names} share one value in cell {index + 1} line {assignment.line}, and cannot be set apart."
