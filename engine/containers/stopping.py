"""Stopping a run from outside, whoever began it."""

from __future__ import annotations

import time

from engine.containers.follow import read_exit
from engine.containers.launch import container_name
from engine.containers.refusals import explained
from engine.daemon import LABEL, Engine
from engine.errors import BadInput
from engine.link import Link

_POLL = 0.1


def find_running(engine: Engine, prefix: str) -> str:
    """The id of the one run under way at an engine that begins so; BadInput when there is none, or several."""
    with explained("say what runs there"):
        # One request: the list alone has the labels.
        listed = engine.client.api.containers(filters={"label": f"{LABEL}=run"})
    runs = sorted(str(item["Labels"].get(f"{LABEL}.run", "")) for item in listed)
    fitting = [run for run in runs if prefix and run.startswith(prefix)]
    if len(fitting) != 1:
        known = f"Under way there: {', '.join(runs[:20])}." if runs else "No run is under way there."
        raise BadInput(f"'{prefix[:80]}' names {len(fitting)} runs under way on {engine.host}.", known)
    return fitting[0]


def stop(link: Link, run: str, grace: float) -> None:
    """Interrupt the run's container, and kill it after ``grace`` seconds; one that is gone is no error."""

    def signalled(engine: Engine, signal: str) -> None:
        from docker.errors import APIError, NotFound

        try:
            engine.client.api.kill(container_name(run), signal=signal)
        except NotFound:
            pass
        except APIError as error:
            if error.response is None or error.response.status_code != 409:  # it ended meanwhile
                raise

    def ended(engine: Engine) -> bool:
        try:
            return read_exit(engine.client.api, container_name(run)) is not None
        except LookupError:
            return True

    with explained():
        link.attempt(lambda engine: signalled(engine, "SIGINT"))
        end = time.monotonic() + grace
        while not link.attempt(ended):
            if time.monotonic() > end:
                link.attempt(lambda engine: signalled(engine, "SIGKILL"))
            time.sleep(_POLL)
