"""Scalars that cells print: ``loss: 0.5`` and ``loss: 0.5 (step 3)``, as Guild AI's defaults find them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from engine.model import Json, Scalar, json_number
from engine.results.executed import cell_outputs
from engine.results.text import overwritten, strip_escapes

MAX_SCALARS = 1_000_000
MAX_NAMES = 10_000
#: Longer lines are data, not a report of one number. The patterns need time linear in this.
MAX_LINE = 1_000

_KEY = r"[_a-zA-Z]\S*"
_VALUE = r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|nan|NaN|inf|Inf|Infinity|infinity)"
_STEP = r"[0-9]+"
#: Guild's two defaults. The first takes only the step, which then stays for what is printed later.
_STEPPED = re.compile(rf"{_KEY}:\s+{_VALUE}\s+\((?:step\s+)?(?P<step>{_STEP})\)")
_SCALAR = re.compile(rf"(?P<key>{_KEY}):\s+(?P<value>{_VALUE})(?:\s+\(.*\))?")


def harvest_scalars(document: Json) -> tuple[Scalar, ...]:
    """All values in the order printed, of a document from ``read_executed``; a step stays until another is printed.

    Of each cell first stdout, then stderr, then text/plain of results and displays: how the two
    streams interleave is a matter of timing. At most MAX_SCALARS values and MAX_NAMES names.
    """
    found: list[Scalar] = []
    names: set[str] = set()
    step: int | None = None
    for cell, outputs in cell_outputs(document):
        for line in _lines(outputs):
            match = _SCALAR.fullmatch(line)
            if match is None:
                continue
            stepped = _STEPPED.fullmatch(line)
            if stepped is not None and len(stepped["step"]) <= 18:
                step = int(stepped["step"])
            name = match["key"]
            if name not in names and len(names) == MAX_NAMES:
                continue
            names.add(name)
            found.append(Scalar(name, float(match["value"]), step, cell))
            if len(found) == MAX_SCALARS:
                return tuple(found)
    return tuple(found)


def last_values(scalars: Sequence[Scalar]) -> Mapping[str, float]:
    """The last value of each name, in the order in which the names first came."""
    return {scalar.name: scalar.value for scalar in scalars}


def _lines(outputs: Sequence[Json]) -> Iterator[str]:
    for stream in ("stdout", "stderr"):
        # Joined first: where one chunk ends and the next begins is chance.
        yield from _split("".join(item["text"] for item in outputs if item.get("name") == stream))
    for item in outputs:
        if "data" in item:
            yield from _split(str(item["data"].get("text/plain", "")))


def _split(text: str) -> Iterator[str]:
    for line in overwritten(text).split("\n"):
        if ":" in line and len(line) <= MAX_LINE:
            yield strip_escapes(line)


__all__ = ["harvest_scalars", "json_number", "last_values"]
