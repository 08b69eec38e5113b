"""A second machine, as far as this kernel can be one: its own network, processes, mounts and name.

In it run a container engine of its own and an OpenSSH server; a cable leads there. It does not see the folders of
this machine that tests work in, so that nothing passes because a path happens to be there too. Everything hangs on one
process, the machine's first, which ends when whoever made it does: then the kernel ends all others, and takes network
and mounts away. The engine's images outlive it, in the home of the tests.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.settings import find_home
from tests.engine.capsules import PATH, Capsule, call, claimed, remove_groups
from tests.engine.certificates import mutual_tls
from tests.engine.ssh_settings import prepare_ssh

if TYPE_CHECKING:
    from docker import DockerClient

    from engine.daemon import Engine

#: Networks of cables are taken from here.
_CABLES = ipaddress.ip_network("10.128.0.0/10")
_TLS_PORT = 2376
_INSIDE = (("mount", "mnt"), ("pid", "pid"))
_PROGRAMS = ("sshd", "ssh-keygen", "dockerd", "docker-init", "iptables", "ip", "ss", "unshare", "nsenter")


@dataclass
class Machine:
    """One machine; ``folder`` is what outlives it. It is off until ``boot``."""

    name: str
    folder: Path
    network: ipaddress.IPv4Network
    _capsule: Capsule | None = None
    _arguments: tuple[str, ...] = ()
    _environment: Mapping[str, str] = field(default_factory=dict)

    # --- where it is ----------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Of its end of the cable."""
        return str(self.network[2])

    @property
    def gateway(self) -> str:
        """Of this machine's end of the cable: what that machine can reach."""
        return str(self.network[1])

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
        return self._capsule is not None and self._capsule.is_on

    def log(self) -> str:
        """What its engine and its OpenSSH server said since it was made."""
        return (self.folder / "log").read_text(errors="replace")

    @contextmanager
    def engine(self) -> Iterator[DockerClient]:
        """Its engine, past all networks: what is there, whatever happens to the cable."""
        import docker

        client = docker.DockerClient(base_url=f"unix:///proc/{self._on.first}/root/run/docker.sock")
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

    def received(self) -> int:
        """Bytes that came in through the cable since it was switched on."""
        return int(Path(f"/sys/class/net/{self._cable}/statistics/tx_bytes").read_text())

    # --- what happens to it ---------------------------------------------------------------------

    def boot(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Power on, with these arguments of dockerd and variables; returns when it answers. A reboot keeps both."""
        assert not self.is_on
        self._arguments, self._environment = arguments, environment or {}
        self._boot()

    def _boot(self) -> None:
        hidden = ":".join((str(find_home().root), tempfile.gettempdir()))
        self._capsule = Capsule(
            "machine_init.sh",
            *(self.name, str(self.folder), hidden, *self._arguments),
            log=self.folder / "log",
            environment=self._environment,
        )
        self._plug()
        self._capsule.go()
        self._capsule.wait(lambda: self._docker_answers() and self._ssh_answers(), "answer")

    def power_off(self) -> None:
        """As when the plug is pulled: nothing of it is told."""
        if self._capsule is not None:
            self._capsule.end()
            self._capsule = None
            subprocess.run(["ip", "link", "delete", self._cable], stderr=subprocess.DEVNULL, check=False)
            remove_groups(self._group)

    def reboot(self) -> None:
        """Power off and on again."""
        self.power_off()
        self._boot()

    def cut(self) -> None:
        """Every connection over ssh and TLS breaks, and can be made again."""
        self._on.call("ss", "--kill", "state", "connected", "sport", "=", f":{_TLS_PORT}")
        for process in self._sessions():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._on.wait(lambda: not self._sessions(), "lose its connections")

    def freeze(self) -> None:
        """From now on, nothing comes through the cable, and nobody is told."""
        for chain, way in (("INPUT", "-i"), ("OUTPUT", "-o")):
            self._on.call("iptables", "-w", "-I", chain, way, "cable", "-j", "DROP")

    def thaw(self) -> None:
        """Everything comes through again."""
        for chain in ("INPUT", "OUTPUT"):
            self._on.call("iptables", "-w", "-F", chain)

    @contextmanager
    def cramped(self, size: int) -> Iterator[None]:
        """Its engine has a disk of only so many bytes for what it receives."""
        inside = ("nsenter", *(f"--{kind}=/proc/{self._on.first}/ns/{name}" for kind, name in _INSIDE))
        place = "/run/machine/data/tmp"
        self._on.call(*inside, "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place)
        try:
            yield
        finally:
            self._on.call(*inside, "umount", "--lazy", place)

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

    @property
    def _on(self) -> Capsule:
        assert self._capsule is not None, f"{self.name} is off"
        return self._capsule

    def _plug(self) -> None:
        """The cable between this machine and that one: a pair of devices, gone with either end (veth(4))."""
        call("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "cable", "netns", str(self._on.pid))
        call("ip", "address", "add", f"{self.network[1]}/30", "dev", self._cable)
        call("ip", "link", "set", self._cable, "up")
        self._on.call("ip", "link", "set", "lo", "up")
        self._on.call("ip", "address", "add", f"{self.address}/30", "dev", "cable")
        self._on.call("ip", "link", "set", "cable", "up")

    @property
    def _cable(self) -> str:
        return f"nbs{int(self.network[0]):08x}"

    @property
    def _group(self) -> str:
        return f"nbseal-tests-{self._cable}"

    def _sessions(self) -> list[int]:
        """Of its OpenSSH server, the processes that serve a connection."""
        # One that was killed has no command line any more; one that listens says so, sooner or later.
        return [
            number
            for number, line in self._on.processes("sshd")
            if line and b"[listener]" not in line and b"\0-D\0" not in line
        ]

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

    def _configure(self) -> None:
        """The engine's settings (dockerd(8))."""
        place = "/run/machine/tls"
        settings = {
            "data-root": "/run/machine/data",
            "hosts": ["unix:///run/docker.sock", self.tcp_url],
            "tlsverify": True,
            "tlscacert": f"{place}/ca.pem",
            "tlscert": f"{place}/server.pem",
            "tlskey": f"{place}/server.key",
            "bridge": "none",  # nothing in there asks for a network
            "iptables": False,
            "cgroup-parent": f"/{self._group}",
            # A machine has only one systemd, and it is not in there.
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
        }
        (self.folder / "etc/daemon.json").write_text(json.dumps(settings))


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
    for program in _PROGRAMS:
        assert shutil.which(program, path=PATH), f"{program} is missing; `scripts/setup tests` installs it"
    assert os.getuid() == 0, "A second machine needs root"
    with claimed(find_home().root / "tests/machines", name) as folder:
        made = Machine(name, folder, _free_network())
        (folder / "etc").mkdir(exist_ok=True)
        (folder / "data").mkdir(exist_ok=True)
        (folder / "log").write_bytes(b"")
        prepare_ssh(folder / "ssh", name, made.address, inside="/run/machine/ssh")
        mutual_tls(made.tls, made.address)
        made._configure()
        try:
            yield made
        finally:
            made.power_off()
