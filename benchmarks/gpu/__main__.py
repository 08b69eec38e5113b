"""``python -m benchmarks.gpu [OPTION | FLAG=VALUE]...``: examples/gpu.ipynb, and its code alone in the same image.

What is given goes to ``nbseal run``; without ``--gpus`` one GPU is asked for. Both get the GPU in the same way, so the
ratio is what nbseal adds: a kernel, the record and its seal, measuring the GPU. Then the run is repeated, for verdicts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.timing import in_turn, spread
from engine import containers, daemon, notebooks
from engine.model import Json

NOTEBOOK = Path(__file__).parents[2] / "examples/gpu.ipynb"
RUNS = 5


def main(options: list[str]) -> None:
    if not any(option.partition("=")[0] == "--gpus" for option in options):
        options = ["--gpus", "1", *options]
    command = [sys.executable, "-m", "engine", "run", str(NOTEBOOK), *options]
    record = _record(command)
    pair = in_turn(command, [sys.executable, "-m", "benchmarks.gpu", "--alone", record["id"]], RUNS)
    verdicts = [_record([sys.executable, "-m", "engine", "rerun", record["id"]])["verdict"] for _ in range(RUNS)]
    gpu = record["outcome"]["host"]["gpu"]
    print(f"{json.dumps(gpu)}\n")
    print("| examples/gpu.ipynb | wall time |\n|---|---|")
    print(f"| nbseal run, warm | {spread(pair.a)} |\n| its code alone, in the same image | {spread(pair.b)} |")
    print(f"| **ratio** | **{pair.ratio:.2f}** |\n")
    print(f"{RUNS} reruns: {', '.join(verdicts)}.")
    print("Measured: " + (", ".join(f"{name} {value:g}" for name, value in _measured(record)) or "nothing") + ".")


def alone(run: str) -> None:
    """The code of a run's notebook, in its image and with its GPUs, without nbseal around it."""
    found = _record([sys.executable, "-m", "engine", "show", run])
    engine = daemon.connect()
    given = containers.choose_gpus(engine.info, containers.parse_gpus(found["spec"]["gpus"]))
    original = notebooks.read(NOTEBOOK)
    flags = [f"{name}={value}" for name, value in found["flags"].items()]
    known = notebooks.find_flags(original)
    copy = notebooks.substitute(original, known, notebooks.bind(known, flags))
    done = daemon.run_tool(
        engine,
        found["image"],
        ["/opt/kernel/bin/python3", "-c", "\n".join(cell.source for cell in copy.cells if cell.kind == "code")],
        environment={**found["spec"]["environment"], **given.environment()},
        settings=given.settings(),
    )
    if done.exit_code:
        sys.exit(done.stderr.decode("utf-8", "replace"))


def _record(command: list[str]) -> Json:
    done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, check=False)
    try:
        record: Json = json.loads(done.stdout)
    except ValueError:  # it has said why
        sys.exit(done.returncode)
    return record


def _measured(record: Json) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in record["scalars"].items() if name.startswith("gpu/")]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        alone(sys.argv[2])
    else:
        main(sys.argv[1:])
