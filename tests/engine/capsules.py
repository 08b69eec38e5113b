"""Programs in namespaces of their own (namespaces(7)), all of which end with the first, and it with whoever made it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import IO

#: Where programs of administrators are, too.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--ipc", "--mount-proc")
_HERE = Path(__file__).parent
_PATIENCE = 60.0


class Capsule:
    """Runs the script of this name, which waits for a line before it starts what others can reach.

    Its standard input is held open from here: when that ends, however it comes, so does the script, and the kernel
    ends all that it started and takes network and mounts away.
    """

    def __init__(self, script: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> None:
        command = ["unshare", *_NAMESPACES, "--fork", "--kill-child", "docker-init", "--", "sh", str(_HERE / script)]
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={"PATH": PATH, **(environment or {})},
                start_new_session=True,  # Ctrl-C is for the test
            )
        own = Path("/proc/self/ns/net").stat().st_ino
        self.wait(lambda: Path(self.network).stat().st_ino != own, "get a network")

    @property
    def pid(self) -> int:
        """Of a process in the network."""
        return self._process.pid

    @property
    def network(self) -> str:
        """The network's own file."""
        return f"/proc/{self.pid}/ns/net"

    @property
    def first(self) -> int:
        """The first process, as it is numbered out here; 0 while there is none."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    @property
    def is_on(self) -> bool:
        return self._process.poll() is None

    def go(self) -> None:
        """The line that the script waits for."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def call(self, *command: str) -> None:
        """Run a program of this machine in the network there."""
        # Not `ip netns exec`, which would hide the control groups.
        call("nsenter", f"--net={self.network}", *command)

    def processes(self, name: str) -> Iterator[tuple[int, bytes]]:
        """Those in there that are called so: number out here, and command line."""
        inside = Path(f"/proc/{self.first}/ns/pid").stat().st_ino
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (entry / "ns/pid").stat().st_ino == inside and (entry / "comm").read_text().startswith(name):
                    yield int(entry.name), (entry / "cmdline").read_bytes()

    def wait(self, until: Callable[[], bool], what: str, seconds: float = _PATIENCE) -> None:
        """Until that is so."""
        end = monotonic() + seconds
        while not until():
            assert self.is_on, f"went off:\n{self._last_words()}"
            assert monotonic() < end, f"did not {what} in time:\n{self._last_words()}"
            sleep(0.02)

    def end(self) -> None:
        """At once, all of it; returns when nothing of it runs any more."""
        with suppress(ProcessLookupError, FileNotFoundError):
            os.kill(self.first or self.pid, signal.SIGKILL)
        self._process.wait(_PATIENCE)
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]


def call(*command: str) -> None:
    """Run a program that has to do what it is asked for."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": PATH}, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def remove_groups(name: str) -> None:
    """What containers that were killed with their engine leave: empty control groups below ``name`` (cgroups(7))."""
    for place in (*Path("/sys/fs/cgroup").glob(f"*/{name}"), Path("/sys/fs/cgroup", name)):
        for folder, _, _ in os.walk(place, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()


@contextmanager
def claimed(parent: Path, name: str) -> Iterator[Path]:
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
