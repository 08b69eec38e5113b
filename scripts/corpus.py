"""Run every notebook of a corpus and say how it ended: ``python scripts/corpus.py DIR [--write FILE]``.

DIR/index.csv lists them (columns dir, file, requirements, offline, expected, units_on_repeat,
identical_on_repeat). Prints a Markdown table; exits 1 when a notebook that is marked offline does not end
as expected, or differs when run again although it did not for whoever wrote the index.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLUMNS = ("notebook", "expected", "ended", "as expected", "units", "identical on rerun", "seconds", "what differs")


@dataclass(frozen=True)
class Result:
    """One row of the table; ``good`` decides the exit code."""

    name: str
    expected: str
    ended: str
    matches: bool
    units: str
    identical: str
    seconds: float
    differs: str
    good: bool


def main(arguments: list[str]) -> int:
    corpus = Path(arguments[0])
    with (corpus / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    results = []
    for row in rows:
        results.append(judge(corpus, row))
        print(f"{results[-1].name}: {results[-1].ended}", file=sys.stderr, flush=True)
    text = table(results)
    print(text)
    if "--write" in arguments:
        Path(arguments[arguments.index("--write") + 1]).write_text(text + "\n", encoding="utf-8")
    return 0 if all(result.good for result in results) else 1


def judge(corpus: Path, row: dict[str, str]) -> Result:
    """Run one notebook, run it again from its record, hold both against the index."""
    requirements = row["requirements"].split() if not row["requirements"].startswith("(") else []
    options = [option for name in requirements for option in ("--requirement", name)]
    path = corpus / row["dir"] / row["file"]
    began = time.monotonic()
    code, record, complaint = nbseal("run", str(path), *options, "--cell-timeout", "300")
    offline = row["offline"] == "yes"
    ended = how_it_ended(code, record, complaint)
    matches = ended.split(":")[0] == row["expected"].split(":")[0].split(" ")[0] and (
        not row["expected"].startswith("fails:") or row["expected"].split(": ")[1] in ended
    )
    units = identical = differs = ""
    repeats = True
    if record:
        _, again, _ = nbseal("rerun", record["id"])
        comparison = again["comparison"]
        wheres = [item["where"] for item in comparison["differences"]]
        units = str(comparison["units"])
        identical = str(comparison["units"] - len(set(wheres)))
        differs = ", ".join(dict.fromkeys(wheres))
        deterministic = row["units_on_repeat"] == row["identical_on_repeat"]
        repeats = not wheres or not deterministic
    return Result(
        row["dir"], row["expected"], ended, matches, units, identical, time.monotonic() - began, differs,
        not offline or (matches and repeats),
    )  # fmt: skip


def nbseal(*arguments: str) -> tuple[int, Any, str]:
    """Exit code, record (None where none came about) and what was said on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "engine", *arguments, "--json"], capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def how_it_ended(code: int, record: Any, complaint: str) -> str:
    """In the words of the index: "runs", "fails: NameError", "refused: ..."."""
    if record is None:
        reasons = [line for line in complaint.splitlines() if line.startswith("error: ")]
        return f"refused: {reasons[-1].removeprefix('error: ') if reasons else f'exit {code}'}"
    if record["status"] == "completed":
        return "runs"
    outcome = record["outcome"]
    return f"fails: {outcome['error']['name'] if outcome['error'] else outcome['reason']}"


def table(results: list[Result]) -> str:
    """The Markdown table, and a line that counts."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for item in results:
        cells = (
            item.name, item.expected, item.ended, "yes" if item.matches else "no", item.units, item.identical,
            f"{item.seconds:.0f}", item.differs,
        )  # fmt: skip
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    good = sum(item.good for item in results)
    return "\n".join([*lines, "", f"{good} of {len(results)} as they must be."])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
