"""Old runs leave the home: into archives, and out of it once those were seen to hold them. Their entries stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine import archives, store
from engine.archives import layout
from engine.digests import PREFIX
from engine.errors import BadInput, NbsealError
from engine.pipeline.archiving import Archived, archive
from engine.pipeline.importing import read_archive
from engine.pipeline.reading import recorded, runs
from engine.progress import Progress
from engine.settings import Home


@dataclass(frozen=True)
class Retained:
    """What was written, which runs archives in the folder held already, and what could not be done and why."""

    written: tuple[Archived, ...]
    known: tuple[str, ...]
    problems: tuple[NbsealError, ...]


@dataclass(frozen=True)
class Purged:
    """Ids of the runs that are gone, each with the archive that holds it; and what could not be done and why."""

    runs: tuple[tuple[str, Path], ...]
    problems: tuple[NbsealError, ...]


def archive_older(
    age: timedelta, folder: Path, left_out: Sequence[str], tsa: str | None, home: Home, progress: Progress
) -> Retained:
    """Write the runs that ended longer ago than ``age`` into ``folder``: one archive for all of one image.

    Each is held against its seal before. What cannot be archived keeps nothing else from it.
    """
    if tsa is not None:
        archives.check_url(tsa)
    _check_folder(folder)
    there = {(run.id, run.seal) for _, listing in _listings(folder) for run in listing.runs}
    limit = datetime.now(UTC) - age
    groups: dict[str, list[str]] = defaultdict(list)
    known, problems = [], []
    for summary in runs(home, progress):
        if summary.status == "running" or _ended(summary) > limit:
            continue
        if (summary.id, summary.history.seal) in there:
            known.append(summary.id)
            continue
        try:
            recorded(summary.id, home, progress)
        except NbsealError as error:
            problems.append(error)
        else:
            groups[summary.image].append(summary.id)
    written = []
    for ids in groups.values():
        output = folder / f"{layout.archive_name(ids)}{layout.ENDINGS[-1]}"
        try:
            written.append(archive(ids, output, left_out, tsa, home, progress))
        except NbsealError as error:
            problems.append(error)
    return Retained(tuple(written), tuple(known), tuple(problems))


def purge_archived(folder: Path, home: Home, progress: Progress) -> Purged:
    """Delete and purge the runs that archives in ``folder`` hold with their seals, after checking all of those."""
    _check_folder(folder)
    wanted = {summary.id: summary.history for summary in runs(home, progress) if summary.status != "running"}
    wanted |= {run: history for run, history in store.all_histories(home).items() if history.state == "deleted"}
    gone, problems = [], []
    for path, listing in _listings(folder):
        if not any(run.id in wanted and run.seal == wanted[run.id].seal for run in listing.runs):
            continue
        try:
            found = read_archive(path, home, progress)
        except NbsealError as error:
            problems.append(error)
            continue
        for item in found.runs:
            run = item.record.id
            if run not in wanted or wanted[run].seal != item.seal.digest:
                continue
            try:
                if wanted[run].state != "deleted":
                    store.delete(home, run)
                store.purge(home, run, PREFIX + found.tag_manifest)
            except NbsealError as error:
                problems.append(error)
            else:
                del wanted[run]
                gone.append((run, path))
    return Purged(tuple(gone), tuple(problems))


def _ended(summary: store.Summary) -> datetime:
    """When a run ended, by its record; for a record that does not say it as ours do, long ago: its seal judges it."""
    try:
        return datetime.fromisoformat(summary.created).astimezone(UTC) + timedelta(seconds=summary.duration)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder.", "Make it, or name the one that keeps the archives.")


def _listings(folder: Path) -> Iterator[tuple[Path, archives.Listing]]:
    """The archives of a folder, by name, and what each says that it holds."""
    for path in sorted(folder.iterdir()):
        if path.name.endswith(layout.ENDINGS) and (listing := archives.peek(path)):
            yield path, listing
