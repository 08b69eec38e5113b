"""Reading a notebook file, whatever is in it, and writing the document that is run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from engine.errors import BadInput
from engine.model import Cell, Json, Notebook
from engine.notebooks.bounded import read_regular
from engine.notebooks.legacy import python2_warning, upgraded
from engine.notebooks.metadata import attachments, cell_metadata, notebook_metadata
from engine.notebooks.wording import shown

LARGEST = 200_000_000
_KINDS: dict[str, Literal["code", "markdown", "raw"]] = {"code": "code", "markdown": "markdown", "raw": "raw"}
_PYTHON = frozenset({"python", "ipython", "python2", "python3"})
_CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_RESAVE = "Open it in Jupyter and save it again."


def read(path: Path) -> Notebook:
    """Read an ``.ipynb`` file of nbformat 4, or 3 with a warning; stored outputs are left behind.

    nbformat's own reader is used for what is old only: its import and its schema checks take longer than all
    the rest, and this copies just the parts that it has checked itself. Raises BadInput for anything that is not a
    notebook in Python.
    """
    data = read_regular(path, LARGEST)
    name = shown(path.name)
    document = _parsed(data, name)
    version = document.get("nbformat")
    if not isinstance(version, int) or isinstance(version, bool):
        raise BadInput(f"{name} is not a notebook: it has no nbformat number.", "Name a file that Jupyter wrote.")
    if version not in (3, 4):
        age = "older" if version < 3 else "newer"
        raise BadInput(f"{name} has notebook format {version}, {age} than what can be read (3 and 4).", _RESAVE)
    warnings = []
    if version == 3:
        document = upgraded(document, name)
        warnings.append(f"{name} has the old notebook format 3 and was read as format 4.")
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    _refuse_other_languages(metadata, name)
    cells = _cells(document, name)
    old_python = python2_warning(metadata, cells)
    if old_python:
        warnings.append(old_python)
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise BadInput(f"The file name {name} is not valid UTF-8.", "Rename the notebook.") from None
    notebook = Notebook(path.name, data, "python", cells, notebook_metadata(metadata), tuple(warnings))
    try:
        json.dumps(to_document(notebook), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadInput(f"{name} holds text that is not valid Unicode (a lone surrogate).", _RESAVE) from None
    return notebook


def to_document(notebook: Notebook) -> Json:
    """The notebook as an nbformat 4.5 document without outputs, for our own kernel."""
    cells: list[Json] = []
    for cell in notebook.cells:
        entry: Json = {
            "id": cell.id,
            "cell_type": cell.kind,
            "metadata": dict(cell.metadata),
            "source": cell.source,
        }
        if cell.kind == "code":
            entry.update(outputs=[], execution_count=None)
        elif cell.attachments:
            entry["attachments"] = dict(cell.attachments)
        cells.append(entry)
    metadata = {
        **notebook.metadata,
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}


def _parsed(data: bytes, name: str) -> Json:
    if not data.strip():
        raise BadInput(f"{name} is empty.", "Name a notebook file (.ipynb).")
    try:
        # JSON has no NaN; Python's reader takes it, and what we write must be JSON.
        document = json.loads(data.decode("utf-8-sig"), parse_constant=lambda _: None)
    except UnicodeDecodeError:
        raise BadInput(
            f"{name} is not a notebook: it is not text in UTF-8.", "Name a notebook file (.ipynb)."
        ) from None
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, line {error.lineno}"
        raise BadInput(
            f"{name} is not a notebook: it is not JSON ({reason}).", "Name a notebook file (.ipynb)."
        ) from None
    except (RecursionError, ValueError):  # ValueError: a number of thousands of digits
        raise BadInput(f"{name} is not a notebook: its JSON is too deep or has a number too long.", _RESAVE) from None
    if not isinstance(document, dict):
        raise BadInput(f"{name} is not a notebook: it is JSON, but not an object.", "Name a notebook file (.ipynb).")
    return document


def _refuse_other_languages(metadata: Mapping[str, Any], name: str) -> None:
    """By language, never by the kernel's name: names are local to whoever saved the file."""
    for key, entry in (("kernelspec", "language"), ("language_info", "name")):
        part = metadata.get(key)
        language = part.get(entry) if isinstance(part, Mapping) else None
        if isinstance(language, str) and language:
            if language.lower() not in _PYTHON:
                raise BadInput(
                    f"{name} is refused: no {shown(language, 30)} kernel.", "Only notebooks in Python can be run."
                )
            return


def _cells(document: Json, name: str) -> tuple[Cell, ...]:
    entries = document.get("cells")
    if not isinstance(entries, list):
        raise BadInput(f"{name} is not a notebook: it has no list of cells.", _RESAVE)
    taken = {entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)}
    used: set[str] = set()
    cells = []
    for index, entry in enumerate(entries):
        kind = _KINDS.get(str(entry.get("cell_type"))) if isinstance(entry, dict) else None
        if kind is None:
            raise BadInput(f"{name} is damaged: cell {index + 1} is of no known type.", _RESAVE)
        cell_id = _cell_id(entry.get("id"), index, taken, used)
        used.add(cell_id)
        source = _source(entry, f"{name} is damaged: cell {index + 1} has no readable source.")
        attached = {} if kind == "code" else attachments(entry.get("attachments"))
        cells.append(Cell(cell_id, kind, source, cell_metadata(entry.get("metadata")), attached))
    return tuple(cells)


def _source(entry: Json, damaged: str) -> str:
    """The source with LF line ends; Python reads CRLF and CR as line ends too (universal newlines)."""
    source = entry.get("source", "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise BadInput(damaged, _RESAVE)
    return source.replace("\r\n", "\n").replace("\r", "\n")


def _cell_id(given: Any, index: int, taken: set[str], used: set[str]) -> str:
    """The cell's own id if it is a valid one and the first with it, else one that depends on its place only."""
    if isinstance(given, str) and _CELL_ID.fullmatch(given) and given not in used:
        return given
    made, attempt = f"cell-{index}", 2
    while made in taken or made in used:
        made, attempt = f"cell-{index}-{attempt}", attempt + 1
    return made
