"""Remote runs whose link breaks, or whose machine here is switched off, in each stage at random; `make chaos` runs it.

Over ssh and over TLS in turn. For each run: it completed, it was executed once, every byte of its output and files is
here, nothing is left there. What nobody can have begun is begun again. Exit code 1 when one of this is not so, or when
a stage was never hit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from engine.files import remove_tree
from engine.settings import Home, find_home
from tests.conftest import CONTENT, MADE, borrow
from tests.engine.machines import Machine, machine

STAGES = ("image", "source", "execution", "results")
WAYS = ("ssh", "tls")
BREAKS = ("cut", "cut twice", "freeze", "kill", "off")
_STEPS, _SIZE = 25, 60_000_000
_CELL = f"""
import hashlib, os, time
print("input", hashlib.sha256(open("data", "rb").read()).hexdigest())
for step in range({_STEPS}):
    print(f"step {{step}}", flush=True)
    time.sleep(0.1)
for name, size in (("big", {_SIZE}), ("small", 1)):
    data = os.urandom(size)
    open(name, "wb").write(data)
    print(name, hashlib.sha256(data).hexdigest())
"""
#: Bytes through the cable that are more than the way itself and its questions.
_BEGUN = 4_000_000
#: Seconds for which the cable lets nothing through: longer than it takes to notice.
_FROZEN = 45.0
_PATIENCE = 240.0


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311 - to be repeated, not to be secret
    print(f"seed {arguments.seed}", flush=True)
    hits: Counter[str] = Counter()
    deck: list[str] = []
    wrong = 0
    with bench() as chaos:
        spans = chaos.measure()
        print("  ".join(f"{stage} {spans[stage]:.1f} s" for stage in STAGES), flush=True)
        for number in range(arguments.count):
            way, stage = WAYS[number % len(WAYS)], STAGES[number // len(WAYS) % len(STAGES)]
            deck = deck or chance.sample(BREAKS, len(BREAKS))  # each kind as often as the others
            what, after = deck.pop(), chance.uniform(0, spans[stage])
            hit, problem = chaos.once(way, stage, what, after)
            hits[hit] += 1
            wrong += bool(problem)
            print(f"{number + 1:3} {way} {what:9} in {hit:9} {problem or 'nothing lost'}", flush=True)
    print(f"hit: {', '.join(f'{stage} {count}' for stage, count in hits.most_common())}")
    print(f"{arguments.count - wrong} of {arguments.count} lost nothing")
    return 1 if wrong or set(STAGES) - set(hits) else 0


@contextmanager
def bench() -> Iterator[Chaos]:
    """A machine, a home that knows it by both ways, and a project, all gone at the end."""
    parent = find_home().root / "tests"
    parent.mkdir(parents=True, exist_ok=True)
    home = Home(Path(tempfile.mkdtemp(prefix="chaos-", dir=parent)))
    borrow(find_home(), home, (*CONTENT, *MADE))
    try:
        with tempfile.TemporaryDirectory() as folder, machine("chaos") as there:
            there.boot()
            chaos = Chaos(there, home, Path(folder))
            chaos.nbseal("hosts", "add", "ssh", there.ssh_url)
            chaos.nbseal("hosts", "add", "tls", there.tcp_url, "--tls", str(there.tls))
            yield chaos
    finally:
        remove_tree(home.root)


@dataclass
class Chaos:
    """The machine there, the home and the project here; ``image`` is that of the runs, once one was made."""

    there: Machine
    home: Home
    folder: Path
    image: str = ""
    _sent: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._environment = {
            **os.environ,
            "NBSEAL_HOME": str(self.home.root),
            "PATH": f"{self.there.commands}:{os.environ['PATH']}",
        }
        (self.folder / "project").mkdir()
        (self.folder / "project/nbseal.yml").touch()
        nbformat.write(new_notebook(cells=[new_code_cell(_CELL)]), self.folder / "project/chaos.ipynb")
        (self.folder / "project/ballast").write_bytes(os.urandom(_SIZE))

    def nbseal(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "engine", *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)

    @contextmanager
    def begun(self, way: str) -> Iterator[subprocess.Popen[str]]:
        """A run on its way there, with an input that is not there yet."""
        (self.folder / "data").write_bytes(os.urandom(_SIZE))
        self._sent = self.there.received()
        command = [sys.executable, "-m", "engine", "run", str(self.folder / "project/chaos.ipynb")]
        command += ["--input", f"{self.folder}/data=data", "--host", way, "--json"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=self._environment, stdout=pipe, stderr=pipe, text=True) as run:
            try:
                yield run
            finally:
                run.kill()

    def measure(self) -> dict[str, float]:
        """How many seconds each stage takes when nothing breaks."""
        self.forget_images()
        with self.begun("ssh") as run:
            moments = [self._wait_for(stage, run) for stage in (*STAGES, "nothing")]
            out, said = run.communicate(timeout=_PATIENCE)
        if run.returncode:
            raise SystemExit(f"A run that nothing happens to fails: {said}")
        self.image = json.loads(out)["image"]
        return {stage: moments[number + 1] - moments[number] for number, stage in enumerate(STAGES)}

    def once(self, way: str, stage: str, what: str, after: float) -> tuple[str, str]:
        """The stage in which it broke, and what went wrong; empty when nothing did."""
        self.there.settle()
        if stage == "image":
            self.forget_images()
        since = time.time()
        before = self._runs()
        with self.begun(way) as run:
            self._wait_for(stage, run)
            time.sleep(after)
            hit = self._stage()
            self._break(what, run)
            try:
                _, said = run.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                return hit, "the command hangs"
        gone = what in ("kill", "off")
        if not gone and run.returncode != 0:
            return hit, f"exit code {run.returncode}: {said}"
        found = [item for item in self._ended(before) if item["id"] not in before]
        if gone and (not found or found[0]["status"] == "lost"):
            return hit, self._never(found, since) or self._again(way)
        if len(found) != 1:
            return hit, f"{len(found)} runs; {said}"
        if gone:  # which may come after the record and before the removal
            self.nbseal("hosts", "prune", way)
        return hit, self._lost(found[0]["id"], since) or self._left()

    # --- where it is ------------------------------------------------------------------------------

    def _stage(self) -> str:
        """By what the engine there has; "nothing" before the first stage and after the last."""
        with self.there.engine() as client:
            made = client.api.containers(all=True, filters={"label": "nbseal.home"})
            states = {item["Labels"]["nbseal"]: item["State"] for item in made}
            if "courier" not in states:
                images = [item["Id"] for item in client.api.images(filters={"label": "nbseal=image"})]
                whole = self.image in images if self.image else any(self._is_users(client, item) for item in images)
                sending = not whole and self.there.received() - self._sent > _BEGUN
                return "image" if sending else "nothing"
        return {"running": "execution", "exited": "results"}.get(states.get("run", ""), "source")

    @staticmethod
    def _is_users(client: Any, image: str) -> bool:
        return any(tag.startswith("nbseal/image:") for tag in client.api.inspect_image(image)["RepoTags"] or ())

    def _wait_for(self, stage: str, run: subprocess.Popen[str]) -> float:
        """When it began, or was passed over."""
        order = (*STAGES, "nothing")
        begun = False
        end = time.monotonic() + _PATIENCE
        while run.poll() is None and time.monotonic() < end:
            now = self._stage()
            begun = begun or now != "nothing"
            if begun and order.index(now) >= order.index(stage):
                break
            time.sleep(0.01)
        return time.monotonic()

    def forget_images(self) -> None:
        with self.there.engine() as client:
            for image in client.api.images(filters={"label": "nbseal"}):
                client.api.remove_image(image["Id"], force=True)

    # --- what happens to it -----------------------------------------------------------------------

    def _break(self, what: str, run: subprocess.Popen[str]) -> None:
        if what == "kill":
            run.kill()
        elif what == "off":  # nothing comes from a machine without power, not even an end
            self.there.freeze()
            for process in (*_children(run.pid), run.pid):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(2)
            self.there.thaw()
        elif what == "freeze":
            self.there.freeze()
            time.sleep(_FROZEN)
            self.there.thaw()
        else:
            self.there.cut()
            if what == "cut twice":
                time.sleep(1.5)
                self.there.cut()

    # --- what became of it ------------------------------------------------------------------------

    def _runs(self) -> dict[str, dict[str, Any]]:
        return {item["id"]: item for item in json.loads(self.nbseal("runs", "--json").stdout)}

    def _ended(self, before: dict[str, Any]) -> list[dict[str, Any]]:
        """All runs, once those that are new have ended."""
        end = time.monotonic() + _PATIENCE
        while True:
            runs = self._runs()
            if all(item["status"] != "running" for item in runs.values() if item["id"] not in before):
                return list(runs.values())
            if time.monotonic() > end:
                return list(runs.values())
            time.sleep(0.5)

    def _never(self, found: list[dict[str, Any]], since: float) -> str:
        """Nothing of it was executed, and nothing of it is left."""
        if any(self._started(item["id"], since) for item in found):
            return f"lost: {found}"
        self.nbseal("hosts", "prune", "ssh")
        return self._left()

    def _again(self, way: str) -> str:
        """The same command goes on from what is there."""
        since = time.time()
        with self.begun(way) as run:
            out, said = run.communicate(timeout=_PATIENCE)
        return (self._lost(json.loads(out)["id"], since) or self._left()) if run.returncode == 0 else f"again: {said}"

    def _lost(self, run: str, since: float) -> str:
        """What of the run is not as it should be."""
        record = json.loads(self.nbseal("show", run, "--json").stdout)
        if record["status"] != "completed":
            return f"{record['status']}: {record['outcome']['reason']}"
        text = self.nbseal("logs", run).stdout
        outputs = {item["path"]: item["sha256"].removeprefix("sha256:") for item in record["outputs"]}
        wanted = [f"step {step}" for step in range(_STEPS)]
        wanted += [f"input {hashlib.sha256((self.folder / 'data').read_bytes()).hexdigest()}"]
        wanted += [f"{name} {outputs.get(name)}" for name in ("big", "small")]
        missing = [line for line in wanted if line not in text.splitlines()]
        if missing or set(outputs) != {"big", "small"}:
            return f"missing {missing}, outputs {outputs}"
        if self.nbseal("fsck", run).returncode:
            return "fsck"
        starts = self._started(run, since)
        return "" if starts == 1 else f"started {starts} times"

    def _started(self, run: str, since: float) -> int:
        """How often the run's container was started, by the engine's own word."""
        with self.there.engine() as client:
            filters = {"label": [f"nbseal.run={run}", "nbseal=run"], "event": "start", "type": "container"}
            return len(list(client.events(since=int(since), until=int(time.time()) + 1, filters=filters)))

    def _left(self) -> str:
        """Containers and volumes there, but for inputs."""
        with self.there.engine() as client:
            names = [item.name for item in client.containers.list(all=True)]
            names += [item.name for item in client.volumes.list() if "input" not in item.name]
        return f"left there: {', '.join(names)}" if names else ""


def _children(process: int) -> list[int]:
    with suppress(OSError):
        return [
            int(number)
            for listing in Path(f"/proc/{process}/task").glob("*/children")
            for number in listing.read_text().split()
        ]
    return []


if __name__ == "__main__":
    raise SystemExit(main())
