"""Processes that are interrupted or killed: what had happened is kept, and the home stays usable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine.daemon import LABEL, Engine
from engine.settings import Home
from tests.conftest import MakeNotebook, Nbseal

pytestmark = pytest.mark.engine

SLOW = ("print('first: 1')", "import time\nfor n in range(100):\n    print(n)\n    time.sleep(0.2)", "print('last: 1')")


def start(path: Path, home: Home, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "engine", "run", str(path), "--json", *options],
        env={**os.environ, "NBSEAL_HOME": str(home.root)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(home: Home, words: str, process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Wait until the events of the run under way hold ``words``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if any(words in events.read_text() for events in home.runs.glob("*/spool/events.jsonl")):
            return
        time.sleep(0.05)
    pytest.fail(f"no '{words}' after {seconds} s")


def listed(nbseal: Nbseal) -> list[Any]:
    done = nbseal("runs", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def settled(nbseal: Nbseal, seconds: float = 60) -> list[Any]:
    """The runs, once none of them is running any more."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = listed(nbseal)
        if all(item["status"] != "running" for item in found):
            return found
        time.sleep(0.5)
    pytest.fail("a run never ended")


def containers_of(engine: Engine, home: Home) -> list[str]:
    ids = [path.name for path in home.runs.iterdir()] if home.runs.is_dir() else []
    # One request: what others remove meanwhile cannot be asked about.
    found = engine.client.api.containers(all=True, filters={"label": LABEL})
    names = [item["Names"][0].lstrip("/") for item in found]
    return [name for name in names if any(run in name for run in ids)]


def test_ctrl_c_keeps_what_had_been_printed(
    nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home, engine: Engine
) -> None:
    process = start(notebook(*SLOW), fresh_home)
    wait_for(fresh_home, '"output"', process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    record = json.loads(out)
    assert record["status"] == "interrupted"
    assert record["scalars"] == {"first": 1.0}
    assert "Traceback (most recent call last)\n  File" not in err
    assert containers_of(engine, fresh_home) == []
    assert [item["status"] for item in listed(nbseal)] == ["interrupted"]


def test_a_run_outlives_its_process(nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home, engine: Engine) -> None:
    process = start(notebook("print('first: 1')", "import time\ntime.sleep(4)", "print('last: 1')"), fresh_home)
    wait_for(fresh_home, '"output"', process)
    process.kill()
    process.communicate()
    (name,) = containers_of(engine, fresh_home)
    engine.client.api.pause(name)  # however slow this machine is, it has not ended when it is looked at
    assert [item["status"] for item in listed(nbseal)] == ["running"]
    engine.client.api.unpause(name)
    found = settled(nbseal)
    assert [(item["status"], item["scalars"]) for item in found] == [("completed", {"first": 1.0, "last": 1.0})]
    assert containers_of(engine, fresh_home) == []
    again = json.loads(nbseal("rerun", found[0]["id"], "--json").stdout)
    assert again["verdict"] == "identical"


def test_a_run_whose_container_vanished_is_lost(
    nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home, engine: Engine
) -> None:
    process = start(notebook(*SLOW), fresh_home)
    wait_for(fresh_home, '"output"', process)
    process.kill()
    process.communicate()
    for name in containers_of(engine, fresh_home):
        engine.client.containers.get(name).remove(force=True)
    found = listed(nbseal)
    assert [item["status"] for item in found] == ["lost"]
    assert found[0]["scalars"] == {"first": 1.0}
    shown = json.loads(nbseal("show", found[0]["id"], "--json").stdout)
    assert shown["outcome"]["reason"]


@pytest.mark.parametrize("delay", [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4])
def test_killed_at_any_moment_the_home_stays_usable(
    nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home, engine: Engine, delay: float
) -> None:
    path = notebook("print('value: 1')\nopen('out.txt', 'w').write('x')")
    process = start(path, fresh_home)
    time.sleep(delay)
    process.kill()
    process.communicate()
    found = settled(nbseal)
    assert len(found) <= 1
    assert all(item["status"] in ("completed", "lost") for item in found)
    assert nbseal("run", path, "--json").returncode == 0
    assert len(listed(nbseal)) == len(found) + 1
    assert containers_of(engine, fresh_home) == []
    leftovers = fresh_home.temporary.iterdir() if fresh_home.temporary.is_dir() else ()
    assert list(leftovers) == []


def test_two_at_once(nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home) -> None:
    path = notebook("import time\ntime.sleep(1)\nprint('value: 1')")
    processes = [start(path, fresh_home) for _ in range(2)]
    records = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert [record["status"] for record in records] == ["completed", "completed"]
    assert records[0]["hash"] == records[1]["hash"]
    assert len(listed(nbseal)) == 2
