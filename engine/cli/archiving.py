"""``archive``: runs into one file."""

from __future__ import annotations

from pathlib import Path

from engine import pipeline
from engine.cli.signers import unlock
from engine.cli.terminal import Terminal, print_json, say, size_text
from engine.results import clean_text
from engine.settings import find_home


def archive(runs: list[str], output: Path, left_out: list[str], tsa: str | None, *, as_json: bool) -> int:
    """Write the archive and say what is in it, and what is not."""
    home, terminal = find_home(), Terminal()
    unlock(home)
    done = pipeline.archive(runs, output, left_out, tsa, home, terminal)
    contents, written = done.contents, done.written
    size = done.path.stat().st_size
    if as_json:
        print_json(
            {
                "archive": str(done.path),
                "name": contents.name,
                "runs": [run.record.id for run in contents.runs],
                "tagmanifest": written.digest,
                "files": written.files,
                "payload": written.bytes,
                "size": size,
                "left_out": sorted(contents.left_out),
                "missing": [{"what": item.what, "why": item.why} for item in contents.missing],
                "key": done.key,
                "unsigned": done.unsigned,
                "timestamp": done.stamped,
            }
        )
        return 0
    for part in sorted(contents.left_out):
        say(f"left out: {part}")
    for item in contents.missing:
        say(f"missing: {clean_text(item.what)}: {clean_text(item.why)}")
    count = f"{len(contents.runs)} run{'' if len(contents.runs) == 1 else 's'}"
    print(f"{done.path}: {count}, {written.files:,} files, {size_text(written.bytes)} in {size_text(size)}")
    print(f"tag manifest {written.digest}: {f'signed by {done.key}' if done.key else f'unsigned: {done.unsigned}'}")
    return 0
