"""Which flags a notebook has, and where their values stand in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from engine.model import Flag, FlagType, Notebook, Place
from engine.notebooks.assignments import Assignment, assignments
from engine.notebooks.cells import executed_cells
from engine.notebooks.forms import parse_field
from engine.notebooks.literals import render, type_of

Origin = Literal["form", "parameters", "assignment"]

#: papermill's tags: the cell with the defaults, and the cell with which it overrode them in an earlier run.
_PARAMETER_TAGS = frozenset({"parameters", "injected-parameters"})
_ANNOTATIONS: dict[str, FlagType] = {
    "int": "int",
    "float": "float",
    "bool": "bool",
    "str": "str",
    "list": "list",
    "dict": "dict",
    "tuple": "tuple",
}
_FITS: dict[FlagType, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "str": (str,),
    "list": (list,),
    "dict": (dict,),
    "tuple": (tuple,),
}


@dataclass(frozen=True)
class _Candidate:
    name: str
    origin: Origin
    declared: FlagType | None
    value: Any
    place: Place
    help: str = ""


def find_flags(notebook: Notebook) -> tuple[Flag, ...]:
    """All flags, sorted by name.

    A flag is a literal assigned to a name: at the top level of any code cell, in a cell tagged
    ``parameters`` (papermill), or on a line with a Colab form field, wherever that is indented. Where a
    name has a form field or stands in a parameters cell, its other assignments are the program's own and
    no places of the flag. With several places the last one gives the default and the type.
    """
    by_name: dict[str, list[_Candidate]] = defaultdict(list)
    for index, source in executed_cells(notebook):
        parameters = not _PARAMETER_TAGS.isdisjoint(notebook.cells[index].tags)
        for assignment in assignments(source):
            for candidate in _candidates(index, assignment, parameters):
                by_name[candidate.name].append(candidate)
    return tuple(_flag(name, by_name[name]) for name in sorted(by_name))


def _candidates(cell: int, assignment: Assignment, parameters: bool) -> Iterable[_Candidate]:
    place = Place(cell, assignment.line, assignment.start, assignment.end)
    field = parse_field(assignment.tail)
    origin: Origin
    if field is not None:
        origin, declared, text = "form", field.declared, field.options.get("placeholder", "")
    elif assignment.top_level:
        origin = "parameters" if parameters else "assignment"
        declared, text = _ANNOTATIONS.get(assignment.annotation), ""
    else:
        return
    for name in dict.fromkeys(assignment.names):
        if origin != "assignment" or not name.startswith("_"):
            yield _Candidate(name, origin, declared, assignment.value, place, text)


def _flag(name: str, candidates: list[_Candidate]) -> Flag:
    declared_ones = [candidate for candidate in candidates if candidate.origin != "assignment"]
    chosen = declared_ones or candidates
    last = chosen[-1]
    return Flag(
        name=name,
        type=_type(last),
        default=render(last.value),
        origin=last.origin,
        places=tuple(candidate.place for candidate in chosen),
        help=last.help,
    )


def _type(candidate: _Candidate) -> FlagType:
    """The declared type when the default is of it (or None), else the default's own."""
    declared, value = candidate.declared, candidate.value
    if declared is None:
        return type_of(value)
    fits = value is None or (isinstance(value, _FITS[declared]) and (declared == "bool") == isinstance(value, bool))
    return declared if fits else type_of(value)
