"""The second machine of the tests is one: with its own engine, files and end; and how hosts are reached there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import daemon, hosts
from engine.errors import EngineUnavailable
from engine.link import GLANCE, Link
from engine.settings import Home, find_home
from engine.software import Base
from tests.conftest import Nbseal
from tests.engine.machines import Machine

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("way", ["ssh", "tcp"])
def test_a_host_is_reached(way: str, nbseal: Nbseal, second: Machine, engine: daemon.Engine) -> None:
    url = (second.ssh_url,) if way == "ssh" else (second.tcp_url, "--tls", second.tls)
    assert nbseal("hosts", "add", "far", *url).returncode == 0
    done = nbseal("hosts", "check", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(done.stdout)
    with second.engine() as client:
        assert found["version"] == client.version()["Version"]
        assert client.info()["Name"] == "second"
        assert client.info()["ID"] != engine.info["ID"]
    assert 0 < found["latency"] < 1


def test_nobody_gets_in_without_a_certificate(second: Machine, nbseal: Nbseal, tmp_path: Path) -> None:
    from tests.engine.certificates import mutual_tls

    mutual_tls(tmp_path / "tls", second.address)  # of another authority
    (tmp_path / "tls/ca.pem").write_bytes((second.tls / "ca.pem").read_bytes())
    nbseal("hosts", "add", "far", second.tcp_url, "--tls", tmp_path / "tls")
    done = nbseal("hosts", "check", "--json")
    assert done.returncode == 3
    assert "No container engine answers on far" in json.loads(done.stdout)[0]["problem"]


def test_paths_of_this_machine_are_not_there(second: Machine, tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    for place in (tmp_path / "here", find_home().root / "tests"):
        assert on(second, f"test -e {place} && echo there || echo absent") == "absent"


def test_a_cut_link_can_be_made_again(fresh_home: Home, second: Machine) -> None:
    with Link(hosts.add(fresh_home, "far", second.ssh_url)) as link:
        broken = link.engine
        second.cut()
        with pytest.raises(Exception, match=r"(?i)connection|aborted|refused|no such file"):
            broken.client.ping()
        link.drop(broken)
        assert link.engine.client.ping()


@pytest.mark.parametrize("way", ["ssh", "tls"])
def test_whoever_only_wants_to_know_waits_no_longer_than_it_says(way: str, second: Machine) -> None:
    far = hosts.Host("far", second.ssh_url)
    if way == "tls":
        far = hosts.Host("far", second.tcp_url, str(second.tls))
    second.freeze()
    began = time.monotonic()
    with Link(far, patience=GLANCE) as link, pytest.raises(EngineUnavailable):
        _ = link.engine
    assert time.monotonic() - began < 2 * GLANCE


def test_a_frozen_link_loses_nothing_once_it_is_thawed(second: Machine) -> None:
    command = [str(second.commands / "ssh"), "second", "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        assert cat.stdin is not None
        assert cat.stdout is not None
        os.set_blocking(cat.stdout.fileno(), False)
        cat.stdin.write(b"one\n")
        cat.stdin.flush()
        wait(lambda: read(cat) == b"one\n")
        second.freeze()
        cat.stdin.write(b"two\n")
        cat.stdin.flush()
        time.sleep(1)
        assert read(cat) is None
        second.thaw()
        wait(lambda: read(cat) == b"two\n")


def test_a_machine_that_is_off_is_gone_with_its_cable(second: Machine) -> None:
    network = second.address.rpartition(".")[0]
    assert network in routes()
    second.power_off()
    assert not second.is_on
    assert network not in routes()


def test_a_reboot_ends_containers_and_keeps_what_they_wrote(second: Machine, base: Base, engine: daemon.Engine) -> None:
    second.give_image(base.id, engine)
    with second.engine() as client:
        script = "echo saved > /keep/file; echo said; sleep 600"
        volumes = {"nbseal-kept": {"bind": "/keep", "mode": "rw"}}
        container = client.containers.run(
            base.id, ["/bin/sh", "-c", script], detach=True, network_mode="none", volumes=volumes
        )
        wait(lambda: container.logs() == b"said\n")
        subprocess.run(["sync"], check=True)
    second.reboot()
    with second.engine() as client:
        (again,) = client.containers.list(all=True)
        assert (again.id, again.status) == (container.id, "exited")
        assert again.attrs["State"]["ExitCode"] != 0
        kept = client.containers.run(base.id, ["cat", "/keep/file"], network_mode="none", volumes=volumes)
        assert kept == b"saved\n"


def test_whoever_is_killed_takes_the_machine_along(tmp_path: Path) -> None:
    program = (
        "import time; from tests.engine.machines import machine\n"
        "with machine('doomed') as made:\n made.boot()\n print(made.address, made._capsule.pid, flush=True)\n"
        " time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        address, process = victim.stdout.readline().split()
        namespace = Path(f"/proc/{process}/ns/net").stat().st_ino
        assert len(processes_in(namespace)) > 3
        victim.send_signal(signal.SIGKILL)
    wait(lambda: not processes_in(namespace))
    wait(lambda: address.rpartition(".")[0] not in routes())


def routes() -> str:
    return subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout


def processes_in(namespace: int) -> list[str]:
    """Those that live in this network."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "ns/net").stat().st_ino == namespace:
                found.append(entry.name)
        except OSError:
            continue
    return found


def on(machine: Machine, command: str) -> str:
    done = subprocess.run([machine.commands / "ssh", machine.name, command], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def read(process: subprocess.Popen[bytes]) -> bytes | None:
    """Four bytes, or None while there are none."""
    assert process.stdout is not None
    return process.stdout.read(4)


def wait(until: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.02)
