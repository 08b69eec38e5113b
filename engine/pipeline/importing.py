"""Runs from an archive: received, put together apart, held against everything they say of themselves, taken in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from engine import archives, store
from engine.archives import layout
from engine.digests import PREFIX
from engine.model import Json, Record, Seal
from engine.pipeline.checks import Checks
from engine.pipeline.examining import Examined, examine
from engine.progress import Progress
from engine.settings import Home

#: The attestations in the order in which they are told.
_TOLD = ("signature", "provenance", "ledger", "timestamp")
#: Fills a new folder with the files of an archive.
Receive = Callable[[Path], archives.Received]


@dataclass(frozen=True)
class Arrived:
    """One run of an archive, and whether the home had it already."""

    record: Record
    seal: Seal
    known: bool


@dataclass(frozen=True)
class Imported:
    """What came out of an archive, who vouches for it, and what it does not hold."""

    runs: tuple[Arrived, ...]
    words: tuple[archives.Word, ...]
    absent: tuple[str, ...]  # parts that were left out, and files that were gone when it was written


def import_archive(path: Path, home: Home, progress: Progress) -> Imported:
    """Take the runs of an archive into the home, once all of it was found to be what it says.

    VerificationFailed names the first thing that is not; BadInput when the file is no archive. Nothing has entered
    the home then, and whoever is killed leaves nothing, or an import that the next command completes.
    """
    return import_from(_file(path, progress), path.name, home, progress)


def import_from(receive: Receive, source: str, home: Home, progress: Progress) -> Imported:
    """The same with whatever else fills a folder with the files of an archive; ``source`` is what that is called."""
    with _received(receive, source, home, progress) as (folder, examined):
        imported = _imported(examined)
        arrived = tuple(
            replace(item, known=store.is_known(home, store.open_run(examined.staged, item.record.id), item.seal.digest))
            for item in imported.runs
        )
        store.take_in(home, folder, [_arrival(item, examined) for item in arrived])
    return replace(imported, runs=arrived)


def read_archive(path: Path, home: Home, progress: Progress) -> Imported:
    """The same without taking anything in: what an archive holds, after all of it was checked."""
    with opened(path, home, progress) as examined:
        return _imported(examined)


@contextmanager
def opened(path: Path, home: Home, progress: Progress) -> Iterator[Examined]:
    """An archive of which all was checked, its content in ``staged`` as in a home of its own while the block lasts."""
    with store.looking(home) as folder:
        received = archives.receive(path, folder / "bag", progress)
        yield examine(received, store.staged(folder), home, Checks(path.name), progress)


def _file(path: Path, progress: Progress) -> Receive:
    return lambda folder: archives.receive(path, folder, progress)


@contextmanager
def _received(receive: Receive, source: str, home: Home, progress: Progress) -> Iterator[tuple[Path, Examined]]:
    """A folder in which an archive was put together, and what was found of it: all of it, as no check refused."""
    with store.receiving(home) as folder:
        received = receive(folder / "bag")
        yield folder, examine(received, store.staged(folder), home, Checks(source), progress)


def _imported(examined: Examined) -> Imported:
    listing = examined.listing
    runs = tuple(Arrived(run.record, run.seal, known=False) for run in examined.runs if run.record and run.seal)
    left_out, missing = (listing.left_out, listing.missing) if listing else ((), ())
    absent = (*(f"left out: {part}" for part in left_out), *(f"{what}: {why}" for what, why in missing))
    words = tuple(examined.words[what] for what in _TOLD)
    return Imported(runs, words, absent)


def _arrival(item: Arrived, examined: Examined) -> store.Arrival:
    """What the ledger of this home says of a run that came from elsewhere."""
    record, vouched = item.record, examined.words
    origin = next(run.origin for run in examined.runs if run.listed.id == record.id)
    facts: Json = {
        "hash": record.hash,
        "status": record.status,
        "archive": PREFIX + examined.received.files[layout.TAG_MANIFEST].digest,
        "archive_signature": vouched["signature"].state,
        "archive_signer": vouched["signature"].by,
        "ledger_signature": vouched["ledger"].state,
    }
    for name in ("key", "unsigned", "late"):  # of its seal, by the words of the home that it comes from
        if origin.entry.get(name):
            facts[name] = bool(origin.entry[name]) if name == "late" else str(origin.entry[name])[:300]
    if origin.ledger:
        facts |= {"from": origin.ledger, "from_index": origin.index}
    if origin.entry.get("time"):
        facts["from_time"] = str(origin.entry["time"])[:40]
    return store.Arrival(record.id, item.seal.digest, facts)
