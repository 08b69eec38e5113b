"""Two commands in turn, so that a machine whose speed drifts is the same for both."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Wall times in seconds of A and B, run in turn; ``ratio`` is the median of A/B pair by pair."""

    a: tuple[float, ...]
    b: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return statistics.median(one / other for one, other in zip(self.a, self.b, strict=True))


def wall(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Seconds of wall time of a command that must succeed."""
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def in_turn(a: Sequence[str], b: Sequence[str], runs: int, environment: Mapping[str, str] | None = None) -> Pair:
    """Time ``a`` and ``b`` in turn, after one uncounted run of each."""
    wall(a, environment), wall(b, environment)
    times = [(wall(a, environment), wall(b, environment)) for _ in range(runs)]
    return Pair(tuple(one for one, _ in times), tuple(other for _, other in times))


def spread(times: Sequence[float]) -> str:
    """Median and range, in seconds."""
    return f"{statistics.median(times):.2f} s ({min(times):.2f}-{max(times):.2f})"
