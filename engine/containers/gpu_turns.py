"""One run to a GPU, whichever homes the runs are of: the label of a run's container says which GPUs it has.

A container is created first, and started only when no other one has its GPUs by then. Of two that come at once, each
sees the other, so both give way and try again: none can have been overlooked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from engine.containers.gpus import Given
from engine.containers.launch import GPUS_LABEL, Launch, container_name
from engine.daemon import LABEL, Engine
from engine.link import Link

_AT_WORK = ("running", "paused", "restarting")
#: Seconds within which a container is started that was created. What is older was left by somebody who was killed.
_STARTED_WITHIN = 120
_POLL = 1.0


def await_turn(
    link: Link, launch: Launch, patience: float, say: Callable[[str], None], heed: Callable[[], None]
) -> Launch:
    """The launch with GPUs that no other run has now, once there are as many as it asks for.

    ``heed`` is called again and again meanwhile, and raises when nobody wants to wait any more.
    Nothing is awaited where the machine does not tell one GPU from another: without nvidia-smi, or its UUIDs.
    """
    if launch.gpus is None or launch.gpus.way == "none":
        return launch
    told = ""
    while True:
        heed()
        taken = link.attempt(taken_gpus, patience=patience)
        given = free(launch.gpus, taken)
        if given is not None:
            return replace(launch, gpus=given)
        runs = sorted({run for uuid, run in taken.items() if uuid in launch.gpus.uuids})
        text = f"  waiting for GPUs of {link.name}, which other runs have: {', '.join(runs)}"
        if text != told:
            say(text)
            told = text
        time.sleep(_POLL * random.uniform(0.2, 1.0))  # noqa: S311 - so that two do not stay in step


def give_way(say: Callable[[str], None]) -> None:
    """Wait a moment before asking again, for GPUs that seem to be free and that another run is about to have."""
    say("  another run was about to have the same GPUs; waiting")
    time.sleep(random.uniform(0.5, 4.0))  # noqa: S311 - so that two do not stay in step


def free(given: Given, taken: Iterable[str]) -> Given | None:
    """What a run gets when GPUs of these UUIDs are taken; None when that is not enough."""
    taken = frozenset(taken)
    count, found = given.asked.count, given.facts.get("devices")
    if not count:
        return None if taken.intersection(given.uuids) else given
    if not found:
        return given.pick(range(count))
    positions = [position for position, device in enumerate(found) if device.get("uuid") not in taken]
    return given.pick(positions[:count]) if len(positions) >= count else None


def taken_gpus(engine: Engine) -> dict[str, str]:
    """The UUIDs of GPUs that a run has at this moment, with that run."""
    return _of(item for item in _listed(engine) if item["State"] in _AT_WORK)


def is_contested(engine: Engine, launch: Launch) -> bool:
    """Whether another container has a GPU of this one, which is created and not started yet."""
    if launch.gpus is None or not launch.gpus.uuids:
        return False
    listed = _listed(engine)
    name = f"/{container_name(launch.run)}"
    own = next((item for item in listed if name in item["Names"]), None)
    if own is None or own["State"] != "created":
        return False
    others = _of(
        item
        for item in listed
        if item is not own
        and (item["State"] in _AT_WORK or item["Created"] > own["Created"] - _STARTED_WITHIN)  # by the engine's clock
    )
    return not set(launch.gpus.uuids).isdisjoint(others)


def _listed(engine: Engine) -> list[dict[str, Any]]:
    """Containers that have GPUs: under way, or about to be."""
    states = ["created", *_AT_WORK]
    found: list[dict[str, Any]] = engine.client.api.containers(
        all=True, filters={"label": GPUS_LABEL, "status": states}
    )
    return found


def _of(listed: Iterable[dict[str, Any]]) -> dict[str, str]:
    return {
        uuid: str(item["Labels"].get(f"{LABEL}.run", ""))
        for item in listed
        for uuid in str(item["Labels"].get(GPUS_LABEL, "")).split(",")
    }
