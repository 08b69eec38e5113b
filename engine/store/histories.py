"""What the ledger says of each run, kept in the index so that a long ledger is read once.

Only lines that came since the last look are read. An edited ledger is ``fsck``'s to find: what was read stays as it
was, and a shorter or replaced one is read anew.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass

from engine.digests import canonical_json, sha256_bytes
from engine.files import open_regular
from engine.model import Json
from engine.settings import Home
from engine.store.ledger_files import MAX_LINE, entries_path, parse
from engine.store.record import RUN_ID

TABLES = (
    "CREATE TABLE histories (run TEXT PRIMARY KEY, state TEXT, status TEXT, seal TEXT, key TEXT, unsigned TEXT,"
    " late INTEGER, ended TEXT, label TEXT, imported TEXT, archive TEXT) WITHOUT ROWID",
    "CREATE TABLE comments (place INTEGER PRIMARY KEY, run TEXT, time TEXT, text TEXT)",
    "CREATE TABLE read (end INTEGER, last TEXT, inode INTEGER)",
)
NAMES = ("histories", "comments", "read")


@dataclass(frozen=True)
class Comment:
    """What somebody wrote about a run, and when."""

    time: str
    text: str


@dataclass(frozen=True)
class History:
    """One run as the ledger has it. ``state`` is empty when the ledger does not know the run."""

    state: str = ""  # begun, ended, discarded, deleted, purged
    status: str = ""
    seal: str = ""
    key: str = ""  # fingerprint of the key that signed the seal
    unsigned: str = ""  # why nobody signed it, when a key was set
    late: bool = False
    ended: str = ""
    label: str = ""
    imported: str = ""  # the entry about its import, as canonical JSON
    archive: str = ""  # of a purged run: the archive that was seen to hold it then, by its tag manifest's digest


def synchronise(home: Home, database: sqlite3.Connection) -> None:
    """Read what is new in the ledger."""
    try:
        file = open_regular(entries_path(home))
    except OSError:
        if database.execute("SELECT end FROM read").fetchone():  # there is no ledger any more, so nothing is known
            with database:
                for name in NAMES:
                    database.execute(f"DELETE FROM {name}")  # noqa: S608
        return
    with file:
        status = os.fstat(file.fileno())
        end, last, inode = database.execute("SELECT end, last, inode FROM read").fetchone() or (0, "", 0)
        if end == status.st_size and inode == status.st_ino:
            return
        with database:
            database.execute("BEGIN IMMEDIATE")
            if end > status.st_size or inode != status.st_ino or sha256_bytes(_before(file.fileno(), end)) != last:
                for name in ("histories", "comments"):
                    database.execute(f"DELETE FROM {name}")  # noqa: S608
                end = 0
            file.seek(end)
            while line := file.readline(MAX_LINE):
                if not line.endswith(b"\n") and len(line) < MAX_LINE:
                    break  # being written, or torn
                end += len(line)
                if entry := parse(line.removesuffix(b"\n")):
                    _enter(database, entry)
            database.execute("DELETE FROM read")
            values = (end, sha256_bytes(_before(file.fileno(), end)), status.st_ino)
            database.execute("INSERT INTO read VALUES (?, ?, ?)", values)


def histories(database: sqlite3.Connection) -> dict[str, History]:
    """All runs that the ledger knows."""
    rows = database.execute("SELECT * FROM histories").fetchall()
    return {row[0]: _history(row) for row in rows}


def history(database: sqlite3.Connection, run: str) -> History:
    """One run."""
    row = database.execute("SELECT * FROM histories WHERE run = ?", (run,)).fetchone()
    return _history(row) if row else History()


def deleted(database: sqlite3.Connection, prefix: str) -> dict[str, History]:
    """The deleted and purged runs whose ids begin so; ``prefix`` is hexadecimal."""
    query = "SELECT * FROM histories WHERE state IN ('deleted', 'purged') AND run LIKE ? ORDER BY run"
    return {row[0]: _history(row) for row in database.execute(query, (f"{prefix}%",))}


def comments(database: sqlite3.Connection, run: str) -> tuple[Comment, ...]:
    """What was said of a run, in the order said."""
    rows = database.execute("SELECT time, text FROM comments WHERE run = ? ORDER BY place", (run,)).fetchall()
    return tuple(Comment(time, text) for time, text in rows)


def _history(row: tuple[str, ...]) -> History:
    _, state, status, seal, key, unsigned, late, ended, label, imported, archive = row
    return History(state, status, seal, key, unsigned, bool(late), ended, label, imported, archive)


def _before(descriptor: int, end: int) -> bytes:
    start = max(0, end - 4096)
    return os.pread(descriptor, end - start, start)


def _enter(database: sqlite3.Connection, entry: Json) -> None:
    run, kind = entry.get("run"), entry.get("kind")
    if not isinstance(run, str) or not RUN_ID.fullmatch(run):
        return

    def text(name: str) -> str:
        return str(entry.get(name) or "").encode("utf-8", "replace").decode()

    database.execute("INSERT OR IGNORE INTO histories VALUES (?, '', '', '', '', '', 0, '', '', '', '')", (run,))
    if kind in ("ended", "imported"):
        late = int(bool(entry.get("late")))
        database.execute(
            "UPDATE histories SET state = 'ended', status = ?, seal = ?, key = ?, unsigned = ?, late = ?, ended = ?"
            " WHERE run = ? AND seal = ''",  # a second seal of the same run never takes the place of the first
            (text("status"), text("seal"), text("key"), text("unsigned"), late, text("time"), run),
        )
        if kind == "imported":
            document = canonical_json(entry).decode()
            database.execute("UPDATE histories SET imported = ? WHERE run = ? AND imported = ''", (document, run))
            # A purged run may come back, but only as it was.
            back = "UPDATE histories SET state = 'ended' WHERE run = ? AND state = 'purged' AND seal = ?"
            database.execute(back, (run, text("seal")))
    elif kind in ("begun", "discarded", "deleted", "purged"):
        database.execute("UPDATE histories SET state = ? WHERE run = ?", (kind, run))
        if kind == "purged":
            database.execute("UPDATE histories SET archive = ? WHERE run = ?", (text("archive"), run))
    elif kind == "label":
        database.execute("UPDATE histories SET label = ? WHERE run = ?", (text("text"), run))
    elif kind == "comment":
        database.execute("INSERT INTO comments (run, time, text) VALUES (?, ?, ?)", (run, text("time"), text("text")))
