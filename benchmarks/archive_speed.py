"""``nbseal archive`` against ``tar | zstd`` of the same bytes, which hashes and checks nothing. Goal: at most 1.3.

Both end with the file on the disk, and both compress at zstd's own default level.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import in_turn, spread
from engine.model import Json
from engine.settings import find_home

RUNS = 3
#: What the notebook writes, in MB: half of it random, half of it numbers as text.
SHAPES = {"a trivial run and its image": 0, "with 1 GB of outputs": 1000, "with 5 GB of outputs": 5000}
_CELL = """
import os
half = " ".join(str(n * 7919 % 1000003) for n in range(1 << 20)).encode()[: 5 << 20]
for number in range({size} // 10):
    with open(f"{{number:04}}.bin", "wb") as file:
        file.write(os.urandom(len(half)) + half[number:])
"""


def main() -> None:
    print("| archive | nbseal archive | tar \\| zstd | **ratio** |\n|---|---|---|---|")
    for name, size in SHAPES.items():
        folder = Path(tempfile.mkdtemp(prefix="bench-", dir=find_home().root))
        try:
            print(f"| {name} {_measured(folder, size)}", flush=True)
        finally:
            shutil.rmtree(folder)


def _measured(folder: Path, size: int) -> str:
    (folder / "nbseal.yml").touch()
    notebook = folder / "n.ipynb"
    cell: Json = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": []}
    document = {
        "cells": [{**cell, "source": _CELL.format(size=size)}],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    notebook.write_text(json.dumps(document))
    nbseal = [sys.executable, "-m", "engine"]
    ran = subprocess.run([*nbseal, "run", str(notebook), "--json"], check=True, capture_output=True)
    run = json.loads(ran.stdout)["id"]
    try:
        ours, theirs = folder / "ours.tar.zst", folder / "theirs.tar.zst"
        command = [*nbseal, "archive", run, "-o", str(ours)]
        subprocess.run(command, check=True, capture_output=True)
        bag = folder / "bag"
        bag.mkdir()
        subprocess.run(["tar", "-xf", str(ours), "-C", str(bag)], check=True)
        plain = f"rm -f {theirs}; tar -C {bag} -cf - . | zstd -q -o {theirs} && sync {theirs}"
        pair = in_turn(["sh", "-c", f"rm -f {ours}; exec {' '.join(command)}"], ["sh", "-c", plain], RUNS)
        total = sum(path.stat().st_size for path in bag.rglob("*") if path.is_file())
        return f"({total / 1e6:,.0f} MB) | {spread(pair.a)} | {spread(pair.b)} | **{pair.ratio:.2f}** |"
    finally:
        subprocess.run([*nbseal, "delete", run], check=True, capture_output=True)
        shutil.rmtree(find_home().trash / run)


if __name__ == "__main__":
    main()
