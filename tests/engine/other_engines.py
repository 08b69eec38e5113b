"""Other container engines than this machine's, for the engine tests: Debian's, each in namespaces of its own.

Their programs come from a root file system that is made once and kept in the home of the tests, like what the engines
keep. They see the folders that tests work in at the same places, and reach the network through this machine's
(slirp4netns), so that nothing of this machine's own network has to change.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.environments.indexes import read_indexes
from engine.files import remove_tree
from engine.settings import find_home
from tests.engine.capsules import PATH, Capsule, claimed, remove_groups

_CHECKOUT = Path(__file__).resolve().parents[2]
_ARCHIVE = "http://deb.debian.org/debian"
_GROUP = f"nbseal-tests-engine-{os.getpid()}"
_EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
#: Where people keep what a test may have to mount, and Debian's packages nothing.
_PEOPLES = ("/home", "/mnt", "/opt", "/root", "/srv")
#: Stands for the path of the socket.
_SOCKET = "SOCKET"


@dataclass(frozen=True)
class Other:
    """One engine: packages of a Debian suite, the command that serves its API, and a file of settings with its text."""

    suite: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    settings: tuple[str, str]


_PODMAN = ("podman", "--root", "/run/content/storage", "--cgroup-manager", "cgroupfs", "--runtime", "runc")


def _docker(**settings: Any) -> Other:
    # The cgroup driver is said, because this machine's systemd is not in there.
    document = {"exec-opts": ["native.cgroupdriver=cgroupfs"], "cgroup-parent": f"/{_GROUP}", **settings}
    return Other(
        "sid",
        ("docker.io", "iptables", "tini", "ca-certificates", "mount"),
        ("dockerd", "-H", f"unix://{_SOCKET}", "--data-root", "/run/content"),
        ("etc/docker/daemon.json", json.dumps(document)),
    )


OTHERS = {
    "docker-sid": _docker(),
    "docker-sid-containerd": _docker(features={"containerd-snapshotter": True}),
    "podman": Other(
        "bookworm",
        ("podman", "runc", "catatonit", "containernetworking-plugins", "iptables", "ca-certificates", "mount"),
        (*_PODMAN, "system", "service", "--time", "0", f"unix://{_SOCKET}"),
        ("etc/containers/containers.conf", "[containers]\n"),
    ),
}


@contextmanager
def running(name: str) -> Iterator[str]:
    """The address of this engine, for as long as the block lasts."""
    other = OTHERS[name]
    for program in ("mmdebstrap", "slirp4netns", "unshare", "docker-init"):
        assert shutil.which(program, path=PATH), f"{program} is missing; `scripts/setup engines` installs it"
    with claimed(find_home().root / "tests", "engines") as parent, tempfile.TemporaryDirectory() as there:
        folder, root = parent / name, parent / f"root-{other.suite}"
        _make_root(root, other)
        path, text = other.settings
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        (root / "etc/resolv.conf").unlink(missing_ok=True)
        (root / "etc/resolv.conf").write_text("nameserver 10.0.2.3\n")  # slirp4netns's own
        (folder / "content").mkdir(parents=True, exist_ok=True)
        (folder / "log").write_bytes(b"")
        Path(there).chmod(0o755)  # some tests are other users
        socket = f"{there}/engine.sock"
        command = [argument.replace(_SOCKET, socket) for argument in other.command]
        arguments = (str(root), str(folder / "content"), _shared(), *command)
        capsule = Capsule("engine_init.sh", *arguments, log=folder / "log")
        try:
            with _network(capsule, folder / "log"):
                capsule.go()
                capsule.wait(lambda: _answers(f"unix://{socket}"), "answer")
                yield f"unix://{socket}"
        finally:
            capsule.end()
            remove_groups(_GROUP)


def _shared() -> str:
    """Folders that containers of the tests may mount, and are at the same place for the engine."""
    people = [place for place in _PEOPLES if Path(place).is_dir()]
    # What pip-tools has of this machine: without its authorities, an index behind a proxy is not believed.
    indexes = read_indexes(os.environ)
    authorities = [Path(file).parent for file in (indexes.certificates, indexes.client_certificate) if file]
    pips = [str(place.resolve()) for place in (*indexes.folders, *authorities) if place.is_dir()]
    return ":".join(dict.fromkeys((*people, *pips, str(_CHECKOUT), str(find_home().root), tempfile.gettempdir())))


def _make_root(root: Path, other: Other) -> None:
    """A root file system with these packages, as Debian publishes them today; whoever removes it gets a newer one."""
    made = root.with_name(f"{root.name}.made")
    packages = ",".join(other.packages)
    if made.exists() and root.exists() and made.read_text() == packages:
        return
    if root.exists():
        remove_tree(root)
    options = [f"--dpkgopt=path-exclude={path}" for path in _EXCLUDED]
    options += ['--aptopt=Acquire::Check-Valid-Until "false"']  # a mirror may be behind; signatures are checked
    command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={packages}", *options]
    subprocess.run([*command, other.suite, str(root), _ARCHIVE], check=True)
    made.write_text(packages)


@contextmanager
def _network(capsule: Capsule, log: Path) -> Iterator[None]:
    """A way out of the capsule, by a process of this machine that speaks for it."""
    command = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", str(capsule.pid), "tap0"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    from docker import DockerClient
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    with suppress(DockerException, RequestException):
        client = DockerClient(base_url=url, timeout=5)
        try:
            return bool(client.ping())
        finally:
            client.close()
    return False
