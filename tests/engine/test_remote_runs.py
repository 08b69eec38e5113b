"""Runs on another machine: what goes there, what comes back, and what a broken link does to it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.pipeline import pruning
from engine.pipeline.reading import runs
from engine.progress import Progress, Silent
from engine.settings import Home
from tests.conftest import MakeNotebook, Nbseal
from tests.engine.machines import Machine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


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
        containers = [item["Names"][0].lstrip("/") for item in client.api.containers(all=True)]
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


def steps(count: int) -> str:
    """A cell that takes a fifth of a second for each."""
    return (
        f"import time\nfor i in range({count}):\n    print(f'step {{i}}', flush=True)\n    time.sleep(0.2)\n"
        "open('result.txt', 'w').write('all of it')"
    )


SLOW, LONG = steps(20), steps(3000)


class Begun:
    """A run under way in a process of its own, and what that process says."""

    def __init__(self, home: Home, *arguments: str, log: Path) -> None:
        self._home, self._log = home, log
        command = [sys.executable, "-m", "engine", *arguments]
        environment = {**os.environ, "NBSEAL_HOME": str(home.root)}
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=log.parent
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Until it is among the events that have come here."""
        end = time.monotonic() + seconds
        while not any(text in path.read_text() for path in self._home.runs.glob("*/spool/events.jsonl")):
            assert time.monotonic() < end, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def done(self) -> dict[str, Any]:
        text, _ = self.process.communicate(timeout=90)
        assert text, self.said
        found: dict[str, Any] = json.loads(text)
        return found


Begin = Callable[..., Begun]


@pytest.fixture
def begin(far: Machine, fresh_home: Home, notebook: MakeNotebook, tmp_path: Path) -> Iterator[Begin]:
    """``begin("print(1)", ...)`` runs these cells there."""
    all_begun: list[Begun] = []

    def call(*cells: str) -> Begun:
        path, log = notebook(*cells), tmp_path / f"log-{len(all_begun)}"
        all_begun.append(Begun(fresh_home, "run", str(path), "--host", "far", "--json", log=log))
        return all_begun[-1]

    yield call
    for begun in all_begun:
        begun.kill()


def texts(found: dict[str, Any], home: Path) -> str:
    executed = json.loads((home / "runs" / found["id"] / "executed.ipynb").read_text())
    return "".join(output.get("text", "") for cell in executed["cells"] for output in cell.get("outputs", ()))


ALL_STEPS = "".join(f"step {i}\n" for i in range(20))


def test_a_cut_link_loses_nothing(far: Machine, begin: Begin, fresh_home: Home) -> None:
    begun = begin(SLOW)
    for step in (2, 8):
        begun.wait_for(f"step {step}")
        far.cut()
    found = begun.done()
    assert found["status"] == "completed"
    assert texts(found, fresh_home.root) == ALL_STEPS
    assert [item["path"] for item in found["outputs"]] == ["result.txt"]
    assert "The link to far broke" in begun.said
    assert "The link to far is back." in begun.said
    assert left_on(far) == []


def test_a_frozen_link_loses_nothing(far: Machine, begin: Begin, fresh_home: Home) -> None:
    begun = begin(SLOW)
    begun.wait_for("step 2")
    far.freeze()
    time.sleep(24)
    far.thaw()
    found = begun.done()
    assert found["status"] == "completed"
    assert texts(found, fresh_home.root) == ALL_STEPS
    assert left_on(far) == []


def test_whoever_was_killed_is_replaced_by_attach(far: Machine, begin: Begin, fresh_home: Home, nbseal: Nbseal) -> None:
    begun = begin("print('first')", steps(50))
    begun.wait_for("step 2")
    begun.kill()
    (run,) = json.loads(nbseal("runs", "--json").stdout)
    assert run["status"] == "running"
    attached = nbseal("attach", run["id"], "--json")
    assert attached.returncode == 0, attached.stderr
    assert "cell 1/2 done" in attached.stderr  # which was missed, even where all of it was
    found = record(attached)
    assert found["status"] == "completed"
    assert texts(found, fresh_home.root).endswith("step 49\n")
    assert found["outcome"]["duration"] > 10
    assert left_on(far) == []


def test_detached_and_found_by_whatever_comes_next(
    far: Machine, notebook: MakeNotebook, fresh_home: Home, nbseal: Nbseal
) -> None:
    done = nbseal("run", notebook(SLOW), "--host", "far", "--detach", "--json")
    assert done.returncode == 0, done.stderr
    begun = record(done)
    assert begun["status"] == "running"
    end = time.monotonic() + 60
    while (run := json.loads(nbseal("runs", "--json").stdout)[0])["status"] == "running":
        assert time.monotonic() < end
    assert run["status"] == "completed"
    assert texts(begun, fresh_home.root) == ALL_STEPS
    assert left_on(far) == []


@pytest.mark.parametrize("how", ["home", "host", "ctrl-c"])
def test_a_run_is_stopped(how: str, far: Machine, begin: Begin, fresh_home: Home, nbseal: Nbseal) -> None:
    begun = begin(LONG)
    begun.wait_for("step 2")
    (run,) = json.loads(nbseal("runs", "--json").stdout)
    if how == "ctrl-c":
        begun.process.send_signal(signal.SIGINT)
    else:
        stopped = nbseal("stop", run["id"][:6], *(("--host", "far") if how == "host" else ()))
        assert stopped.returncode == 0, stopped.stderr
        assert run["id"] in stopped.stdout
    found = begun.done()
    assert found["status"] == "interrupted"
    assert texts(found, fresh_home.root).startswith("step 0\nstep 1\nstep 2\n")
    assert begun.process.returncode == 130
    assert left_on(far) == []


def test_a_machine_that_lost_power(far: Machine, begin: Begin, fresh_home: Home, nbseal: Nbseal) -> None:
    begun = begin("print('before')\nopen('early.txt', 'w').write('x')", LONG)
    begun.wait_for("step 3")
    begun.kill()
    far.reboot()
    (run,) = json.loads(nbseal("runs", "--json").stdout)
    assert run["status"] == "lost"
    found = json.loads(nbseal("show", run["id"], "--json").stdout)
    assert "restarted" in found["outcome"]["reason"]
    assert [item["path"] for item in found["outputs"]] == ["early.txt"]
    assert "before" in texts(found, fresh_home.root)
    assert left_on(far) == []


def test_what_dead_runs_left_is_removed_and_nothing_else(
    far: Machine, begin: Begin, fresh_home: Home, nbseal: Nbseal, tmp_path: Path
) -> None:
    begun = begin(LONG)
    begun.wait_for("step 2")
    (run,) = json.loads(nbseal("runs", "--json").stdout)
    own = len(left_on(far))
    home_id = (fresh_home.root / "ledger/checkpoint").read_text().splitlines()[0].rpartition("/")[2]

    def leave(home: str, run: str) -> None:
        with far.engine() as client:
            labels = {"nbseal": "volume", "nbseal.home": home, "nbseal.run": run}
            client.volumes.create(f"nbseal-{run}-project", labels=labels)

    leave(home_id, "d" * 16)  # of a run that nobody knows any more
    leave("f" * 16, "e" * 16)  # of another home
    with far.engine() as client:
        client.volumes.create("somebody")
    pruned = json.loads(nbseal("hosts", "prune", "far", "--cache", "--json").stdout)
    removed = [item["name"] for item in pruned["removed"]]
    assert f"nbseal-{'d' * 16}-project" in removed
    assert len(pruned["kept"]) == own
    assert pruned["others"] == 1
    left = left_on(far)
    assert {f"nbseal-{'e' * 16}-project", "somebody"} < set(left)
    assert len(left) == own + 2
    assert nbseal("stop", run["id"]).returncode == 0
    assert begun.done()["status"] == "interrupted"


def test_pruning_leaves_a_run_alone_that_begins_meanwhile(
    far: Machine, begin: Begin, fresh_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Begun] = []

    def listed_late(home: Home, progress: Progress) -> object:
        found = runs(home, progress)
        begun.append(begin(SLOW))
        end = time.monotonic() + 60
        while not left_on(far):
            assert time.monotonic() < end, begun[0].said
        return found

    monkeypatch.setattr(pruning, "runs", listed_late)
    pruned = pruning.prune("far", fresh_home, Silent(), cache=False)
    assert (pruned.removed, pruned.others) == ((), 0)
    assert begun[0].done()["status"] == "completed"


def test_pruning_all_the_time_disturbs_no_run(far: Machine, begin: Begin, nbseal: Nbseal, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    nbseal("hosts", "add", "far", far.ssh_url, home=other)
    begun = begin(SLOW)
    while begun.process.poll() is None:
        for whose in ({}, {"home": other}):
            done = nbseal("hosts", "prune", "far", "--json", **whose)
            assert done.returncode == 0, done.stderr
    found = begun.done()
    assert found["status"] == "completed", begun.said
    assert [item["path"] for item in found["outputs"]] == ["result.txt"]
    assert left_on(far) == []


def test_what_is_in_use_there_stays_and_is_said(
    far: Machine, fresh_home: Home, nbseal: Nbseal, notebook: MakeNotebook
) -> None:
    assert nbseal("run", notebook("1"), "--host", "far").returncode == 0
    home_id = (fresh_home.root / "ledger/checkpoint").read_text().splitlines()[0].rpartition("/")[2]
    name = f"nbseal-{'d' * 16}-project"
    with far.engine() as client:
        labels = {"nbseal": "volume", "nbseal.home": home_id, "nbseal.run": "d" * 16}
        client.volumes.create(name, labels=labels)
        image = client.api.images(filters={"label": "nbseal"})[0]["Id"]
        somebody = client.containers.create(image, "true", volumes=[f"{name}:/x"])
        done = nbseal("hosts", "prune", "far")
        assert done.returncode == 0, done.stderr
        assert f"{name} is in use" in done.stderr
        assert name in left_on(far)
        somebody.remove()
    assert name in nbseal("hosts", "prune", "far").stdout


def test_an_input_is_sent_once(far: Machine, nbseal: Nbseal, notebook: MakeNotebook, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(os.urandom(3_000_000))
    path = notebook("import hashlib\nprint(hashlib.sha256(open('data.bin', 'rb').read()).hexdigest())")
    command = ("run", path, "--input", f"{tmp_path}/data.bin=data.bin", "--host", "far", "--json")
    first = record(nbseal(*command))
    with far.engine() as client:
        (volume,) = [item for item in client.volumes.list() if item.name.startswith("nbseal-input-")]
        kept = next(far.folder.rglob(f"{volume.name}/_data/data"))
        stamp = kept.stat().st_mtime_ns
        second = record(nbseal(*command))
        assert kept.stat().st_mtime_ns == stamp
        # What is damaged there is noticed, and sent again.
        kept.write_bytes(b"x" * 3_000_000)
        third = record(nbseal(*command))
    assert first["outputs"] == second["outputs"] == third["outputs"] == []
    assert {nbseal("logs", item["id"]).stdout for item in (first, second, third)} == {
        nbseal("logs", first["id"]).stdout
    }
    assert hashlib.sha256((tmp_path / "data.bin").read_bytes()).hexdigest() in nbseal("logs", third["id"]).stdout


@pytest.mark.parametrize(
    ("cell", "outputs"),
    [
        ("open('n', 'w').write('x')\nos.replace('n', 'data/d.csv')", []),
        ("os.replace('data/d.csv', 'n')\nos.replace('data/e.csv', 'data/d.csv')\nos.replace('n', 'data/e.csv')", []),
        ("import shutil\nshutil.rmtree('data')\nopen('data', 'w').write('x')", ["data"]),
    ],
)
def test_an_input_that_was_replaced_is_told(
    cell: str, outputs: list[str], far: Machine, nbseal: Nbseal, notebook: MakeNotebook, tmp_path: Path
) -> None:
    inputs = []
    for name in ("d.csv", "e.csv"):
        (tmp_path / name).write_bytes(os.urandom(100))
        inputs += ["--input", f"{tmp_path}/{name}=data/{name}"]
    done = nbseal("run", notebook(f"import os\n{cell}"), *inputs, "--host", "far", "--json")
    found = record(done)
    assert (done.returncode, found["status"]) == (1, "failed")
    assert "Inputs were replaced or removed while it ran: data/d.csv" in found["outcome"]["reason"]
    assert [item["path"] for item in found["outputs"]] == outputs
    assert left_on(far) == []


def test_a_host_that_is_not_there(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    nbseal("hosts", "add", "gone", "unix:///nowhere/docker.sock")
    done = nbseal("run", notebook("1"), "--host", "gone", "--json")
    assert (done.returncode, done.stdout) == (3, "")
    assert "No container engine answers on gone" in done.stderr
    unknown = nbseal("run", notebook("1"), "--host", "gon", "--json")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "Known are: gone." in unknown.stderr
    assert json.loads(nbseal("runs", "--json").stdout) == []


def test_the_default_host(far: Machine, nbseal: Nbseal, notebook: MakeNotebook) -> None:
    assert nbseal("hosts", "default", "far").returncode == 0
    assert record(nbseal("run", notebook("1"), "--json"))["outcome"]["host"]["name"] == "far"
    assert "name" not in record(nbseal("run", notebook("1"), "--json", "--host", "local"))["outcome"]["host"]
    doctor = nbseal("doctor", "--json")
    (line,) = [check for check in json.loads(doctor.stdout) if check["name"].startswith("host ")]
    assert line["name"] == "host far (default)"
    assert "free" in line["detail"]
