"""What the record and the ledger say of when a run was executed and whence it came, and what contradicts that."""

from __future__ import annotations

from engine import archives, store
from engine.archives import layout
from engine.model import Json, Record
from engine.pipeline.examining import Examined


def told(record: Record) -> tuple[str, str]:
    """When a run began and when it ended, by its record; the second may be unknown."""
    outcome = record.outcome
    return (outcome.started or record.created, outcome.finished) if outcome else (record.created, "")


def check(examined: Examined, record: Record, stamp: archives.Word | None) -> None:
    """That a run did not end before it began, nor after a time stamp that counts says that the archive was there."""
    path = f"{layout.PAYLOAD}/{layout.run_folder(record.id)}/run.json"
    began, ended = (store.time_of(text) for text in told(record))
    if began is None or (ended is None and told(record)[1]):
        raise examined.received.refused(path, "has a time that is none")
    if ended is not None and ended < began:
        raise examined.received.refused(path, "says that the run ended before it began")
    if stamp is not None and stamp.latest is not None and (ended or began) > stamp.latest:
        raise examined.received.refused(
            path, f"says that the run ended {told(record)[1][:40]}, after the archive existed at {stamp.when}"
        )


def came(entry: Json) -> str:
    """Whence an imported run came, by the entry about its import; any part of that may be missing."""

    def said(name: str) -> str:
        return str(entry.get(name) or "")[:120]

    signature = said("archive_signature")
    whose = f"signed by {said('archive_signer')} ({signature} there)" if said("archive_signer") else "unsigned"
    entered = f", entered at {said('from_time')}" if said("from_time") else ""
    before = f"; before, it was entry {said('from_index') or 0} of {said('from')}{entered}" if said("from") else ""
    return f"it came from the archive {said('archive') or 'without a name'}, {whose}{before}"
