"""The life of a run directory: begun whole, published whole, and settled by another process if its owner dies.

A run is made under a temporary name and renamed into place with a run.json that says "running".
Publishing writes everything else first, then the manifest over all of it, and run.json last. So a process that is
killed anywhere leaves either nothing, or a run that says "running" and whose lock is free, or a finished one, whose
entry in the ledger is made by the next command if it is missing.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.files import open_regular, remove_tree, sync_directory, write_atomic
from engine.model import Json, Record, Scalar, Source
from engine.settings import EXIT_FILE, Home
from engine.store import ledger, sealing
from engine.store.directory import (
    RunDirectory,
    json_bytes,
    notebook_bytes,
    open_run,
    scalar_lines,
    write_new,
)
from engine.store.locks import disown, is_owned, locks_folder, own
from engine.store.record import RUN_ID, read_record, read_record_json, record_to_json, source_to_json
from engine.store.source import checkout

#: What a run keeps of its events.
MAX_EVENTS = 1 << 30
_MAX_LOG = 64 << 20
_CHUNK = 8 << 20
#: A half-written blob this old (seconds) belongs to nobody any more.
_STALE = 86_400


@contextmanager
def begin_run(
    home: Home, record: Record, original: bytes, document: Json, lock: str, source: Source
) -> Iterator[RunDirectory]:
    """Make the directory of a run, ready to be executed, and own the run until the block ends.

    ``record`` has the status "running"; ``document`` is the notebook that is to run, as nbformat
    4.5. project/ holds the snapshot and spool/ the notebook. VerificationFailed when kept source
    bytes are gone.
    """
    with suppress(OSError):  # what cannot be cleaned up hinders nobody
        sweep(home)
    with own(home, record.id):
        staged = home.temporary / record.id
        try:
            staged.mkdir(parents=True)
            _fill(RunDirectory(home, staged), record, original, document, lock, source)
            home.runs.mkdir(parents=True, exist_ok=True)
            run = open_run(home, record.id)
            staged.rename(run.path)
            sync_directory(home.runs)
            ledger.append(home, "begun", run=record.id, hash=record.hash)
        except BaseException:
            if not staged.exists() and open_run(home, record.id).path.exists():
                open_run(home, record.id).path.rename(staged)
            remove_tree(staged)
            disown(home, record.id)
            raise
        yield run


def _fill(run: RunDirectory, record: Record, original: bytes, document: Json, lock: str, source: Source) -> None:
    notebook = notebook_bytes(document)
    checkout(source, run.home, run.project)
    run.spool.mkdir()
    write_new(run.original, original)
    write_new(run.notebook, notebook)
    write_new(run.spool / "notebook.ipynb", notebook)
    write_new(run.lock, lock.encode())
    write_new(run.source, json_bytes(source_to_json(source)))
    write_new(run.inputs, json_bytes(record_to_json(record)["inputs"]))
    write_new(run.record, json_bytes(record_to_json(record)))
    sync_directory(run.path)


def publish(
    run: RunDirectory,
    record: Record,
    document: Json,
    scalars: tuple[Scalar, ...],
    pictures: Mapping[str, bytes],
) -> None:
    """Finish a run that this process owns: write what came out, seal it, enter it into the ledger.

    ``record`` has the final status; ``document`` is the executed notebook; ``pictures`` are file
    names and bytes for images/. Events and log come out of the spool, the spool goes. All files,
    project/ included, end without write permission. Safe to repeat after it was interrupted.
    """
    _remove_leftovers(run)
    write_atomic(run.executed, notebook_bytes(document))
    _take(run.spool / "events.jsonl", run.events, MAX_EVENTS)
    _take(run.spool / "log.txt", run.log, _MAX_LOG)
    if (run.spool / "trace.jsonl").exists():
        _take(run.spool / "trace.jsonl", run.trace, _MAX_LOG)
    write_atomic(run.scalars, scalar_lines(scalars))
    for name, data in pictures.items():
        write_atomic(run.images / Path(name).name, data)
    outputs = json_bytes(record_to_json(record)["outputs"])
    write_atomic(run.outputs, outputs)

    _freeze(run.path, skip=run.spool)
    data = json_bytes(record_to_json(record))
    seal = sealing.seal(run, data, record.limits.work_tree)
    write_atomic(run.record, data, mode=0o444)
    _remove_traces(run)
    ledger.append(run.home, "ended", run=run.id, status=record.status, **seal)
    disown(run.home, run.id)


def verify_run(run: RunDirectory, record: Record) -> None:
    """Hold a finished run against its seal; VerificationFailed names the first thing that differs.

    project/ is left aside, because it may be large and whoever uses a file of it checks that file's digest; ``fsck``
    looks at all of it. A run that is under way, or was lost, has no seal yet.
    """
    for fault in sealing.faults(run, record):
        raise sealing.refuse(run, fault)


def discard(run: RunDirectory) -> None:
    """Remove a run that this process owns, as if it had never begun."""
    ledger.append(run.home, "discarded", run=run.id)
    # Renamed first: whoever is killed in between leaves rubbish in tmp/ and no half run.
    staged = run.home.temporary / run.id
    run.path.rename(staged)
    remove_tree(staged)
    disown(run.home, run.id)


@contextmanager
def adopt(home: Home, run_id: str) -> Iterator[tuple[RunDirectory, Record] | None]:
    """Own a run whose process died, to settle it; yields None when it is owned or finished after all."""
    run = open_run(home, run_id)
    with own(home, run_id) as owned:
        record = read_record(run.record) if owned else None
        if record is not None and record.status != "running":
            disown(home, run_id)
            record = None
        yield None if record is None else (run, record)


def sweep(home: Home) -> None:
    """Remove what killed processes left: half-made runs, spools of finished ones, half-written content."""
    if home.temporary.is_dir():
        for path in home.temporary.iterdir():
            if RUN_ID.fullmatch(path.name) and not is_owned(home, path.name):
                with own(home, path.name) as owned:
                    if owned:
                        remove_tree(path)
                        disown(home, path.name)
            elif path.name.startswith("blob-") and _age(path) > _STALE:
                path.unlink(missing_ok=True)
    if locks_folder(home).is_dir():
        for path in locks_folder(home).iterdir():
            _sweep_lock(home, path.stem)


def _sweep_lock(home: Home, run_id: str) -> None:
    if is_owned(home, run_id):
        return
    run = open_run(home, run_id)
    with own(home, run_id) as owned:
        if not owned or (run.path.is_dir() and _status(run) == "running"):
            return
        _remove_traces(run)
        disown(home, run_id)


def _status(run: RunDirectory) -> str:
    try:
        return str(read_record_json(run.record).get("status"))
    except Exception:  # damaged: nobody settles it, and nothing is removed for it
        return "running"


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove_leftovers(run: RunDirectory) -> None:
    """Temporary names that an interrupted publication left."""
    for path in (*run.path.glob(".*"), *run.images.glob(".*")):
        if path.name != EXIT_FILE:
            path.unlink()


def _remove_traces(run: RunDirectory) -> None:
    """What served the execution and is of no use once the run is recorded."""
    remove_tree(run.spool)
    (run.path / EXIT_FILE).unlink(missing_ok=True)


def _take(source: Path, target: Path, limit: int) -> None:
    """Copy a regular file out of the spool, cut off at ``limit`` bytes; an empty one for anything else.

    A copy, because the bytes of the original may have another name that the notebook can write to.
    """
    temporary = target.with_name(f".{target.name}.taken")
    temporary.unlink(missing_ok=True)
    with temporary.open("xb") as into:
        try:
            with open_regular(source) as file:
                left = limit
                while left and (chunk := file.read(min(_CHUNK, left))):
                    into.write(chunk)
                    left -= len(chunk)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EACCES):
                raise
        into.flush()
        os.fsync(into.fileno())
    temporary.rename(target)


def _freeze(folder: Path, skip: Path) -> None:
    """Take write permission from all files, and setuid and setgid, which a notebook may have set."""
    pending = [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as listing:
                entries = list(listing)
        except OSError:  # deeper than the longest path, or closed to us: left as it is
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.path != str(skip):
                    pending.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                with suppress(OSError):  # an engine may map the container's user to another; a path may be too long
                    mode = entry.stat(follow_symlinks=False).st_mode
                    Path(entry.path).chmod(stat.S_IMODE(mode) & 0o555 | stat.S_IRUSR)
