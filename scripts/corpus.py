"""Run every notebook of a corpus and say how it ended: ``python -m scripts.corpus DIR [--write FILE]``.

DIR/index.csv lists them (columns dir, file, requirements, offline, expected, units_on_repeat,
identical_on_repeat). Each is run unmodified and run again from its record. Prints a Markdown table; exits 1
when a notebook that is marked offline does not end as expected, or differs when run again although it did
not for whoever wrote the index. ``--write`` puts the table between the two marks in FILE as well.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLUMNS = ("notebook", "expected", "ended", "as expected", "rerun", "seconds", "what is not identical, and why")
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
#: Seconds for one cell.
PATIENCE = "300"
#: Seconds for the experiments with one notebook.
BUDGET = "600"


@dataclass(frozen=True)
class Result:
    """One row of the table. ``matches`` is None where nobody says how it must end; ``good`` decides the exit code."""

    name: str
    expected: str
    ended: str
    matches: bool | None
    repeated: str
    seconds: float
    differs: str
    good: bool


def main() -> int:
    arguments, rows = read_arguments("Run every notebook of a corpus and say how it ended.")
    results = []
    for row in rows:
        results.append(judge(arguments.corpus, row))
        mark = "" if results[-1].good else " (not as it must be)"
        print(f"{results[-1].name}: {results[-1].ended}{mark}", file=sys.stderr, flush=True)
    text = table(results)
    print(text)
    if arguments.write:
        put_between(arguments.write, text)
    return 0 if all(result.good for result in results) else 1


def read_arguments(description: str) -> tuple[argparse.Namespace, list[dict[str, str]]]:
    """``corpus`` and ``write`` of the command line, and the rows of the corpus's index."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("corpus", type=Path, metavar="DIR", help="folder with index.csv")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into FILE, between its marks")
    arguments = parser.parse_args()
    with (arguments.corpus / "index.csv").open(newline="", encoding="utf-8") as file:
        return arguments, list(csv.DictReader(file))


def put_between(file: Path, text: str) -> None:
    """Replace what stands between the two marks in a file."""
    before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    file.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def judge(corpus: Path, row: dict[str, str]) -> Result:
    """Run one notebook, run it again from its record, hold both against the index."""
    # Where nothing can be installed the index says so in words, in brackets.
    requirements = [] if row["requirements"].startswith("(") else row["requirements"].split()
    options = [option for name in requirements for option in ("--requirement", name)]
    path = corpus / row["dir"] / row["file"]
    began = time.monotonic()
    code, record, complaint = nbseal("run", str(path), *options, "--cell-timeout", PATIENCE)
    # Where the corpus lies on this machine is nobody's business.
    ended = how_it_ended(code, record, complaint.replace(str(path), row["file"]).replace(str(corpus), ""))
    matches = as_expected(row["expected"], ended)
    repeated, differs, same = "", "", True
    if record:
        code, again, complaint = nbseal("rerun", record["id"])
        comparison = again["comparison"] if again else None
        if comparison:
            same = comparison["verdict"] in ("identical", "equivalent")
            repeated = describe(comparison)
            differs = "; ".join(explain(again["id"], comparison, diagnose=not same))
        else:
            repeated, same = how_it_ended(code, again, complaint), False
    # Both are empty where whoever wrote the index did not repeat it: then nothing is known.
    deterministic = row["units_on_repeat"] == row["identical_on_repeat"] != ""
    good = row["offline"] != "yes" or (matches is True and (same or not deterministic))
    return Result(row["dir"], row["expected"], ended, matches, repeated, time.monotonic() - began, differs, good)


def describe(comparison: Any) -> str:
    """``different (31 units: 28 identical, 2 equivalent, 1 different)``."""
    verdicts = [item["verdict"] for item in comparison["differences"]]
    counts = [f"{comparison['units'] - len(verdicts)} identical"]
    counts += [f"{verdicts.count(name)} {name}" for name in ("equivalent", "close", "different") if name in verdicts]
    return f"{comparison['verdict']} ({', '.join(counts)})"


def explain(run: str, comparison: Any, *, diagnose: bool) -> list[str]:
    """What is not identical, gathered by what makes it equivalent, or by its cause as found by experiment."""
    causes: dict[str, list[str]] = {}
    if diagnose:
        found = nbseal("verify", run, "--diagnose", "--budget", BUDGET)[1] or {"causes": []}
        for cause in found["causes"]:
            causes.setdefault(cause["unit"], []).append(cause["kind"])
    reasons: dict[str, list[str]] = {}
    for item in comparison["differences"]:
        kinds = causes.get(item["where"], item["normalisers"])
        reasons.setdefault(f"{item['verdict']} by {', '.join(kinds) or 'nobody knows what'}", []).append(item["where"])
    return [f"{', '.join(units)}: {reason}" for reason, units in reasons.items()]


def as_expected(expected: str, ended: str) -> bool | None:
    """Hold "fails: KeyError: 'a'" against "fails: KeyError"; what is expected may be "refused or fails: ..."."""
    kinds, _, detail = expected.partition(": ")
    possible = {kind.split(" ")[0] for kind in kinds.split(" or ")}
    if not possible <= {"runs", "fails", "refused"}:
        return None
    kind, _, what = ended.partition(": ")
    return kind in possible and (possible != {"fails"} or what.split(":")[0] == detail)


def nbseal(*arguments: str) -> tuple[int, Any, str]:
    """Exit code, record (None where none came about) and what was said on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "engine", *arguments, "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
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
        matches = {True: "yes", False: "no", None: ""}[item.matches]
        cells = (item.name, item.expected, item.ended, matches, item.repeated, f"{item.seconds:.0f}", item.differs)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    good = sum(item.good for item in results)
    return "\n".join([*lines, "", f"{good} of {len(results)} as they must be."])


if __name__ == "__main__":
    sys.exit(main())
