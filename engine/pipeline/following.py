"""Runs that go on without the process that began them: followed again, or stopped."""

from __future__ import annotations

import time
from dataclasses import dataclass

from engine import containers, store
from engine.errors import BadInput, EngineUnavailable, NbsealError
from engine.model import Record
from engine.pipeline.launching import link_of, link_to
from engine.pipeline.reading import find, take_up
from engine.pipeline.story import OnEvent, display
from engine.progress import Progress
from engine.settings import Home

#: Seconds that a run has to end after it was asked to, before it is killed: its harness saves meanwhile. As many has
#: the process that owns it to record that.
_GRACE = 45.0
_POLL = 0.2


@dataclass(frozen=True)
class Stopped:
    """A run that was asked to stop. ``status`` is the record's, or "stopped" when no record of it is here."""

    run: str
    host: str
    status: str


def attach(prefix: str, home: Home, progress: Progress, on_event: OnEvent) -> Record:
    """Follow a run to its end and record it; one that is recorded is returned as it is.

    ``on_event`` is called with all its events, also of one that has ended since anybody followed it. BadInput when
    another process follows it already.
    """
    run_id = store.find_run(home, prefix)
    if run_id not in store.unfinished(home):
        record = find(run_id, home, progress)
        if record.status != "running":
            return record
    with store.adopt(home, run_id) as adopted:
        if adopted is None:
            raise BadInput(f"Run {run_id} is followed by another process.", "`nbseal stop` would stop it.")
        run, record = adopted
        with link_of(run, home) as link:
            progress.say(f"  runs on {link.engine}")
            finished = take_up(run, record, link, home, display(on_event), progress.say, wait=True)
    if finished is None:
        raise BadInput(
            f"Run {record.id} was begun at another engine than the one that answers now.",
            "Start that one, or set DOCKER_HOST as it was.",
        )
    return finished


def stop(prefix: str, host: str, home: Home, progress: Progress) -> Stopped:
    """Interrupt a run and wait for its end; kill it when it does not heed that. BadInput when it is not under way.

    One that has not begun yet is not started. With ``host``, the run is looked for there, whosever it is.
    EngineUnavailable when it has not ended after all.
    """
    if host:
        with link_to(host, home) as link:
            found = containers.find_running(link.engine, prefix)
            containers.stop(link, found, _GRACE)
            return Stopped(found, link.name, "stopped")
    record = find(prefix, home, progress)
    if record.status != "running":
        raise BadInput(f"Run {record.id} is not under way: it {_said(record)}.", "There is nothing to stop.")
    run = store.open_run(home, record.id)
    containers.mark_unwanted(containers.Folders(run.project, run.spool))
    with link_of(run, home) as link:
        _ = link.engine  # before asking again and again: it may not be there at all
        end = time.monotonic() + _GRACE
        while (status := _status(run, home, progress)) == "running":
            if time.monotonic() > end:
                raise EngineUnavailable(
                    f"Run {run.id} has not ended yet.",
                    "If it has not begun, it will not be started; `nbseal runs` shows when it has ended.",
                )
            if containers.stop(link, run.id, _GRACE):
                end = time.monotonic() + _GRACE  # for its results to come here
            time.sleep(_POLL)
        return Stopped(run.id, link.name, status)


def _status(run: store.RunDirectory, home: Home, progress: Progress) -> str:
    """ "running" until it is recorded, which another process may be about to do; "stopped" when it had not begun."""
    try:
        status = store.load_record(home, run.id).status
        return status if status == "running" else find(run.id, home, progress).status
    except NbsealError:
        if run.path.exists():
            raise
        return "stopped"


def _said(record: Record) -> str:
    return {"lost": "was lost", "interrupted": "was interrupted"}.get(record.status, record.status)
