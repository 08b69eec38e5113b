"""GPUs for a run: refused or granted before anything is built, by asking the engine and the driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine import containers, environments
from engine.daemon import LABEL, Engine
from engine.errors import EngineUnavailable
from engine.model import Record
from engine.pipeline.plan import Plan
from engine.progress import Progress
from engine.software import Base, Image, Lock

_WITHOUT = "executed without the GPUs that were asked for"
_FEW = "Only notebooks that want a GPU need it."
_WAYS = {
    "cdi": "by CDI",
    "runtime": "by the nvidia runtime",
    "device-requests": "by device requests",
    "none": "none, on the processor",
}


def planned(text: str, engine: Engine) -> containers.Given | None:
    """How ``engine`` is to give what a spec asks for; None when it asks for none. EngineUnavailable when it cannot."""
    return containers.choose_gpus(engine.info, containers.parse_gpus(text)) if text else None


def granted(
    given: containers.Given | None, what: Base | Image, lock: Lock | Image, engine: Engine, progress: Progress
) -> containers.Given | None:
    """The same with what the driver says of them, asked in a container of ``what``, which the engine holds.

    EngineUnavailable when they do not work, or when the driver is too old for the CUDA of the lock.
    """
    if given is None:
        return None
    with progress.task("Asking the GPUs"):
        found = containers.ask_gpus(engine, what.id, given)
    driver = str(found.facts.get("driver", ""))
    count = f"{found.asked.count} of " if found.asked.count else ""
    progress.say(f"  GPUs: {count}{told(found.described())}")
    pins = lock.distributions if isinstance(lock, Lock) else lock.wheels
    check_driver(((item.name, item.version) for item in pins), driver, engine)
    return found


def check_driver(pins: Iterable[tuple[str, str]], driver: str, engine: Engine) -> None:
    """EngineUnavailable when ``driver``, where it is known, cannot run the CUDA of these distributions."""
    cuda = environments.cuda_of(pins)
    if cuda is not None and driver and not environments.runs_on(cuda, driver):
        raise EngineUnavailable(
            f"{cuda.of} wants {cuda}, which needs a GPU driver from {cuda.oldest_driver} on; "
            f"{engine.host if engine.host != 'local' else 'this machine'} has {driver}.",
            f"Update the driver there, or declare what is built for an older CUDA than {cuda.major}.",
        )


def with_gpus(plan: Plan, engine: Engine, progress: Progress, *, cpu: bool = False) -> Plan:
    """A recorded plan with the GPUs that its spec asks for, or, with ``cpu``, a note that it goes without."""
    notes = tuple(note for note in plan.notes if not note.startswith(_WITHOUT))  # that was another run
    if plan.spec.gpus and cpu:
        asked = containers.parse_gpus(plan.spec.gpus)
        return replace(plan, gpus=containers.without_gpus(asked), notes=(*notes, f"{_WITHOUT} ({asked}): --cpu"))
    given = granted(planned(plan.spec.gpus, engine), plan.image, plan.image, engine, progress)
    return replace(plan, gpus=given, notes=notes)


@dataclass(frozen=True)
class SeenGpus:
    """What a look at an engine's GPUs came to. ``problem`` and ``hint`` say why there are none."""

    way: str = ""
    text: str = ""
    problem: str = ""
    hint: str = ""
    uuids: tuple[str, ...] = ()  # as far as the machine tells one from another


def look_at_gpus(engine: Engine) -> SeenGpus:
    """Which way an engine gives GPUs, and what they are where an image of ours is there to ask from."""
    try:
        given = containers.choose_gpus(engine.info, containers.parse_gpus("all"))
        with containers.explained("list its images"):
            image = next((str(item["Id"]) for item in engine.client.api.images(filters={"label": LABEL})), "")
        if image:
            given = containers.ask_gpus(engine, image, given)
        elif given.way == "device-requests":  # which every engine takes, also without any GPU
            return SeenGpus(problem="The container engine has neither the nvidia runtime nor CDI.", hint=_FEW)
    except EngineUnavailable as error:
        return SeenGpus(problem=error.message, hint=f"{_FEW} {error.hint}")
    facts = given.facts or {"unknown": "no image is there yet to ask from"}
    return SeenGpus(given.way, told({**given.described(), **facts}), uuids=given.uuids)


def told(gpu: object) -> str:
    """What stands in a record of the GPUs of a run, which somebody may have forged, on one line."""
    facts = gpu if isinstance(gpu, Mapping) else {}
    way = _WAYS.get(str(facts.get("way")), "in a way that is not known")
    listed = facts.get("devices")
    names = [_device(item) for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    if not names:
        return f"{way}; what they are is not known: {facts['unknown']}" if "unknown" in facts else way
    counted = [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
    return f"{', '.join(counted)}, driver {facts.get('driver')}, {way}"


def told_gpus(record: Record) -> str:
    """The GPUs that a run asked for and what it got; empty when it asked for none."""
    asked = str(record.spec.get("gpus", ""))
    if not asked or record.outcome is None:
        return asked
    return f"{asked}: {told(record.outcome.host.get('gpu'))}"


def _device(device: Mapping[str, Any]) -> str:
    memory = device.get("memory")
    return f"{device.get('name')}{f' ({memory / 2**30:.0f} GiB)' if isinstance(memory, int) else ''}"
