"""One run in a process of its own.

A run follows its container, its signals and its threads to the end as if it were alone; what it shares with others is
the home, whose locks are made for that. Processes are forked, so that keys which were unlocked stay so.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

from engine.errors import BadInput, EngineUnavailable, EnvironmentFailed, NbsealError, VerificationFailed
from engine.model import Json, Record
from engine.progress import Progress

_ERRORS = {error.exit_code: error for error in (BadInput, EngineUnavailable, VerificationFailed, EnvironmentFailed)}
#: Seconds from which on a task is worth a line among those of other runs.
_LONG = 3.0


class Forked:
    """``action`` from now on, in a process of its own; it is handed a progress whose lines begin with ``name``."""

    def __init__(self, name: str, action: Callable[[Progress], Record], progress: Progress) -> None:
        context = multiprocessing.get_context("fork")
        self.connection, theirs = context.Pipe(duplex=False)
        sys.stdout.flush()
        sys.stderr.flush()
        self._process = context.Process(target=_main, args=(action, _Named(name, progress), theirs))
        # Ctrl-C waits until it means the right process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        theirs.close()

    def interrupt(self) -> None:
        """What Ctrl-C is to a run that is alone; a terminal's does not get into its process group."""
        with suppress(ProcessLookupError):
            if self._process.pid is not None:
                os.kill(self._process.pid, signal.SIGINT)

    def result(self) -> tuple[str, str] | NbsealError | None:
        """Waits for its end: the id and status of its run, or why there is no record; None after an interrupt."""
        try:
            message: Json = json.loads(self.connection.recv_bytes())
        except (EOFError, ConnectionError):
            message = {
                "code": 2,
                "error": "Its process ended without a word.",
                "hint": "`nbseal runs` says what became of it.",
            }
        self._process.join()
        self.connection.close()
        if "error" in message:
            return _ERRORS.get(message["code"], NbsealError)(message["error"], message["hint"])
        return (message["run"], message["status"]) if "run" in message else None


def _main(action: Callable[[Progress], Record], progress: Progress, connection: Connection) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    message: Json = {}
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        record = action(progress)
        message = {"run": record.id, "status": record.status}
    except NbsealError as error:
        message = {"code": error.exit_code, "error": error.message, "hint": error.hint}
    except KeyboardInterrupt:
        pass
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):  # whoever waited may have been killed; the record is written all the same
        connection.send_bytes(json.dumps(message).encode())


class _Named:
    """Progress as one of several: lines with a name, and of its tasks only those that took long, once they ended."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name, self._progress = name, progress

    def say(self, text: str) -> None:
        self._progress.say(f"  {self._name}  {text.strip()}")

    @contextmanager
    def task(self, text: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        began = time.monotonic()
        yield lambda amount: None
        took = time.monotonic() - began
        if took > _LONG:
            self.say(f"{text} {took:.1f} s")
