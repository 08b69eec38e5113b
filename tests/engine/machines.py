"""A second machine, as far as this kernel can be one: its own network, processes, mounts and name.

In it run a container engine of its own and an OpenSSH server; a cable leads there. It does not see the folders of
this machine that tests work in, so that nothing passes because a path happens to be there too. Everything hangs on one
process, the machine's first, which ends when whoever made it does: then the kernel ends all others, and takes network
and mounts away. The engine's images outlive it, in the home of the tests.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from engine.settings import find_home
from tests.engine.certificates import mutual_tls
from tests.engine.ssh_settings import prepare_ssh

if TYPE_CHECKING:
    from docker import DockerClient

    from engine.daemon import Engine

#: Networks of cables are taken from here.
_CABLES = ipaddress.ip_network("10.128.0.0/10")
_TLS_PORT = 2376
_PATIENCE = 60.0

_INIT = Path(__file__).with_name("machine_init.sh")


@dataclass
class Machine:
    """One machine; ``folder`` is what outlives it. It is off until ``boot``."""

    name: str
    folder: Path
    network: ipaddress.IPv4Network
    _process: subprocess.Popen[bytes] | None = None
    _arguments: tuple[str, ...] = ()
    _environment: Mapping[str, str] = field(default_factory=dict)

    # --- where it is ----------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Of its end of the cable."""
        return str(self.network[2])

    @property
    def ssh_url(self) -> str:
        """For whoever has ``commands`` first in PATH."""
        return f"ssh://{self.name}"

    @property
    def commands(self) -> Path:
        """A folder with an ssh whose settings know this machine, and none of the user's own."""
        return self.folder / "ssh/bin"

    @property
    def tcp_url(self) -> str:
        return f"tcp://{self.address}:{_TLS_PORT}"

    @property
    def tls(self) -> Path:
        """A client's ca.pem, cert.pem and key.pem for ``tcp_url``."""
        return self.folder / "tls"

    @property
    def is_on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What its engine and its OpenSSH server said since it was made."""
        return (self.folder / "log").read_text(errors="replace")

    @contextmanager
    def engine(self) -> Iterator[DockerClient]:
        """Its engine, past all networks: what is there, whatever happens to the cable."""
        import docker

        client = docker.DockerClient(base_url=f"unix:///proc/{self._first()}/root/run/docker.sock")
        try:
            yield client
        finally:
            client.close()

    def give_image(self, image: str, engine: Engine) -> None:
        """Make its engine have an image that this machine's has."""
        from docker.errors import ImageNotFound

        with self.engine() as client:
            try:
                client.images.get(image)
            except ImageNotFound:
                api: Any = client.api  # takes a stream, whatever its types say
                for _ in api.load_image(engine.client.images.get(image).save(), quiet=False):
                    pass

    # --- what happens to it ---------------------------------------------------------------------

    def boot(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Power on, with these arguments of dockerd and variables; returns when it answers. A reboot keeps both."""
        assert not self.is_on
        self._arguments, self._environment = arguments, environment or {}
        self._boot()

    def _boot(self) -> None:
        data = (
            "--data-root",
            "/run/machine/data",
            "--bridge",
            "none",
            "--iptables=false",
            "--cgroup-parent",
            self._group,
        )
        listen = (
            "-H",
            "unix:///run/docker.sock",
            "-H",
            self.tcp_url,
            "--tlsverify",
            "--tlscacert",
            "/run/machine/tls/ca.pem",
        )
        keys = ("--tlscert", "/run/machine/tls/server.pem", "--tlskey", "/run/machine/tls/server.key")
        hidden = ":".join((str(find_home().root), tempfile.gettempdir()))
        # The cgroup driver is said, because one machine has only one systemd, and it is not in there.
        command = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--mount-proc", "--fork", "--kill-child"]
        command += ["docker-init", "--", "sh", str(_INIT), self.name, str(self.folder), hidden]
        command += [*data, "--exec-opt", "native.cgroupdriver=cgroupfs", *listen, *keys, *self._arguments]
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # its end, however it comes, is the machine's
                stdout=log,
                stderr=log,
                env={"PATH": path, **self._environment},
                start_new_session=True,  # Ctrl-C is for the test
            )
        self._plug()
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self._wait(lambda: self._docker_answers() and self._ssh_answers(), "answer")

    def power_off(self) -> None:
        """As when the plug is pulled: nothing of it is told."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, FileNotFoundError, ValueError):
            os.kill(self._first(), signal.SIGKILL)
        self._process.kill()  # also while there is no first process yet
        self._process.wait(_PATIENCE)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process = None
        subprocess.run(["ip", "link", "delete", self._cable], stderr=subprocess.DEVNULL, check=False)
        self._remove_groups()

    def reboot(self) -> None:
        """Power off and on again."""
        self.power_off()
        self._boot()

    def cut(self) -> None:
        """Every ssh connection breaks, and can be made again."""
        for process in self._sessions():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._wait(lambda: not self._sessions(), "lose its connections")

    def freeze(self) -> None:
        """From now on, nothing comes through the cable, and nobody is told."""
        for chain, way in (("INPUT", "-i"), ("OUTPUT", "-o")):
            self._inside("iptables", "-w", "-I", chain, way, "cable", "-j", "DROP")

    def thaw(self) -> None:
        """Everything comes through again."""
        for chain in ("INPUT", "OUTPUT"):
            self._inside("iptables", "-w", "-F", chain)

    def settle(self) -> None:
        """As a test finds it: on, reachable, without containers and volumes."""
        if not self.is_on:
            self.power_off()
            self._boot()
        self.thaw()
        self.cut()
        with self.engine() as client:
            for container in client.containers.list(all=True, sparse=True):
                container.remove(force=True, v=True)
            for volume in client.volumes.list():
                volume.remove(force=True)

    # --- how --------------------------------------------------------------------------------------

    def _plug(self) -> None:
        """The cable between this machine and that one: a pair of devices, gone with either end (veth(4))."""
        assert self._process is not None
        own = Path("/proc/self/ns/net").stat().st_ino
        there = Path(f"/proc/{self._process.pid}/ns/net")
        self._wait(lambda: there.stat().st_ino != own, "get a network")
        other = ("type", "veth", "peer", "name", "cable", "netns", str(self._process.pid))
        _call("ip", "link", "add", self._cable, *other)
        _call("ip", "address", "add", f"{self.network[1]}/30", "dev", self._cable)
        _call("ip", "link", "set", self._cable, "up")
        self._inside("ip", "link", "set", "lo", "up")
        self._inside("ip", "address", "add", f"{self.address}/30", "dev", "cable")
        self._inside("ip", "link", "set", "cable", "up")

    @property
    def _cable(self) -> str:
        return f"nbs{int(self.network[0]):08x}"

    @property
    def _group(self) -> str:
        return f"/nbseal-tests-{self._cable}"

    def _inside(self, *command: str) -> None:
        assert self._process is not None
        # Not `ip netns exec`, which would hide the control groups.
        _call("nsenter", f"--net=/proc/{self._process.pid}/ns/net", *command)

    def _first(self) -> int:
        """The machine's process 1, as it is numbered here."""
        assert self._process is not None
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def _sessions(self) -> list[int]:
        """Of its OpenSSH server, the processes that serve a connection."""
        found, machine = [], Path(f"/proc/{self._first()}/ns/pid").stat().st_ino
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (entry / "ns/pid").stat().st_ino != machine or not (entry / "comm").read_text().startswith("sshd"):
                    continue
                # A process that was killed has no command line any more; one that listens says so.
                line = (entry / "cmdline").read_bytes()
                if line and b"[listener]" not in line and b" -D" not in line and b"\0-D\0" not in line:
                    found.append(int(entry.name))
        return found

    def _docker_answers(self) -> bool:
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        with suppress(OSError, IndexError, DockerException, RequestException), self.engine() as client:
            return bool(client.ping())
        return False

    def _ssh_answers(self) -> bool:
        import socket

        with suppress(OSError), socket.create_connection((self.address, 22), 1) as connection:
            return connection.recv(4) == b"SSH-"
        return False

    def _wait(self, until: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _PATIENCE
        while not until():
            assert self._process is not None
            assert self._process.poll() is None, f"{self.name} went off:\n{self.log()[-4000:]}"
            assert time.monotonic() < end, f"{self.name} did not {what} in time:\n{self.log()[-4000:]}"
            time.sleep(0.02)

    def _remove_groups(self) -> None:
        """What a machine that went off leaves of its containers: empty control groups (cgroups(7))."""
        places = [*Path("/sys/fs/cgroup").glob(f"*{self._group}"), Path("/sys/fs/cgroup") / self._group[1:]]
        for place in places:
            for folder, _, _ in os.walk(place, topdown=False):
                with suppress(OSError):
                    os.rmdir(folder)  # noqa: PTH106 - no file of it can be removed otherwise


def _call(*command: str) -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path}, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def _free_network() -> ipaddress.IPv4Network:
    """Four addresses that no route of this machine leads to."""
    done = subprocess.run(["ip", "-j", "-4", "route"], capture_output=True, check=True)
    routes = [ipaddress.ip_network(route["dst"]) for route in json.loads(done.stdout) if route["dst"] != "default"]
    while True:
        start = int(_CABLES[0]) + 4 * secrets.randbelow(_CABLES.num_addresses // 4)
        network = ipaddress.IPv4Network((start, 30))
        if not any(network.overlaps(route) for route in routes):
            return network


@contextmanager
def machine(name: str) -> Iterator[Machine]:
    """A machine of this name, not yet on; off at the end."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    for program in ("sshd", "dockerd", "iptables", "ip", "unshare", "nsenter", "docker-init"):
        assert shutil.which(program, path=path), f"{program} is missing; `scripts/setup tests` installs it"
    assert os.getuid() == 0, "A second machine needs root"
    with _claimed(find_home().root / "tests/machines", name) as folder:
        made = Machine(name, folder, _free_network())
        (folder / "etc").mkdir(exist_ok=True)
        (folder / "data").mkdir(exist_ok=True)
        (folder / "log").write_bytes(b"")
        prepare_ssh(folder / "ssh", name, made.address, inside="/run/machine/ssh")
        mutual_tls(made.tls, made.address)
        try:
            yield made
        finally:
            made.power_off()


@contextmanager
def _claimed(parent: Path, name: str) -> Iterator[Path]:
    """A folder of this name, or the next, that no other tests use meanwhile."""
    with ExitStack() as held:
        for number in range(1, 100):
            folder = parent / (name if number == 1 else f"{name}-{number}")
            folder.mkdir(parents=True, exist_ok=True)
            lock: IO[bytes] = held.enter_context((folder / "lock").open("wb"))
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield folder
                return
