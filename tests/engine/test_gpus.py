"""GPUs in the three ways that engines give them, with a stand-in for the driver and nothing else; and every refusal."""

from __future__ import annotations

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

from engine import containers, daemon
from engine.errors import EngineUnavailable
from engine.files import remove_tree
from engine.settings import Home
from tests.conftest import MakeNotebook, Nbseal
from tests.engine.gpu_machine import GPU, GpuMachine, uuid_of
from tests.engine.machines import machine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

LOOK = (
    "# /// script\n# dependencies = ['nvidia-ml-py']\n# ///\n"
    "import os, time\n"
    "print(sorted(os.listdir('/etc/gpus')) if os.path.exists('/etc/gpus') else 'none')\n"
    "print([name for name in os.environ if name.startswith('NVIDIA')])\n"
    "time.sleep(2)"
)
ONE = f"{GPU['name']} (40 GiB), driver {GPU['driver']}"


def a100(number: int) -> dict[str, object]:
    return {"name": GPU["name"], "uuid": uuid_of(number), "memory": 40 << 30, "compute_capability": "8.0"}


Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpuMachine]:
    if os.getuid() != 0:
        pytest.skip("starts an engine of its own, which only root may")
    made = GpuMachine(tmp_path_factory.mktemp("gpus"))
    yield made
    made.stop()
    remove_tree(made.folder)


@pytest.fixture
def call(nbseal: Nbseal, gpus: GpuMachine) -> Call:
    """The command line, at the engine with GPUs, of which there are two again."""
    gpus.have(GPU, GPU)
    return lambda *arguments, **options: nbseal(*arguments, env={"DOCKER_HOST": gpus.url}, **options)


def record_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def left_at(url: str) -> list[str]:
    import docker

    client = docker.DockerClient(base_url=url)
    try:
        return [item["Names"][0] for item in client.api.containers(all=True, filters={"label": "nbseal"})]
    finally:
        client.close()


def test_a_spec_gets_its_gpus_whatever_the_way(call: Call, gpus: GpuMachine, notebook: MakeNotebook) -> None:
    gpus.start(runtime=True)
    path = notebook(LOOK)
    first = record_of(call("run", path, "--gpus", "01", "--json"))
    assert first["spec"]["gpus"] == "1"
    assert not [name for name in first["spec"]["environment"] if name.startswith("NVIDIA")]
    assert first["outcome"]["host"]["gpu"] == {"way": "runtime", "driver": GPU["driver"], "devices": [a100(0)]}
    assert "['0']\n[]\n" in call("logs", first["id"]).stdout
    # What the real nvidia-ml-py read of the stand-in's libnvidia-ml: the mean, and the most.
    assert first["scalars"]["gpu/0/memory_peak"] == 3 << 30
    assert 40 <= first["scalars"]["gpu/0/utilisation"] <= 60
    assert (
        f"1: 1 x {GPU['name']} (40 GiB), driver {GPU['driver']}, by the nvidia runtime"
        in call("show", first["id"]).stdout
    )
    assert call("fsck").returncode == 0

    gpus.start(hook=True)
    again = record_of(call("rerun", first["id"], "--json"))
    assert (again["verdict"], again["hash"]) == ("identical", first["hash"])
    assert again["outcome"]["host"]["gpu"]["way"] == "device-requests"
    assert again["scalars"]["gpu/0/memory_peak"] == 3 << 30

    gpus.start()
    refused = call("rerun", first["id"], "--json")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "no driver for GPUs" in refused.stderr
    assert "hint: " in refused.stderr
    assert left_at(gpus.url) == []
    without = call("rerun", first["id"], "--cpu", "--at-least", "different", "--json")
    record = record_of(without)
    assert record["hash"] == first["hash"]
    assert record["notes"] == ["executed without the GPUs that were asked for (1): --cpu"]
    assert record["outcome"]["host"]["gpu"] == {"way": "none"}
    assert not [name for name in record["scalars"] if name.startswith("gpu/")]
    assert call("rerun", record["id"]).returncode == 3  # that it went without once allows nothing


def test_more_of_them(call: Call, gpus: GpuMachine, notebook: MakeNotebook, tmp_path: Path) -> None:
    gpus.start(runtime=True)
    path = notebook("import os\nprint(os.listdir('/etc/gpus'))")
    for request, seen in (("all", 2), ("2", 2), ("1,0", 2)):
        record = record_of(call("run", path, "--gpus", request, "--json"))
        assert len(record["outcome"]["host"]["gpu"]["devices"]) == seen
        assert record["scalars"] == {}  # without nvidia-ml-py nothing is measured
    gpus.have(GPU)
    done = call("run", path, "--gpus", "2")
    assert done.returncode == 3
    assert "2 GPUs were asked for, and the engine's machine gives 1." in done.stderr
    archive = tmp_path / "run.tar.zst"
    assert call("archive", record["id"], "-o", archive).returncode == 0
    assert call("audit", archive).returncode == 0


def test_what_was_measured_is_found_again_by_an_audit(
    call: Call, gpus: GpuMachine, notebook: MakeNotebook, tmp_path: Path
) -> None:
    gpus.start(runtime=True)
    record = record_of(call("run", notebook(LOOK), "--gpus", "1", "--json"))
    archive = tmp_path / "run.tar.zst"
    assert call("archive", record["id"], "-o", archive).returncode == 0
    audit = call("audit", archive, "--json")
    assert audit.returncode == 0, audit.stderr
    lines = [line for line in json.loads(audit.stdout)["lines"] if line["name"] == "scalars"]
    assert [line["state"] for line in lines] == ["proven"], audit.stdout
    assert "events.jsonl measured" in lines[0]["statement"]


def test_a_driver_whose_library_crashes_takes_nothing_along(
    call: Call, gpus: GpuMachine, notebook: MakeNotebook
) -> None:
    gpus.start(runtime=True)
    (gpus.state / "crash").write_text("")
    record = record_of(call("run", notebook(LOOK), "--gpus", "all", "--json"))
    assert record["status"] == "completed"
    assert record["scalars"] == {}


def test_an_old_driver_is_refused_before_anything_is_built(
    call: Call, gpus: GpuMachine, notebook: MakeNotebook, fresh_home: Home
) -> None:
    gpus.start(runtime=True)
    gpus.have({**GPU, "driver": "470.256.02"})
    path = notebook("# /// script\n# dependencies = ['nvidia-cuda-runtime-cu12==12.8.90']\n# ///\n1")
    images = set((fresh_home.root / "images").iterdir())
    done = call("run", path, "--gpus", "all", "--json")
    assert (done.returncode, done.stdout) == (3, "")
    assert "nvidia-cuda-runtime-cu12 12.8.90 wants CUDA 12.8, which needs a GPU driver from 525 on" in done.stderr
    assert "has 470.256.02" in done.stderr
    assert set((fresh_home.root / "images").iterdir()) == images


def test_a_driver_that_does_not_know_compute_capabilities(call: Call, gpus: GpuMachine, notebook: MakeNotebook) -> None:
    gpus.start(runtime=True)
    gpus.have({**GPU, "capability": "", "memory": "[N/A]"})
    record = record_of(call("run", notebook("1"), "--gpus", "1", "--json"))
    assert record["outcome"]["host"]["gpu"]["devices"] == [
        {"name": GPU["name"], "uuid": uuid_of(0), "memory": None, "compute_capability": None}
    ]


BROKEN = "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver."


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("nvidia-container-cli: initialization error: nvml error: driver not loaded", "does not work (initialization"),
        ("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.4, please", "wants cuda>=12.4"),
        ("nvidia-container-cli: device error: 7: unknown device", "does not have the GPUs that were asked for"),
        ("some library is missing", "A hook of the container engine's failed (some library is missing)"),
    ],
)  # fmt: skip
def test_a_hook_that_fails_is_a_sentence(
    call: Call, gpus: GpuMachine, notebook: MakeNotebook, failure: str, message: str
) -> None:
    gpus.start(hook=True)
    gpus.failure.write_text(failure)
    done = call("run", notebook("1"), "--gpus", "1", "--json")
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert message in done.stderr
    assert "hint: " in done.stderr
    assert left_at(gpus.url) == []


def test_a_container_that_cannot_start_is_removed(call: Call, gpus: GpuMachine, notebook: MakeNotebook) -> None:
    gpus.start(hook=True)
    gpus.failure.write_text("of runs: nvidia-container-cli: initialization error: nvml error: driver not loaded")
    done = call("run", notebook("1"), "--gpus", "1")
    assert done.returncode == 3
    assert "driver 550.54.14, by device requests" in done.stderr  # it was asked for, and answered
    assert "The GPU driver of the engine's machine does not work" in done.stderr
    assert left_at(gpus.url) == []
    assert json.loads(call("runs", "--json").stdout) == []


def test_gpus_that_do_not_work_are_refused(call: Call, gpus: GpuMachine, notebook: MakeNotebook) -> None:
    gpus.start(runtime=True)
    gpus.have({**GPU, "broken": BROKEN})
    done = call("run", notebook("1"), "--gpus", "all")
    assert done.returncode == 3
    assert f"nvidia-smi says '{BROKEN[:-1]}'." in done.stderr
    gpus.have()  # none at all
    assert "No devices were found" in call("run", notebook("1"), "--gpus", "all").stderr


def test_a_run_whose_process_is_killed_keeps_what_is_known_of_its_gpus(
    call: Call, gpus: GpuMachine, notebook: MakeNotebook, fresh_home: Home
) -> None:
    gpus.start(runtime=True)
    path = notebook("import time\nprint('at work', flush=True)\ntime.sleep(4)")
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", "run", str(path), "--gpus", "1"],
        env={**os.environ, "NBSEAL_HOME": str(fresh_home.root), "DOCKER_HOST": gpus.url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not any("at work" in events.read_text() for events in fresh_home.runs.glob("*/spool/events.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while (found := json.loads(call("runs", "--json").stdout))[0]["status"] == "running":
        time.sleep(0.2)
    record = json.loads(call("show", found[0]["id"], "--json").stdout)
    assert record["status"] == "completed"
    assert record["outcome"]["host"]["gpu"] == {"way": "runtime", "driver": GPU["driver"], "devices": [a100(0)]}


def test_another_machine_gives_its_gpus(
    nbseal: Nbseal, notebook: MakeNotebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.getuid() != 0:
        pytest.skip("starts a second machine, which only root may")
    with machine("gpus") as far:
        remove_tree(far.folder / "gpus")
        inside = "/run/machine/gpus"
        stand_ins = GpuMachine(far.folder / "gpus", inside)
        far.boot("--add-runtime", f"nvidia={inside}/runtime")
        monkeypatch.setenv("PATH", f"{far.commands}:{os.environ['PATH']}")
        assert nbseal("hosts", "add", "far", far.ssh_url).returncode == 0
        with far.engine() as client:
            for image in client.api.images(filters={"label": "nbseal"}):
                client.api.remove_image(image["Id"], force=True)
        done = nbseal("run", notebook(LOOK), "--gpus", "1", "--host", "far", "--json")
        record = record_of(done)
        sent = [line.strip() for line in done.stderr.splitlines() if "layers to far" in line]
        # The base goes by layer, to ask from, and what stands on it after that.
        assert [line.startswith("Sending 4 of 4 layers") for line in sent] == [True, False], done.stderr
        host = record["outcome"]["host"]
        assert (host["name"], host["gpu"]["way"], host["gpu"]["devices"]) == ("far", "runtime", [a100(0)])
        assert record["scalars"]["gpu/0/memory_peak"] == 3 << 30
        (checked,) = json.loads(nbseal("hosts", "check", "--json").stdout)
        assert checked["gpus"]["detail"] == f"2 x {ONE}, by the nvidia runtime"
        stand_ins.have({**GPU, "broken": BROKEN})
        done = nbseal("rerun", record["id"], "--host", "far")
        assert (done.returncode, BROKEN[:-1] in done.stderr) == (3, True)
        with far.engine() as client:
            assert client.api.containers(all=True) == []


def test_doctor_tells_the_way_and_the_models(call: Call, gpus: GpuMachine) -> None:
    def told() -> tuple[str, str]:
        (check,) = [check for check in json.loads(call("doctor", "--json").stdout) if check["name"] == "gpu"]
        return check["state"], check["detail"]

    gpus.start(runtime=True)
    assert told() == ("ok", f"2 x {ONE}, by the nvidia runtime")
    gpus.start()
    assert told() == ("warning", "The container engine has no driver for GPUs.")


@pytest.mark.parametrize("request_", ["", "0", "0," * 999])
def test_no_request(nbseal: Nbseal, notebook: MakeNotebook, request_: str) -> None:
    done = nbseal("run", notebook("1"), f"--gpus={request_}")
    assert done.returncode == 2
    assert "hint: " in done.stderr


@pytest.fixture
def cdi(engine: daemon.Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpuMachine]:
    """The stand-ins, as the engine under test knows them by CDI."""
    folders = engine.info.get("CDISpecDirs") or []
    root, separator, _ = engine.url.removeprefix("unix://").partition("/root/")
    if not folders:
        pytest.skip(f"{engine.name} {engine.version} has no CDI")
    if not (root.startswith("/proc/") and separator):
        pytest.skip("the engine is not one of the tests' own, in whose /etc they may write")
    made = GpuMachine(tmp_path_factory.mktemp("cdi"))
    specification = Path(f"{root}{separator}{folders[0]}/nbseal-tests.json")
    specification.parent.mkdir(parents=True, exist_ok=True)
    specification.write_text(made.cdi())
    yield made
    specification.unlink()
    remove_tree(made.folder)


def test_cdi(cdi: GpuMachine, nbseal: Nbseal, notebook: MakeNotebook, engine: daemon.Engine) -> None:
    for _ in range(50):
        if engine.client.info().get("DiscoveredDevices"):
            break
        time.sleep(0.2)
    path = notebook(LOOK)
    record = record_of(nbseal("run", path, "--gpus", "0,1", "--json"))
    assert record["outcome"]["host"]["gpu"] == {"way": "cdi", "driver": GPU["driver"], "devices": [a100(0), a100(1)]}
    assert "['0', '1']\n[]\n" in nbseal("logs", record["id"]).stdout
    assert {"gpu/0/memory_peak", "gpu/1/utilisation"} <= set(record["scalars"])
    assert record_of(nbseal("rerun", record["id"], "--json"))["verdict"] == "identical"
    done = nbseal("run", path, "--gpus", "3")
    assert done.returncode == 3
    assert "does not have the GPUs that were asked for (3)" in done.stderr

    # What the engine has known and lost since is its own word.
    given = containers.choose_gpus(engine.client.info(), containers.parse_gpus("0,1"))
    (specification,) = Path(f"{engine.url.removeprefix('unix://').partition('/root/')[0]}/root").glob(
        "etc/cdi/nbseal-tests.json"
    )
    text = specification.read_text()
    specification.write_text(text.replace('"name": "1"', '"name": "7"'))
    try:
        with pytest.raises(EngineUnavailable, match=r"does not have nvidia\.com/gpu=1") as refused:
            containers.ask_gpus(engine, record["image"], given)
        assert refused.value.hint
    finally:
        specification.write_text(text)
