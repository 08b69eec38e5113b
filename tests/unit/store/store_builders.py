"""Homes, projects and records for the tests of the store."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import store
from engine.model import Json, Limits, Outcome, OutputFile, Record, Scalar, Source
from engine.progress import Silent
from engine.settings import Home

DOCUMENT: Json = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def project(root: Path, files: dict[str, bytes]) -> Path:
    """Write ``files`` below ``root`` and mark it as a project; its notebook is n.ipynb."""
    for name, data in {"nbseal.yml": b"", "n.ipynb": b"{}", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root / "n.ipynb"


def taken(notebook: Path, home: Home) -> Source:
    return store.snapshot(store.find_project_root(notebook, home), notebook, home, Silent())


def record(**changes: Any) -> Record:
    plain = Record(
        id=store.new_id(),
        hash="ab" * 32,
        status="running",
        notebook="n.ipynb",
        image="sha256:" + "1" * 64,
        base="sha256:" + "2" * 64,
        spec={"schema": 1},
        created=store.now(),
        limits=Limits(),
    )
    return replace(plain, **changes)


def finished(home: Home, source: Source, started: Record, **changes: Any) -> Record:
    """Run ``started`` without a container: a file is written, a scalar printed, and it is published."""
    with store.begin_run(home, started, b"original", DOCUMENT, "lock\n", source) as run:
        (run.project / "out.txt").write_text("out")
        (run.spool / "events.jsonl").write_text('{"event":"finished"}\n')
        done = replace(
            started,
            status="completed",
            outcome=Outcome("completed", duration=1.5),
            scalars={"loss": float("nan")},
            outputs=(OutputFile("out.txt", "added", 3, "sha256:" + "3" * 64, "text/plain"),),
        )
        done = replace(done, **changes)
        store.publish(run, done, DOCUMENT, (Scalar("loss", float("nan"), 3, 0),), {"cell-1-1.png": b"picture"})
        return done
