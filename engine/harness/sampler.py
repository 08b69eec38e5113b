"""The process that measures GPUs (``gpus``), and how its words become events."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import BinaryIO, cast

from .events import EventLog

#: Seconds that it has for its last words.
_LAST = 3.0
_MAX_LINE = 4096


class Sampler:
    """Measures from now until ``stop``. Whatever becomes of it, the run goes on."""

    def __init__(self, python: str, events: EventLog) -> None:
        self._events = events
        self._process = subprocess.Popen(
            [python, "-I", str(Path(__file__).with_name("gpus.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._asked, self._said = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while line := self._said.readline(_MAX_LINE):
            try:
                said = json.loads(line)
                name, value = str(said["name"])[:100], float(said["value"])
            except (ValueError, TypeError, KeyError):
                continue
            self._events.write("measured", name=name, value=value)

    def stop(self) -> None:
        """Have it report for the last time; once this returns it writes no event any more."""
        self._asked.close()
        self._reader.join(_LAST)
        self._process.kill()
        self._reader.join(_LAST)
