"""When two runs are identical, and what is said when they are not."""

import copy
import math
import time
from dataclasses import replace

import pytest
from executed_builders import code, display, error, executed, stream
from hypothesis import given
from hypothesis import strategies as st

from engine.model import Comparison, Json, OutputFile
from engine.results import Evidence, compare

WIDGET = "application/vnd.jupyter.widget-view+json"


def between(one: Json, other: Json) -> Comparison:
    return compare(Evidence("completed", one), Evidence("completed", other))


def widget(model: str) -> Json:
    return display({WIDGET: {"model_id": model, "version_major": 2}, "text/plain": "IntSlider()"})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (code(stream("a"), stream("b")), code(stream("ab"))),
        (code(stream("a"), stream("e", "stderr"), stream("b")), code(stream("e", "stderr"), stream("ab"))),
        (code(stream("a"), display({"text/plain": "x"})), code(display({"text/plain": "x"}), stream("a"))),
        (code(count=1), code(count=7)),
        (display({"application/json": {"a": math.nan}}), display({"application/json": {"a": math.nan}})),
        (stream("loss: nan"), stream("loss: nan")),
    ],
)
def test_identical(one: Json, other: Json) -> None:
    assert between(executed(one), executed(other)).verdict == "identical"


@pytest.mark.parametrize(
    ("one", "other", "where", "detail"),
    [
        (stream("a\nb\n"), stream("a\nc\n"), "stdout", "line 2: 'b' became 'c'"),
        (stream("mask 0x7f11aa"), stream("mask 0x7f22bb"), "stdout", "line 1: 'mask 0x7f11aa' became 'mask 0x7f22bb'"),
        (stream("a\n"), stream("a\nb\n"), "stdout", "line 2: '' became 'b'"),
        (stream("a", "stderr"), code(), "stderr", "line 1: 'a' became ''"),
        (stream("x" * 500 + "y"), stream("x" * 500 + "z"), "stdout",
         "line 1: ...'" + "x" * 20 + "y' became ...'" + "x" * 20 + "z'"),
        (stream("\x1b[2Ja"), stream("b"), "stdout", "line 1: 'a' became 'b'"),
        (code(display({"text/plain": "x"})), code(), "output 1", "only in the old run"),
        (display({"text/plain": "x"}), display({"text/plain": "y"}), "output 1", "text/plain line 1: 'x' became 'y'"),
        (display({"a/b": "x"}), display({"c/d": "x"}), "output 1", "kind, a/b became kind, c/d"),
        (display({"a/b": "x"}), display({"a/b": "x"}, {"w": 1}), "output 1", "kind, a/b became kind, a/b, metadata"),
        (display({"a/b": "x"}), display({"a/b": "x"}, kind="execute_result"), "output 1",
         "kind line 1: 'display_data' became 'execute_result'"),
        (error("t"), error("t", evalue="worse"), "output 1", "value line 1: 'bad' became 'worse'"),
        (error("t"), error("u"), "output 1", "traceback line 1: 't' became 'u'"),
        (display({"application/json": {"a": 1}}), display({"application/json": {"a": True}}), "output 1",
         "application/json line 2: ' \"a\": 1' became ' \"a\": true'"),
        (code(widget("a"), widget("a")), code(widget("a"), widget("b")), "output 2",
         "application/vnd.jupyter.widget-view+json line 2: "
         "' \"model_id\": \"widget 1\",' became ' \"model_id\": \"widget 2\",'"),
    ],
)  # fmt: skip
def test_different_cell(one: Json, other: Json, where: str, detail: str) -> None:
    (item,) = between(executed(one), executed(other)).differences
    assert (item.where, item.detail, item.verdict) == (f"cell 1 {where}", detail, "different")


def test_widgets_are_equivalent_when_the_same_views_share_a_model() -> None:
    one, other = code(widget("a"), widget("b"), widget("a")), code(widget("x"), widget("y"), widget("x"))
    result = between(executed(one), executed(other))
    assert result.verdict == "equivalent"
    assert {item.normalisers for item in result.differences} == {("widget-ids",)}


def test_scalars_as_series() -> None:
    result = between(executed(stream("a: 1\na: 2\nb: 1\n")), executed(stream("a: 1\na: 2 (step 3)\nc: 1\n")))
    assert [(item.where, item.detail) for item in result.differences] == [
        ("cell 1 stdout", "line 2: 'a: 2' became 'a: 2 (step 3)'"),
        ("scalar a", "value 2: '2.0' became '2.0 (step 3)'"),
        ("scalar b", "only in the old run"),
        ("scalar c", "only in the new run"),
    ]
    assert result.units == 4


def test_files_by_digest_and_then_by_content() -> None:
    one = OutputFile("x.csv", "added", 4, "sha256:1", "text/csv")
    contents = {"sha256:1": b"a,1.0\n", "sha256:2": b"a,1.000001\n", "sha256:3": b"a,2.0\n"}

    def evidence(*files: OutputFile) -> Evidence:
        return Evidence("completed", executed(), files, lambda item: contents.get(item.sha256))

    old = evidence(one)
    assert compare(old, old).verdict == "identical"
    near = compare(old, evidence(replace(one, sha256="sha256:2")))
    assert (near.verdict, near.units) == ("close", 1)
    far = compare(old, evidence(replace(one, sha256="sha256:3"), replace(one, path="y")))
    assert [(item.where, item.detail) for item in far.differences] == [
        ("file x.csv", "line 1: 'a,1.0' became 'a,2.0'"),
        ("file y", "only in the new run"),
    ]
    gone = compare(old, evidence(replace(one, sha256="sha256:4")))
    assert gone.differences[0].detail.endswith("of which one is not there any more")


def test_how_they_ended() -> None:
    result = compare(Evidence("completed", executed()), Evidence("failed", executed()))
    assert (result.verdict, result.units, result.differences[0].where) == ("different", 0, "status")


def test_units_are_what_has_output() -> None:
    document = executed(code(), stream("a: 1"), code(), stream("x"))
    assert between(document, document) == Comparison("identical", 3, (), 1e-5)
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
    assert between(executed(*cells), executed(*other)).units == 20_001
    assert time.process_time() - began < 5
