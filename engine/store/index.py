"""The index: one row a run in SQLite, a cache that can be made anew from the run directories at any time."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from engine.digests import PREFIX
from engine.errors import BadInput, NbsealError, VerificationFailed
from engine.model import FlagValue, Outcome, Record, Status
from engine.settings import Home
from engine.store import histories
from engine.store.directory import open_run
from engine.store.histories import History
from engine.store.locks import is_owned
from engine.store.migration import SCHEMA
from engine.store.record import RUN_ID, plain_flags, read_record, read_record_json

#: Another number here makes every home build its index anew. A new schema does so too: rows say what cannot be read.
_VERSION = 100 * SCHEMA + 5
_COLUMNS = (
    "id", "stamp", "problem", "hash", "status", "notebook", "image", "created", "duration",
    "flags", "scalars", "verdict", "rerun_of", "experiment",
)  # fmt: skip
_TABLE = f"CREATE TABLE runs ({', '.join(_COLUMNS)}, PRIMARY KEY (id)) WITHOUT ROWID"
_CANDIDATES = 10
_LOST = "the nbseal process that ran it ended before the run did"


@dataclass(frozen=True)
class Summary:
    """What a list of runs shows of one. ``duration`` is seconds; ``verdict`` is empty but on a rerun."""

    id: str
    hash: str
    status: Status
    notebook: str
    image: str
    created: str
    duration: float
    flags: Mapping[str, Any]
    scalars: Mapping[str, float]
    verdict: str
    rerun_of: str
    experiment: str
    history: History


def list_runs(home: Home) -> tuple[Summary, ...]:
    """All readable runs, newest first. A run whose owner died is "lost". Damaged ones: ``damaged_runs``."""
    with _index(home) as database:
        rows = database.execute("SELECT * FROM runs WHERE problem = '' ORDER BY created DESC, id").fetchall()
        known = histories.histories(database)
    return tuple(_summary(home, row, known.get(row[0], History())) for row in rows)


def damaged_runs(home: Home) -> Mapping[str, str]:
    """Ids of run directories whose run.json cannot be read, and the sentence that says why."""
    with _index(home) as database:
        return dict(database.execute("SELECT id, problem FROM runs WHERE problem != '' ORDER BY id").fetchall())


def history_of(home: Home, run_id: str) -> tuple[History, tuple[histories.Comment, ...]]:
    """What the ledger says of a run, and what people said of it."""
    with _index(home) as database:
        return histories.history(database, run_id), histories.comments(database, run_id)


def all_histories(home: Home) -> Mapping[str, History]:
    """What the ledger says of every run, also of those that are not there any more."""
    with _index(home) as database:
        return histories.histories(database)


def rebuild(home: Home) -> bool:
    """Make the index anew; whether it had been out of step."""
    with _index(home) as database:
        before = _content(database)
        _create(database, anew=True)
        _synchronise(home, database)
        histories.synchronise(home, database)
        return before != _content(database)


def _content(database: sqlite3.Connection) -> list[tuple[Any, ...]]:
    tables = {"runs": "id", "histories": "run", "comments": "place"}
    return [row for name, key in tables.items() for row in database.execute(f"SELECT * FROM {name} ORDER BY {key}")]  # noqa: S608


def undone(home: Home) -> tuple[tuple[str, str], ...]:
    """Ids and statuses of runs whose directory and ledger do not say the same: a command was killed in between."""
    query = """
        SELECT id, runs.status FROM runs LEFT JOIN histories ON run = id
        WHERE state = 'deleted'
           OR (runs.status = 'running' AND ifnull(state, '') = '')
           OR (runs.status NOT IN ('', 'running') AND state IN ('begun', 'discarded'))
        ORDER BY created, id"""
    with _index(home) as database:
        return tuple(database.execute(query).fetchall())


def unfinished(home: Home) -> tuple[str, ...]:
    """Ids of runs that say "running" and whose owner is gone: their containers may still be at work."""
    with _index(home) as database:
        # One that the ledger saw end does not run, whatever its record now says.
        query = (
            "SELECT id FROM runs WHERE status = 'running' AND id NOT IN (SELECT run FROM histories WHERE seal != '')"
        )
        rows = database.execute(f"{query} ORDER BY created, id").fetchall()
    return tuple(run_id for (run_id,) in rows if not is_owned(home, run_id))


def load_record(home: Home, run_id: str) -> Record:
    """The record of a run by its full id; "lost" when its owner died. VerificationFailed when it is damaged."""
    record = read_record(open_run(home, run_id).record)
    if record.status == "running" and not is_owned(home, run_id):
        record = read_record(open_run(home, run_id).record)  # it may have been published just now
        if record.status == "running":
            return replace(record, status="lost", outcome=Outcome(status="lost", reason=_LOST))
    return record


def find_run(home: Home, prefix: str) -> str:
    """The id of the run that a user means by an unambiguous beginning of an id or a hash.

    A hash stands for its first completed run, else its first. BadInput for what is unknown, and
    for what is ambiguous with the candidates.
    """
    wanted = prefix.strip().lower().removeprefix(PREFIX)
    if not wanted or len(wanted) > 64 or not all(character in "0123456789abcdef" for character in wanted):
        raise BadInput(f"'{prefix[:80]}' is not a run's id or hash.", "Both are hexadecimal; `nbseal runs` lists them.")
    with _index(home) as database:
        pattern = f"{wanted}%"
        ids = [str(row[0]) for row in database.execute("SELECT id FROM runs WHERE id LIKE ? ORDER BY id", (pattern,))]
        if wanted in ids:
            return wanted
        query = "SELECT DISTINCT hash FROM runs WHERE hash LIKE ? ORDER BY hash"
        hashes = [str(row[0]) for row in database.execute(query, (pattern,))]
        means = {name: name for name in ids} | {name: _first_of(database, name) for name in hashes}
        gone = histories.deleted(database, wanted)
        candidates = [_candidate(database, name, run_id) for name, run_id in list(means.items())[:_CANDIDATES]]
    if not means and len(gone) == 1:
        (run_id, history), *_ = gone.items()
        if history.state == "purged":
            raise BadInput(
                f"Run {run_id} was deleted, and purged.",
                f"The archive with the tag manifest {history.archive} has it; `nbseal import` takes it in again."
                if history.archive
                else "A backup may have it; this home does not.",
            )
        raise BadInput(
            f"Run {run_id} was deleted: it lies in the trash.", f"Look into {home.trash / run_id}, as it was left."
        )
    if not means:
        raise BadInput(f"There is no run '{prefix}'.", "`nbseal runs` lists those in this home.")
    if len(set(means.values())) > 1:
        more = f", and {len(means) - _CANDIDATES} more" if len(means) > _CANDIDATES else ""
        raise BadInput(f"'{prefix}' is ambiguous: {'; '.join(candidates)}{more}.", "Give more of the id or hash.")
    return next(iter(means.values()))


def _first_of(database: sqlite3.Connection, run_hash: str) -> str:
    query = "SELECT id FROM runs WHERE hash = ? ORDER BY status != 'completed', created, id LIMIT 1"
    return str(database.execute(query, (run_hash,)).fetchone()[0])


def _candidate(database: sqlite3.Connection, name: str, run_id: str) -> str:
    query = "SELECT notebook, status, substr(created, 1, 16) FROM runs WHERE id = ?"
    about = " ".join(str(value) for value in database.execute(query, (run_id,)).fetchone() if value)
    return f"{'hash ' + name[:16] if len(name) == 64 else 'run ' + name} ({about or 'damaged'})"


# --- keeping step with the directories ----------------------------------------------------------


@contextmanager
def _index(home: Home) -> Iterator[sqlite3.Connection]:
    with closing(_open(home)) as database:
        yield database


def _open(home: Home) -> sqlite3.Connection:
    """The index, in step. One that cannot be used is made anew; where none can be written, in memory."""
    if not home.runs.is_dir():
        return _synchronised(home, sqlite3.connect(":memory:"))
    for _ in range(2):
        try:
            return _synchronised(home, sqlite3.connect(home.index, timeout=10))
        except sqlite3.OperationalError:  # read-only home, full disk, locked by another for long
            break
        except sqlite3.DatabaseError:  # not a database, or a damaged one
            for suffix in ("", "-wal", "-shm"):
                home.index.with_name(home.index.name + suffix).unlink(missing_ok=True)
    return _synchronised(home, sqlite3.connect(":memory:"))


def _synchronised(home: Home, database: sqlite3.Connection) -> sqlite3.Connection:
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        if database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            _create(database)
        _synchronise(home, database)
        histories.synchronise(home, database)
    except BaseException:
        database.close()
        raise
    return database


def _create(database: sqlite3.Connection, *, anew: bool = False) -> None:
    with database:
        database.execute("BEGIN IMMEDIATE")
        # Another may have made it just now.
        if anew or database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            for name in ("runs", *histories.NAMES):
                database.execute(f"DROP TABLE IF EXISTS {name}")
            for table in (_TABLE, *histories.TABLES):
                database.execute(table)
            database.execute(f"PRAGMA user_version = {_VERSION}")


def _synchronise(home: Home, database: sqlite3.Connection) -> None:
    known = dict(database.execute("SELECT id, stamp FROM runs").fetchall())
    there = _stamps(home)
    gone = [(run_id,) for run_id in known if run_id not in there]
    changed = [_row(home, run_id, stamp) for run_id, stamp in there.items() if known.get(run_id) != stamp]
    if gone or changed:
        with database:
            database.executemany("DELETE FROM runs WHERE id = ?", gone)
            places = ", ".join("?" * len(_COLUMNS))
            database.executemany(f"INSERT OR REPLACE INTO runs VALUES ({places})", changed)  # noqa: S608


def _stamps(home: Home) -> dict[str, str]:
    """Each run's id and what its run.json looks like from outside: a new one is always another inode."""
    stamps = {}
    try:
        names = [name for name in os.listdir(home.runs) if RUN_ID.fullmatch(name)]  # noqa: PTH208 (faster by half)
    except FileNotFoundError:
        return {}
    root = os.fspath(home.runs)
    for name in names:
        try:
            status = os.lstat(f"{root}/{name}/run.json")
            stamps[name] = f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"
        except OSError:
            stamps[name] = "missing"
    return stamps


def _row(home: Home, run_id: str, stamp: str) -> tuple[Any, ...]:
    try:
        return (run_id, stamp, "", *_fields(home, run_id))
    except NbsealError as error:
        problem = error.message
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        problem = f"The record of run {run_id} is damaged: {type(error).__name__} {error}."[:300]
    return (run_id, stamp, problem, *[""] * (len(_COLUMNS) - 3))


def _fields(home: Home, run_id: str) -> tuple[Any, ...]:
    record = read_record_json(open_run(home, run_id).record)
    if record["id"] != run_id:
        raise VerificationFailed(f"The record of run {run_id} is that of another run.", "Restore it from a backup.")
    flags = plain_flags([FlagValue(**flag) for flag in record["flags"]])
    scalars = {str(name): float(value) for name, value in record["scalars"].items()}
    outcome = record.get("outcome") or {}
    texts = [record[name] for name in ("hash", "status", "notebook", "image", "created", "rerun_of")]
    if not all(isinstance(text, str) for text in texts):
        raise VerificationFailed(
            f"The record of run {run_id} is damaged: a text is missing.", "Restore it from a backup."
        )
    "".join(texts).encode()  # UnicodeEncodeError here, so that one bad text spoils one row and not the index
    return (
        record["hash"],
        record["status"],
        record["notebook"],
        record["image"],
        record["created"],
        float(outcome.get("duration") or 0.0),
        json.dumps(flags),
        json.dumps(scalars),
        str((record.get("comparison") or {}).get("verdict") or ""),
        record["rerun_of"],
        str(record.get("experiment") or ""),
    )


def _summary(home: Home, row: tuple[Any, ...], history: History) -> Summary:
    (
        run_id,
        _,
        _,
        run_hash,
        status,
        notebook,
        image,
        created,
        duration,
        flags,
        scalars,
        verdict,
        rerun_of,
        experiment,
    ) = row
    if status == "running" and not is_owned(home, run_id):
        status = "lost"
    return Summary(
        run_id, run_hash, status, notebook, image, created, duration,
        json.loads(flags), json.loads(scalars), verdict, rerun_of, experiment, history,
    )  # fmt: skip
