"""Measures the GPUs of a run while it goes: ``python3 -I gpus.py``, until standard input ends.

It is run by the kernel's Python, because the library that it needs, nvidia-ml-py, is the user's: where their lock does
not have it, or no driver answers, nothing is measured. A process of its own, so that a driver's library cannot take the
harness down. One JSON object a line: ``name`` and ``value``,

==========================  ==================================================================
``gpu/<n>/utilisation``     mean of how busy it was since the beginning, percent
``gpu/<n>/memory_peak``     the most of its memory that was in use, by whomever, bytes
==========================  ==================================================================
"""

from __future__ import annotations

import json
import select
import sys
import time
from contextlib import suppress
from typing import Any

#: Seconds between two looks, and between two reports, of which the last is the one that counts.
_LOOK, _REPORT = 0.5, 30.0


class Meter:
    """One GPU. What it cannot tell (a slice of one has no utilisation) is left out."""

    def __init__(self, library: Any, number: int) -> None:
        self._library = library
        self._number = number
        self._device = library.nvmlDeviceGetHandleByIndex(number)
        self._busy = self._looks = 0
        self._peak = -1

    def look(self) -> None:
        with suppress(self._library.NVMLError):
            self._busy += self._library.nvmlDeviceGetUtilizationRates(self._device).gpu
            self._looks += 1
        with suppress(self._library.NVMLError):
            self._peak = max(self._peak, self._library.nvmlDeviceGetMemoryInfo(self._device).used)

    def report(self) -> None:
        if self._looks:
            self._say("utilisation", round(self._busy / self._looks, 2))
        if self._peak >= 0:
            self._say("memory_peak", self._peak)

    def _say(self, what: str, value: float) -> None:
        print(json.dumps({"name": f"gpu/{self._number}/{what}", "value": value}), flush=True)


def main() -> None:
    try:
        import pynvml  # type: ignore[import-not-found]

        pynvml.nvmlInit()
        meters = [Meter(pynvml, number) for number in range(pynvml.nvmlDeviceGetCount())]
    except Exception:
        return
    ended = False
    due = time.monotonic() + _REPORT
    while not ended:
        for meter in meters:
            meter.look()
        ended = bool(select.select([sys.stdin], [], [], _LOOK)[0])
        if ended or time.monotonic() >= due:
            due += _REPORT
            for meter in meters:
                meter.report()


if __name__ == "__main__":
    main()
