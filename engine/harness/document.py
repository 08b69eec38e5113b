"""executed.ipynb: saved after every cell, and a whole notebook at every moment."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import reads_json

#: Seconds between two saves within one cell, at least; and at least this many times what the last save took.
_PAUSE, _PAUSE_FACTOR = 2.0, 20.0


class Document:
    """The notebook being executed. What was saved of a cell is kept, so that a save encodes only what changed."""

    def __init__(self, source: Path, target: Path) -> None:
        self.notebook: NotebookNode = reads_json(source.read_text("utf-8"))  # type: ignore[no-untyped-call]
        self._target = target
        self._encoded: dict[int, bytes] = {}
        self._saved_at = 0.0
        self._save_took = 0.0
        for cell in self.notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = []
                cell.execution_count = None

    def changed(self, index: int) -> None:
        """To be called when the cell at ``index`` is not any more what was saved."""
        self._encoded.pop(index, None)

    def save(self, *, durable: bool = False) -> None:
        """Write to a temporary name and rename; ``durable`` adds fsync, which only the last save is worth."""
        began = time.monotonic()
        temporary = self._target.with_name(f".{self._target.name}.new")
        with temporary.open("wb") as file:
            file.write(b'{"cells": [\n')
            file.write(b",\n".join(self._cell(index) for index in range(len(self.notebook.cells))))
            rest = {key: value for key, value in self.notebook.items() if key != "cells"}
            file.write(b"\n],\n" + _encode(rest)[1:])
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(self._target)
        self._saved_at = time.monotonic()
        self._save_took = self._saved_at - began

    def save_if_due(self, index: int) -> None:
        """Save in the middle of the cell at ``index``, unless the last save was a short while ago."""
        if index not in self._encoded and time.monotonic() - self._saved_at > max(
            _PAUSE, _PAUSE_FACTOR * self._save_took
        ):
            self.save()

    def _cell(self, index: int) -> bytes:
        if index not in self._encoded:
            self._encoded[index] = _encode(_joined(self.notebook.cells[index]))
        return self._encoded[index]


def _joined(cell: Any) -> Any:
    """A cell whose stream texts are strings; while it runs they are lists of pieces (see ``client``)."""
    if cell.cell_type != "code":
        return cell
    outputs = [
        {**output, "text": "".join(output["text"])} if isinstance(output.get("text"), list) else output
        for output in cell.outputs
    ]
    return {**cell, "outputs": outputs}


def _encode(value: Any) -> bytes:
    # A lone surrogate has no UTF-8 form, but what "backslashreplace" makes of it is its JSON escape.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
