"""Many runs at once: one to a GPU, whosever they are, and spread over machines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import docker
import pytest

from engine.files import remove_tree
from engine.settings import Home
from tests.conftest import CONTENT, MADE, MakeNotebook, Nbseal, borrow
from tests.engine.gpu_machine import GPU, GpuMachine, uuid_of
from tests.engine.machines import Machine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

#: Says when it was at work.
TIMED = "seconds = 2\nimport time\nprint(f'begin: {time.time()}')\ntime.sleep(seconds)\nprint(f'end: {time.time()}')"


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpuMachine]:
    if os.getuid() != 0:
        pytest.skip("starts an engine of its own, which only root may")
    made = GpuMachine(tmp_path_factory.mktemp("gpus"))
    made.start(runtime=True)
    yield made
    made.stop()
    remove_tree(made.folder)


@pytest.fixture
def other_home(fresh_home: Home) -> Iterator[Home]:
    """Somebody else's."""
    made = Home(Path(tempfile.mkdtemp(prefix="fresh-", dir=fresh_home.root.parent)))
    borrow(fresh_home, made, (*CONTENT, *MADE))
    yield made
    remove_tree(made.root)


def record(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def devices(run: dict[str, Any]) -> set[str]:
    return {device["uuid"] for device in run["outcome"]["host"]["gpu"]["devices"]}


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two notebooks were at work at the same time."""
    first, second = sorted([one["scalars"], other["scalars"]], key=lambda scalars: float(scalars["begin"]))
    return bool(second["begin"] < first["end"])


def test_one_run_to_a_gpu_whosever_it_is(
    nbseal: Nbseal, gpus: GpuMachine, notebook: MakeNotebook, other_home: Home, fresh_home: Home
) -> None:
    gpus.have(GPU, GPU)
    at = {"DOCKER_HOST": gpus.url}
    path = notebook(TIMED)
    assert nbseal("run", path, "seconds=0", "--gpus", "1", env=at).returncode == 0  # from now on all is there

    def run(number: int) -> subprocess.CompletedProcess[str]:
        home = (fresh_home, other_home)[number % 2]
        return nbseal("run", path, "--gpus", "2" if number == 4 else "1", "--json", home=home, env=at)

    with ThreadPoolExecutor(5) as threads:
        done = list(threads.map(run, range(5)))
    runs = [record(one) for one in done]
    assert [run["status"] for run in runs] == ["completed"] * 5
    assert [len(devices(run)) for run in runs] == [1, 1, 1, 1, 2]
    assert set.union(*map(devices, runs)) == {uuid_of(0), uuid_of(1)}
    for one, other in combinations(runs, 2):
        assert not (devices(one) & devices(other) and overlap(one, other)), (one, other)
    assert any("waiting for GPUs of local, which other runs have" in one.stderr for one in done)


@pytest.mark.parametrize("how", ["ctrl-c", "stop"])
def test_those_that_are_named_are_waited_for_until_somebody_ends_the_waiting(
    how: str, nbseal: Nbseal, gpus: GpuMachine, notebook: MakeNotebook, fresh_home: Home, tmp_path: Path
) -> None:
    gpus.have(GPU, GPU)
    at = {"DOCKER_HOST": gpus.url}
    path = notebook(TIMED)
    held = record(nbseal("run", path, "seconds=60", "--gpus", uuid_of(1), "--detach", "--json", env=at))
    with (tmp_path / "log").open("w") as log:
        waiting = subprocess.Popen(
            [sys.executable, "-m", "engine", "run", str(path), "--gpus", "0,1"],
            env={**os.environ, **at, "NBSEAL_HOME": str(fresh_home.root)},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    while f"which other runs have: {held['id']}" not in (tmp_path / "log").read_text():
        assert waiting.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.1)
    if how == "ctrl-c":
        waiting.send_signal(signal.SIGINT)
    else:
        (run,) = (run["id"] for run in record(nbseal("runs", "--json", env=at)) if run["id"] != held["id"])
        assert record(nbseal("stop", run, "--json", env=at)) == {"run": run, "host": "local", "status": "stopped"}
        assert "stopped before it was started" in (tmp_path / "log").read_text()
    assert waiting.wait(30) == 130
    assert [run["id"] for run in record(nbseal("runs", "--json", env=at))] == [held["id"]]
    beside = record(nbseal("run", path, "seconds=0", "--gpus", "1", "--json", env=at))
    assert devices(beside) == {uuid_of(0)}
    assert nbseal("stop", held["id"], env=at).returncode == 0
    with_both = record(nbseal("run", path, "seconds=0", "--gpus", "all", "--json", env=at))
    assert devices(with_both) == {uuid_of(0), uuid_of(1)}


def test_who_created_a_container_first_has_its_gpus(
    nbseal: Nbseal, gpus: GpuMachine, notebook: MakeNotebook, fresh_home: Home, tmp_path: Path
) -> None:
    """Created, and not started: as by somebody who comes at the same time, or was killed just then."""
    gpus.have(GPU)
    at = {"DOCKER_HOST": gpus.url}
    path = notebook(TIMED)
    image = record(nbseal("run", path, "seconds=0", "--gpus", "1", "--json", env=at))["image"]
    client = docker.DockerClient(base_url=gpus.url)
    labels = {"nbseal": "run", "nbseal.run": "0123456789abcdef", "nbseal.gpus": uuid_of(0)}
    first = client.containers.create(image, "true", name="nbseal-0123456789abcdef", labels=labels)
    with (tmp_path / "log").open("w") as log:
        second = subprocess.Popen(
            [sys.executable, "-m", "engine", "run", str(path), "seconds=0", "--gpus", "1"],
            env={**os.environ, **at, "NBSEAL_HOME": str(fresh_home.root)},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    while "another run was about to have the same GPUs" not in (tmp_path / "log").read_text():
        assert second.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.1)
    first.remove()
    client.close()
    assert second.wait(60) == 0


def test_several_runs_are_spread_over_a_group(
    nbseal: Nbseal, notebook: MakeNotebook, machines: Callable[[str], Machine], second: Machine
) -> None:
    """Two machines that can have two runs each, as they have two processors; and one that is not there."""
    path = notebook(TIMED)
    runs = [record(nbseal("run", path, f"seconds={seconds}", "--json"))["id"] for seconds in (1, 2, 3)]
    assert nbseal("hosts", "add", "far", second.ssh_url).returncode == 0
    assert nbseal("hosts", "add", "gone", "unix:///nowhere/docker.sock").returncode == 0
    assert nbseal("hosts", "group", "lab", "local", "far", "gone").returncode == 0
    done = nbseal("rerun", *runs, "--host", "lab", "--jobs", "3", "--at-least", "different", "--json")
    assert done.returncode == 0, done.stderr
    assert "not on gone: No container engine answers" in done.stderr
    again = record(done)
    assert [run["rerun_of"] for run in again] == runs
    assert {run["outcome"]["host"].get("name", "local") for run in again} == {"local", "far"}
    assert any(overlap(one, other) for one, other in combinations(again, 2))
    single = nbseal("rerun", runs[0], "--host", "gone,far", "--json")
    assert record(single)["outcome"]["host"]["name"] == "far"
    left = record(nbseal("rerun", *runs[:2], "--host", "far", "--jobs", "2", "--detach", "--json"))
    assert [run["status"] for run in left] == ["running", "running"]
    for run in left:
        assert record(nbseal("attach", run["id"], "--json"))["status"] == "completed"
    nobody = nbseal("rerun", *runs, "--host", "gone", "--jobs", "2")
    assert (nobody.returncode, nobody.stdout) == (3, "")
    assert nbseal("fsck").returncode == 0


def test_ctrl_c_begins_no_more_and_one_that_is_killed_stops_no_other(
    nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home, tmp_path: Path
) -> None:
    path = notebook(TIMED)
    runs = [record(nbseal("run", path, f"seconds={number}", "--json"))["id"] for number in range(3)]

    def begin(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "engine", "rerun", *runs, *arguments],
            env={**os.environ, "NBSEAL_HOME": str(fresh_home.root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def children(process: subprocess.Popen[str]) -> list[int]:
        """Those that have begun a run."""
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [int(pid) for pid in listed]

    both = begin("--with", "seconds=60", "--jobs", "2", "--json")
    while len(list(fresh_home.runs.glob("*/spool/events.jsonl"))) < 2:
        assert both.poll() is None
        time.sleep(0.1)
    both.send_signal(signal.SIGINT)
    stdout, stderr = both.communicate(timeout=60)
    found = json.loads(stdout)
    assert both.returncode == 130, stderr
    assert [run["status"] for run in found] == ["interrupted", "interrupted", None]
    assert found[2]["rerun_of"] == runs[2]

    one = begin("--with", "seconds=3", "--jobs", "1")
    while not (pids := children(one)):
        assert one.poll() is None
        time.sleep(0.01)
    os.kill(pids[0], signal.SIGKILL)
    stdout, stderr = one.communicate(timeout=120)
    assert one.returncode == 2
    assert f"error: {runs[0]} on local: Its process ended without a word." in stderr
    assert stdout.count("completed") == 2
    assert nbseal("fsck").returncode == 0


def test_what_means_nothing_is_refused(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    run = record(nbseal("run", notebook("1"), "--json"))["id"]
    assert nbseal("hosts", "add", "far", "ssh://far").returncode == 0
    assert nbseal("hosts", "group", "lab", "far").returncode == 0
    for arguments, message in (
        ([run, run], "is named twice"),
        ([run, "0000"], "There is no run '0000'."),
        ([run, run, "--image-only"], "--image-only packs the image of one run."),
        ([run, "--host", "local,nobody"], "There is no host 'nobody'."),
        ([run, "--host", ","], "There is no host ''."),
        ([run, "--host", "local,lab", "--via", "registry.example/x"], "--via is for a run on another machine."),
        ([run, "--jobs", "0"], "greater than or equal to 1"),
    ):
        done = nbseal("rerun", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
    assert len(record(nbseal("runs", "--json"))) == 1
