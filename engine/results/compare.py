"""How a run compares with another: output by output, scalar by scalar, file by file."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, zip_longest
from typing import Any

from engine.model import Comparison, Difference, Json, OutputFile, Scalar
from engine.results.budget import BEYOND, Budget
from engine.results.executed import cell_outputs
from engine.results.judging import (
    IDENTICAL,
    PICTURES,
    Judgement,
    Rules,
    Side,
    combined,
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
DEFAULT = Rules()


#: Each type that a side has, with its text, or its base64 for a picture; None for a side that lacks the unit.
Shown = Mapping[str, str] | None


@dataclass(frozen=True)
class Unit:
    """One thing that is compared. ``sides`` gives the old and the new, to be shown."""

    where: str
    judge: Callable[[], Judgement]
    sides: Callable[[], tuple[Shown, Shown]]


@dataclass(frozen=True)
class Evidence:
    """What a comparison looks at on one side: how the run ended, its outputs, files and how to read them."""

    status: str
    document: Json
    files: tuple[OutputFile, ...] = ()
    read: Reader = lambda _: None


def compare(old: Evidence, new: Evidence, rules: Rules = DEFAULT) -> Comparison:
    """Compare two runs of one spec: see ``examine``."""
    return examine(old, new, rules)[0]


def examine(old: Evidence, new: Evidence, rules: Rules = DEFAULT) -> tuple[Comparison, list[tuple[Difference, Unit]]]:
    """Compare two runs of one spec; the comparison, and each unit that differs with its difference.

    A unit is a stream or another output of a code cell, a scalar's series, or a file that was written, changed or
    deleted; each that is not identical gives one difference. Execution counts, and how streams were cut into pieces
    and interleaved, are no part of any. How the runs ended counts too, as no unit.
    """
    rules = replace(rules, budget=Budget())
    differences = []
    if old.status != new.status:
        differences.append(Difference("status", f"{old.status} became {new.status}"))
    differing = []
    count = 0
    for unit in chain(_cells(old.document, new.document, rules), _scalars(old, new, rules), _files(old, new, rules)):
        count += 1
        found = unit.judge()
        if found != IDENTICAL:
            difference = Difference(unit.where, found.detail, found.verdict, *_measures(found))
            differences.append(difference)
            differing.append((difference, unit))
    verdict = worst([Judgement(item.verdict) for item in differences]).verdict
    comparison = Comparison(verdict, count, tuple(differences), rules.tolerance, tuple(sorted(rules.without)))
    return comparison, differing


# --- cells --------------------------------------------------------------------------------------


def _cells(old: Json, new: Json, rules: Rules) -> Iterator[Unit]:
    """Code cells by their order; the streams and outputs of each that either side has."""
    old_widgets: dict[str, str] = {}
    new_widgets: dict[str, str] = {}
    nothing: tuple[int, list[Json]] = (-1, [])
    for (i, before), (j, after) in zip_longest(cell_outputs(old), cell_outputs(new), fillvalue=nothing):
        where = f"cell {max(i, j) + 1}"
        for name in ("stdout", "stderr"):
            one, other = _stream(before, name), _stream(after, name)
            if one.text or other.text:
                yield _text_unit(f"{where} {name}", "text/plain", "line", one, other, rules)
        rest = [[item for item in outputs if item["output_type"] != "stream"] for outputs in (before, after)]
        for number, (a, b) in enumerate(zip_longest(*rest), 1):
            parts = (a and _parts(a, old_widgets), b and _parts(b, new_widgets))
            yield Unit(
                f"{where} output {number}",
                partial(_judge_output, *parts, rules),
                partial(_both_shown, *parts),
            )


def _stream(outputs: Sequence[Json], name: str) -> Side:
    return Side("".join(item["text"] for item in outputs if item.get("name") == name))


def _text_unit(where: str, media: str, what: str, old: Side, new: Side, rules: Rules) -> Unit:
    sides = {media: old.text}, {media: new.text}
    return Unit(where, partial(judge_text, media, what, old, new, rules), lambda: sides)


def _shown(parts: Mapping[str, Side] | None) -> Shown:
    return None if parts is None else {media: side.text for media, side in parts.items()}


def _both_shown(old: Mapping[str, Side] | None, new: Mapping[str, Side] | None) -> tuple[Shown, Shown]:
    return _shown(old), _shown(new)


def _judge_output(old: Mapping[str, Side] | None, new: Mapping[str, Side] | None, rules: Rules) -> Judgement:
    """The worst of an output's formats, with what it took in all of them."""
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
            judgements.append(replace(found, detail=f"{media} {found.detail}"))
    return combined(judgements)


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
    # A type without a slash is none, and must not pass for one of our own names.
    parts |= {
        mime if "/" in mime else f"data/{mime}": _datum(mime, value, widgets) for mime, value in output["data"].items()
    }
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


def _scalars(old: Evidence, new: Evidence, rules: Rules) -> Iterator[Unit]:
    before, after = _series(harvest_scalars(old.document)), _series(harvest_scalars(new.document))
    for name in {**before, **after}:
        one, other = (Side("\n".join(side.get(name, ()))) for side in (before, after))
        unit = _text_unit(f"scalar {name}", "scalar", "value", one, other, rules)
        if name not in before or name not in after:
            only = "only in the new run" if name in after else "only in the old run"
            unit = replace(unit, judge=partial(Judgement, "different", only))
        yield unit


def _series(scalars: Sequence[Scalar]) -> dict[str, list[str]]:
    """Each name's values with steps as text: repr() tells every float from every other, and nan equals nan."""
    series: dict[str, list[str]] = {}
    for item in scalars:
        step = "" if item.step is None else f" (step {item.step})"
        series.setdefault(item.name, []).append(f"{item.value!r}{step}")
    return series


def _files(old: Evidence, new: Evidence, rules: Rules) -> Iterator[Unit]:
    before, after = ({item.path: item for item in side.files} for side in (old, new))
    for path in {**before, **after}:
        one, other = before.get(path), after.get(path)
        yield Unit(
            f"file {path}",
            partial(_judge_file, one, other, old.read, new.read, rules),
            partial(_contents, one, other, old.read, new.read),
        )


def _contents(
    old: OutputFile | None, new: OutputFile | None, read_old: Reader, read_new: Reader
) -> tuple[Shown, Shown]:
    return _content(old, read_old), _content(new, read_new)


def _content(item: OutputFile | None, read: Reader) -> Shown:
    """A file as an output would hold it."""
    if item is None:
        return None
    data = None if item.change == "deleted" or item.size > MAX_FILE else read(item)
    if data is not None and item.media_type in PICTURES:
        return {item.media_type: base64.b64encode(data).decode()}
    try:
        return {"text/plain": data.decode() if data is not None else f"{item.change}, {item.size} bytes"}
    except UnicodeDecodeError:
        return {"text/plain": f"{item.size} bytes with {item.sha256}"}


def _judge_file(
    old: OutputFile | None, new: OutputFile | None, read_old: Reader, read_new: Reader, rules: Rules
) -> Judgement:
    if old is None or new is None:
        return Judgement("different", "only in the new run" if old is None else "only in the old run")
    if (old.change, old.sha256, old.media_type) == (new.change, new.sha256, new.media_type):
        return IDENTICAL
    if old.change != new.change or "deleted" in (old.change, new.change):
        return Judgement("different", f"{old.change} became {new.change}")
    sizes = f"{old.size} bytes with {old.sha256} became {new.size} bytes with {new.sha256}"
    if max(old.size, new.size) > MAX_FILE:
        return Judgement("different", f"{sizes}: too large to look inside")
    if not rules.budget.read(old.size + new.size):
        return Judgement("different", f"{sizes}, by digest alone: {BEYOND}")
    one, other = read_old(old), read_new(new)
    if one is None or other is None:
        return Judgement("different", f"{sizes}, of which one is not there any more")
    return judge_bytes(old.media_type, one, other, rules)
