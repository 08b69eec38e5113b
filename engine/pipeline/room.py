"""Which of several machines has room for a run."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from engine import containers
from engine.errors import EngineUnavailable, NbsealError
from engine.link import Link
from engine.pipeline.gpus import look_at_gpus
from engine.pipeline.launching import link_to
from engine.progress import Progress
from engine.settings import Home


@dataclass(frozen=True)
class Room:
    """Of one machine: how many runs it can have at once, and how many of those places are free.

    A place is a GPU for a run that wants some, and a processor for every other one. Of a machine that cannot be asked
    for its GPUs, since no image of ours is there yet, it is not known whether there is more than one.
    """

    host: str
    places: int
    free: int
    is_known: bool = True


def measure(names: Sequence[str], home: Home, progress: Progress, *, gpus: bool) -> tuple[Room, ...]:
    """Ask machines, all at the same time; those that give no GPUs, or no answer, are said and left out.

    EngineUnavailable when none is left.
    """

    def ask(name: str) -> Room | NbsealError:
        try:
            with link_to(name, home) as link, containers.understood("say how much room it has"):
                return _of_gpus(link) if gpus else _of_processors(link)
        except NbsealError as error:
            return error

    with ThreadPoolExecutor(len(names)) as threads:
        found = dict(zip(names, threads.map(ask, names), strict=True))
    problems = [answer for answer in found.values() if isinstance(answer, NbsealError)]
    if len(problems) == len(names):
        raise problems[0]
    for name, answer in found.items():
        if isinstance(answer, NbsealError):
            progress.say(f"  not on {name}: {answer.message}")
    return tuple(answer for answer in found.values() if isinstance(answer, Room))


def _of_gpus(link: Link) -> Room:
    seen = look_at_gpus(link.engine)
    if seen.problem:
        raise EngineUnavailable(seen.problem, seen.hint)
    if not seen.uuids:
        return Room(link.name, 1, 1, is_known=False)
    taken = containers.taken_gpus(link.engine)
    return Room(link.name, len(seen.uuids), sum(uuid not in taken for uuid in seen.uuids))


def _of_processors(link: Link) -> Room:
    places = max(1, int(link.engine.info.get("NCPU", 1)))
    busy = sum(item.kind == "run" and item.is_at_work for item in containers.find_items(link.engine))
    return Room(link.name, places, max(0, places - busy))


def find_place(gpus: str, rooms: Sequence[Room], running: Sequence[tuple[str, str]]) -> str | None:
    """The machine with the most room for a run; None while all that have enough GPUs are full.

    ``gpus`` is what it asks for, as in its spec. ``running`` has the same of each run that was given a place since
    ``rooms`` were measured, and where. A run that asks for more than any machine has goes to one where none of them
    is, and is refused there. Processors can be shared, so one that asks for no GPUs always finds a place.
    """

    def left(room: Room) -> int:
        beside = [other for other, host in running if host == room.host and bool(other) == bool(gpus)]
        return room.places - sum(min(_wanted(other) or room.places, room.places) for other in beside)

    wanted = _wanted(gpus)
    able = [room for room in rooms if room.places >= wanted] or rooms
    fitting = [room for room in able if not gpus or left(room) >= min(wanted or room.places, room.places)]
    # Places that others have may become free any time, but those that are free now come first.
    best = max(fitting, key=lambda room: left(room) - (room.places - room.free), default=None)
    return best.host if best else None


def _wanted(gpus: str) -> int:
    """How many places a run takes; 0 for all that there are."""
    if not gpus:
        return 1
    asked = containers.parse_gpus(gpus)
    return len(asked.ids) or asked.count
