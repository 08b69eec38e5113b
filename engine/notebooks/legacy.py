"""Notebooks of an earlier time: nbformat 3, and Python 2."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import BadInput
from engine.model import Cell, Json
from engine.notebooks.cells import mask
from engine.notebooks.literals import parse_module
from engine.notebooks.metadata import cell_metadata
from engine.notebooks.wording import cell_line, shown

_RESAVE = "Open it in Jupyter and save it again."
_PYTHON2 = re.compile(
    r"(?:.*:)?\s*(?:print\s+[\w\"'%]|exec\s+[\"']|except\s+[\w.]+\s*,\s*\w+\s*:|raise\s+\w+\s*,\s*[\"'])"
)


def upgraded(document: Json, name: str) -> Json:
    """An nbformat 3 document as nbformat 4, by nbformat's own rules.

    Raises BadInput when its worksheets are not what format 3 says, or hold cells of another language.
    """
    damaged = BadInput(f"{name} is damaged: its worksheets are not as notebook format 3 has them.", _RESAVE)
    sheets = document.get("worksheets", [])
    if not isinstance(sheets, list) or not all(isinstance(sheet, Mapping) for sheet in sheets):
        raise damaged
    lists = [sheet.get("cells", []) for sheet in sheets]
    if not all(isinstance(entries, list) for entries in lists):
        raise damaged
    cells = [_checked_cell(entry, name) for entries in lists for entry in entries]
    # Imported here: it takes longer than reading a whole notebook of format 4.
    from nbformat import from_dict
    from nbformat.v4 import upgrade

    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells, "metadata": {}}]}
    new = upgrade(from_dict(old), from_version=3, from_minor=0)  # type: ignore[no-untyped-call]
    # nbformat gives random ids; without one, a cell's id depends on its place.
    upgraded_cells = [{key: value for key, value in cell.items() if key != "id"} for cell in new["cells"]]
    return {"metadata": document.get("metadata"), "cells": upgraded_cells}


def _checked_cell(entry: Any, name: str) -> Json:
    """The parts of a format 3 cell that matter, in the shapes that nbformat's upgrade relies on."""
    kind = entry.get("cell_type") if isinstance(entry, Mapping) else None
    if kind not in ("code", "markdown", "raw", "heading", "html"):
        raise BadInput(f"{name} is damaged: it has a cell of no known type.", _RESAVE)
    source = entry.get("input" if kind == "code" else "source", "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise BadInput(f"{name} is damaged: it has a cell without a readable source.", _RESAVE)
    metadata = cell_metadata(entry.get("metadata"))
    if kind == "code":
        language = entry.get("language", "python")
        if language != "python":
            raise BadInput(
                f"{name} is refused: no {shown(str(language), 30)} kernel.", "Only notebooks in Python can be run."
            )
        return {
            "cell_type": kind,
            "language": language,
            "input": source,
            "outputs": [],
            "collapsed": False,
            "metadata": metadata,
        }
    cell: Json = {"cell_type": kind, "source": source, "metadata": metadata}
    if kind == "heading":
        level = entry.get("level", 1)
        cell["level"] = level if isinstance(level, int) and 1 <= level <= 6 else 1
    return cell


def python2_warning(metadata: Mapping[str, Any], cells: Sequence[Cell]) -> str:
    """One sentence when the notebook says, or looks as if, it was written for Python 2; else empty."""
    place = next(
        (
            cell_line(index, line)
            for index, cell in enumerate(cells)
            if cell.kind == "code" and (line := _old_line(cell))
        ),
        "",
    )
    if place:
        return f"{place[0].upper()}{place[1:]} is Python 2 code, which Python 3 cannot run."
    if _says_python2(metadata):
        return "The notebook was saved for Python 2 and is run with Python 3."
    return ""


def _says_python2(metadata: Mapping[str, Any]) -> bool:
    info, kernel = metadata.get("language_info"), metadata.get("kernelspec")
    version = info.get("version") if isinstance(info, Mapping) else None
    shown_as = kernel.get("display_name") if isinstance(kernel, Mapping) else None
    # The kernel is what it was last meant for; language_info is left over from whatever saved it.
    return str(shown_as or f"Python {version}").startswith("Python 2")


def _old_line(cell: Cell) -> int:
    """The first line (from 1) with a statement that only Python 2 has, in a cell that Python 3 cannot parse; else 0."""
    masked = mask(cell.source)
    if masked is None or parse_module(masked) is not None:
        return 0
    for number, line in enumerate(masked.split("\n"), 1):
        if _PYTHON2.match(line):
            return number
    return 0
