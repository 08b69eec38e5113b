"""``nbseal fsck`` against ``sha256sum -c`` over the same files, which both find in the page cache. Goal: as fast."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.timing import in_turn, spread
from engine import store
from engine.model import Limits, Record, Source
from engine.settings import Home, find_home

RUNS = 5
#: What the runs hold: how many files of how many bytes.
SHAPES = {
    "one file of 1 GB": (1, 1 << 30),
    "1,000 files of 1 MB": (1000, 1 << 20),
    "20,000 files of 4 kB": (20_000, 4096),
}
_DOCUMENT = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    print("| files | nbseal fsck | sha256sum -c | **ratio** |\n|---|---|---|---|")
    find_home().root.mkdir(parents=True, exist_ok=True)
    for name, (count, size) in SHAPES.items():
        folder = Path(tempfile.mkdtemp(prefix="bench-", dir=find_home().root))
        try:
            run = _run(Home(folder), count, size)
            ours = [sys.executable, "-m", "engine", "fsck", run.id]
            theirs = ["env", "-C", str(run.path), "sha256sum", "--check", "--quiet", "manifest-sha256.txt"]
            pair = in_turn(ours, theirs, RUNS, {**os.environ, "NBSEAL_HOME": str(folder)})
        finally:
            shutil.rmtree(folder)
        print(f"| {name} | {spread(pair.a)} | {spread(pair.b)} | **{pair.ratio:.2f}** |", flush=True)


def _run(home: Home, count: int, size: int) -> store.RunDirectory:
    """A run whose work tree has so many files; nothing is executed."""
    from engine.digests import digest_of

    record = Record(
        id=store.new_id(), hash="0" * 64, status="running", notebook="n.ipynb", image="", base="", spec={},
        created=store.now(), limits=Limits(),
    )  # fmt: skip
    with store.begin_run(home, record, b"", _DOCUMENT, "", Source(digest_of([]), ())) as run:
        for number in range(count):
            with (run.project / f"{number:06}").open("wb") as file:
                for start in range(0, size, 1 << 20):
                    file.write(os.urandom(min(1 << 20, size - start)))
        store.publish(run, replace(record, status="completed"), _DOCUMENT, (), {})
    return run


if __name__ == "__main__":
    main()
