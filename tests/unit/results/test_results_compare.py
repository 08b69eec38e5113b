"""When two runs are identical, and what is said when they are not."""

import copy
import math
import time
from dataclasses import replace

import pytest
from executed_builders import code, display, ended, error, executed, stream
from hypothesis import given
from hypothesis import strategies as st

from engine.model import Comparison, Json, OutputFile
from engine.results import compare

WIDGET = "application/vnd.jupyter.widget-view+json"


def between(one: Json, other: Json) -> Comparison:
    return compare(ended(), one, ended(), other)


def difference(one: Json, other: Json) -> tuple[str, str]:
    (item,) = between(executed(one), executed(other)).differences
    return item.where, item.detail


def widget(model: str) -> Json:
    return display({WIDGET: {"model_id": model, "version_major": 2}, "text/plain": "IntSlider()"})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (code(stream("a"), stream("b")), code(stream("ab"))),
        (code(stream("a"), stream("e", "stderr"), stream("b")), code(stream("e", "stderr"), stream("ab"))),
        (code(stream("a"), display({"text/plain": "x"})), code(display({"text/plain": "x"}), stream("a"))),
        (code(count=1), code(count=7)),
        (code(error("\x1b[31mbad\x1b[0m")), code(error("bad"))),
        (display({"application/json": {"a": math.nan}}), display({"application/json": {"a": math.nan}})),
        (code(widget("a"), widget("b"), widget("a")), code(widget("x"), widget("y"), widget("x"))),
        (stream("loss: nan"), stream("loss: nan")),
        (stream("<Figure at 0x7f11aa>"), stream("<Figure at 0x7f22bb>")),
        (display({"text/plain": "<a.B at 0x7f11aa>"}), display({"text/plain": "<a.B at 0x7f22bb>"})),
    ],
)
def test_identical(one: Json, other: Json) -> None:
    assert between(executed(one), executed(other)).verdict == "identical"


@pytest.mark.parametrize(
    ("one", "other", "detail"),
    [
        (stream("a\nb\n"), stream("a\nc\n"), "stdout line 2: 'b' became 'c'"),
        (stream("mask 0x7f11aa"), stream("mask 0x7f22bb"), "stdout line 1: 'mask 0x7f11aa' became 'mask 0x7f22bb'"),
        (stream("a\n"), stream("a\nb\n"), "stdout line 2: '' became 'b'"),
        (stream("a", "stderr"), code(), "stderr line 1: 'a' became ''"),
        (stream("x" * 500 + "1"), stream("x" * 500 + "2"),
         "stdout line 1: ...'" + "x" * 20 + "1' became ...'" + "x" * 20 + "2'"),
        (stream("\x1b[2Ja"), stream("b"), "stdout line 1: 'a' became 'b'"),
        (code(display({"text/plain": "x"})), code(), "1 outputs became 0"),
        (display({"text/plain": "x"}), display({"text/plain": "y"}), "output 1: text/plain line 1: 'x' became 'y'"),
        (display({"a/b": "x"}), display({"c/d": "x"}), "output 1: a/b became c/d"),
        (display({"a/b": "x"}), display({"a/b": "x"}, {"w": 1}), "output 1: metadata differ"),
        (display({"a/b": "x"}), display({"a/b": "x"}, kind="execute_result"),
         "output 1: display_data became execute_result"),
        (display({"a/b": "x"}), error("t"), "output 1: display_data became error ValueError"),
        (error("t"), error("t", evalue="worse"), "output 1: value line 1: 'bad' became 'worse'"),
        (error("t"), error("u"), "output 1: traceback line 1: 't' became 'u'"),
        (display({"application/json": {"a": 1}}), display({"application/json": {"a": True}}),
         "output 1: application/json line 2: ' \"a\": 1' became ' \"a\": true'"),
        (code(widget("a"), widget("a")), code(widget("a"), widget("b")),
         "output 2: application/vnd.jupyter.widget-view+json line 2: "
         "' \"model_id\": \"widget 1\",' became ' \"model_id\": \"widget 2\",'"),
    ],
)  # fmt: skip
def test_different_cell(one: Json, other: Json, detail: str) -> None:
    assert difference(one, other) == ("cell 1", detail)


def test_pictures_by_their_bytes() -> None:
    where, detail = difference(display({"image/png": "aaaa"}), display({"image/png": "aaab"}))
    assert where == "cell 1"
    assert detail.startswith("output 1: image/png 4 characters of base64 with sha256 ")


def test_scalars_as_series() -> None:
    result = between(executed(stream("a: 1\na: 2\nb: 1\n")), executed(stream("a: 1\na: 2 (step 3)\nc: 1\n")))
    assert [(item.where, item.detail) for item in result.differences] == [
        ("cell 1", "stdout line 2: 'a: 2' became 'a: 2 (step 3)'"),
        ("scalar a", "value 2: '2.0' became '2.0 (step 3)'"),
        ("scalar b", "only in the old run"),
        ("scalar c", "only in the new run"),
    ]
    assert result.units == 4


def test_files_by_digest() -> None:
    one = OutputFile("x", "added", 1, "sha256:1", "text/plain")
    old, new = ended("completed", one), ended("completed", replace(one, sha256="sha256:2"), replace(one, path="y"))
    result = compare(old, executed(), new, executed())
    assert [(item.where, item.detail) for item in result.differences] == [
        ("file x", "added, 1 bytes, sha256:1 became added, 1 bytes, sha256:2"),
        ("file y", "only in the new run"),
    ]
    assert compare(old, executed(), old, executed()) == Comparison("identical", 1)


def test_how_they_ended() -> None:
    result = compare(ended("completed"), executed(), ended("failed"), executed())
    assert (result.verdict, result.units, result.differences[0].where) == ("different", 0, "status")


def test_units_are_what_has_output() -> None:
    document = executed(code(), stream("a: 1"), code(), stream("x"))
    assert between(document, document) == Comparison("identical", 3)
    assert between(document, executed()).units == 3


OUTPUTS = st.one_of(
    st.builds(stream, st.text(max_size=20), st.sampled_from(["stdout", "stderr"])),
    st.builds(display, st.dictionaries(st.sampled_from(["text/plain", "image/png", "x+json"]), st.text(max_size=5))),
    st.builds(error, st.text(max_size=5)),
)


@given(st.lists(st.lists(OUTPUTS, max_size=4).map(lambda outputs: code(*outputs)), max_size=4))
def test_every_run_is_identical_to_itself(cells: list[Json]) -> None:
    document = executed(*cells)
    assert between(document, copy.deepcopy(document)).verdict == "identical"


def test_ten_thousand_cells() -> None:
    cells = [code(stream(f"loss: {i}\n" * 3), display({"text/plain": "x" * 500})) for i in range(10_000)]
    other = [*cells[:-1], code(stream("loss: 0\n"))]
    began = time.process_time()
    assert between(executed(*cells), executed(*other)).units == 10_001
    assert time.process_time() - began < 5
