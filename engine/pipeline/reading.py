"""Runs that are there: listed, found, shown, and settled when their process died."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engine import containers, results, store
from engine.errors import BadInput, EngineUnavailable, NbsealError
from engine.files import write_atomic
from engine.hosts import LOCAL
from engine.link import GLANCE, Link
from engine.model import Json, Record
from engine.pipeline.harvest import finish
from engine.pipeline.launching import launch_of, link_of
from engine.progress import Progress
from engine.settings import Home


@dataclass(frozen=True)
class Settled:
    """Runs that nobody follows and that are not recorded: ``alive`` ones, and those of which nothing can be told.

    What is left of an ``unknown`` one may be all that there is of it, so it is not lost.
    """

    alive: frozenset[str]
    unknown: frozenset[str]

    def __contains__(self, run_id: str) -> bool:
        return run_id in self.alive or run_id in self.unknown


def runs(home: Home, progress: Progress) -> tuple[store.Summary, ...]:
    """All runs, newest first, after settling those whose process died. Damaged ones are named."""
    settled = settle(home, progress)
    for problem in store.damaged_runs(home).values():
        progress.say(problem)
    return tuple(replace(item, status="running") if item.id in settled else item for item in store.list_runs(home))


def find(prefix: str, home: Home, progress: Progress) -> Record:
    """One run by id or hash or the beginning of one."""
    settled = settle(home, progress)
    record = store.load_record(home, store.find_run(home, prefix))
    return replace(record, status="running", outcome=None) if record.id in settled else record


def ended(prefix: str, home: Home, progress: Progress) -> Record:
    """A run that is not under way any more; BadInput for one that is."""
    record = find(prefix, home, progress)
    if record.status == "running":
        raise BadInput(f"Run {record.id} is still running.", "Wait until it has ended; `nbseal runs` shows when.")
    return record


def recorded(prefix: str, home: Home, progress: Progress) -> tuple[Record, store.RunDirectory]:
    """A run that has ended, by id or hash, and its directory, whose files are as they were recorded."""
    old = ended(prefix, home, progress)
    return old, directory_of(old, home)


def directory_of(record: Record, home: Home) -> store.RunDirectory:
    """A run's directory, whose files are as they were recorded; else VerificationFailed."""
    kept = store.open_run(home, record.id)
    store.verify_run(kept, record)
    return kept


def settle(home: Home, progress: Progress) -> Settled:
    """Finish the records of runs whose process died; those that cannot be finished now.

    The container outlives its process, so such a run may have completed. Without an engine nothing
    can be said about containers, and so nothing is decided.
    """
    try:
        for done in store.catch_up(home):
            progress.say(done)
    except OSError as error:  # a home that can only be read
        progress.say(f"The ledger cannot be brought up to date: {error.strerror or error}.")
    alive, unknown = set(), set()
    away: dict[str, str] = {}  # hosts that do not answer, and why
    for run_id in store.unfinished(home):
        try:
            with store.adopt(home, run_id) as adopted:
                if adopted is None:
                    continue
                record = _settle(*adopted, home, away)
                if record is None:
                    alive.add(run_id)
                else:
                    progress.say(f"Run {run_id} ended while nobody followed it; it is now recorded as {record.status}.")
        except (NbsealError, OSError) as error:  # one damaged run keeps no other from being read
            unknown.add(run_id)
            progress.say(f"Run {run_id} is followed by nobody, and how it ended cannot be told: {error}")
    for name, why in away.items():
        if name != LOCAL:
            progress.say(f"Runs on {name} may have ended, but it does not answer: {why}")
    return Settled(frozenset(alive), frozenset(unknown))


def _settle(run: store.RunDirectory, record: Record, home: Home, away: dict[str, str]) -> Record | None:
    """None while it is under way, or when nobody can say."""
    with link_of(run, home, patience=GLANCE) as link:
        if link.name in away:
            return None
        try:
            _ = link.engine
        except EngineUnavailable as error:
            away[link.name] = error.message
            return None
        return take_up(run, record, link, home, lambda event: None, lambda text: None, wait=False)


def take_up(
    run: store.RunDirectory,
    record: Record,
    link: Link,
    home: Home,
    on_event: Callable[[Json], None],
    say: Callable[[str], None],
    *,
    wait: bool,
) -> Record | None:
    """Finish the record of a run that this process has adopted; None while it is under way, unless ``wait``.

    EngineUnavailable also for an engine whose answers make no sense.
    """
    with containers.sensible(f"What there is of run {run.id} here and on {link.name}"):
        launch = launch_of(record, [store.blob_path(home, item.digest) for item in record.inputs], home)
        outcome = containers.resume(link, launch, run.project, run.spool, on_event, say, wait=wait)
        if outcome is None:
            return None
        finished = finish(run, record, outcome, store.read_source(run))
        containers.forget(link, launch, run.project, run.spool)
        return finished


def measures(record: Record) -> tuple[str, ...]:
    """What a run held steady: see ``containers.MEASURES``."""
    return containers.held(record.spec.get("environment", {}))


def logs(prefix: str, home: Home, progress: Progress) -> str:
    """What the cells printed, and what the container itself said."""
    record = find(prefix, home, progress)
    run = store.open_run(home, record.id)
    store.verify_run(run, record)
    return results.text_log(results.read_executed(_executed(run))) + store.read_log(run)


def page(prefix: str, home: Home, progress: Progress) -> Path:
    """Write the executed notebook as an HTML page into the home's temporary folder; its path."""
    record = find(prefix, home, progress)
    run = store.open_run(home, record.id)
    store.verify_run(run, record)
    html = results.render_html(results.read_executed(_executed(run)), f"{record.notebook} · {record.id}")
    path = home.root / "pages" / f"{record.id}.html"
    write_atomic(path, html.encode())
    return path


def _executed(run: store.RunDirectory) -> Path:
    """The executed notebook; while a run is under way, its present state."""
    return run.executed if run.executed.exists() else run.spool / "executed.ipynb"
