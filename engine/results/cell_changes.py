"""The cells of two executed notebooks, aligned and compared by nbdime, with their outputs.

In a process of its own, with limited time and memory: what the alignment takes grows faster than the notebooks, and
these are whatever somebody wrote.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from engine.model import Json

SECONDS = 15
#: `nbdiff`, started as this program is (see ``engine.__init__``).
_NBDIFF = """
import engine, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from nbdime.nbdiffapp import main
sys.exit(main())
"""
_PLACE = re.compile(r"/cells/(\d+)(?:/outputs/(\d+))?(/\S*?)?(?=:$)")
_HEADER = re.compile(r"## (?:added|deleted|inserted|modified|replaced)\b")


def cell_changes(old: Json, new: Json) -> str | None:
    """nbdime's text about two notebooks in the form of ``read_executed``, cells and outputs counted from 1.

    Empty when sources and outputs are the same; None when they are too large or too different to be aligned.
    """
    if [_compared(cell) for cell in old["cells"]] == [_compared(cell) for cell in new["cells"]]:
        return ""
    with tempfile.TemporaryDirectory(prefix="nbseal-diff-") as folder:
        paths = []
        for name, document in (("old", old), ("new", new)):
            path = Path(folder) / f"{name}.ipynb"
            path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}} | document))
            paths.append(str(path))
        options = ["--ignore-metadata", "--ignore-id", "--ignore-details", "--no-color", "--no-git", "--no-use-diff"]
        environment = {"PATH": os.defpath, "HOME": folder, "JUPYTER_NO_CONFIG": "1", "PYTHONIOENCODING": "utf-8"}
        try:
            done = subprocess.run(
                [sys.executable, "-c", _NBDIFF, *options, *paths],
                env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, cwd=folder,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None
    if done.returncode:  # no memory left, or a notebook that nbdime cannot read
        return None
    lines = done.stdout.decode("utf-8", "replace").splitlines()[3:]
    return "\n".join(_counted(line) if _HEADER.match(line) else line for line in lines).strip("\n")


def _compared(cell: Json) -> tuple[object, ...]:
    outputs = [
        {name: value for name, value in item.items() if name != "execution_count"} for item in cell.get("outputs", [])
    ]
    return cell["cell_type"], cell["source"], outputs


def _counted(line: str) -> str:
    """A heading of nbdime as the rest of nbseal counts cells."""

    def named(match: re.Match[str]) -> str:
        cell, output, rest = match[1], match[2], match[3] or ""
        words = f"cell {int(cell) + 1}" + (f" output {int(output) + 1}" if output else "")
        return words + (f" {rest[1:]}" if rest and rest != "/source" else "")

    return _PLACE.sub(named, line)
