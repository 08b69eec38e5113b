"""Stopping a run from outside, whoever began it."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from engine.containers.launch import Folders, container_name
from engine.containers.refusals import understood
from engine.daemon import LABEL, Engine
from engine.errors import BadInput, EngineUnavailable
from engine.link import Link

_POLL = 0.1
#: Seconds in which a container ends that is killed.
_KILLED_WITHIN = 15.0
#: In the spool, which goes with the run: until the container is started, no notebook writes there.
_UNWANTED = "unwanted"


def find_running(engine: Engine, prefix: str) -> str:
    """The id of the one run under way at an engine that begins so; BadInput when there is none, or several."""
    with understood("say what runs there"):
        # One request: the list alone has the labels.
        listed = engine.client.api.containers(filters={"label": f"{LABEL}=run"})
    runs = sorted(str(item["Labels"].get(f"{LABEL}.run", "")) for item in listed)
    fitting = [run for run in runs if prefix and run.startswith(prefix)]
    if len(fitting) != 1:
        known = f"Under way there: {', '.join(runs[:20])}." if runs else "No run is under way there."
        raise BadInput(f"'{prefix[:80]}' names {len(fitting)} runs under way on {engine.host}.", known)
    return fitting[0]


def mark_unwanted(folders: Folders) -> None:
    """Note that a run is not to be started, for whoever is about to do that; one that has begun takes no notice."""
    with suppress(OSError):  # noted already, or the run has ended
        # The notebook may have put anything there.
        os.close(os.open(folders.spool / _UNWANTED, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))


def is_unwanted(folders: Folders) -> bool:
    """Whether somebody asked that the run be not started."""
    return os.path.lexists(folders.spool / _UNWANTED)


def stop(link: Link, run: str, grace: float) -> bool:
    """Interrupt the run's container, and kill it after ``grace`` seconds; False when there is none that runs.

    EngineUnavailable when it does not end even then.
    """

    def signalled(engine: Engine, signal: str) -> None:
        from docker.errors import APIError, NotFound

        try:
            engine.client.api.kill(container_name(run), signal=signal)
        except NotFound:
            pass
        except APIError as error:
            if error.response is None or error.response.status_code != 409:  # it ended meanwhile
                raise

    def runs(engine: Engine) -> bool:
        from docker.errors import NotFound

        try:
            state = engine.client.api.inspect_container(container_name(run))["State"]
        except NotFound:
            return False
        return state["Status"] not in ("created", "exited", "dead", "removing")

    with understood("stop the run"):
        if not link.attempt(runs):
            return False
        link.attempt(lambda engine: signalled(engine, "SIGINT"))
        began = time.monotonic()
        while link.attempt(runs):
            passed = time.monotonic() - began
            if passed > grace + _KILLED_WITHIN:
                raise EngineUnavailable(
                    f"Run {run} does not end, although the engine of {link.name} was asked to kill it.",
                    "See what `docker inspect` says of its container there.",
                )
            if passed > grace:
                link.attempt(lambda engine: signalled(engine, "SIGKILL"))
            time.sleep(_POLL)
        return True
