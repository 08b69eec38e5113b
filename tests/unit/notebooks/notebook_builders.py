"""Small notebooks for the tests, as objects and as files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.model import Cell, Notebook


def code(source: str, *tags: str) -> Cell:
    return Cell("id", "code", source, {"tags": list(tags)} if tags else {})


def notebook(*cells: Cell | str) -> Notebook:
    """A notebook of code cells; text is short for a cell without tags."""
    made = [code(cell) if isinstance(cell, str) else cell for cell in cells]
    return Notebook("nb.ipynb", b"", "python", tuple(made))


def document(cells: Sequence[dict[str, Any]] = (), **metadata: Any) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)}


def entry(source: Any = "", kind: str = "code", **fields: Any) -> dict[str, Any]:
    made = {"cell_type": kind, "metadata": {}, "source": source}
    if kind == "code":
        made.update(outputs=[], execution_count=None)
    return {**made, **fields}


def save(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
