"""How a run compares with another: output by output, scalar by scalar, file by file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from engine.model import Comparison, Difference, Json, OutputFile, Scalar
from engine.results.executed import cell_outputs
from engine.results.judging import (
    IDENTICAL,
    PICTURES,
    Judgement,
    Rules,
    Side,
    judge_bytes,
    judge_encoded,
    judge_text,
    worst,
)
from engine.results.scalars import harvest_scalars

_WIDGET = "application/vnd.jupyter.widget-view+json"
#: Larger files are compared by their digests alone.
MAX_FILE = 64 << 20
#: Reads the bytes of an output file of one run; None when they are not there any more.
Reader = Callable[[OutputFile], bytes | None]
_NOTHING = Side("")
DEFAULT = Rules()


@dataclass(frozen=True)
class _Unit:
    where: str
    judge: Callable[[], Judgement]


@dataclass(frozen=True)
class Evidence:
    """What a comparison looks at on one side: how the run ended, its outputs, files and how to read them."""

    status: str
    document: Json
    files: tuple[OutputFile, ...] = ()
    read: Reader = lambda _: None


def compare(old: Evidence, new: Evidence, rules: Rules = DEFAULT) -> Comparison:
    """Compare two runs of one spec.

    A unit is a stream or another output of a code cell, a scalar's series, or a file that was written, changed or
    deleted; each that is not identical gives one difference. Execution counts, and how streams were cut into pieces
    and interleaved, are no part of any. How the runs ended counts too, as no unit.
    """
    differences = []
    if old.status != new.status:
        differences.append(Difference("status", f"{old.status} became {new.status}"))
    count = 0
    for unit in (
        *_cell_units(old.document, new.document, rules),
        *_scalar_units(old, new, rules),
        *_files(old, new, rules),
    ):
        count += 1
        found = unit.judge()
        if found != IDENTICAL:
            differences.append(
                Difference(unit.where, found.detail, found.verdict, found.normalisers, found.largest, found.likeness)
            )
    verdict = worst([Judgement(item.verdict) for item in differences]).verdict
    return Comparison(verdict, count, tuple(differences), rules.tolerance, tuple(sorted(rules.without)))


# --- cells --------------------------------------------------------------------------------------


def _cell_units(old: Json, new: Json, rules: Rules) -> Iterator[_Unit]:
    """Code cells by their order; the streams and outputs of each that either side has."""
    old_widgets: dict[str, str] = {}
    new_widgets: dict[str, str] = {}
    nothing: tuple[int, list[Json]] = (-1, [])
    for (i, before), (j, after) in zip_longest(cell_outputs(old), cell_outputs(new), fillvalue=nothing):
        where = f"cell {max(i, j) + 1}"
        for name in ("stdout", "stderr"):
            one, other = _stream(before, name), _stream(after, name)
            if one.text or other.text:
                yield _Unit(f"{where} {name}", _texts("text/plain", "line", one, other, rules))
        rest = [[item for item in outputs if item["output_type"] != "stream"] for outputs in (before, after)]
        for number, (a, b) in enumerate(zip_longest(*rest), 1):
            parts = a and _parts(a, old_widgets), b and _parts(b, new_widgets)
            yield _Unit(f"{where} output {number}", _outputs(*parts, rules))


def _stream(outputs: Sequence[Json], name: str) -> Side:
    return Side("".join(item["text"] for item in outputs if item.get("name") == name))


def _texts(media: str, what: str, old: Side, new: Side, rules: Rules) -> Callable[[], Judgement]:
    return lambda: judge_text(media, what, old, new, rules)


def _outputs(old: Mapping[str, Side] | None, new: Mapping[str, Side] | None, rules: Rules) -> Callable[[], Judgement]:
    return lambda: _judge_output(old, new, rules)


def _judge_output(old: Mapping[str, Side] | None, new: Mapping[str, Side] | None, rules: Rules) -> Judgement:
    """The worst of an output's formats."""
    if old is None or new is None:
        return Judgement("different", "only in the new run" if old is None else "only in the old run")
    if old.keys() != new.keys():
        return Judgement("different", f"{', '.join(old) or 'nothing'} became {', '.join(new) or 'nothing'}")
    judgements = []
    for media, side in old.items():
        if media in PICTURES:
            found = judge_encoded(side.text, new[media].text, rules)
        else:
            found = judge_text(media if "/" in media else "text/plain", "line", side, new[media], rules)
        if found != IDENTICAL:
            judgements.append(Judgement(found.verdict, f"{media} {found.detail}", *_measures(found)))
    return worst(judgements)


def _measures(found: Judgement) -> tuple[tuple[str, ...], float | None, float | None]:
    return found.normalisers, found.largest, found.likeness


def _parts(output: Json, widgets: dict[str, str]) -> dict[str, Side]:
    """Each format of an output under its type; the parts of an error, and metadata, under their names."""
    if output["output_type"] == "error":
        return {
            "error": Side(output["ename"]),
            "value": Side(output["evalue"]),
            "traceback": Side("\n".join(output["traceback"])),
        }
    parts = {"kind": Side(output["output_type"])}
    parts |= {mime: _datum(mime, value, widgets) for mime, value in output["data"].items()}
    return parts | ({"metadata": Side(_canonical(output["metadata"]))} if output["metadata"] else {})


def _datum(mime: str, value: Any, widgets: dict[str, str]) -> Side:
    if isinstance(value, str):
        return Side(value)
    if mime != _WIDGET or not isinstance(value, dict) or not isinstance(value.get("model_id"), str):
        return Side(_canonical(value))
    # A widget's view names its model by a random UUID: what counts is which views share a model.
    model = widgets.setdefault(value["model_id"], f"widget {len(widgets) + 1}")
    return Side(_canonical(value), _canonical({**value, "model_id": model}))


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False)


# --- scalars and files --------------------------------------------------------------------------


def _scalar_units(old: Evidence, new: Evidence, rules: Rules) -> Iterator[_Unit]:
    before, after = _series(harvest_scalars(old.document)), _series(harvest_scalars(new.document))
    for name in {**before, **after}:
        one, other = (Side("\n".join(side.get(name, ()))) for side in (before, after))
        yield _Unit(f"scalar {name}", _scalar(one, other, rules))


def _scalar(one: Side, other: Side, rules: Rules) -> Callable[[], Judgement]:
    if _NOTHING in (one, other):
        return lambda: Judgement("different", "only in the new run" if one == _NOTHING else "only in the old run")
    return lambda: judge_text("scalar", "value", one, other, rules)


def _series(scalars: Sequence[Scalar]) -> dict[str, list[str]]:
    """Each name's values with steps as text: repr() tells every float from every other, and nan equals nan."""
    series: dict[str, list[str]] = {}
    for item in scalars:
        step = "" if item.step is None else f" (step {item.step})"
        series.setdefault(item.name, []).append(f"{item.value!r}{step}")
    return series


def _files(old: Evidence, new: Evidence, rules: Rules) -> Iterator[_Unit]:
    before, after = ({item.path: item for item in side.files} for side in (old, new))
    for path in {**before, **after}:
        yield _Unit(f"file {path}", _file(before.get(path), after.get(path), old.read, new.read, rules))


def _file(
    old: OutputFile | None, new: OutputFile | None, read_old: Reader, read_new: Reader, rules: Rules
) -> Callable[[], Judgement]:
    return lambda: _judge_file(old, new, read_old, read_new, rules)


def _judge_file(
    old: OutputFile | None, new: OutputFile | None, read_old: Reader, read_new: Reader, rules: Rules
) -> Judgement:
    if old is None or new is None:
        return Judgement("different", "only in the new run" if old is None else "only in the old run")
    if (old.change, old.sha256) == (new.change, new.sha256):
        return IDENTICAL
    if old.change != new.change or "deleted" in (old.change, new.change):
        return Judgement("different", f"{old.change} became {new.change}")
    sizes = f"{old.size} bytes with {old.sha256} became {new.size} bytes with {new.sha256}"
    if max(old.size, new.size) > MAX_FILE:
        return Judgement("different", f"{sizes}: too large to look inside")
    one, other = read_old(old), read_new(new)
    if one is None or other is None:
        return Judgement("different", f"{sizes}, of which one is not there any more")
    return judge_bytes(old.media_type, one, other, rules)
