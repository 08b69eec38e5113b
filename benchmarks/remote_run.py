"""A trivial notebook on another machine, over ssh, against the same here. Goal: under 1.5 times its time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import Pair, in_turn, spread
from benchmarks.warm_run import own_home, trivial
from tests.engine.machines import machine

RUNS = 7


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, own_home() as home, machine("benchmark") as there:
        there.boot()
        notebook = Path(folder, "trivial.ipynb")
        notebook.write_text(json.dumps(trivial()), encoding="utf-8")
        environment = {
            **os.environ,
            "PATH": f"{there.commands}:{os.environ['PATH']}",
            "NBSEAL_HOME": str(home),
        }
        nbseal = [sys.executable, "-m", "engine"]
        for name, url in (("ssh", [there.ssh_url]), ("tls", [there.tcp_url, "--tls", str(there.tls)])):
            subprocess.run([*nbseal, "hosts", "add", name, *url], env=environment, check=True, capture_output=True)

        def against_local(host: str) -> Pair:
            run = [*nbseal, "run", str(notebook), "--host"]
            return in_turn([*run, host], [*run, "local"], RUNS, environment)

        ssh, tls = against_local("ssh"), against_local("tls")
    print("| a trivial notebook, its image there | wall time | ratio to a run here |\n|---|---|---|")
    print(f"| here | {spread(ssh.b + tls.b)} | |")
    print(f"| another machine, ssh | {spread(ssh.a)} | **{ssh.ratio:.2f}** (goal: under 1.5) |")
    print(f"| another machine, TLS | {spread(tls.a)} | {tls.ratio:.2f} |")


if __name__ == "__main__":
    main()
