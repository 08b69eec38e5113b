"""``compare`` and ``diff``: many runs in a table, two runs part by part."""

from __future__ import annotations

import csv as csv_format
import io
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine import pipeline
from engine.cli.terminal import Terminal, print_json, say, seconds_text, styled, table
from engine.errors import BadInput
from engine.model import json_number
from engine.results import Change, clean_text
from engine.settings import find_home

_TITLES = {
    "setting": "environment",
    "flags": "flags",
    "lock": "packages",
    "source": "source",
    "inputs": "inputs",
    "outcome": "outcome",
    "scalars": "scalars",
    "files": "files",
}


def compare(prefixes: list[str], archives: list[Path], *, csv: bool, as_json: bool) -> int:
    """Flags and scalars of runs, a row each. The columns of flags begin with an equals sign."""
    if csv and as_json:
        raise BadInput("--csv and --json contradict each other.", "Leave one of them out.")
    rows = pipeline.compare(prefixes, archives, find_home(), Terminal())
    if as_json:
        print_json([_document(row) for row in rows])
        return 0
    if not rows and not csv:
        say("There are no runs to compare; `nbseal run NOTEBOOK` makes the first.")
        return 0
    flags = list(dict.fromkeys(name for row in rows for name in row.flags))
    scalars = list(dict.fromkeys(name for row in rows for name in row.scalars))
    if csv:
        _print_csv(rows, flags, scalars)
        return 0
    header = ["run", "status", "took", "notebook", *(f"={clean_text(name)}" for name in flags)]
    header += [clean_text(name) for name in scalars]
    lines = [
        [
            row.id[:8],
            row.status,
            seconds_text(row.duration) if row.duration else "",
            clean_text(row.notebook),
            *(_shown(row.flags, name) for name in flags),
            *(f"{row.scalars[name]:.6g}" if name in row.scalars else "" for name in scalars),
        ]
        for row in rows
    ]
    _print_fitting(header, lines)
    return 0


def _document(row: pipeline.Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "hash": row.hash,
        "status": row.status,
        "notebook": row.notebook,
        "created": row.created,
        "duration": row.duration,
        "flags": dict(row.flags),
        "scalars": {name: json_number(value) for name, value in row.scalars.items()},
    }


def _shown(flags: Mapping[str, Any], name: str) -> str:
    if name not in flags:
        return ""
    value = flags[name]
    text = clean_text(_text(value)).replace("\n", " ")
    return text if len(text) <= 30 else text[:29] + "…"


def _text(value: Any) -> str:
    """As Python writes it, but a text without its quotes."""
    return value if isinstance(value, str) else repr(value)


def _print_csv(rows: Sequence[pipeline.Row], flags: Sequence[str], scalars: Sequence[str]) -> None:
    """All digits, and full names: for programs, some of which take an equals sign for the beginning of a formula."""
    text = io.StringIO()
    writer = csv_format.writer(text, lineterminator="\r\n")
    facts = ("run", "hash", "status", "notebook", "created", "duration")
    writer.writerow([*facts, *(f"flag:{name}" for name in flags), *scalars])
    for row in rows:
        values = [row.flags.get(name, "") for name in flags]
        writer.writerow(
            [
                *(row.id, row.hash, row.status, row.notebook, row.created, row.duration),
                *(_text(value) for value in values),
                *(repr(row.scalars[name]) if name in row.scalars else "" for name in scalars),
            ]
        )
    print(text.getvalue(), end="")


def _print_fitting(header: list[str], lines: list[list[str]]) -> None:
    """As many columns as the terminal is wide enough for; what is not shown is named."""
    width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else sys.maxsize
    room, count = width, 0
    for i in range(len(header)):
        room -= max(len(row[i]) for row in [header, *lines]) + (2 if i else 0)
        if room < 0 and i > 1:
            break
        count += 1
    print(table(header[:count], [line[:count] for line in lines]))
    if hidden := header[count:]:
        say(f"not shown: {', '.join(hidden)}; a wider terminal, --csv or --json has them")


def diff(run: str, other: str, archives: list[Path], *, as_json: bool) -> int:
    """Part by part, what is not the same; 0 whether anything is or not, as nothing is judged."""
    found = pipeline.diff(run, other, archives, find_home(), Terminal())
    changed = {part: items for part, items in found.parts.items() if items}
    if as_json:
        print_json(
            {
                "old": found.old.id,
                "new": found.new.id,
                **{part: [{"name": i.name, "old": i.old, "new": i.new} for i in found.parts[part]] for part in _TITLES},
                "cells": found.cells,
                "texts": dict(found.texts),
            }
        )
        return 0
    for sign, record, colour in (("-", found.old, "red"), ("+", found.new, "green")):
        when = record.created[:16].replace("T", " ")
        print(styled(f"{sign} {record.id}  {clean_text(record.notebook)}  {record.status}  {when}", colour))
    for part, title in _TITLES.items():
        if part in changed:
            _print_part(title, changed[part], digests=part in ("lock", "source", "inputs", "files", "setting"))
        if part == "source":
            for path, text in found.texts.items():
                _print_text(path, text)
    if found.cells is None:
        _print_title("cells")
        print("The notebooks are too large or too different to be aligned cell by cell.")
    elif found.cells:
        _print_text("cells", found.cells)
    if not changed and found.cells == "":
        print("The runs are the same in everything that is compared.")
    return 0


def _print_title(title: str) -> None:
    print(f"\n{styled(clean_text(title), 'bold')}")


def _print_part(title: str, changes: Sequence[Change], *, digests: bool) -> None:
    _print_title(title)
    rows = [
        [clean_text(item.name), *(clean_text(_value(side, digests=digests)) for side in (item.old, item.new))]
        for item in changes
    ]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    for name, old, new in rows:
        left, right = old.ljust(widths[1]) if old else "-".ljust(widths[1]), new or "-"
        print(f"  {name.ljust(widths[0])}  {styled(left, 'red')}  {styled(right, 'green')}".rstrip())


def _value(text: str | None, *, digests: bool) -> str:
    """One side for people: digests by their beginnings."""
    if text is None:
        return ""
    words = text.replace("\n", " ").split(" ") if digests else [text.replace("\n", " ")]
    return " ".join(word.removeprefix("sha256:")[:12] if len(word) >= 64 else word for word in words)


def _print_text(title: str, text: str) -> None:
    _print_title(title)
    colours = {"+": "green", "-": "red", "@": "cyan", "#": "bold"}
    for line in clean_text(text).splitlines():
        print(styled(line, colours[line[0]]) if line[:1] in colours else line)
