"""Following a container that runs: its events as they come, its end, and the reasons to stop it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from engine.containers.events import EventTail
from engine.containers.interrupts import Interrupts
from engine.containers.launch import container_name
from engine.containers.outcome import Exit, LastEvents, Stop
from engine.containers.site import Site
from engine.daemon import Engine, ignore_engine_errors
from engine.errors import Detached, EngineUnavailable
from engine.model import Json, Limits

#: Seconds between two looks at the events.
_POLL = 0.025
#: Seconds that a container has to end after it was asked to: the harness gives a cell 5 and the kernel 15, and saves.
_STOP_GRACE = 40.0
#: Seconds over the time limit after which we stop the container because its harness did not.
_TIMEOUT_GRACE = 180.0
#: Seconds that one question for a container's end waits for it.
_WAIT = 30


class Follower:
    """Follows one started container to its end.

    A first Ctrl-C asks the harness to stop, a second one kills the container; both go on
    following, so that nothing that was saved is missed.
    """

    def __init__(self, site: Site, run: str, limits: Limits, interrupts: Interrupts) -> None:
        self._site, self._limits = site, limits
        self._name = container_name(run)
        self._tail = EventTail(site.folders.spool / "events.jsonl")
        self._deadline = time.monotonic() + limits.timeout + _TIMEOUT_GRACE if limits.timeout else None
        self._kill_at: float | None = None
        self._interrupts = interrupts
        self._heeded = 0
        self.last = LastEvents()
        self.first_time = self.last_time = ""
        self.stop: Stop = ""

    def follow(self, on_event: Callable[[Json], None], say: Callable[[str], None]) -> Exit | None:
        """Until the container has ended; None when it is gone. Raises Detached when no engine answers any more."""
        waiter = _ExitWaiter(self._site, self._name)
        waiter.start()
        try:
            while True:
                ended = waiter.ended.is_set()
                if not self.pass_on(on_event):
                    if ended:
                        return waiter.result()
                    waiter.ended.wait(_POLL)
                for news in self._site.news():
                    say(news)
                self._enforce()
        except BaseException:
            self._tail.close()
            raise

    def pass_on(self, on_event: Callable[[Json], None]) -> bool:
        """Pass on what came since the last time; whether anything was read."""
        before = self._tail.offset
        for event in self._tail.read():
            self.last = self.last.with_event(event)
            self.first_time = self.first_time or event["time"]
            self.last_time = event["time"]
            on_event(event)
        return self._tail.offset > before

    def finish(self, on_event: Callable[[Json], None]) -> None:
        """The rest of the events, once all of them are here."""
        while self.pass_on(on_event):
            pass
        self._tail.close()

    def _enforce(self) -> None:
        now = time.monotonic()
        if self._interrupts.count > self._heeded:
            self._heeded = self._interrupts.count
            if self._heeded == 1:
                self._ask_to_stop("interrupt", "SIGINT")
            else:
                self.stop = self.stop or "interrupt"
                self._signal("SIGKILL")
        if not self.stop and self._site.used() > self._limits.work_tree:
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
        # It may have ended meanwhile, or the link is broken: then whoever waits for the end opens it again.
        with ignore_engine_errors(), suppress(EngineUnavailable, OSError):
            self._site.link.engine.client.api.kill(self._name, signal=signal)


class _ExitWaiter(threading.Thread):
    """Waits for a container's end at the engine; ``ended`` is set when there is nothing more to wait for."""

    def __init__(self, site: Site, name: str) -> None:
        super().__init__(daemon=True, name="nbseal-exit")
        self._site = site
        self._name = name
        self.ended = threading.Event()
        self._exit: Exit | None = None
        self._error: BaseException | None = None

    def result(self) -> Exit | None:
        """Once ``ended`` is set: the end, None for a removed container. An unknown end is no end: Detached."""
        if self._error is not None:
            raise Detached(
                "The container engine stopped answering while the run was under way.",
                "The run may go on without it; `nbseal runs` finds it again when the engine is back.",
            ) from self._error
        return self._exit

    def run(self) -> None:
        try:
            self._exit = self._site.link.attempt(self._wait, patience=self._site.patience)
        except LookupError:
            pass  # it was removed
        except BaseException as error:
            self._error = error
        finally:
            self.ended.set()

    def _wait(self, engine: Engine) -> Exit:
        while True:
            # The answer may also stop because a connection ends: only the container's state counts.
            with ignore_engine_errors():
                engine.client.api.wait(self._name, timeout=_WAIT)
            exit_ = read_exit(engine.client.api, self._name)
            if exit_ is not None:
                return exit_


def read_exit(api: Any, name: str) -> Exit | None:
    """A container's end, None while it runs. LookupError when there is none; else a broken link's errors."""
    from docker.errors import APIError, NotFound

    try:
        state = api.inspect_container(name)["State"]
    except NotFound:
        raise LookupError(name) from None
    except APIError as error:  # as an engine says it that is about to stop
        raise ConnectionError(str(error)) from error
    if state["Running"] or state["Status"] in ("created", "restarting"):
        return None
    return Exit(int(state["ExitCode"]), bool(state.get("OOMKilled")))
