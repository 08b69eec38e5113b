"""Executing a notebook in a sealed container, here or on another machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.containers.follow import Follower
from engine.containers.gpu_turns import await_turn, give_way, is_contested
from engine.containers.host import describe_host
from engine.containers.identity import note_gpus, read_gpus, read_whereabouts
from engine.containers.interrupts import Interrupts
from engine.containers.launch import Folders, Launch, container_name, create
from engine.containers.local import Local
from engine.containers.log import keep_log
from engine.containers.outcome import Exit, decide
from engine.containers.refusals import explained
from engine.containers.remote import Remote
from engine.containers.site import Site
from engine.containers.stopping import is_unwanted
from engine.daemon import Engine, engine_errors, ignore_engine_errors, reason_of
from engine.errors import Detached, EngineUnavailable, NbsealError
from engine.files import write_json
from engine.link import Link
from engine.model import Json, Outcome
from engine.settings import EXIT_FILE

_UNKNOWN = "It is not known whether the run has begun; `nbseal runs` looks."

OnEvent = Callable[[Json], None]
Say = Callable[[str], None]


def execute(
    link: Link, launch: Launch, project: Path, spool: Path, on_event: OnEvent, say: Say, *, detach: bool = False
) -> Outcome | None:
    """Run the spool's notebook.ipynb in a container and follow it to its end.

    ``project`` is the work tree, written to by the notebook, which starts in its folder ``launch.directory``. The
    spool gets request.json, events.jsonl, executed.ipynb and log.txt; while the run is under way, a folder
    ``identity`` stands beside it. ``on_event`` is called in this thread with each event, checked, and ``say`` with
    what the user should know of the way there. With ``detach``, None as soon as it has started.

    The Outcome says how it ended, whatever the notebook did and whatever happened to it. Ctrl-C
    interrupts the cell and is an Outcome too, a second one kills the container; before the
    container was started it is KeyboardInterrupt. Raises EngineUnavailable when the container could
    not be started, BadInput for an input that cannot be mounted at its target: then nothing was
    executed, and the container is removed. Raises Detached when the engine stops answering or the
    user gives up waiting: the container may be at work, so nothing is touched, and ``resume`` is for
    later. What a run leaves on another machine stays there until ``forget``.
    """
    site = site_of(link, Folders(project.absolute(), spool.absolute()), launch)
    with _undone(site), explained():
        site.prepare(say)  # which may take long, and can be interrupted: nothing was executed yet
    while True:
        with _undone(site), explained():
            ready = await_turn(link, launch, site.patience, say, lambda: _heed(site, say))
            note_gpus(site.folders, ready)
        with Interrupts() as interrupts:
            with _undone(site), explained():
                began = datetime.now(UTC)
                started = _start(site, ready, interrupts, say)
                if interrupts.count and not started:
                    raise KeyboardInterrupt
            if started:
                return None if detach else _follow(site, ready, interrupts, on_event, say, began)
        with _undone(site):
            give_way(say)


def site_of(link: Link, folders: Folders, launch: Launch) -> Site:
    """Where a run that goes over this link has its folders."""
    return Remote(link, folders, launch) if link.is_remote else Local(link, folders, launch)


@contextmanager
def _undone(site: Site) -> Iterator[None]:
    """What was prepared, taken back when the container did not start."""
    try:
        yield
    except Detached:
        raise
    except BaseException:
        with suppress(NbsealError, OSError):  # the first error is the one to tell
            site.remove()
        site.release()
        raise


def _heed(site: Site, say: Say) -> None:
    """What somebody asked for before the run has begun: then that is as Ctrl-C."""
    if is_unwanted(site.folders):
        say("  stopped before it was started")
        raise KeyboardInterrupt


def _start(site: Site, launch: Launch, interrupts: Interrupts, say: Say) -> bool:
    """Create and start the container, once, however often the link breaks; False when another run got its GPUs."""
    is_broken = False

    def start(engine: Engine) -> bool:
        # What was asked for before the link broke may have been done: one that has ended would start a second time.
        state = _state_at(engine, launch) if is_broken else {}
        if not state:
            create(engine, launch, site.user, site.mounts())
        elif state["Status"] != "created":
            return True
        if is_contested(engine, launch):
            _remove(engine, launch)
            return False
        _heed(site, say)
        engine.client.api.start(container_name(launch.run))
        return True

    def note(why: str) -> None:
        nonlocal is_broken
        is_broken = True
        if interrupts.count:
            raise Detached("Stopped waiting for the run.", _UNKNOWN)
        say(f"The engine of {site.link.name} stopped answering: {why} Trying again.")

    try:
        return site.link.attempt(start, patience=site.patience, on_break=note)
    except Detached:
        raise
    except EngineUnavailable as error:
        raise Detached(error.message, _UNKNOWN) from error


def resume(
    link: Link, launch: Launch, project: Path, spool: Path, on_event: OnEvent, say: Say, *, wait: bool
) -> Outcome | None:
    """Take up a run that nobody follows any more: its end as ``execute`` tells it.

    None while its container still runs, unless ``wait``: then it is followed to its end. Also None when it was begun
    at another engine than this link's. ``on_event`` is called with every event from the beginning.
    The status is "lost" when nothing was executed or nothing is left that says how it ended. Raises as ``execute``.
    """
    site = site_of(link, Folders(project.absolute(), spool.absolute()), launch)
    where = read_whereabouts(site.folders)
    if where is not None and where.engine != link.engine.id:
        return None
    with explained():
        state = _state(site, launch)
    if not wait and (state.get("Running") or state.get("Paused") or state.get("Restarting")):
        return None
    never = state.get("Status") == "created"
    if never:
        with explained():
            site.link.attempt(lambda engine: _remove(engine, launch), patience=site.patience)
    with Interrupts() as interrupts:
        outcome = _follow(site, launch, interrupts, on_event, say)
    return replace(outcome, reason="Its process was killed before the notebook was started.") if never else outcome


def _remove(engine: Engine, launch: Launch) -> None:
    engine.client.api.remove_container(container_name(launch.run), v=True, force=True)


def _state(site: Site, launch: Launch) -> dict[str, Any]:
    """What the engine knows of the container; nothing when there is none."""

    return site.link.attempt(lambda engine: _state_at(engine, launch), patience=site.patience)


def _state_at(engine: Engine, launch: Launch) -> dict[str, Any]:
    from docker.errors import NotFound

    try:
        return dict(engine.client.api.inspect_container(container_name(launch.run))["State"])
    except NotFound:
        return {}


def _follow(
    site: Site,
    launch: Launch,
    interrupts: Interrupts,
    on_event: OnEvent,
    say: Say,
    began: datetime | None = None,
) -> Outcome:
    """Follow a container to its end, and have its results here. ``began`` is when it was started, by our own clock.

    Detached whenever the engine cannot be asked any more: something was executed, so nothing may be given up.
    """
    folders = site.folders
    gpu = read_gpus(folders) or _noted(folders).get("gpu")
    follower = Follower(site, launch.run, launch.limits, interrupts)
    gone: tuple[type[Exception], ...] = (EngineUnavailable, *engine_errors())
    try:
        site.watch()
        exit_ = follower.follow(on_event, say)
        ended = datetime.now(UTC)
        problem = site.fetch()
        follower.finish(on_event)
        for news in site.news():
            say(news)
        state = _state(site, launch)
        host = site.link.attempt(lambda engine: describe_host(engine, site.processor(), gpu), patience=site.patience)
        keep_log(site, launch.run)
    except KeyboardInterrupt:
        raise Detached("Stopped waiting for the run.", "`nbseal runs` says what became of it.") from None
    except Detached:
        raise
    except gone as error:
        raise Detached(
            f"The results of the run cannot be asked for: {reason_of(error)}.",
            "They are kept there; `nbseal attach` or `nbseal runs` takes the run up again.",
        ) from error
    except BaseException:
        if not site.link.is_remote:
            site.remove()
            site.release()
        raise
    finally:
        site.close()
    if exit_ is not None:
        _note_exit(folders, exit_, gpu)
    outcome = decide(follower.last, exit_ or _noted_exit(folders), follower.stop, launch.limits)
    if problem:
        status = "failed" if outcome.status == "completed" else outcome.status
        outcome = replace(outcome, status=status, reason=f"{outcome.reason} {problem}".strip())
    if not site.link.is_remote:
        site.remove()
    site.release()
    times = _times(began, ended) if began else _times_told(state, follower)
    return replace(outcome, **times, host=host)


def forget(link: Link, launch: Launch, project: Path, spool: Path) -> None:
    """Once a run is recorded: remove what is left of it at the engine. What cannot be is left to ``hosts prune``."""
    if link.is_remote:
        with suppress(NbsealError), ignore_engine_errors():
            site_of(link, Folders(project, spool), launch).remove()


def _note_exit(folders: Folders, exit_: Exit, gpu: Json | None) -> None:
    """Where no notebook can write: whoever is killed before the record is written asks a second time."""
    noted = {"code": exit_.code, "oom_killed": exit_.oom_killed, **({"gpu": gpu} if gpu else {})}
    write_json(folders.spool.with_name(EXIT_FILE), noted)


def _noted_exit(folders: Folders) -> Exit | None:
    noted = _noted(folders)
    return Exit(int(noted["code"]), bool(noted["oom_killed"])) if noted else None


def _noted(folders: Folders) -> Json:
    try:
        noted: Json = json.loads(folders.spool.with_name(EXIT_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return noted


def _times(began: datetime, ended: datetime) -> dict[str, Any]:
    """Start, end and duration in seconds."""
    duration = max(0.0, (ended - began).total_seconds())
    return {"started": format_time(began), "finished": format_time(ended), "duration": round(duration, 3)}


def _times_told(state: dict[str, Any], follower: Follower) -> dict[str, Any]:
    """Of a run that we did not start: the engine's, else those of the first and last event."""
    began = _moment(state.get("StartedAt", "")) or _moment(follower.first_time)
    ended = _moment(state.get("FinishedAt", "")) or _moment(follower.last_time)
    return _times(began, ended) if began and ended else {}


def _moment(text: str) -> datetime | None:
    """An ISO 8601 time; None for no time, which the engine writes as year 1."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.year > 1 and moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def format_time(moment: datetime) -> str:
    """UTC, ISO 8601 with milliseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
