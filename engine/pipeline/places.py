"""Runs to be read, wherever they are: in archives, which are checked and not taken in, and in the home."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine import store
from engine.errors import BadInput
from engine.model import Record
from engine.pipeline.importing import opened
from engine.pipeline.reading import recorded
from engine.progress import Progress
from engine.settings import Home


@dataclass(frozen=True)
class Seen:
    """A run that has ended, its directory, and the home that holds its content by digest."""

    record: Record
    folder: store.RunDirectory
    home: Home


@contextmanager
def seen(prefixes: Sequence[str], archives: Sequence[Path], home: Home, progress: Progress) -> Iterator[list[Seen]]:
    """The runs of these names, looked for in the archives first and then in the home; without names all archived."""
    with ExitStack() as held:
        there = []
        for path in archives:
            found = held.enter_context(opened(path, home, progress))
            for run in found.runs:
                if run.record is not None:
                    place = store.RunDirectory(home, found.staged.runs / run.listed.id)
                    there.append(Seen(run.record, place, found.staged))
        yield [_find(prefix, there, home, progress) for prefix in prefixes] if prefixes else there


def _find(prefix: str, there: Sequence[Seen], home: Home, progress: Progress) -> Seen:
    if (found := pick(prefix, [item.record for item in there])) is not None:
        return next(item for item in there if item.record is found)
    return Seen(*recorded(prefix, home, progress), home)


def pick(prefix: str, records: Sequence[Record]) -> Record | None:
    """The one whose id or hash begins so; None for none, BadInput for several."""
    wanted = prefix.strip().lower().removeprefix("sha256:")
    fitting = [item for item in records if wanted and (item.id.startswith(wanted) or item.hash.startswith(wanted))]
    if len({item.id for item in fitting}) > 1:
        names = ", ".join(item.id for item in fitting[:10])
        raise BadInput(f"'{prefix[:80]}' is ambiguous: {names}.", "Give more of the id.")
    if any(item != fitting[0] for item in fitting):
        raise BadInput(f"There are different runs {fitting[0].id} in these archives.", "Give one archive at a time.")
    return fitting[0] if fitting else None
