"""Following a container that runs: its events as they come, its end, and the reasons to stop it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from engine.containers.events import EventTail
from engine.containers.interrupts import Interrupts
from engine.containers.launch import Place, container_name
from engine.containers.outcome import Exit, LastEvents, Stop
from engine.containers.worktree import WorkTreeWatch
from engine.daemon import Engine, ignore_engine_errors
from engine.errors import Detached
from engine.model import Json, Limits

#: Seconds between two looks at the events.
_POLL = 0.025
#: Seconds that a container has to end after it was asked to: the harness gives a cell 5 and the kernel 15, and saves.
_STOP_GRACE = 40.0
#: Seconds over the time limit after which we stop the container because its harness did not.
_TIMEOUT_GRACE = 180.0
#: Times that an engine may fail to answer, a second apart, before it is taken for gone.
_PATIENCE = 30


class Follower:
    """Follows one started container to its end.

    A first Ctrl-C asks the harness to stop, a second one kills the container; both go on
    following, so that nothing that was saved is missed.
    """

    def __init__(self, engine: Engine, place: Place, run_id: str, limits: Limits, interrupts: Interrupts) -> None:
        self._api = engine.client.api
        self._name = container_name(run_id)
        self._tail = EventTail(place.spool / "events.jsonl")
        self._watch = WorkTreeWatch([place.project, place.spool], limits.work_tree)
        self._deadline = time.monotonic() + limits.timeout + _TIMEOUT_GRACE if limits.timeout else None
        self._kill_at: float | None = None
        self._interrupts = interrupts
        self._heeded = 0
        self.last = LastEvents()
        self.stop: Stop = ""

    def follow(self, on_event: Callable[[Json], None]) -> Exit | None:
        """Until the container has ended; None when it is gone. Raises Detached when no engine answers any more."""
        waiter = _ExitWaiter(self._api, self._name)
        waiter.start()
        try:
            while True:
                ended = waiter.ended.is_set()  # asked before reading: what came before the end is not missed
                if not self._pass_on(on_event):
                    if ended:
                        return waiter.result()
                    waiter.ended.wait(_POLL)
                self._enforce()
        finally:
            self._watch.stop()
            self._tail.close()

    def _pass_on(self, on_event: Callable[[Json], None]) -> bool:
        """Whether anything was read."""
        before = self._tail.offset
        for event in self._tail.read():
            self.last = self.last.with_event(event)
            on_event(event)
        return self._tail.offset > before

    def _enforce(self) -> None:
        now = time.monotonic()
        if self._interrupts.count > self._heeded:
            self._heeded = self._interrupts.count
            if self._heeded == 1:
                self._ask_to_stop("interrupt", "SIGINT")
            else:
                self.stop = self.stop or "interrupt"
                self._signal("SIGKILL")
        if not self.stop and self._watch.exceeded:
            self._ask_to_stop("work_tree", "SIGTERM")
        if not self.stop and self._deadline is not None and now > self._deadline:
            self._ask_to_stop("timeout", "SIGTERM")
        if self._kill_at is not None and now > self._kill_at:
            self._signal("SIGKILL")
            self._kill_at = now + _STOP_GRACE

    def _ask_to_stop(self, reason: Stop, signal: str) -> None:
        self.stop = self.stop or reason
        self._kill_at = time.monotonic() + _STOP_GRACE
        self._signal(signal)

    def _signal(self, signal: str) -> None:
        with ignore_engine_errors():  # it may have ended meanwhile
            self._api.kill(self._name, signal=signal)


class _ExitWaiter(threading.Thread):
    """Waits for a container's end at the engine; ``exit`` is set before ``ended``."""

    def __init__(self, api: Any, name: str) -> None:
        super().__init__(daemon=True, name="nbseal-exit")
        self._api = api
        self._name = name
        self.exit: Exit | None = None
        self.ended = threading.Event()
        self._gone = False

    def result(self) -> Exit | None:
        """Once ``ended`` is set: the end, None for a removed container. An unknown end is no end: Detached."""
        if self.exit is None and not self._gone:
            raise Detached(
                "The container engine stopped answering while the run was under way.",
                "The run may go on without it; `nbseal runs` finds it again when the engine is back.",
            )
        return self.exit

    def run(self) -> None:
        try:
            failures = 0
            while self.exit is None and failures < _PATIENCE:
                # The answer may also stop because a connection ends: only the container's state counts.
                with ignore_engine_errors():
                    self._api.wait(self._name)
                try:
                    self.exit = read_exit(self._api, self._name)
                    failures = 0
                except LookupError:
                    self._gone = True
                    return
                except OSError:
                    failures += 1
                    time.sleep(1)
        finally:
            self.ended.set()


def read_exit(api: Any, name: str) -> Exit | None:
    """A container's end, None while it runs. Raises LookupError when there is none, OSError when no engine answers."""
    from docker.errors import APIError, DockerException, NotFound
    from requests.exceptions import RequestException

    try:
        state = api.inspect_container(name)["State"]
    except NotFound:
        raise LookupError(name) from None
    except (APIError, DockerException, RequestException) as error:
        raise OSError(str(error)) from error
    if state["Running"] or state["Status"] in ("created", "restarting"):
        return None
    return Exit(int(state["ExitCode"]), bool(state.get("OOMKilled")))
