"""Runs on another machine whose engine is the one under test, and the image from this machine's own engine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from engine import daemon
from engine.containers.leftovers import find_items
from engine.settings import Home
from tests.conftest import MakeNotebook, Nbseal

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

#: This machine's own engine builds, whichever is under test.
HERE = {"DOCKER_HOST": ""}
CELL = """
import getpass, os, pathlib, socket
print(getpass.getuser(), os.getcwd(), socket.gethostname(), pathlib.Path("data.txt").read_text())
pathlib.Path("out").mkdir()
pathlib.Path("out/a.txt").write_text("one")
os.unlink("gone.txt")
print("loss: 0.25")
"""


@pytest.fixture
def far(nbseal: Nbseal, engine: daemon.Engine) -> daemon.Engine:
    """The engine under test, known to the home as ``far``."""
    assert nbseal("hosts", "add", "far", engine.url, env=HERE).returncode == 0
    return engine


def record(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def left(engine: daemon.Engine, run: str) -> list[str]:
    return [item.name for item in find_items(engine) if item.run == run]


def test_a_run_there_is_the_run_here(
    far: daemon.Engine, nbseal: Nbseal, notebook: MakeNotebook, tmp_path: Path, fresh_home: Home
) -> None:
    path = notebook(CELL)
    (path.parent / "gone.txt").write_text("as it was")
    (tmp_path / "data.txt").write_text("given")
    command = ("run", path, "--input", f"{tmp_path}/data.txt=data.txt", "--json")
    here, there = record(nbseal(*command, env=HERE)), record(nbseal(*command, "--host", "far", env=HERE))
    assert (there["hash"], there["image"], there["scalars"]) == (here["hash"], here["image"], {"loss": 0.25})
    assert there["outputs"] == here["outputs"]
    assert there["outcome"]["host"]["name"] == "far"
    assert far.version in there["outcome"]["host"]["engine"]
    assert nbseal("verify", there["id"], here["id"], "--exact", env=HERE).returncode == 0
    assert left(far, there["id"]) == []
    again = nbseal(*command, "--host", "far", env=HERE)
    assert record(again)["outputs"] == here["outputs"]
    assert "Sending" not in again.stderr


def test_a_run_there_is_stopped(far: daemon.Engine, nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook("import time\nprint('begun', flush=True)\ntime.sleep(600)")
    begun = record(nbseal("run", path, "--host", "far", "--detach", "--json", env=HERE))
    assert left(far, begun["id"]) != []
    stopped = nbseal("stop", begun["id"], "--host", "far", env=HERE)
    assert stopped.returncode == 0, stopped.stderr
    attached = nbseal("attach", begun["id"], "--json", env=HERE)
    assert attached.returncode == 130, attached.stderr
    assert json.loads(attached.stdout)["status"] == "interrupted"
    assert left(far, begun["id"]) == []
    assert nbseal("hosts", "prune", "far", env=HERE).returncode == 0
