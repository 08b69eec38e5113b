"""Engines of other machines: by ssh, by TCP with certificates, by docker's contexts. All lead to this one's."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ImageNotFound

from engine import daemon, hosts
from engine.errors import EngineUnavailable
from engine.link import Link
from engine.settings import Home
from tests.conftest import MakeNotebook, Nbseal

pytestmark = pytest.mark.engine


def socket_of(engine: daemon.Engine) -> str:
    return engine.url.removeprefix("unix://")


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An OpenSSH server on the loopback, which the user's own ssh knows as ``far``; the folder with its settings."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "OpenSSH's server is missing; `scripts/setup tests` installs it"
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    kind, key, *_ = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    (folder / "config").write_text(
        f"Host far\n HostName 127.0.0.1\n Port {port}\n IdentityFile {folder}/user\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {folder}/known_hosts\n GlobalKnownHostsFile none\n StrictHostKeyChecking yes\n"
    )
    # ssh looks for its settings in the home of the account, whatever HOME says.
    (folder / "bin").mkdir()
    wrapper = folder / "bin/ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program, "-D", "-e", "-f", folder / "sshd_config"], stdout=log, stderr=log)
    try:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield folder
    finally:
        server.terminate()
        server.wait(20)


def test_a_host_is_reached_by_the_users_own_ssh(nbseal: Nbseal, far: Path, engine: daemon.Engine) -> None:
    assert nbseal("hosts", "add", "gpu1", f"ssh://far{socket_of(engine)}").returncode == 0
    done = nbseal("hosts", "check", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert (found["engine"], found["version"], found["storage"]) == (engine.name, engine.version, engine.storage)
    assert abs(found["skew"]) < 2
    assert 0 < found["latency"] < 1
    assert not ssh_processes(far)
    text = nbseal("hosts", "check").stdout
    assert "ok       gpu1" in text
    assert "ms there and back" in text


def test_the_way_closes_with_the_block(fresh_home: Home, far: Path, engine: daemon.Engine) -> None:
    host = hosts.add(fresh_home, "gpu1", f"ssh://far{socket_of(engine)}")
    with Link(host) as link:
        there = link.engine
        assert there.id == engine.id
        assert str(there) == f"{engine.name} {engine.version} (gpu1, {host.url})"
        assert len(ssh_processes(far)) == 1
    assert not ssh_processes(far)


def test_what_has_broken_is_opened_anew(fresh_home: Home, far: Path, engine: daemon.Engine) -> None:
    host = hosts.add(fresh_home, "gpu1", f"ssh://far{socket_of(engine)}")
    broken: list[str] = []

    def identity(there: daemon.Engine) -> str:
        if not broken:
            (process,) = ssh_processes(far)
            os.kill(process, signal.SIGKILL)
        there.client.ping()
        return there.id

    with Link(host) as link:
        first = link.engine
        assert link.attempt(identity, on_break=broken.append) == engine.id
        assert len(broken) == 1
        link.drop(first)  # which another thread may say as well: what is open now stays
        assert len(ssh_processes(far)) == 1


def test_a_refusal_is_no_break(fresh_home: Home, far: Path, engine: daemon.Engine) -> None:
    host = hosts.add(fresh_home, "gpu1", f"ssh://far{socket_of(engine)}")
    with Link(host) as link, pytest.raises(ImageNotFound):
        link.attempt(lambda there: there.client.images.get("nbseal/none:none"))


def test_whoever_is_killed_takes_ssh_along(fresh_home: Home, far: Path, engine: daemon.Engine) -> None:
    hosts.add(fresh_home, "gpu1", f"ssh://far{socket_of(engine)}")
    program = (
        "import sys, time; from engine import hosts; from engine.link import Link\n"
        "from engine.settings import find_home\n"
        "with Link(hosts.find(hosts.read(find_home()), 'gpu1')) as link:\n"
        "    link.engine; print('open', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "NBSEAL_HOME": str(fresh_home.root)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "open\n"
        assert len(ssh_processes(far)) == 1
        victim.kill()
    end = time.monotonic() + 10
    while ssh_processes(far):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_host_key_that_is_not_known_is_refused(nbseal: Nbseal, far: Path, engine: daemon.Engine) -> None:
    (far / "known_hosts").write_text("")
    nbseal("hosts", "add", "gpu1", f"ssh://far{socket_of(engine)}")
    done = nbseal("hosts", "check", "gpu1")
    assert done.returncode == 3
    assert "Host key verification failed" in done.stdout
    assert not (far / "known_hosts").read_text()


def test_a_socket_that_is_not_there_is_said(nbseal: Nbseal, far: Path) -> None:
    nbseal("hosts", "add", "gpu1", "ssh://far/nowhere/docker.sock")
    done = nbseal("hosts", "check", "gpu1", "--json")
    assert done.returncode == 3
    assert "gpu1" in json.loads(done.stdout)[0]["problem"]
    assert not ssh_processes(far)


def test_the_users_own_forwards_are_in_nobodys_way(fresh_home: Home, far: Path, engine: daemon.Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:  # as by an open ssh of the user's
        with (far / "config").open("a") as config:
            config.write(f" LocalForward {taken.getsockname()[1]} localhost:8888\n ExitOnForwardFailure yes\n")
        host = hosts.add(fresh_home, "gpu1", f"ssh://far{socket_of(engine)}")
        with Link(host) as link, Link(host) as other:
            assert link.engine.id == other.engine.id == engine.id


def test_an_open_connection_of_the_users_is_left_as_it_is(fresh_home: Home, far: Path, engine: daemon.Engine) -> None:
    control = far / "control"
    with (far / "config").open("a") as config:
        config.write(f" ControlMaster auto\n ControlPath {control}\n ControlPersist yes\n")
    host = hosts.add(fresh_home, "gpu1", f"ssh://far{socket_of(engine)}")
    with Link(host) as link:
        assert link.engine.id == engine.id
        assert not control.exists()  # nor is one begun
    subprocess.run(["ssh", "-f", "far", "true"], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with Link(host) as link:
            assert link.engine.id == engine.id
            (process,) = ssh_processes(far)
            command = Path(f"/proc/{process}/cmdline").read_text().split("\0")
            place = command[command.index("-L") + 1].partition(":")[0]
            assert place in Path("/proc/net/unix").read_text()
        assert place not in Path("/proc/net/unix").read_text()
        subprocess.run(["ssh", "-O", "check", "far"], check=True, capture_output=True)
    finally:
        subprocess.run(["ssh", "-O", "exit", "far"], check=True, capture_output=True)


def test_a_way_that_ended_at_once_is_told_by_ssh(
    fresh_home: Home, far: Path, engine: daemon.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_and_reach(*arguments: Any) -> daemon.Engine:
        for session in sessions(far):
            os.kill(session, signal.SIGKILL)
        return daemon.reach(*arguments)

    monkeypatch.setattr("engine.link.reach", cut_and_reach)
    host = hosts.add(fresh_home, "gpu1", f"ssh://far{socket_of(engine)}")
    with Link(host) as link, pytest.raises(EngineUnavailable, match="ssh does not get to far"):
        _ = link.engine
    assert not ssh_processes(far)


def test_a_child_of_many_threads_imports_nothing(
    fresh_home: Home, far: Path, engine: daemon.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, real = os.getpid(), builtins.__import__

    def only_here(*arguments: Any, **named: Any) -> Any:
        if os.getpid() != parent:
            raise ImportError(arguments[0])
        return real(*arguments, **named)

    monkeypatch.setattr(builtins, "__import__", only_here)
    host = hosts.add(fresh_home, "gpu1", f"ssh://far{socket_of(engine)}")
    with Link(host) as link:
        assert link.engine.id == engine.id


def ssh_processes(far: Path) -> list[int]:
    """The clients that were started with these settings."""
    return processes(f"{far}/config", "-N")


def sessions(far: Path) -> list[int]:
    """Of that OpenSSH server, the processes that serve a connection."""
    (server,) = processes(f"{far}/sshd_config")
    return [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]


def processes(*words: str) -> list[int]:
    """Those whose command lines have all of these."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = entry.read_bytes().decode(errors="replace")
            if all(word in line for word in words):
                found.append(int(entry.parent.name))
    return found


# --- TCP with certificates ---------------------------------------------------------------------


def certificates(folder: Path) -> Path:
    """An authority, and a key and certificate of it for both sides."""
    folder.mkdir()

    def openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,IP:::1\nextendedKeyUsage=serverAuth,clientAuth\n")
    request, key, authority = folder / "request.pem", folder / "key.pem", folder / "ca.pem"
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(*new, "-x509", "-days", 2, "-subj", "/CN=ca", "-keyout", folder / "ca.key", "-out", authority)
    openssl(*new, "-subj", "/CN=one", "-keyout", key, "-out", request)
    signer = ("-CA", authority, "-CAkey", folder / "ca.key")
    openssl("x509", "-req", "-in", request, *signer, "-extfile", folder / "ext", "-out", folder / "cert.pem")
    return folder


@contextmanager
def over_tls(target: str, tls: Path, address: str = "127.0.0.1") -> Iterator[int]:
    """The port of a way to a socket that asks for a certificate of the same authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tls / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tls / "cert.pem", tls / "key.pem")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.create_server((address, 0), family=family)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = server.accept()
                threading.Thread(target=answer, args=(plain,), daemon=True).start()

    def answer(plain: socket.socket) -> None:
        with suppress(OSError):
            near = context.wrap_socket(plain, server_side=True)
            behind = socket.socket(socket.AF_UNIX)
            behind.connect(target)
            threading.Thread(target=pump, args=(near, behind), daemon=True).start()
            pump(behind, near)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


def test_a_host_is_reached_by_tcp_with_certificates(nbseal: Nbseal, tmp_path: Path, engine: daemon.Engine) -> None:
    tls, other = certificates(tmp_path / "tls"), certificates(tmp_path / "other")
    with over_tls(socket_of(engine), tls) as port:
        nbseal("hosts", "add", "gpu1", f"tcp://127.0.0.1:{port}", "--tls", tls)
        # Variables about the web take nothing from it, and add nothing to it.
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            done = nbseal("hosts", "check", "--json", env={name: str(other / "ca.pem")})
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)[0]["version"] == engine.version
        (tls / "ca.pem").write_bytes((other / "ca.pem").read_bytes())
        done = nbseal("hosts", "check", "--json", env={"REQUESTS_CA_BUNDLE": str(tmp_path / "tls/cert.pem")})
        assert done.returncode == 3
        assert "certificate" in json.loads(done.stdout)[0]["problem"].lower()


def test_a_host_has_an_ipv6_address(fresh_home: Home, tmp_path: Path, engine: daemon.Engine) -> None:
    tls = certificates(tmp_path / "tls")
    with over_tls(socket_of(engine), tls, "::1") as port:
        host = hosts.add(fresh_home, "gpu1", f"tcp://[::1]:{port}", tls)
        with Link(host) as link:
            assert link.engine.id == engine.id


# --- docker's own settings -----------------------------------------------------------------------


def context(folder: Path, name: str, url: str) -> Path:
    """Docker's settings, with this context as the one in use."""
    import hashlib

    meta = folder / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    endpoint = {"docker": {"Host": url, "SkipTLSVerify": False}}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoint}))
    (folder / "config.json").write_text(json.dumps({"currentContext": name}))
    return folder


def test_a_context_by_name(nbseal: Nbseal, far: Path, tmp_path: Path, engine: daemon.Engine) -> None:
    settings = {"DOCKER_CONFIG": str(context(tmp_path / "docker", "lab", f"ssh://far{socket_of(engine)}"))}
    nbseal("hosts", "add", "gpu1", "context:lab")
    done = nbseal("hosts", "check", "--json", env=settings)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert (found["url"], found["version"]) == ("context:lab", engine.version)
    gone = nbseal("hosts", "check", "--json")
    assert gone.returncode == 2
    assert "There is no docker context lab." in json.loads(gone.stdout)[0]["problem"]


@pytest.mark.parametrize("how", ["DOCKER_HOST", "context"])
def test_dockers_settings_never_lead_a_run_to_another_machine(
    how: str, nbseal: Nbseal, notebook: MakeNotebook, tmp_path: Path
) -> None:
    settings = {"DOCKER_HOST": "ssh://elsewhere"}
    if how == "context":
        settings = {"DOCKER_CONFIG": str(context(tmp_path / "docker", "lab", "ssh://elsewhere")), "DOCKER_HOST": ""}
    done = nbseal("run", notebook("print(1)"), env=settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert "leads to ssh://elsewhere, another machine." in done.stderr
    assert "nbseal hosts add" in done.stderr


def test_an_engine_that_goes_away_is_told(fresh_home: Home, tmp_path: Path) -> None:
    host = hosts.add(fresh_home, "gone", f"unix://{tmp_path}/nothing.sock")
    with pytest.raises(EngineUnavailable, match="No container engine answers on gone"), Link(host) as link:
        _ = link.engine
