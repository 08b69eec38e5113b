"""A trivial notebook: ``nbseal run``, warm, against ``papermill`` on the bare host. Goal: at most 2 times its time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.timing import in_turn, spread
from engine.files import remove_tree
from engine.settings import find_home

RUNS = 9


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, own_home() as home:
        directory = Path(folder)
        papermill = _papermill(directory / "venv")
        notebook = directory / "trivial.ipynb"
        notebook.write_text(json.dumps(trivial()), encoding="utf-8")
        path = f"{papermill.parent}{os.pathsep}{os.environ['PATH']}"
        pair = in_turn(
            [sys.executable, "-m", "engine", "run", str(notebook)],
            [str(papermill), str(notebook), str(directory / "out.ipynb")],
            RUNS,
            {**os.environ, "PATH": path, "NBSEAL_HOME": str(home)},
        )
    print("| a trivial notebook | wall time |\n|---|---|")
    print(f"| nbseal run, warm | {spread(pair.a)} |\n| papermill on the bare host | {spread(pair.b)} |")
    print(f"| **ratio** (goal: at most 2) | **{pair.ratio:.2f}** |")


@contextmanager
def own_home() -> Iterator[Path]:
    """A home for the runs, beside the user's own and with its content, so that nobody finds them among theirs."""
    mine = find_home().root
    home = Path(tempfile.mkdtemp(prefix="benchmark-", dir=mine))
    for name in ("bases", "packages", "layers", "wheels"):
        (home / name).symlink_to(mine / name)
    try:
        yield home
    finally:
        remove_tree(home)


def _papermill(environment: Path) -> Path:
    """papermill and its kernel in an environment of its own, from benchmarks/requirements.lock."""
    lock = Path(__file__).with_name("requirements.lock")
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-qq", "--require-hashes", "-r", str(lock)], check=True)
    # The kernelspec of this environment, not one that the user happens to have.
    subprocess.run([str(python), "-m", "ipykernel", "install", "--sys-prefix"], check=True, capture_output=True)
    return environment / "bin" / "papermill"


def trivial() -> dict[str, object]:
    cell: dict[str, object] = {
        "cell_type": "code",
        "id": "only",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": "1 + 1",
    }
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


if __name__ == "__main__":
    main()
