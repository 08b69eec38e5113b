"""How a rerun compares with the run that it repeats: cell by cell, scalar by scalar, file by file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from engine.model import Comparison, Difference, Json, OutputFile, Record, Scalar
from engine.results.executed import cell_outputs
from engine.results.scalars import harvest_scalars
from engine.results.text import clean_text, strip_escapes

_ADDRESS = re.compile(r"(?<= at )0x[0-9a-fA-F]{4,16}\b")
_WIDGET = "application/vnd.jupyter.widget-view+json"
_SHOWN = 100


@dataclass(frozen=True)
class _Cell:
    """What a code cell gave, without what is timing: each stream as one text, the other outputs in order."""

    stdout: str
    stderr: str
    outputs: tuple[Json, ...]


def compare(old: Record, old_document: Json, new: Record, new_document: Json) -> Comparison:
    """Compare two runs of one spec; the documents are their executed notebooks from ``read_executed``.

    A unit is a code cell with output, a scalar's series, or a file that was written, changed or
    deleted; each unit gives at most one difference. Identical means equal in everything but
    execution counts, how streams were chunked and interleaved, the random ids of widgets, and the
    memory addresses that Python's default repr shows. How the runs ended counts too, as no unit.
    """
    units = 0
    differences: list[Difference] = []
    if old.status != new.status:
        differences.append(Difference("status", f"{old.status} became {new.status}"))
    sides = (
        _pairs("scalar", _series(harvest_scalars(old_document)), _series(harvest_scalars(new_document))),
        _pairs("file", _files(old.outputs), _files(new.outputs)),
    )
    for where, before, after in chain(_cell_pairs(old_document, new_document), *sides):
        units += 1
        if not _equal(before, after):
            differences.append(Difference(where, _detail(before, after)))
    return Comparison("different" if differences else "identical", units, tuple(differences))


def _cell_pairs(old: Json, new: Json) -> Iterator[tuple[str, Any, Any]]:
    """Each code cell that has output on either side."""
    nothing = _Cell("", "", ())
    for (i, before), (j, after) in zip_longest(_cells(old), _cells(new), fillvalue=(-1, nothing)):
        if (before, after) != (nothing, nothing):
            yield f"cell {max(i, j) + 1}", before, after


def _pairs(kind: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Each name with its two sides; None where a side lacks it."""
    for name in {**before, **after}:
        yield f"{kind} {name}", before.get(name), after.get(name)


def _series(scalars: Sequence[Scalar]) -> dict[str, list[str]]:
    """Each name's values with steps as text: repr() tells every float from every other, and nan equals nan."""
    series: dict[str, list[str]] = {}
    for item in scalars:
        step = "" if item.step is None else f" (step {item.step})"
        series.setdefault(item.name, []).append(f"{item.value!r}{step}")
    return series


def _files(outputs: Sequence[OutputFile]) -> dict[str, str]:
    return {item.path: f"{item.change}, {item.size} bytes, {item.sha256}" for item in outputs}


# --- cells --------------------------------------------------------------------------------------


def _cells(document: Json) -> list[tuple[int, _Cell]]:
    widgets: dict[str, str] = {}
    return [(i, _cell(outputs, widgets)) for i, outputs in cell_outputs(document)]


def _cell(outputs: Sequence[Json], widgets: dict[str, str]) -> _Cell:
    streams = {"stdout": "", "stderr": ""}
    others = []
    for name in streams:
        streams[name] = _masked("".join(item["text"] for item in outputs if item.get("name") == name))
    for item in outputs:
        if item["output_type"] == "error":
            traceback = _masked(strip_escapes("\n".join(item["traceback"])))
            value = _masked(strip_escapes(item["evalue"]))
            others.append({"error": item["ename"], "value": value, "traceback": traceback})
        elif item["output_type"] != "stream":
            data = {mime: _datum(mime, value, widgets) for mime, value in item["data"].items()}
            others.append({"output_type": item["output_type"], "data": data, "metadata": item["metadata"]})
    return _Cell(streams["stdout"], streams["stderr"], tuple(others))


def _datum(mime: str, value: Any, widgets: dict[str, str]) -> Any:
    """A widget's view names its model by a random UUID: what counts is which views share a model."""
    if mime.startswith("text/") and isinstance(value, str):
        return _masked(value)
    if mime != _WIDGET or not isinstance(value, dict) or not isinstance(value.get("model_id"), str):
        return value
    model = widgets.setdefault(value["model_id"], f"widget {len(widgets) + 1}")
    return {**value, "model_id": model}


def _masked(text: str) -> str:
    """``<Figure at 0x7f2c>`` without its address: the system's choice, which says nothing of the object."""
    return _ADDRESS.sub("0x...", text)


def _equal(before: Any, after: Any) -> bool:
    if isinstance(before, _Cell) and isinstance(after, _Cell):
        texts = (before.stdout, before.stderr) == (after.stdout, after.stderr)
        return texts and _canonical(before.outputs) == _canonical(after.outputs)
    return bool(before == after)


def _canonical(value: Any) -> str:
    # As text, because nan in a JSON output is not equal to itself, and True is equal to 1.
    return json.dumps(value, sort_keys=True)


# --- details ------------------------------------------------------------------------------------


def _detail(before: Any, after: Any) -> str:
    """One line for people: the first thing that differs, old and new."""
    if isinstance(before, _Cell) and isinstance(after, _Cell):
        return _cell_detail(before, after)
    if before is None:
        return "only in the new run"
    if after is None:
        return "only in the old run"
    if isinstance(before, list):
        return _first_difference("value", before, after)
    return f"{before} became {after}"


def _cell_detail(before: _Cell, after: _Cell) -> str:
    for name in ("stdout", "stderr"):
        one, other = getattr(before, name), getattr(after, name)
        if one != other:
            return f"{name} {_first_difference('line', one.split(chr(10)), other.split(chr(10)))}"
    if len(before.outputs) != len(after.outputs):
        return f"{len(before.outputs)} outputs became {len(after.outputs)}"
    for number, (one, other) in enumerate(zip(before.outputs, after.outputs, strict=True), 1):
        if _canonical(one) != _canonical(other):
            return f"output {number}: {_output_detail(one, other)}"
    raise AssertionError("details are asked only of cells that differ")


def _output_detail(one: Json, other: Json) -> str:
    if one.keys() != other.keys() or one.get("output_type") != other.get("output_type"):
        return f"{_kind(one)} became {_kind(other)}"
    if "error" in one:
        names = [name for name in ("error", "value", "traceback") if one[name] != other[name]]
        return f"{names[0]} {_first_difference('line', one[names[0]].split(chr(10)), other[names[0]].split(chr(10)))}"
    if one["data"].keys() != other["data"].keys():
        return f"{', '.join(one['data'])} became {', '.join(other['data'])}"
    for mime in one["data"]:
        a, b = one["data"][mime], other["data"][mime]
        if _canonical(a) != _canonical(b):
            return f"{mime} {_datum_detail(mime, a, b)}"
    return "metadata differ"


def _datum_detail(mime: str, a: Any, b: Any) -> str:
    if mime.startswith("image/") and not mime.endswith("+xml"):
        return f"{_picture(a)} became {_picture(b)}"
    texts = [value if isinstance(value, str) else json.dumps(value, sort_keys=True, indent=1) for value in (a, b)]
    return _first_difference("line", texts[0].split("\n"), texts[1].split("\n"))


def _picture(value: Any) -> str:
    data = str(value).encode()
    return f"{len(data)} characters of base64 with sha256 {hashlib.sha256(data).hexdigest()[:12]}"


def _kind(output: Json) -> str:
    return f"error {output['error']}" if "error" in output else str(output.get("output_type"))


def _first_difference(what: str, before: Sequence[str], after: Sequence[str]) -> str:
    for number, (one, other) in enumerate(zip_longest(before, after), 1):
        if one != other:
            sides = ["nothing" if side is None else _shown(side) for side in (one, other)]
            if None not in (one, other) and sides[0] == sides[1]:
                sides = [_shown(side, _parting(str(one), str(other))) for side in (str(one), str(other))]
            return f"{what} {number}: {sides[0]} became {sides[1]}"
    raise AssertionError("equal sequences have no first difference")


def _parting(one: str, other: str) -> int:
    """Where two texts part, less some context, for lines too long to be shown from their beginning."""
    part = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return max(part - 20, 0)


def _shown(text: str, start: int = 0) -> str:
    piece = text[start : start + _SHOWN]
    cut = "..." if start + _SHOWN < len(text) else ""
    return f"{'...' if start else ''}{clean_text(piece)!r}{cut}"
