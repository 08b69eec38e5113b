"""Old runs leave the home: into archives, and out of it once those were seen to hold them. Their entries stay."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine import archives, store
from engine.archives import layout
from engine.digests import PREFIX
from engine.errors import BadInput, EnvironmentFailed, NbsealError, VerificationFailed
from engine.files import open_regular, read_regular, sync_directory
from engine.pipeline.archiving import Archived, archive
from engine.pipeline.examining import Examined
from engine.pipeline.importing import opened
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
class Gone:
    """A run that was removed, the archive that holds it, and the parts that this one was written without."""

    run: str
    archive: Path
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Purged:
    """The runs that are gone, and what could not be done and why."""

    runs: tuple[Gone, ...]
    problems: tuple[NbsealError, ...]


def archive_older(
    age: timedelta, folder: Path, left_out: Sequence[str], tsa: str | None, home: Home, progress: Progress
) -> Retained:
    """Write the runs that ended longer ago than ``age`` into ``folder``: one archive for all of one image.

    Each is held against its seal before. A run is passed over when an archive in the folder, of which all was checked,
    has it with no less than is asked for. What cannot be archived keeps nothing else from it.
    """
    if tsa is not None:
        archives.check_url(tsa)
    limit = datetime.now(UTC) - age
    old = {run.id: run for run in runs(home, progress) if run.status != "running" and _ended(run) <= limit}
    problems: list[NbsealError] = []
    known = set()
    for _, found in _holding(folder, {run: old[run].history.seal for run in old}, problems, home, progress):
        if found.listing is not None and set(found.listing.left_out) <= set(left_out):
            known |= {run.listed.id for run in found.runs if run.listed.id in old}
    groups: dict[str, list[str]] = defaultdict(list)
    for run_id in sorted(old.keys() - known):
        try:
            recorded(run_id, home, progress)
        except NbsealError as error:
            problems.append(error)
        else:
            groups[old[run_id].image].append(run_id)
    written = []
    for ids in groups.values():
        output = folder / f"{layout.archive_name(ids)}{layout.ENDINGS[-1]}"
        try:
            written.append(archive(ids, output, left_out, tsa, home, progress))
        except NbsealError as error:
            problems.append(error)
    return Retained(tuple(written), tuple(sorted(known)), tuple(problems))


def purge_archived(folder: Path, home: Home, progress: Progress) -> Purged:
    """Delete and purge the runs that archives in ``folder`` hold, each after all of its archive was checked.

    A run goes only when the archive has its seal, its signature, and every path of its directory.
    """
    wanted = {run.id: run.history.seal for run in runs(home, progress) if run.status != "running"}
    wanted |= {run: item.seal for run, item in store.all_histories(home).items() if item.state == "deleted"}
    gone: list[Gone] = []
    problems: list[NbsealError] = []
    for archive_file, found in _holding(folder, wanted, problems, home, progress):
        digest = PREFIX + found.received.files[layout.TAG_MANIFEST].digest
        for run in (item.listed for item in found.runs):
            if wanted.get(run.id) != run.seal:
                continue
            try:
                _remove(run.id, archive_file, found, digest, home)
            except NbsealError as error:
                problems.append(error)
            except OSError as error:
                problems.append(EnvironmentFailed(f"Run {run.id} cannot be removed: {error.strerror or error}."))
            else:
                del wanted[run.id]
                gone.append(Gone(run.id, archive_file.path, found.listing.left_out if found.listing else ()))
    return Purged(tuple(gone), tuple(problems))


def _remove(run: str, archive_file: _File, found: Examined, digest: str, home: Home) -> None:
    deleted = store.history_of(home, run)[0].state == "deleted"
    kept = home.trash / run if deleted else store.open_run(home, run).path
    lacking = _lacking(kept, found.staged.runs / run)
    if lacking:
        raise VerificationFailed(
            f"{archive_file.path.name} has run {run} without {lacking}, so the run stays.",
            "What its seal does not cover is in no archive: copy it elsewhere, then delete and purge the run.",
        )
    archive_file.check()
    if not deleted:
        store.delete(home, run)
    store.purge(home, run, digest)


def _lacking(kept: Path, found: Path) -> str:
    """Something of a run's directory that a copy with the same seal does not have, as it can be printed."""
    if lacking := sorted(_paths(kept) - _paths(found)):
        return ascii(os.fsdecode(lacking[0]))[1:-1]
    signatures = [read_regular(folder / store.SIGNATURE, 1 << 16) for folder in (kept, found) if _has_signature(folder)]
    return store.SIGNATURE if len(set(signatures)) > 1 else ""


def _has_signature(folder: Path) -> bool:
    return (folder / store.SIGNATURE).is_file()


def _paths(folder: Path) -> set[bytes]:
    """Everything below a folder; links are not followed."""
    top = os.fsencode(folder)
    return {(place + b"/" + name)[len(top) + 1 :] for place, *names in os.walk(top) for part in names for name in part}


class _File:
    """An archive that has to stay as it is while it is looked at, and on the disk before anything is removed for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_regular(path.resolve())
        self._seen = _identity(os.fstat(self._file.fileno()))

    def check(self) -> None:
        """EnvironmentFailed when it is not there any more as it was."""
        try:
            os.fsync(self._file.fileno())
            sync_directory(self.path.parent)
            same = _identity(self.path.stat()) == self._seen
        except OSError:
            same = False
        if not same:
            raise EnvironmentFailed(
                f"{self.path} was changed or removed while it was read.", "No run was removed for it since."
            )

    def close(self) -> None:
        self._file.close()


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _holding(
    folder: Path, wanted: Mapping[str, str], problems: list[NbsealError], home: Home, progress: Progress
) -> Iterator[tuple[_File, Examined]]:
    """The archives of a folder that hold some of these runs (seals by id), each while it is unpacked and checked.

    What is wrong with one becomes a problem, and the next one comes.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder.", "Make it, or name the one that keeps the archives.")
    with progress.task(f"Looking through {folder}"):
        listings = [
            (path, archives.peek(path)) for path in sorted(folder.iterdir()) if path.name.endswith(layout.ENDINGS)
        ]
    for path, listing in listings:
        if listing is None or not any(wanted.get(run.id) == run.seal for run in listing.runs):
            continue
        try:
            with closing(_File(path)) as file, opened(path, home, progress) as found:
                yield file, found
        except VerificationFailed as error:
            hint = f"Remove {path}, and `nbseal archive --older-than` writes its runs again."
            problems.append(VerificationFailed(error.message, hint))
        except NbsealError as error:
            problems.append(error)
        except OSError as error:
            problems.append(EnvironmentFailed(f"{path} cannot be read: {error.strerror or error}."))


def _ended(summary: store.Summary) -> datetime:
    """When a run ended, by its record; for a record that does not say it as ours do, long ago: its seal judges it."""
    try:
        return datetime.fromisoformat(summary.created).astimezone(UTC) + timedelta(seconds=summary.duration)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)
