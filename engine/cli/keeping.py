"""``label``, ``comment``, ``delete``, ``purge``, ``fsck``: what is done about runs after they ended."""

from __future__ import annotations

from pathlib import Path

from cattrs import unstructure

from engine import pipeline
from engine.cli.signers import unlock
from engine.cli.terminal import Terminal, complain, print_json, say, size_text, styled, table
from engine.errors import BadInput
from engine.results import clean_text
from engine.settings import Home, find_home
from engine.store import counted


def label(run: str, text: str, *, as_json: bool) -> int:
    """Give a run a label."""
    home, terminal = find_home(), Terminal()
    unlock(home)
    record = pipeline.label(run, text, home, terminal)
    if not text.strip() and not as_json:
        print(f"{record.id}  its label was taken away")
        return 0
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


def purge(runs: list[str], archived: Path | None, *, as_json: bool) -> int:
    """Remove deleted runs for good, or those that archives hold."""
    if bool(runs) == (archived is not None):
        raise BadInput(
            "What is to be purged is not said, or in two ways.", "Name deleted runs, or the folder of --archived DIR."
        )
    home, terminal = find_home(), Terminal()
    unlock(home)
    if archived is not None:
        return _purge_archived(archived, home, terminal, as_json=as_json)
    done = pipeline.purge(runs, home, terminal)
    if as_json:
        print_json({"purged": list(done)})
    else:
        for run in done:
            print(f"{run}  purged")
    return 0


def _purge_archived(folder: Path, home: Home, terminal: Terminal, *, as_json: bool) -> int:
    done = pipeline.purge_archived(folder, home, terminal)
    for problem in done.problems:
        complain(problem.message, problem.hint)
    if as_json:
        print_json({"purged": [item.run for item in done.runs], "problems": [item.message for item in done.problems]})
    else:
        for item in done.runs:
            without = f", without {' and '.join(item.left_out)}" if item.left_out else ""
            print(f"{item.run}  purged; {clean_text(item.archive.name)} holds it{without}")
        if not done.runs and not done.problems:
            say(f"No archive in {folder} holds a run of this home.")
    return done.problems[0].exit_code if done.problems else 0


def _done(run: str, name: str, value: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"id": run, name: value})
    else:
        print(f"{run}  {name}: {clean_text(value)}")
    return 0


def fsck(runs: list[str], against: Path | None, *, as_json: bool) -> int:
    """Check the home; 4 when anything was found."""
    terminal = Terminal()
    report = pipeline.fsck(runs, find_home(), terminal, against)
    terminal.clear()
    if as_json:
        print_json(unstructure(report))
        return 4 if report.findings else 0
    for repair in report.repairs:
        say(f"repaired: {clean_text(repair)}")
    for note in report.notes:
        say(f"note: {clean_text(note)}")
    if report.findings:
        rows = [[styled(item.what, "red"), item.where, clean_text(item.detail)] for item in report.findings]
        print(table(["finding", "where", "what"], rows))
    seen = ", ".join(
        counted(count, noun)
        for count, noun in ((report.runs, "run"), (report.entries, "entry"), (report.files, "file"))
    )
    told = "no findings" if report.notes else "everything is as it was left"
    if report.findings:
        told = counted(len(report.findings), "finding")
    print(f"{seen}, {size_text(report.bytes)}; checkpoint {clean_text(report.checkpoint)}: {told}")
    return 4 if report.findings else 0
