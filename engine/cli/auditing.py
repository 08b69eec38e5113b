"""``audit``: the chain of evidence as a checklist."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path

from cattrs import unstructure

from engine import pipeline
from engine.checklist import STANDINGS, Line, Standing
from engine.cli.pages import check_page, write_page
from engine.cli.terminal import Terminal, complain, print_json, say, styled
from engine.errors import BadInput
from engine.results import clean_text, render_audit
from engine.settings import find_home

#: Of the JSON document (docs/reference/audit.md).
_SCHEMA = 1
_COLOURS = {"proven": "green", "claimed": "cyan", "missing": "yellow", "wrong": "red", "unchecked": "yellow"}
_INDENT = 26


def required(names: Sequence[str]) -> tuple[str, ...]:
    """The names of --require, each once; BadInput for one that no line has, with the nearest."""
    found: dict[str, None] = {}
    parts = [part.strip() for text in names for part in text.split(",")]
    if names and not any(parts):
        raise BadInput("--require names no line.", f"There are: {', '.join(pipeline.AUDITED)}.")
    for name in filter(None, parts):
        if name not in pipeline.AUDITED:
            near = get_close_matches(name, pipeline.AUDITED, 1)
            nearest = f"Did you mean {near[0]}? " if near else ""
            raise BadInput(
                f"No line of an audit is called '{clean_text(name[:40])}'.",
                f"{nearest}There are: {', '.join(pipeline.AUDITED)}.",
            )
        found[name] = None
    return tuple(found)


def audit(what: str, require: Sequence[str], page: Path | None, *, as_json: bool) -> int:
    """Audit an archive or a run, tell it, and judge: exit 4 for anything wrong, or required and not proven."""
    if page is not None:
        check_page(page)
    home, terminal, path = find_home(), Terminal(), Path(what)
    if path.is_file() or "/" in what or what.endswith((".tar", ".zst")):
        found = pipeline.audit_archive(path, home, terminal)
    else:
        if of_archives := [name for name in require if name not in pipeline.AUDITED_OF_RUNS]:
            raise BadInput(
                f"A run of the home has no line called {', '.join(of_archives)}; an archive has.",
                f"Of a run, there are: {', '.join(pipeline.AUDITED_OF_RUNS)}.",
            )
        found = pipeline.audit_run(what, home, terminal)
    terminal.clear()
    lacking = [name for name in require if found.lacks(name)]
    counts = {state: sum(line.state == state for line in found.lines) for state in STANDINGS}
    if page is not None:
        facts = _facts(found, require, lacking)
        write_page(page, render_audit(found.lines, (found.title, found.place), _summary(counts), facts))
    for problem in found.problems:
        say(f"{clean_text(problem)}.")
    if as_json:
        print_json(
            {
                "schema": _SCHEMA,
                "audited": found.made,
                "nbseal": found.version,
                "source": found.source,
                "tagmanifest": found.digest,
                "runs": list(found.runs),
                "counts": counts,
                "required": list(require),
                "lacking": lacking,
                "problems": list(found.problems),
                "lines": unstructure(found.lines),
            }
        )
    else:
        _print(found, counts, _facts(found, require, lacking))
    if counts["wrong"]:
        wrong = dict.fromkeys(line.name for line in found.lines if line.state == "wrong")
        complain(
            f"Not what it should be: {', '.join(wrong)}.", "Rely on nothing of it; take it from where it was made."
        )
    if lacking:
        complain(f"Required and not proven: {', '.join(lacking)}.", "The lines of these names say why.")
    return 4 if lacking or counts["wrong"] else 0


def _summary(counts: Mapping[Standing, int]) -> str:
    return ", ".join(f"{count} {STANDINGS[state]}" for state, count in counts.items())


def _facts(found: pipeline.Audit, require: Sequence[str], lacking: Sequence[str]) -> dict[str, str]:
    """What the report is about, by what it was made, and what was asked of it."""
    facts = {
        "audited": f"{found.made[:19].replace('T', ' ')} UTC by nbseal {found.version}",
        "of": clean_text(found.source),
        "tag manifest": found.digest,
        "required": ", ".join(f"{name} ({'not proven' if name in lacking else 'proven'})" for name in require),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _print(found: pipeline.Audit, counts: Mapping[Standing, int], facts: Mapping[str, str]) -> None:
    for subject, lines in groupby(found.lines, lambda line: line.subject):
        print(styled(subject or found.place, "bold"))
        for line in lines:
            _line(line)
    print(styled(_summary(counts), "bold"))
    for name, fact in facts.items():
        print(f"  {name:<14}{fact}")


def _line(line: Line) -> None:
    """State and name, then the statement, and under it by what or whom; both give way to a narrow terminal."""
    width = max(shutil.get_terminal_size((100, 24)).columns, 40) if sys.stdout.isatty() else 100_000
    indent = _INDENT if width >= 80 else 4
    state = STANDINGS[line.state]
    head = f"  {state:<12}{line.name:<{_INDENT - 14}}"
    told = [textwrap.wrap(text, width - indent) or [""] for text in (line.statement, line.because)]
    coloured = head.replace(state, styled(state, _COLOURS[line.state]), 1)
    margin = " " * indent
    if indent == _INDENT:
        print(coloured + told[0].pop(0))
    else:
        print(coloured.rstrip())
    for text in told[0]:
        print(margin + text)
    for text in told[1]:
        print(margin + styled(text, "dim"))
