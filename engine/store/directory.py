"""The run directory: where each thing of a run lies, and how its plain files look."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.files import read_regular
from engine.model import Scalar, Source, json_number
from engine.settings import Home
from engine.store.record import read_source_file
from engine.store.source import check_source

_MAX_TEXT = 1 << 30


@dataclass(frozen=True)
class RunDirectory:
    """``runs/<id>`` of a home. Everything in ``project`` and ``spool`` is hostile once the notebook has run."""

    home: Home
    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def record(self) -> Path:
        """run.json, written last."""
        return self.path / "run.json"

    @property
    def original(self) -> Path:
        """The user's file, byte for byte; the name is fixed whatever its format."""
        return self.path / "original.ipynb"

    @property
    def notebook(self) -> Path:
        """The flag-substituted copy, outputs stripped."""
        return self.path / "notebook.ipynb"

    @property
    def executed(self) -> Path:
        """With outputs; complete when the run is done."""
        return self.path / "executed.ipynb"

    @property
    def lock(self) -> Path:
        return self.path / "requirements.lock"

    @property
    def source(self) -> Path:
        return self.path / "source.json"

    @property
    def inputs(self) -> Path:
        return self.path / "inputs.json"

    @property
    def outputs(self) -> Path:
        return self.path / "outputs.json"

    @property
    def scalars(self) -> Path:
        return self.path / "scalars.jsonl"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        """What the container itself printed, beside the cells' output."""
        return self.path / "log.txt"

    @property
    def trace(self) -> Path:
        """Where randomness, the clock and the network entered; only of an experiment."""
        return self.path / "trace.jsonl"

    @property
    def images(self) -> Path:
        return self.path / "images"

    @property
    def project(self) -> Path:
        """Source and outputs: the work tree that the container writes to."""
        return self.path / "project"

    @property
    def spool(self) -> Path:
        """What host and harness hand each other; gone when the run is done."""
        return self.path / "spool"


def open_run(home: Home, run_id: str) -> RunDirectory:
    """The directory of a run whose full id is known (see ``find_run``)."""
    return RunDirectory(home, home.runs / run_id)


def read_source(run: RunDirectory) -> Source:
    """The snapshot that a run was made from; VerificationFailed when its source.json was changed."""
    source = read_source_file(run.source)
    check_source(source)
    return source


def read_log(run: RunDirectory) -> str:
    """log.txt, hostile text; empty when there is none."""
    try:
        return read_regular(run.log, _MAX_TEXT).decode("utf-8", "replace")
    except OSError:
        return ""


def notebook_bytes(document: Any) -> bytes:
    """A notebook file as nbformat writes it, with sorted keys."""
    return _encode(document, indent=1, sort_keys=True)


def json_bytes(value: Any) -> bytes:
    """Indented JSON for people."""
    return _encode(value, indent=2)


def scalar_lines(scalars: tuple[Scalar, ...]) -> bytes:
    """scalars.jsonl: name, value, step and cell (from 0) of every value, in the order printed."""
    lines = (
        json.dumps({"name": item.name, "value": json_number(item.value), "step": item.step, "cell": item.cell})
        for item in scalars
    )
    return "".join(f"{line}\n" for line in lines).encode()


def write_new(path: Path, data: bytes) -> None:
    """Write a file into a folder that nobody sees yet: on the disk, without the detour of a rename."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _encode(value: Any, **style: Any) -> bytes:
    try:
        return (json.dumps(value, ensure_ascii=False, **style) + "\n").encode()
    except UnicodeEncodeError:  # a lone surrogate in a string is JSON, but not UTF-8
        return (json.dumps(value, **style) + "\n").encode()
