"""Runs on another machine: what goes there, what comes back, and what a broken link does to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import daemon
from tests.conftest import MakeNotebook, Nbseal
from tests.engine.machines import Machine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

Remote = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def far(second: Machine, nbseal: Nbseal) -> Machine:
    """The second machine, known to the home as ``far``."""
    assert nbseal("hosts", "add", "far", second.ssh_url).returncode == 0
    return second


def record(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def left_on(machine: Machine) -> list[str]:
    """Containers and volumes of runs."""
    with machine.engine() as client:
        containers = [item.name for item in client.containers.list(all=True)]
        return sorted([*containers, *(item.name for item in client.volumes.list() if "input" not in item.name)])


EVERYTHING = """
import getpass, os, pathlib, pwd, socket
print(getpass.getuser(), pwd.getpwuid(os.getuid()).pw_dir, os.getcwd(), socket.gethostname())
print(pathlib.Path("data.txt").read_text(), oct(pathlib.Path("data.txt").stat().st_mode))
pathlib.Path("out").mkdir()
pathlib.Path("out/a.txt").write_text("one")
pathlib.Path("out/b.txt").write_text("one")
pathlib.Path("out/link").symlink_to("/etc/passwd")
os.mkfifo("out/fifo")
pathlib.Path("closed").write_text("x")
os.chmod("closed", 0)
pathlib.Path("mine.txt").write_text("changed")
os.unlink("gone.txt")
print("loss: 0.25")
"""


def test_a_run_there_is_the_run_here(far: Machine, nbseal: Nbseal, notebook: MakeNotebook, tmp_path: Path) -> None:
    path = notebook(EVERYTHING)
    (path.parent / "mine.txt").write_text("as it was")
    (path.parent / "gone.txt").write_text("as it was")
    (tmp_path / "data.txt").write_text("given")
    here = record(nbseal("run", path, "--input", f"{tmp_path}/data.txt=data.txt", "--json"))
    assert here["status"] == "completed", here["outcome"]
    done = nbseal("run", path, "--input", f"{tmp_path}/data.txt=data.txt", "--json", "--host", "far")
    there = record(done)
    assert there["status"] == "completed", there["outcome"]
    assert there["hash"] == here["hash"]
    assert there["outputs"] == here["outputs"]
    assert there["scalars"] == here["scalars"] == {"loss": 0.25}
    assert there["outcome"]["host"]["name"] == "far"
    assert there["outcome"]["host"]["cpu"] == here["outcome"]["host"]["cpu"]
    assert "name" not in here["outcome"]["host"]
    assert nbseal("verify", there["id"], here["id"], "--exact").returncode == 0
    assert left_on(far) == []
    assert nbseal("fsck").returncode == 0
