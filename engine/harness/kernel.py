"""The kernel process: how it is started, interrupted and ended, and why it died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .memory import count_oom_kills, format_bytes, prefer_as_victim

if TYPE_CHECKING:  # the kernel is started before anything that takes time is imported
    import asyncio

#: Connection file and sockets. On tmpfs, because the root is read-only and the project is the user's.
_FOLDER = Path("/tmp/.nbseal-kernel")  # noqa: S108 - the container's own /tmp, nobody else is in there
#: Holds the clock and entropy, and counts who asks for them (Dockerfile.base).
_STEADY = "/usr/local/lib/nbseal/steady.so"
#: How an engine gives GPUs, or what they are called on its machine; the notebook sees the same whatever the way.
_OF_THE_ENGINE = ("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_CTK_LIBCUDA_DIR")
_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
#: The kernel's process id, always. What runs before it in the container takes a varying number of ids, and the
#: kernel's own shows in output: ipykernel puts it into the file names of warnings and tracebacks.
_PROCESS_ID = 100


class Kernel:
    """A kernel started from the ``python3`` kernelspec of this environment, on IPC sockets.

    Neither TCP nor a network is needed, and no other user can reach it. It leads a session of its
    own, so that an interrupt also reaches the processes that it started, as in a terminal.
    """

    def __init__(self, folder: Path, memory: int | None = None) -> None:
        self._memory = memory
        self._died: asyncio.Future[None] | None = None
        _FOLDER.mkdir(mode=0o700, exist_ok=True)
        self.connection = {
            "transport": "ipc",
            "ip": str(_FOLDER / "kernel"),
            "key": os.urandom(16).hex(),
            "signature_scheme": "hmac-sha256",
            **{f"{channel}_port": number for number, channel in enumerate(_CHANNELS, 1)},
        }
        file = _FOLDER / "connection.json"
        file.write_text(json.dumps({**self.connection, "kernel_name": "python3"}), "utf-8")
        spec = _read_kernelspec()
        command = [argument.replace("{connection_file}", str(file)) for argument in spec["argv"]]
        inherited = {name: value for name, value in os.environ.items() if name not in _OF_THE_ENGINE}
        environment = {**inherited, **spec.get("env", {})}
        if "NBSEAL_HOLD" in environment or "NBSEAL_TRACE" in environment:
            command[1:3] = [str(Path(__file__).with_name("instrument.py"))]
            environment["LD_PRELOAD"] = _STEADY
        # No history file: it would be written for nothing, and its database slows the start.
        command.append("--HistoryManager.hist_file=:memory:")
        # Whose death ends the kernel. An argument, because a variable (JPY_PARENT_PID) would show in the notebook.
        command.append(f"--IPKernelApp.parent_handle={os.getpid()}")
        self._kills_before = count_oom_kills()
        _use_up_process_ids(_PROCESS_ID - 1)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        prefer_as_victim(self.process.pid)

    @property
    def sockets(self) -> list[Path]:
        """The socket files that exist once the kernel listens."""
        return [Path(f"{self.connection['ip']}-{self.connection[f'{channel}_port']}") for channel in _CHANNELS]

    @property
    def died(self) -> asyncio.Future[None]:
        """Done as soon as the process has ended; to be asked for on the event loop that waits for it."""
        if self._died is None:
            import asyncio

            loop = asyncio.get_running_loop()
            died = self._died = loop.create_future()
            threading.Thread(target=self._wait, args=(loop, died), daemon=True).start()
        return self._died

    def _wait(self, loop: asyncio.AbstractEventLoop, died: asyncio.Future[None]) -> None:
        self.process.wait()
        with suppress(RuntimeError):  # the loop has ended first: nobody waits any more
            loop.call_soon_threadsafe(died.set_result, None)

    def interrupt(self) -> None:
        """What Ctrl-C does: KeyboardInterrupt in the running cell, SIGINT for the processes that it started."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End the kernel and its process group at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        # It may have ended already, or have changed its group: what is left ends with the container.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    @property
    def oom_killed(self) -> bool:
        """Whether the operating system has killed a process here for memory since the kernel was started."""
        return count_oom_kills() > self._kills_before

    @property
    def memory_limit(self) -> str:
        """``limit 512 MiB``, or what else bounds memory."""
        return f"limit {format_bytes(self._memory)}" if self._memory else "the machine had no more"

    def describe_death(self) -> str:
        """``killed by signal 9: out of memory, limit 512 MiB``, ``exit code 3``, ... of the ended process."""
        code = self.process.wait()
        if code >= 0:
            return f"exit code {code}"
        if self.oom_killed:
            return f"killed by signal {-code}: out of memory, {self.memory_limit}"
        return f"killed by signal {-code}: {(signal.strsignal(-code) or 'unknown').lower()}"


def _read_kernelspec() -> dict[str, Any]:
    path = Path(sys.prefix, "share", "jupyter", "kernels", "python3", "kernel.json")
    spec: dict[str, Any] = json.loads(path.read_bytes())
    return spec


def kernel_python() -> str:
    """The interpreter that the kernel runs in, with the user's packages."""
    return str(_read_kernelspec()["argv"][0])


def _use_up_process_ids(last: int) -> None:
    """Have the next process of this container get the id after ``last``, by spending ids on threads.

    Threads share the numbers of processes (gettid(2)) and cost some 50 microseconds each. Where
    ``last`` has passed already, nothing is done.
    """
    spent = [0]

    def note() -> None:
        spent[0] = threading.get_native_id()

    while spent[0] < last:
        thread = threading.Thread(target=note)
        thread.start()
        thread.join()
