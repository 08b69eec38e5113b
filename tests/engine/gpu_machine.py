"""A machine with GPUs that are none: everything between nbseal and a driver is real, the driver is a stand-in.

An engine gets its GPUs in one of three ways, and each ends in the same files inside the container: one for each GPU in
/etc/gpus, an nvidia-smi that reads them, and a libnvidia-ml.so.1, compiled here, through which the real nvidia-ml-py
reads them too. What stands in ``state`` decides how the machine behaves from the next container on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.engine.capsules import remove_groups

#: Of every GPU unless a test says otherwise; memory in MiB, as nvidia-smi prints it.
GPU = {"driver": "550.54.14", "memory": "40960", "capability": "8.0", "name": "NVIDIA A100-SXM4-40GB"}
_GROUP = "nbseal-tests-gpus"
SMI, LIBRARY = "/usr/bin/nvidia-smi", "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"

_SMI = """#!/bin/sh
fields=${1#--query-gpu=}
for gpu in /etc/gpus/*; do
    [ -e "$gpu" ] || { echo "No devices were found"; exit 6; }
    . "$gpu"
    [ -z "$broken" ] || { echo "$broken"; exit 9; }
    line= old=$IFS IFS=,
    for field in $fields; do
        case $field in
            driver_version) value=$driver ;;
            memory.total) value=$memory ;;
            compute_cap) value=$capability ;;
            uuid) value=$uuid ;;
            name) value=$name ;;
        esac
        [ -n "$value" ] || { echo "Field \\"$field\\" is not a valid field to query."; exit 2; }
        line="$line, $value"
    done
    IFS=$old
    echo "${line#, }"
done
"""
#: A GPU that is busy at 40 and 60 percent in turn, and at the second look holds 3 GiB, else 1.
_NVML = """
extern int access(const char *, int);
typedef struct { unsigned int gpu, memory; } rates;
typedef struct { unsigned long long total, free, used; } memory;
static int looks;
int nvmlInitWithFlags(unsigned int flags)
{
    return access("/etc/gpus/crash", 0) == 0 ? *(volatile int *)0 : 0;
}
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "stand-in"; }
int nvmlDeviceGetCount_v2(unsigned int *count)
{
    *count = (access("/etc/gpus/0", 0) == 0) + (access("/etc/gpus/1", 0) == 0);
    return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned int number, void **device) { *device = &looks; return 0; }
int nvmlDeviceGetUtilizationRates(void *device, rates *found)
{
    found->gpu = ++looks % 2 ? 40 : 60;
    found->memory = 10;
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, memory *found)
{
    found->total = 40ULL << 30;
    found->used = (looks == 2 ? 3ULL : 1ULL) << 30;
    found->free = found->total - found->used;
    return 0;
}
"""
#: Does the work of NVIDIA's runtime: adds to a container what NVIDIA_VISIBLE_DEVICES asks for, and hands on to runc.
_RUNTIME = """#!/usr/bin/python3
import json, os, sys
state, files = {state!r}, {files!r}
if "create" in sys.argv:
    bundle = sys.argv[sys.argv.index("--bundle") + 1] if "--bundle" in sys.argv else os.getcwd()
    path = os.path.join(bundle, "config.json")
    config = json.load(open(path))
    env = dict(item.partition("=")[::2] for item in config["process"]["env"])
    asked = env.get("NVIDIA_VISIBLE_DEVICES")
    if asked and "utility" in env.get("NVIDIA_DRIVER_CAPABILITIES", "utility"):
        there = sorted(os.listdir(state))
        own = lambda name: name[7 + 4] if name.startswith("GPU-") else name
        names = there if asked == "all" else [own(name) for name in asked.split(",") if own(name) in there]
        pairs = [(os.path.join(state, name), "/etc/gpus/" + name) for name in names] + files
        for source, target in pairs:
            mount = {{"destination": target, "source": source, "type": "bind", "options": ["bind", "ro"]}}
            config["mounts"].append(mount)
        json.dump(config, open(path, "w"))
os.execvp("runc", ["runc", *sys.argv[1:]])
"""
#: Does the work of NVIDIA's hook for device requests; fails with what stands in ``failure``, maybe only "of runs: ".
_HOOK = """#!/usr/bin/python3
import json, os, shutil, sys
state, files, failure = {state!r}, {files!r}, {failure!r}
if sys.argv[1:] == ["prestart"]:
    config = json.load(open(os.path.join(json.load(sys.stdin)["bundle"], "config.json")))
    if os.path.exists(failure):
        words = open(failure).read()
        if not words.startswith("of runs: ") or "nbseal_harness" in config["process"]["args"]:
            sys.exit(words)
    env = dict(item.partition("=")[::2] for item in config["process"]["env"])
    asked, there = env.get("NVIDIA_VISIBLE_DEVICES", ""), sorted(os.listdir(state))
    own = lambda name: name[7 + 4] if name.startswith("GPU-") else name
    names = there if asked == "all" else [own(name) for name in asked.split(",")]
    for name in names:
        if name not in there:
            sys.exit("nvidia-container-cli: device error: %s: unknown device" % name)
    root = config["root"]["path"]
    os.makedirs(os.path.join(root, "etc/gpus"))
    for source, target in [(os.path.join(state, name), "/etc/gpus/" + name) for name in names] + files:
        shutil.copy(source, root + target)
"""


def uuid_of(number: int) -> str:
    """What a GPU calls itself."""
    return f"GPU-0000000{number}-1111-2222-3333-444444444444"


class GpuMachine:
    """The stand-ins in ``folder``, and an engine that has them, started by ``start``."""

    def __init__(self, folder: Path, inside: str = "") -> None:
        """``inside`` is where an engine has the folder that sees another file system."""
        self.folder = folder
        place = inside or str(folder)
        self.state, self.failure = folder / "state", folder / "failure"
        self._process: subprocess.Popen[bytes] | None = None
        self._options = (False, False)
        self._files = [(f"{place}/{Path(target).name}", target) for target in (SMI, LIBRARY)]
        self.state.mkdir(parents=True)
        self._write("nvidia-smi", _SMI)
        places = {"state": f"{place}/state", "files": self._files, "failure": f"{place}/failure"}
        self._write("runtime", _RUNTIME.format(**places))
        self._write("hook/nvidia-container-runtime-hook", _HOOK.format(**places))
        self._write("daemon.json", "{}")
        self._compile()
        self.have(GPU, GPU)

    def have(self, *gpus: dict[str, str]) -> None:
        """These GPUs from now on, numbered from 0."""
        for path in self.state.iterdir():
            path.unlink()
        self.failure.unlink(missing_ok=True)
        for number, gpu in enumerate(gpus):
            known = {"uuid": uuid_of(number), **gpu}
            (self.state / str(number)).write_text("".join(f"{name}='{value}'\n" for name, value in known.items()))

    # --- an engine with the runtime or the hook, or neither ---------------------------------------

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    def start(self, *, runtime: bool = False, hook: bool = False) -> None:
        """An engine of its own, in place of the one before unless that is the same; its images stay."""
        if self._process is not None and self._options == (runtime, hook):
            return
        self.stop()
        self._options = (runtime, hook)
        program = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "dockerd is missing"
        options: Sequence[str] = ["--add-runtime", f"nvidia={self.folder}/runtime"] if runtime else []
        path = f"{self.folder}/hook:" if hook else ""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    # Without a bridge of its own, it would take away the one that another engine has here.
                    *("unshare", "--net"),
                    *(
                        program,
                        "-H",
                        self.url,
                        "--data-root",
                        self.folder / "data",
                        "--exec-root",
                        self.folder / "exec",
                    ),
                    *("--pidfile", self.folder / "pid", "--bridge=none", "--iptables=false", "--ip6tables=false"),
                    *("--config-file", self.folder / "daemon.json", "--cgroup-parent", f"/{_GROUP}"),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": f"{path}{os.environ['PATH']}:/usr/sbin:/sbin"},
                start_new_session=True,
            )
        from docker import DockerClient
        from docker.errors import DockerException

        for _ in range(300):
            with suppress(DockerException):
                client = DockerClient(base_url=self.url)
                client.close()
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text()[-3000:])

    def stop(self) -> None:
        """End it, by its id; it ends its own containerd."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
            self._process = None
            remove_groups(_GROUP)

    # --- an engine with CDI -------------------------------------------------------------------------

    def cdi(self) -> str:
        """A CDI specification (0.5.0) of the same GPUs."""
        devices = {"all": sorted(path.name for path in self.state.iterdir())}
        devices |= {name: [name] for name in devices["all"]}
        return json.dumps(
            {
                "cdiVersion": "0.5.0",
                "kind": "nvidia.com/gpu",
                "containerEdits": {
                    "env": ["NVIDIA_VISIBLE_DEVICES=void"],
                    "mounts": [_mount(source, target) for source, target in self._files],
                },
                "devices": [
                    {
                        "name": name,
                        "containerEdits": {"mounts": [_mount(f"{self.state}/{n}", f"/etc/gpus/{n}") for n in numbers]},
                    }
                    for name, numbers in devices.items()
                ],
            }
        )

    # --- stand-ins ----------------------------------------------------------------------------------

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def _compile(self) -> None:
        compiler = shutil.which("cc") or shutil.which("tcc")
        assert compiler, "no C compiler; `scripts/setup tests` installs tcc"
        (self.folder / "nvml.c").write_text(_NVML)
        library = self.folder / Path(LIBRARY).name
        subprocess.run([compiler, "-shared", "-nostdlib", "-fPIC", "-o", library, self.folder / "nvml.c"], check=True)


def _mount(source: str, target: str) -> dict[str, object]:
    return {"hostPath": source, "containerPath": target, "options": ["ro", "bind"]}
