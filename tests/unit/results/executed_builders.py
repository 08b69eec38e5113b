"""Executed notebooks for the tests of results."""

import json
from pathlib import Path
from typing import Any

from engine.model import Json, Limits, OutputFile, Record, Status
from engine.results import read_executed


def stream(text: str, name: str = "stdout") -> Json:
    return {"output_type": "stream", "name": name, "text": text}


def display(data: Json, metadata: Json | None = None, kind: str = "display_data") -> Json:
    return {"output_type": kind, "data": data, "metadata": metadata or {}, "execution_count": 1}


def error(*traceback: str, ename: str = "ValueError", evalue: str = "bad") -> Json:
    return {"output_type": "error", "ename": ename, "evalue": evalue, "traceback": list(traceback)}


def code(*outputs: Any, count: int | None = 1) -> Json:
    return {
        "cell_type": "code", "metadata": {}, "source": "pass", "execution_count": count, "outputs": list(outputs),
    }  # fmt: skip


def executed(*cells: Json) -> Json:
    """A document as ``read_executed`` gives it; a bare output stands for a code cell that has it."""
    return {
        "cells": [cell if "cell_type" in cell else code(cell) for cell in cells],
        "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip


def reread(folder: Path, document: Any) -> Json:
    """``document`` by way of a file."""
    path = folder / "executed.ipynb"
    path.write_text(json.dumps(document))
    return read_executed(path)


def ended(status: Status = "completed", *outputs: OutputFile) -> Record:
    return Record(
        id="0" * 16, hash="0" * 64, status=status, notebook="n.ipynb", image="", base="", spec={}, created="",
        limits=Limits(), outputs=outputs,
    )  # fmt: skip
