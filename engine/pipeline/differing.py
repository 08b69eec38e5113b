"""Two runs side by side: what they were asked, what they stood on, and what came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import results, store
from engine.files import read_regular
from engine.model import Record, Source
from engine.pipeline.places import Seen, seen
from engine.pipeline.reading import runs
from engine.progress import Progress
from engine.settings import Home

_MAX_FILE = 1 << 20


@dataclass(frozen=True)
class Diff:
    """How ``new`` differs from ``old``. ``cells`` is None when the notebooks cannot be aligned."""

    old: Record
    new: Record
    parts: Mapping[str, tuple[results.Change, ...]]
    cells: str | None
    texts: Mapping[str, str]  # unified diffs of source files that changed, by path


@dataclass(frozen=True)
class Row:
    """What a comparison of many runs shows of one. ``duration`` is seconds."""

    id: str
    hash: str
    status: str
    notebook: str
    created: str
    duration: float
    flags: Mapping[str, Any]
    scalars: Mapping[str, float]


def compare(prefixes: Sequence[str], archives: Sequence[Path], home: Home, progress: Progress) -> tuple[Row, ...]:
    """These runs; without any, all of the archives, or of the home when there are none of these either."""
    if not prefixes and not archives:
        listed = [item for item in runs(home, progress) if not item.experiment]
        return tuple(Row(i.id, i.hash, i.status, i.notebook, i.created, i.duration, i.flags, i.scalars) for i in listed)
    with seen(prefixes, archives, home, progress) as found:
        return tuple(_row(item.record) for item in found)


def _row(record: Record) -> Row:
    duration = record.outcome.duration if record.outcome else 0.0
    flags = store.plain_flags(record.flags)
    return Row(record.id, record.hash, record.status, record.notebook, record.created, duration, flags, record.scalars)


def diff(one: str, other: str, archives: Sequence[Path], home: Home, progress: Progress) -> Diff:
    """Compare two runs, each of the home or of an archive."""
    with seen((one, other), archives, home, progress) as (old, new):
        old_source, new_source = store.read_source(old.folder), store.read_source(new.folder)
        documents = [results.read_executed(run.folder.executed) for run in (old, new)]
        with progress.task("Comparing cells"):
            cells = results.cell_changes(*documents)
        parts = results.run_changes(old.record, old_source, new.record, new_source)
        return Diff(old.record, new.record, parts, cells, dict(_texts(old, old_source, new, new_source)))


def _texts(old: Seen, old_source: Source, new: Seen, new_source: Source) -> Iterator[tuple[str, str]]:
    """The source files of both that are text and were changed; notebooks are compared by their cells."""
    after = {item.path: item for item in new_source.files if item.kind != "link"}
    for before in old_source.files:
        now = after.get(before.path)
        if now is None or before.kind == "link" or before.digest == now.digest or before.path.endswith(".ipynb"):
            continue
        with suppress(OSError):  # larger than is shown, or gone from the home: it is named all the same
            texts = [
                read_regular(store.blob_path(run.home, item.digest), _MAX_FILE)
                for run, item in ((old, before), (new, now))
            ]
            if text := results.text_changes(*texts):
                yield before.path, text
