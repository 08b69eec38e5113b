"""Runs from elsewhere on their way into the home, so that whoever is killed leaves all of them or none.

What arrives is put into a folder apart, which looks like a home, and is checked there. Then a journal is written
into that folder, and with it the import is decided: content moves first, run directories after it, entries of the
ledger last, and each step can be repeated. A folder whose owner died is removed when it has no journal, and carried
to its end by the next command when it has one.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from engine.digests import sha256_bytes
from engine.errors import BadInput, NbsealError, VerificationFailed
from engine.files import locked, read_regular, remove_tree, sync_directory, write_json
from engine.model import Json
from engine.settings import Home
from engine.store import ledger
from engine.store import seal as manifests
from engine.store.directory import RunDirectory, open_run
from engine.store.index import history_of
from engine.store.locks import disown, own
from engine.store.parts import sweep_parts
from engine.store.record import RUN_ID, read_json
from engine.store.sealing import read_seal

_PREFIX = "archive-"
_NEW = ".archive-"
_LOCK = "lock"
_JOURNAL = "journal.json"
#: A folder without its lock that is this old (seconds) belongs to nobody any more.
_STALE = 86_400
_PARENTS_FIRST = ("wheels", "packages")
_CONTENT = ("blobs", "layers")


@dataclass(frozen=True)
class Arrival:
    """A run that was checked, and what the ledger is to say of it."""

    run: str
    seal: str
    facts: Json


@contextmanager
def receiving(home: Home) -> Iterator[Path]:
    """An empty folder on the home's file system, ours until the block ends, and gone then.

    What killed processes left there goes first; an import that was decided is carried on.
    """
    finish_imports(home)
    with _folder(home) as folder:
        yield folder


@contextmanager
def looking(home: Home) -> Iterator[Path]:
    """The same for what is only looked at: nothing is carried on, and the home need not be writable."""
    if not _is_writable(home):
        with tempfile.TemporaryDirectory(prefix="nbseal-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    finish_imports(home, carry_on=False)
    with _folder(home) as folder:
        yield folder


def _is_writable(home: Home) -> bool:
    try:
        home.temporary.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(home.temporary, os.W_OK)


@contextmanager
def _folder(home: Home) -> Iterator[Path]:
    new = home.temporary / f"{_NEW}{secrets.token_hex(8)}"
    new.mkdir(parents=True)
    with locked(new / _LOCK):  # before it has its name: nobody sees it without its owner
        folder = new.rename(new.with_name(new.name.removeprefix(".")))
        try:
            yield folder
        finally:
            if not (folder / _JOURNAL).exists():
                remove_tree(folder)


def staged(folder: Path) -> Home:
    """What is to become part of the home, as a home of its own."""
    return Home(folder / "home")


def is_known(home: Home, arriving: RunDirectory, seal: str) -> bool:
    """Whether the home has exactly this run already.

    BadInput when it is in the trash here; VerificationFailed when the home has, or had, another one of this id.
    A run that was purged may come back, with the signature that it had.
    """
    run_id = arriving.id
    history, _ = history_of(home, run_id)
    if history.state == "deleted" or (home.trash / run_id).exists():
        raise BadInput(f"Run {run_id} is in the trash of this home.", f"`nbseal purge {run_id}` takes it out of there.")
    there = open_run(home, run_id).path.exists()
    if (history.seal and history.seal != seal) or (there and _seal_of(open_run(home, run_id)) != seal):
        raise VerificationFailed(
            f"This home has another run {run_id}, with another seal.",
            "One of the two was changed: `nbseal fsck` judges that of the home.",
        )
    if history.key and (found := read_seal(arriving, history)).signature == "bad":
        raise VerificationFailed(
            f"Run {run_id} does not arrive with the signature that the ledger of this home has: {found.reason}.",
            "Take it from an archive that still has it.",
        )
    return there


def take_in(home: Home, folder: Path, arrivals: Sequence[Arrival]) -> None:
    """Make what lies in ``staged(folder)`` part of the home. Nothing is looked at any more."""
    os.sync()  # once for all files: one by one, each would wait for the disk
    journal = [{"run": item.run, "seal": item.seal, "facts": item.facts} for item in arrivals]
    write_json(folder / _JOURNAL, {"arrivals": journal})
    _finish(home, folder)


def finish_imports(home: Home, *, carry_on: bool = True) -> tuple[str, ...]:
    """Carry on, or clear away, what killed imports left; what was carried on, in words."""
    told: list[str] = []
    sweep_parts(home)
    try:
        names = [name for name in os.listdir(home.temporary) if name.startswith((_PREFIX, _NEW))]  # noqa: PTH208
    except OSError:
        return ()
    for name in sorted(names):
        folder = home.temporary / name
        with suppress(OSError):  # gone meanwhile, or a home that can only be read
            if name.startswith(_NEW):
                if time.time() - folder.lstat().st_mtime > _STALE:
                    remove_tree(folder)
                continue
            with locked(folder / _LOCK, wait=False) as ours:
                if not ours:
                    continue
                if not (folder / _JOURNAL).exists():
                    remove_tree(folder)
                    continue
                if not carry_on:
                    continue
                told += [
                    f"The import of run {run} had been broken off; it is done now." for run in _finish(home, folder)
                ]
    return tuple(told)


def _finish(home: Home, folder: Path) -> tuple[str, ...]:
    """Carry out a journal, as often as needed; the runs that it was about."""
    source = staged(folder)
    try:
        arrivals = [
            Arrival(str(item["run"]), str(item["seal"]), dict(item["facts"]))
            for item in read_json(folder / _JOURNAL, "journal of an import")["arrivals"]
        ]
        if not all(RUN_ID.fullmatch(item.run) for item in arrivals):
            raise ValueError("a run has no id")
    except (NbsealError, KeyError, TypeError, ValueError):
        remove_tree(folder)  # no journal of ours: a power cut, or somebody else's hand
        return ()
    _move_content(source, home)
    _move_records(source, home)
    for item in arrivals:
        _move_run(source, home, item)
    os.sync()  # before the journal goes, from which all of this could be done again
    remove_tree(folder)
    return tuple(item.run for item in arrivals)


def _move_content(source: Home, home: Home) -> None:
    """Bytes by digest: what is there already is replaced by the same."""
    for name in _CONTENT:
        for path in _files(source.root / name):
            target = home.root / path.relative_to(source.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    for name in _PARENTS_FIRST:  # <digest>/<file name>: one name is enough
        for path in _files(source.root / name):
            target = home.root / path.relative_to(source.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists() or not any(target.parent.iterdir()):
                path.replace(target)


def _move_records(source: Home, home: Home) -> None:
    """What bases and images were made of; what the home knows itself stays. base.json comes last (see its stage)."""
    for folder in sorted(source.bases.iterdir()) if source.bases.is_dir() else ():
        target = home.bases / folder.name
        if (target / "base.json").exists():
            continue
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir(), key=lambda path: path.name == "base.json"):
            path.replace(target / path.name)
    for path in _files(source.images):
        home.images.mkdir(parents=True, exist_ok=True)
        if not (home.images / path.name).exists():
            path.replace(home.images / path.name)


def _move_run(source: Home, home: Home, item: Arrival) -> None:
    run = open_run(home, item.run)
    with own(home, item.run) as owned:
        if not owned:
            return
        arrived = open_run(source, item.run).path
        if not run.path.exists() and arrived.exists():
            home.runs.mkdir(parents=True, exist_ok=True)
            arrived.rename(run.path)
            sync_directory(home.runs)
        history, _ = history_of(home, item.run)
        if run.path.exists() and _seal_of(run) == item.seal and (not history.seal or history.state == "purged"):
            ledger.append(home, "imported", run=item.run, seal=item.seal, **item.facts)
        disown(home, item.run)


def _seal_of(run: RunDirectory) -> str:
    try:
        return sha256_bytes(read_regular(run.path / manifests.MANIFEST, manifests.MAX_MANIFEST))
    except OSError:
        return ""


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
