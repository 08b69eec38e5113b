"""``label``, ``comment``, ``delete``, ``fsck``: what is done about runs after they ended."""

from __future__ import annotations

from cattrs import unstructure

from engine import pipeline
from engine.cli.signers import unlock
from engine.cli.terminal import Terminal, print_json, say, size_text, styled, table
from engine.results import clean_text
from engine.settings import find_home


def label(run: str, text: str, *, as_json: bool) -> int:
    """Give a run a label."""
    home, terminal = find_home(), Terminal()
    unlock(home)
    record = pipeline.label(run, text, home, terminal)
    return _done(record.id, "label", text.strip(), as_json=as_json)


def comment(run: str, text: str, *, as_json: bool) -> int:
    """Comment on a run."""
    home, terminal = find_home(), Terminal()
    unlock(home)
    record = pipeline.comment(run, text, home, terminal)
    return _done(record.id, "comment", text.strip(), as_json=as_json)


def delete(run: str, *, as_json: bool) -> int:
    """Move a run to the trash."""
    home, terminal = find_home(), Terminal()
    unlock(home)
    record = pipeline.delete(run, home, terminal)
    return _done(record.id, "trash", str(home.trash / record.id), as_json=as_json)


def _done(run: str, name: str, value: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"id": run, name: value})
    else:
        print(f"{run}  {name}: {clean_text(value)}")
    return 0


def fsck(runs: list[str], *, as_json: bool) -> int:
    """Check the home; 4 when anything was found."""
    terminal = Terminal()
    report = pipeline.fsck(runs, find_home(), terminal)
    terminal.clear()
    if as_json:
        print_json(unstructure(report))
        return 4 if report.findings else 0
    for repair in report.repairs:
        say(f"repaired: {clean_text(repair)}")
    for note in report.notes:
        say(f"note: {note}")
    if report.findings:
        rows = [[styled(item.what, "red"), item.where, clean_text(item.detail)] for item in report.findings]
        print(table(["finding", "where", "what"], rows))
    seen = f"{report.runs} runs, {report.entries} entries, {report.files:,} files, {size_text(report.bytes)}"
    count = len(report.findings)
    told = f"{count} finding{'' if count == 1 else 's'}" if count else "everything is as it was left"
    print(f"{seen}; checkpoint {clean_text(report.checkpoint)}: {told}")
    return 4 if report.findings else 0
