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
from engine.cli.pages import check_page, write_page
from engine.cli.terminal import Terminal, complain, print_json, styled
from engine.errors import BadInput
from engine.model import STANDINGS, Line, Standing
from engine.results import clean_text, render_audit
from engine.settings import find_home

#: Of the JSON document (docs/reference/audit.md).
_SCHEMA = 1
_COLOURS = {"proven": "green", "claimed": "cyan", "missing": "yellow", "wrong": "red", "unchecked": "yellow"}
_SAID = {"unchecked": "not checked"}
_INDENT = 26


def required(names: Sequence[str]) -> tuple[str, ...]:
    """The names of --require, each once; BadInput for one that no line has, with the nearest."""
    found: dict[str, None] = {}
    for name in (part.strip() for text in names for part in text.split(",")):
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
        found = pipeline.audit_run(what, home, terminal)
    terminal.clear()
    lacking = [name for name in require if found.lacks(name)]
    counts = {state: sum(line.state == state for line in found.lines) for state in STANDINGS}
    if page is not None:
        write_page(page, render_audit(found.lines, (found.title, found.place), _summary(counts), lacking))
    if as_json:
        print_json(
            {
                "schema": _SCHEMA,
                "source": found.source,
                "tagmanifest": found.digest,
                "runs": list(found.runs),
                "counts": counts,
                "required": list(require),
                "lacking": lacking,
                "lines": unstructure(found.lines),
            }
        )
    else:
        _print(found, counts)
    if counts["wrong"]:
        wrong = dict.fromkeys(line.name for line in found.lines if line.state == "wrong")
        complain(
            f"Not what it should be: {', '.join(wrong)}.", "Rely on nothing of it; take it from where it was made."
        )
    if lacking:
        complain(f"Required and not proven: {', '.join(lacking)}.", "The lines of these names say why.")
    return 4 if lacking or counts["wrong"] else 0


def _summary(counts: Mapping[Standing, int]) -> str:
    return ", ".join(f"{count} {_SAID.get(state, state)}" for state, count in counts.items())


def _print(found: pipeline.Audit, counts: Mapping[Standing, int]) -> None:
    for subject, lines in groupby(found.lines, lambda line: line.subject):
        print(styled(subject or found.place, "bold"))
        for line in lines:
            _line(line)
    print(styled(_summary(counts), "bold"))


def _line(line: Line) -> None:
    """State and name, then the statement, and under it by what or whom; both give way to a narrow terminal."""
    width = max(shutil.get_terminal_size((100, 24)).columns, 40) if sys.stdout.isatty() else 100_000
    indent = _INDENT if width >= 80 else 4
    state = _SAID.get(line.state, line.state)
    head = f"  {state:<12}{line.name:<{_INDENT - 14}}"
    by = f"by {line.by}" if line.state in ("proven", "claimed") else line.by
    told = [textwrap.wrap(text, width - indent) or [""] for text in (line.statement, by)]
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
