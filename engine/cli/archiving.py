"""``archive``: runs into one file."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from engine import pipeline
from engine.cli.signers import unlock
from engine.cli.terminal import Terminal, complain, print_json, say, size_text
from engine.errors import BadInput
from engine.model import Json
from engine.results import clean_text
from engine.settings import find_home
from engine.store import counted

_AGE = re.compile(r"([0-9]{1,5}) ?([hdwy])")
_HOURS = {"h": 1, "d": 24, "w": 7 * 24, "y": 365 * 24}


def is_by_age(runs: list[str], output: Path | None, older_than: str | None, folder: Path | None) -> bool:
    """Whether runs are chosen by their age, and not by name; BadInput when the options say both, or half of it."""
    by_name = bool(runs) and output is not None and older_than is None and folder is None
    by_age = not runs and output is None and older_than is not None and folder is not None
    if not by_name and not by_age:
        raise BadInput(
            "Which runs go where is not said, or in two ways.",
            "Write `nbseal archive RUN... -o FILE`, or `nbseal archive --older-than 90d --to DIR`.",
        )
    return by_age


def archive(runs: list[str], output: Path, left_out: list[str], tsa: str | None, *, as_json: bool) -> int:
    """Write the archive and say what is in it, and what is not."""
    home, terminal = find_home(), Terminal()
    unlock(home)
    done = pipeline.archive(runs, output, left_out, tsa, home, terminal)
    if as_json:
        print_json(_document(done))
    else:
        _tell(done)
    return 0


def archive_older(age: str, folder: Path, left_out: list[str], tsa: str | None, *, as_json: bool) -> int:
    """Write old runs into a folder; the exit code is that of the first thing that could not be done."""
    home, terminal = find_home(), Terminal()
    limit = _age(age)
    unlock(home)
    done = pipeline.archive_older(limit, folder, left_out, tsa, home, terminal)
    for problem in done.problems:
        complain(problem.message, problem.hint)
    if as_json:
        print_json(
            {
                "archives": [_document(item) for item in done.written],
                "known": list(done.known),
                "problems": [problem.message for problem in done.problems],
            }
        )
    else:
        for item in done.written:
            _tell(item)
        if done.known:
            print(f"{counted(len(done.known), 'run')} in archives of {folder} already")
        if not done.written and not done.known and not done.problems:
            say(f"No run ended more than {age} ago.")
    return done.problems[0].exit_code if done.problems else 0


def _age(text: str) -> timedelta:
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"'{text[:40]}' is no age.", "Write it as 36h, 90d, 12w or 2y.")
    return timedelta(hours=int(match[1]) * _HOURS[match[2]])


def _document(done: pipeline.Archived) -> Json:
    return {
        "archive": str(done.path),
        "name": done.contents.name,
        "runs": [run.record.id for run in done.contents.runs],
        "tagmanifest": done.written.digest,
        "files": done.written.files,
        "payload": done.written.bytes,
        "size": done.path.stat().st_size,
        "left_out": sorted(done.contents.left_out),
        "missing": [{"what": item.what, "why": item.why} for item in done.contents.missing],
        "key": done.key,
        "unsigned": done.unsigned,
        "timestamp": done.stamped,
    }


def _tell(done: pipeline.Archived) -> None:
    contents, written = done.contents, done.written
    for part in sorted(contents.left_out):
        say(f"left out: {part}")
    for item in contents.missing:
        say(f"missing: {clean_text(item.what)}: {clean_text(item.why)}")
    size = size_text(done.path.stat().st_size)
    runs = counted(len(contents.runs), "run")
    print(f"{done.path}: {runs}, {written.files:,} files, {size_text(written.bytes)} in {size}")
    print(f"tag manifest {written.digest}: {f'signed by {done.key}' if done.key else f'unsigned: {done.unsigned}'}")
