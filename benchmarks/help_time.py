"""``nbseal --help`` against an interpreter that does nothing. Goal: under 0.2 s."""

from __future__ import annotations

import statistics
import sys

from benchmarks.timing import in_turn, spread

RUNS = 15


def main() -> None:
    pair = in_turn([sys.executable, "-m", "engine", "--help"], [sys.executable, "-c", "pass"], RUNS)
    print("| start | wall time |\n|---|---|")
    print(f"| nbseal --help (goal: under 0.2 s) | {spread(pair.a)} |\n| python -c pass | {spread(pair.b)} |")
    print(f"| **ratio** | **{pair.ratio:.1f}** |")
    if statistics.median(pair.a) >= 0.2:
        print("\nThe goal is missed.")


if __name__ == "__main__":
    main()
