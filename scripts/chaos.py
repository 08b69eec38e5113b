"""Remote runs whose link is cut or frozen, or whose process is killed, at random moments; `make chaos` runs it.

For each run: it completed, it was started once, all its output and files are here, nothing is left there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from engine.settings import find_home
from tests.engine.machines import Machine, machine

_STEPS = 25
_CELL = f"""
import os, time
for step in range({_STEPS}):
    print(f"step {{step}}", flush=True)
    time.sleep(0.1)
open("big", "wb").write(os.urandom(40_000_000))
open("small", "w").write("x")
"""
#: Seconds within which something happens, from the start of the command.
_SPAN = 12.0


def main() -> int:
    """Exit code 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311 - to be repeated, not to be secret
    print(f"seed {arguments.seed}", flush=True)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, machine("chaos") as there:
        there.boot()
        notebook = Path(folder, "chaos.ipynb")
        nbformat.write(new_notebook(cells=[new_code_cell(_CELL)]), notebook)
        nbseal = _caller(there)
        nbseal("hosts", "add", "chaos", there.ssh_url)
        first = json.loads(nbseal("run", str(notebook), "--host", "chaos", "--json").stdout)
        for number in range(arguments.count):
            what = chance.choice(("cut", "cut twice", "freeze", "kill"))
            when = chance.uniform(0.2, _SPAN)
            problem = _once(there, nbseal, notebook, what, when, first)
            wrong += bool(problem)
            print(f"{number + 1:3} {what:9} after {when:4.1f} s  {problem or 'nothing lost'}", flush=True)
        nbseal("hosts", "remove", "chaos")
    print(f"{arguments.count - wrong} of {arguments.count} lost nothing")
    return 1 if wrong else 0


Nbseal = Callable[..., subprocess.CompletedProcess[str]]


def _caller(there: Machine) -> Nbseal:
    environment = {**os.environ, "PATH": f"{there.commands}:{os.environ['PATH']}"}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "engine", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    call.environment = environment  # type: ignore[attr-defined]
    return call


def _once(there: Machine, nbseal: Nbseal, notebook: Path, what: str, when: float, first: dict[str, Any]) -> str:
    """What went wrong; empty when nothing did."""
    began = time.time()
    before = {run["id"] for run in json.loads(nbseal("runs", "--json").stdout)}
    command = [sys.executable, "-m", "engine", "run", str(notebook), "--host", "chaos", "--json"]
    environment = nbseal.environment  # type: ignore[attr-defined]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        time.sleep(when)
        if what == "kill":
            run.kill()
        elif what == "freeze":
            there.freeze()
            time.sleep(40)
            there.thaw()
        else:
            there.cut()
            if what == "cut twice":
                time.sleep(1.5)
                there.cut()
        _, said = run.communicate(timeout=180)
    end = time.monotonic() + 90
    while True:
        found = [item for item in json.loads(nbseal("runs", "--json").stdout) if item["id"] not in before]
        if not found or found[0]["status"] != "running":
            break
        if time.monotonic() > end:
            return f"the run does not end; {said}"
        time.sleep(0.5)
    if len(found) != 1:
        # Killed before there was anything to record, or with the link before the run had begun: nothing may be left.
        return (
            "" if not found and run.returncode in (-9, 3) and not _left(there, found) else f"{len(found)} runs; {said}"
        )
    record = json.loads(nbseal("show", found[0]["id"], "--json").stdout)
    if record["status"] == "lost" and what == "kill" and not _started(there, record["id"], began):
        return f"{_left(there, found)} left" if _left(there, found) else ""
    if record["status"] != "completed":
        return f"{record['status']}: {record['outcome']['reason']} {said}"
    if [item["path"] for item in record["outputs"]] != [item["path"] for item in first["outputs"]]:
        return f"outputs {record['outputs']}"
    text = nbseal("logs", record["id"]).stdout
    if any(f"step {step}\n" not in text for step in range(_STEPS)):
        return f"output {text}"
    if nbseal("fsck", record["id"]).returncode:
        return "fsck"
    starts = _started(there, record["id"], began)
    if starts != 1:
        return f"started {starts} times"
    if what == "kill":  # which may come after the record and before the removal
        nbseal("hosts", "prune", "chaos")
    return f"{_left(there, found)} left" if _left(there, found) else ""


def _started(there: Machine, run: str, since: float) -> int:
    """How often the run's container was started, by the engine's own word."""
    with there.engine() as client:
        filters = {"label": [f"nbseal.run={run}", "nbseal=run"], "event": "start", "type": "container"}
        return len(list(client.events(since=int(since), until=int(time.time()) + 1, filters=filters)))


def _left(there: Machine, found: list[dict[str, Any]]) -> list[str]:
    with there.engine() as client:
        names = [item.name for item in client.containers.list(all=True)] + [item.name for item in client.volumes.list()]
    return [name for name in names if any(item["id"] in name for item in found)]


if __name__ == "__main__":
    print(f"home {find_home().root}", file=sys.stderr)
    raise SystemExit(main())
