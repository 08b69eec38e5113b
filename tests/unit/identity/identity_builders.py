"""A small project whose hash is asked for again and again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.settings import Home
from tests.identity import hash_of
from tests.unit.notebooks.notebook_builders import document, entry

FLAGS = "lr = 0.1  # the rate\nname = 'a'\nlayers = [1, 2]\nfast = True\ncount = 3\n"
NOTEBOOK = document(
    [
        entry("# Über uns", "markdown", id="title"),
        entry(FLAGS, id="flags", metadata={"tags": ["parameters"]}),
        entry("import helper\nprint(f'loss: {helper.twice(lr)}')\n", id="work"),
    ],
    kernelspec={"name": "python3", "display_name": "Python 3", "language": "python"},
)


class Project:
    """A project with a notebook, a module, a script, a link and a declared input, and a home."""

    def __init__(self, root: Path, folder: str = "project") -> None:
        self.root, self.folder, self.home = root, root / folder, Home(root / "home")
        self.data = root / "data.csv"
        self.path = self.folder / "work" / "n.ipynb"

    def make(self, order: Callable[[list[str]], list[str]] = lambda names: names) -> Project:
        files = {
            "nbseal.yml": b"",
            "work/helper.py": b"def twice(x):\n    return 2 * x\n",
            "work/a.txt": b"a",
            "work/B.txt": b"b",
            "work/\u00e9.txt": "\u00e9".encode(),
            "tools/run.sh": b"#!/bin/sh\n",
            "empty/x": b"",
        }
        for name in order(list(files)):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
        (self.folder / "tools/run.sh").chmod(0o755)
        (self.folder / "link").symlink_to("work/a.txt")
        self.data.write_bytes(b"1,2\n")
        self.save(NOTEBOOK)
        return self

    def save(self, content: Any, **style: Any) -> None:
        self.path.write_text(json.dumps(content, **style), encoding="utf-8")

    def hash(self, *assignments: str, **others: Any) -> str:
        return hash_of(self.path, self.home, *assignments, **{"inputs": [f"{self.data}=data.csv"], **others})
