"""A remote engine's socket on this machine, forwarded by the user's own ssh: their config, agent and jump hosts.

Nothing is asked for when there is nobody to answer, and host keys are ssh's to judge.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engine.errors import EngineUnavailable
from engine.hosts.address import Address

#: A frozen link is called dead after so many seconds without an answer, times three.
ALIVE = 10
_PATIENCE = 60.0
#: Seconds that ssh may take to end after its socket has stopped answering.
_ENDING = 0.5


def _dying_with_parent() -> Callable[[], None]:
    """For a child to call: whoever is killed cannot close anything (prctl(2), PR_SET_PDEATHSIG).

    Everything is loaded here: a child of a process with threads may wait for ever for a lock, as imports take them.
    """
    import ctypes

    prctl = ctypes.CDLL(None).prctl

    def die_with_parent() -> None:
        prctl(1, signal.SIGTERM)

    return die_with_parent


class Tunnel:
    """Open from its making until ``close``; ``socket`` is where the engine then answers.

    ``patience`` is for how many seconds a machine may not answer at all.

    EngineUnavailable when ssh cannot get there, in ssh's own words.
    """

    def __init__(self, address: Address, patience: int) -> None:
        program = shutil.which("ssh")
        if program is None:
            raise EngineUnavailable("There is no ssh on this machine.", "Install OpenSSH's client.")
        self._folder = Path(tempfile.mkdtemp(prefix="nbseal-ssh-"))  # 0700: whoever reaches the socket is root there
        self.socket = self._folder / "engine.sock"
        self._errors = self._folder / "errors"
        self._target = f"{address.user}@{address.host}" if address.user else address.host
        options = {
            # Forwards of the user's own settings are made as well, and some other ssh may have their ports already.
            "ExitOnForwardFailure": "no",
            "ServerAliveInterval": str(ALIVE),
            "ServerAliveCountMax": "3",
            "ConnectTimeout": str(patience),
            # Not through an open connection of the user's: it would keep the forwarded socket when we are gone, and
            # would tell us nothing of a frozen link.
            "ControlPath": "none",
            "BatchMode": "no" if sys.stdin.isatty() else "yes",
        }
        command = [program, "-N", "-T", "-L", f"{self.socket}:{address.path}"]
        command += [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        command += ["-p", str(address.port)] if address.port else []
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: Exception | None = None
        started = threading.Event()
        # What dies with its parent dies with the thread that started it, so that one stays.
        threading.Thread(
            target=self._hold, args=([*command, "--", self._target], started), daemon=True, name="nbseal-ssh"
        ).start()
        try:
            started.wait()
            if self._failure is not None:
                raise EngineUnavailable(f"ssh cannot be started: {self._failure}.", "See what `ssh` says by itself.")
            self._wait()
        except BaseException:
            self.close()
            raise

    def _hold(self, command: list[str], started: threading.Event) -> None:
        """ssh from its beginning to its end."""
        try:
            with self._errors.open("wb") as errors:
                self._process = subprocess.Popen(
                    command,
                    stdin=None if sys.stdin.isatty() else subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    start_new_session=not sys.stdin.isatty(),  # Ctrl-C is for the run; the way to it stays open
                    preexec_fn=_dying_with_parent(),
                )
        except (OSError, subprocess.SubprocessError) as error:
            self._failure = error
        finally:
            started.set()
        if self._process is not None:
            self._process.wait()

    def _wait(self) -> None:
        end = time.monotonic() + _PATIENCE
        while not self.socket.exists():
            if self._has_ended() or time.monotonic() > end:
                raise self._refusal()
            time.sleep(0.02)

    def check(self) -> None:
        """After the engine did not answer: EngineUnavailable in ssh's own words where it is ssh that has ended."""
        if self._has_ended(_ENDING):
            raise self._refusal()

    def _has_ended(self, within: float = 0) -> bool:
        if self._process is None:
            return True
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        return self._process.returncode is not None

    def _refusal(self) -> EngineUnavailable:
        return EngineUnavailable(
            f"ssh does not get to {self._target}: {self._said() or 'no answer'}.",
            f"`ssh {self._target}` has to work without a question; see its own config, agent and known_hosts.",
        )

    def _said(self) -> str:
        with suppress(OSError):
            lines = self._errors.read_text(errors="replace").strip().splitlines()
            return lines[-1].rstrip(".")[:300] if lines else ""
        return ""

    def close(self) -> None:
        """End ssh and take the socket away."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
