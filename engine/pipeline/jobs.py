"""Several runs at once, on one or several machines."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from types import FrameType

from engine import hosts, store
from engine.errors import NbsealError
from engine.model import Record
from engine.pipeline.forked import Forked
from engine.pipeline.room import find_place, measure
from engine.progress import Progress, Silent
from engine.settings import Home


@dataclass(frozen=True)
class Job:
    """One run to be: ``start`` is called with a machine's name, in a process of its own. ``gpus`` as in a spec."""

    name: str
    gpus: str
    start: Callable[[str, Progress], Record]


@dataclass(frozen=True)
class Ended:
    """What became of a job: the record, or why there is none. After Ctrl-C it may have neither."""

    job: Job
    host: str = ""
    record: Record | None = None
    error: NbsealError | None = None


def run_all(
    jobs: Sequence[Job], host: str, at_once: int, home: Home, progress: Progress, on_end: Callable[[Ended], None]
) -> tuple[Ended, ...]:
    """Run each job, at most ``at_once`` of them at the same time; what became of them, in the order given.

    ``host`` means one or several machines, as ``Where`` has it. A job goes to the one with the most room, see
    ``Room``. Ctrl-C begins no more, and goes to those that are under way. ``on_end`` is called with each as it ends.
    """
    names = hosts.resolve(hosts.read(home), host)
    kinds = {bool(job.gpus) for job in jobs}
    rooms = {gpus: measure(names, home, progress, gpus=gpus) for gpus in kinds}
    waiting, ended = deque(range(len(jobs))), {}
    running: dict[int, tuple[str, Forked]] = {}
    with _interrupts(running) as interrupts:
        while running or (waiting and not interrupts):
            while waiting and not interrupts and len(running) < at_once:
                job = jobs[waiting[0]]
                busy = [(jobs[index].gpus, where) for index, (where, _) in running.items()]
                place = find_place(job.gpus, rooms[bool(job.gpus)], busy)
                if place is None:
                    break
                running[waiting.popleft()] = (place, _fork(job, place, progress))
            ready = wait([forked.connection for _, forked in running.values()])
            for index in [index for index, (_, forked) in running.items() if forked.connection in ready]:
                place, forked = running[index]
                result = forked.result()
                del running[index]
                ended[index] = _ended(jobs[index], place, result, home)
                on_end(ended[index])
                if not all(room.is_known for room in rooms.get(True, ())):
                    with suppress(NbsealError):  # there is an image to ask from now
                        rooms[True] = measure(names, home, Silent(), gpus=True)
    return tuple(ended.get(index, Ended(job)) for index, job in enumerate(jobs))


def _fork(job: Job, host: str, progress: Progress) -> Forked:
    return Forked(job.name, lambda named: job.start(host, named), progress)


def _ended(job: Job, host: str, result: tuple[str, str] | NbsealError | None, home: Home) -> Ended:
    if result is None or isinstance(result, NbsealError):
        return Ended(job, host, error=result)
    run, status = result
    record = store.load_record(home, run)
    # One that was begun and left alone has no process, as a lost one.
    return Ended(job, host, replace(record, status="running") if status == "running" else record)


@contextmanager
def _interrupts(running: Mapping[int, tuple[str, Forked]]) -> Iterator[list[int]]:
    """Ctrl-C is handed on, and noted in the list, instead of being raised here."""
    noted: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        for _, forked in list(running.values()):
            forked.interrupt()

    previous = signal.signal(signal.SIGINT, hand_on)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, previous)
