"""The executed notebook as a notebook may have left it: read with suspicion, returned well-formed."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

from engine.errors import BadInput
from engine.files import read_regular
from engine.model import Json

MAX_BYTES = 512 << 20
MAX_CELLS = 100_000
#: Deeper JSON in outputs or metadata would end in Python's recursion limit somewhere later.
MAX_DEPTH = 200
_CELL_KINDS = ("code", "markdown", "raw")  # tuples, because what is looked up may not be hashable
_STREAMS = ("stdout", "stderr")


def read_executed(path: Path) -> Json:
    """An executed notebook as an nbformat 4 dict in which everything has its type.

    cells is a list of dicts with ``cell_type``, ``source`` (one string) and ``metadata``; a code
    cell has ``execution_count`` and ``outputs``, each a stream (``name``, ``text``), a
    display_data or execute_result (``data``, ``metadata``) or an error (``ename``, ``evalue``,
    ``traceback`` as a list). Texts are one string each and valid Unicode. What is none of this is
    dropped. A missing file is a notebook without cells: the harness never came to write it.
    BadInput for a link, a FIFO, more than MAX_BYTES, or bytes that are no notebook.
    """
    try:
        document = json.loads(read_regular(path, MAX_BYTES))
    except FileNotFoundError:
        document = {"cells": []}
    except OSError as error:
        reason = f"it is larger than {MAX_BYTES >> 20} MiB" if error.errno == errno.EFBIG else "it is no regular file"
        raise _unusable(reason) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise _unusable("it is not JSON") from error
    return _well_formed(document)


def read_stored(path: Path) -> Json:
    """The outputs that a user's own notebook (nbformat 3 or 4) holds, in the form of ``read_executed``.

    BadInput when it cannot be read or holds no output.
    """
    import nbformat

    try:
        notebook = nbformat.reads(read_regular(path, MAX_BYTES).decode(), as_version=4)  # type: ignore[no-untyped-call]
        document = _well_formed(notebook)
    except Exception as error:  # nbformat raises whatever a malformed notebook makes it stumble over
        raise BadInput("The outputs stored in the notebook cannot be read.", "It may be damaged.") from error
    if not any(outputs for _, outputs in cell_outputs(document)):
        raise BadInput("The notebook holds no stored outputs.", "It was saved without them, or never run.")
    return document


def _well_formed(document: Any) -> Json:
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        raise _unusable("it is not a notebook")
    if len(document["cells"]) > MAX_CELLS:
        raise _unusable(f"it has more than {MAX_CELLS:,} cells")
    return {
        "cells": [_cell(cell) for cell in document["cells"] if isinstance(cell, dict)],
        "metadata": _mapping(document.get("metadata")),
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def cell_outputs(document: Json) -> list[tuple[int, list[Json]]]:
    """The outputs of each code cell, with the cell's index from 0, of a document from ``read_executed``."""
    return [(i, cell["outputs"]) for i, cell in enumerate(document["cells"]) if cell["cell_type"] == "code"]


def _unusable(reason: str) -> BadInput:
    return BadInput(f"The executed notebook cannot be used: {reason}.", "The notebook itself has overwritten it.")


def _cell(cell: Json) -> Json:
    kind = cell.get("cell_type")
    clean: Json = {
        "cell_type": kind if kind in _CELL_KINDS else "raw",
        "metadata": _mapping(cell.get("metadata")),
        "source": _text(cell.get("source")),
    }
    if isinstance(cell.get("id"), str):
        clean["id"] = valid_text(cell["id"])
    if isinstance(cell.get("attachments"), dict):
        clean["attachments"] = _plain(cell["attachments"])
    if clean["cell_type"] == "code":
        outputs = cell.get("outputs")
        clean["execution_count"] = _count(cell.get("execution_count"))
        clean["outputs"] = [done for item in _list(outputs) if (done := _output(item)) is not None]
    return clean


def _output(output: Any) -> Json | None:
    if not isinstance(output, dict):
        return None
    kind = output.get("output_type")
    if kind == "stream":
        name = output.get("name")
        return {"output_type": kind, "name": name if name in _STREAMS else "stdout", "text": _text(output.get("text"))}
    if kind == "error":
        return {
            "output_type": kind,
            "ename": _text(output.get("ename")),
            "evalue": _text(output.get("evalue")),
            "traceback": [_text(line) for line in _list(output.get("traceback"))],
        }
    if kind in ("display_data", "execute_result"):
        data = output["data"] if isinstance(output.get("data"), dict) else {}
        clean: Json = {
            "output_type": kind,
            "data": {valid_text(mime): _datum(mime, value) for mime, value in data.items()},
            "metadata": _mapping(output.get("metadata")),
        }
        if kind == "execute_result":
            clean["execution_count"] = _count(output.get("execution_count"))
        return clean
    return None


def _datum(mime: str, value: Any) -> Any:
    # nbformat: JSON types hold any value, all others text, which may be a list of lines.
    return _plain(value) if mime == "application/json" or mime.endswith("+json") else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    return valid_text(value) if isinstance(value, str) else ""


def valid_text(text: str) -> str:
    """``text`` with lone surrogates, which JSON can spell and UTF-8 cannot, as U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _plain(value: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise _unusable("it is nested too deeply")
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {valid_text(key): _plain(item, depth + 1) for key, item in value.items()}
    return value


def _mapping(value: Any) -> Json:
    return dict(_plain(value)) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 53 else None
