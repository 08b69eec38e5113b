"""Executing a notebook in a sealed container."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from engine.containers.follow import Follower
from engine.containers.host import describe_host
from engine.containers.interrupts import Interrupts
from engine.containers.launch import ENGINE_ID, MAX_LOG, Place, container_name, create
from engine.containers.mountpoints import make_folder, make_mountpoints, remove_mountpoints
from engine.containers.outcome import decide
from engine.containers.profile import needs_instrument
from engine.containers.refusals import explained
from engine.containers.user import User, find_user, hand_over, take_back
from engine.daemon import Engine, ignore_engine_errors
from engine.errors import Detached
from engine.files import remove_tree, write_atomic, write_json
from engine.harness import PROTOCOL
from engine.model import Json, Limits, Outcome


def execute(
    engine: Engine,
    image_id: str,
    *,
    project: Path,
    spool: Path,
    directory: str,
    inputs: Sequence[tuple[Path, str]],
    environment: Mapping[str, str],
    network: bool,
    limits: Limits,
    run_id: str,
    on_event: Callable[[Json], None],
) -> Outcome:
    """Run the spool's notebook.ipynb in a container of ``image_id`` and follow it to its end.

    ``project`` is the work tree, written to by the notebook, which starts in its folder
    ``directory``; ``inputs`` are mounted there read-only as (local path, target). The spool gets
    request.json, events.jsonl, executed.ipynb and log.txt; while the container exists, a folder
    ``identity`` stands beside it. ``on_event`` is called in this thread with each event, checked.

    The Outcome says how it ended, whatever the notebook did and whatever happened to it. Ctrl-C
    interrupts the cell and is an Outcome too, a second one kills the container; before the
    container was started it is KeyboardInterrupt. Raises EngineUnavailable when the container could
    not be started, BadInput for an input that cannot be mounted at its target: then nothing was
    executed, and the container is removed. Raises Detached when the engine stops answering or the
    user gives up waiting: the container may be at work, so nothing is touched, and ``settle`` is
    for later.
    """
    place = Place(project.absolute(), spool.absolute())
    user = find_user()
    with (
        _prepared(engine, place, user, directory, inputs, environment, limits),
        Interrupts() as interrupts,
        _removal(engine, run_id),
    ):
        with explained():
            create(
                engine,
                image_id,
                place,
                user,
                inputs=inputs,
                environment=environment,
                network=network,
                limits=limits,
                run_id=run_id,
            )
            if interrupts.count:
                raise KeyboardInterrupt  # nothing was executed yet
            started, clock = datetime.now(UTC), time.monotonic()
            engine.client.api.start(container_name(run_id))
        follower = Follower(engine, place, run_id, limits, interrupts)
        try:
            exit_ = follower.follow(on_event)
        except KeyboardInterrupt:
            raise Detached("Stopped waiting for the run.", "`nbseal runs` says what became of it.") from None
        duration = time.monotonic() - clock
        keep_log(engine, run_id, place.spool)
        return replace(
            decide(follower.last, exit_, follower.stop, limits),
            started=format_time(started),
            finished=format_time(datetime.now(UTC)),
            duration=round(duration, 3),
            host=describe_host(engine),
        )


@contextmanager
def _prepared(
    engine: Engine,
    place: Place,
    user: User,
    directory: str,
    inputs: Sequence[tuple[Path, str]],
    environment: Mapping[str, str],
    limits: Limits,
) -> Iterator[None]:
    """The folders as the container needs them, and afterwards as the caller does."""
    make_folder(place.project, directory)
    made = make_mountpoints(place.project, inputs, user.uid)
    try:
        write_json(place.spool / "request.json", request(directory, environment, limits))
        place.identity.mkdir(exist_ok=True)
        write_atomic(place.identity / "passwd", user.passwd(environment["USER"], environment["HOME"]).encode())
        write_atomic(place.identity / "group", user.group(environment["USER"]).encode())
        write_atomic(place.identity / ENGINE_ID, str(engine.info.get("ID", "")).encode())
        hand_over(place.project, user)
        hand_over(place.spool, user)
        yield
    except Detached:
        raise
    except BaseException:
        release(place)
        remove_mountpoints(place.project, made)
        raise
    release(place)
    remove_mountpoints(place.project, made)


def request(directory: str, environment: Mapping[str, str], limits: Limits) -> Json:
    """request.json: what the harness is to do. What every harness can do is asked for in the first protocol."""
    return {
        "protocol": PROTOCOL if needs_instrument(environment) else 1,
        "directory": directory,
        "timeout": limits.timeout,
        "cell_timeout": limits.cell_timeout,
        "memory": limits.memory,
    }


def release(place: Place) -> None:
    """Give the folders back to the caller, once the container has ended."""
    take_back(place.project)
    take_back(place.spool)
    with suppress(OSError):
        remove_tree(place.identity)


@contextmanager
def _removal(engine: Engine, run_id: str) -> Iterator[None]:
    """Remove the run's container on every path out but one: where it may still be at work."""
    try:
        yield
    except Detached:
        raise
    except BaseException:
        remove_container(engine, run_id)
        raise
    remove_container(engine, run_id)


def remove_container(engine: Engine, run_id: str) -> None:
    """Remove a run's container, killing it if need be. Nothing happens when there is none or no engine answers."""
    with ignore_engine_errors():
        engine.client.api.remove_container(container_name(run_id), v=True, force=True)


def keep_log(engine: Engine, run_id: str, spool: Path) -> None:
    """Write what the container itself printed to log.txt of the spool, at most MAX_LOG bytes of its end."""
    log = b""
    with ignore_engine_errors():
        log = engine.client.api.logs(container_name(run_id), stdout=True, stderr=True)
    with suppress(OSError):
        write_atomic(spool / "log.txt", log[-MAX_LOG:])


def format_time(moment: datetime) -> str:
    """UTC, ISO 8601 with milliseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
