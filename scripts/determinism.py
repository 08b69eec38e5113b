"""What each part of determinism brings, measured: ``python -m scripts.determinism DIR [--write FILE]``.

Every notebook of the corpus DIR (see ``scripts.corpus``) that can run is run twice under each configuration, and
the two runs are compared. A cell counts when it has outputs, a notebook when it has such cells; it is identical when
all of it is, to the byte, files and scalars included. ``--write`` puts the table between the two marks in FILE.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from engine import containers, pipeline, results
from engine.errors import NbsealError
from engine.link import Link
from engine.model import Json, Limits, Record
from engine.pipeline.story import execute, restore
from engine.progress import Silent
from engine.settings import Home, find_home
from scripts.corpus import put_between, read_arguments

_LIMITS = Limits(cell_timeout=300)
#: Of the profile that is always on: what libraries take their seeds, threads, language and time zone from.
_PROFILE = re.compile("PYTHONHASHSEED|TZ|LANG|LC_ALL|SOURCE_DATE_EPOCH|.*(THREADS|CPU_COUNT)")


def _bare(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if not _PROFILE.fullmatch(name)}


CONFIGURATIONS: Mapping[str, Callable[[Mapping[str, str]], Mapping[str, str]]] = {
    "nothing: not even the profile": _bare,
    "the profile (always on)": lambda variables: variables,
    "with seeds": lambda variables: containers.holding(variables, ("seeds",)),
    "with frameworks' switches": lambda variables: containers.holding(variables, ("frameworks",)),
    "with the clock": lambda variables: containers.holding(variables, ("clock",)),
    "with all (`--deterministic`)": lambda variables: containers.holding(variables, containers.MEASURES),
}


@dataclass(frozen=True)
class Count:
    """Cells with outputs, and how many of them were identical; whether the whole notebook was."""

    cells: int
    identical: int
    whole: bool


def main() -> int:
    arguments, rows = read_arguments("Measure what each part of determinism brings.")
    home, link = find_home(), Link()
    counts: dict[str, list[Count]] = {name: [] for name in CONFIGURATIONS}
    for row in rows:
        requirements = () if row["requirements"].startswith("(") else tuple(row["requirements"].split())
        try:
            request = pipeline.Request(
                arguments.corpus / row["dir"] / row["file"], (), (), pipeline.Wanted(requirements), _LIMITS
            )
            record = pipeline.run(request, home, Silent(), lambda event: None)
        except NbsealError as error:
            print(f"{row['dir']}: left out: {error.message}", file=sys.stderr, flush=True)
            continue
        for name, change in CONFIGURATIONS.items():
            found = _twice(record, change(record.spec["environment"]), home, link)
            counts[name].append(found)
            print(f"{row['dir']}, {name}: {found}", file=sys.stderr, flush=True)
    text = _table(counts)
    print(text)
    if arguments.write:
        put_between(arguments.write, text)
    return 0


def _twice(record: Record, variables: Mapping[str, str], home: Home, link: Link) -> Count:
    """Two runs of one notebook in this environment, compared."""
    plan = restore(record, home, link, Silent())
    plan = replace(plan, spec=replace(plan.spec, environment=dict(sorted(variables.items()))))
    runs = [
        execute(plan, _LIMITS, home, link, Silent(), lambda event: None, parent=record.id, experiment="determinism")
        for _ in range(2)
    ]
    one, other = (pipeline.evidence_of(run, home) for run in runs)
    comparison = results.compare(one, other)
    differing = {match[1] for item in comparison.differences if (match := re.match(r"cell (\d+) ", item.where))}
    cells = _cells(one.document)
    return Count(cells, cells - len(differing), not comparison.differences)


def _cells(document: Json) -> int:
    return sum(bool(cell.get("outputs")) for cell in document["cells"])


def _table(counts: Mapping[str, list[Count]]) -> str:
    lines = ["| two runs, to the byte | cells identical | notebooks identical |", "|---|---|---|"]
    for name, found in counts.items():
        found = [count for count in found if count.cells]
        cells, identical = sum(count.cells for count in found), sum(count.identical for count in found)
        whole = sum(count.whole for count in found)
        lines.append(f"| {name} | {identical} of {cells} ({identical / max(cells, 1):.1%}) | {whole} of {len(found)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
