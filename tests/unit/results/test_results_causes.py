"""Causes inferred from experiments; here they are made up, tests/engine/test_diagnose.py makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.results import Evidence, Rules, Trial, Trials, infer, is_worse, read_trace
from engine.results.flow import feeding
from engine.results.trace import Note, find_entry, writer_of

SOURCES = ["import numpy as np\nx = np.random.rand()", "print(x)", "print('fixed')"]


def evidence(*texts: str, status: str = "completed") -> Evidence:
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "source": source,
            "metadata": {},
            "execution_count": number,
            "outputs": [{"output_type": "stream", "name": "stdout", "text": text}] if text else [],
        }
        for number, (source, text) in enumerate(zip(SOURCES, texts, strict=True), 1)
    ]
    return Evidence(status, {"cells": cells})


def trials(**texts: str) -> Trials:
    """Experiments by name, each with what cell 2 printed in it."""
    done = [
        Trial(name.replace("_", " "), f"run-{name}", evidence("", text, "fixed\n"), TRACES.get(name, ()))
        for name, text in texts.items()
    ]
    return Trials(Rules(), "equivalent", [*done])


#: The generator is in another state after the same line, when seeds are free.
TRACES = {
    "held": (Note(1, 2, "random", "numpy 7"), Note(2, 1, "clock", "True")),
    "free_seeds": (Note(1, 2, "random", "numpy 8"),),
}
UNIT = "cell 2 stdout"
HELD = {"held": "h\n", "held_again": "h\n"}
FREE = {"free_seeds": "h\n", "free_clock": "h\n", "free_threads": "h\n", "free_threads_again": "h\n"}
STILL = dict.fromkeys(("clock_held", "other_hashes", "elsewhere", "one_thread", "plain_processor"), "a\n")


@pytest.mark.parametrize(
    ("outcome", "kinds"),
    [
        ({**HELD, **FREE, "free_seeds": "s\n"}, ["random"]),
        ({**HELD, **FREE, "free_clock": "c\n"}, ["clock"]),
        ({**HELD, **FREE, "free_threads": "t\n"}, ["threads"]),
        # Another number of threads gives another result, and always the same: that is no cause of what moves.
        ({**HELD, **FREE, "free_threads": "t\n", "free_threads_again": "t\n"}, ["unexplained"]),
        ({**HELD, **FREE, "free_seeds": "s\n", "free_clock": "c\n"}, ["random", "clock"]),
        ({**HELD, **FREE}, ["unexplained"]),
        ({"held": "h\n", "held_again": "i\n"}, ["unexplained"]),
        ({"held": "h\n"}, ["unexplained"]),
        ({}, ["unexplained"]),
    ],
)
def test_what_moves(outcome: dict[str, str], kinds: list[str]) -> None:
    found = infer([UNIT], trials(as_it_was="a\n", plain="b\n", **outcome), network=False)
    assert [cause.kind for cause in found] == kinds
    assert all(cause.unit == UNIT and cause.cell == 2 and cause.evidence for cause in found)
    if kinds == ["random"]:
        assert found[0].enters == "cell 1 line 2: x = np.random.rand()"
        assert "run-free_seeds" in found[0].evidence
    if kinds == ["clock"]:
        assert found[0].enters == "cell 2 line 1: print(x)"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("clock_held", "clock"),
        ("other_hashes", "hash-order"),
        ("elsewhere", "identity"),
        ("one_thread", "threads"),
        ("plain_processor", "hardware"),
    ],
)
def test_what_stays(name: str, kind: str) -> None:
    found = infer([UNIT], trials(as_it_was="a\n", plain="a\n", **{**STILL, name: "b\n"}), network=False)
    assert [cause.kind for cause in found] == [kind]
    nothing = infer([UNIT], trials(as_it_was="a\n", plain="a\n", **STILL), network=False)
    assert [(cause.kind, "not every" in cause.evidence) for cause in nothing] == [("unexplained", False)]
    without = {other: text for other, text in STILL.items() if other != name}
    some = infer([UNIT], trials(as_it_was="a\n", plain="a\n", **without), network=False)
    assert [(cause.kind, "not every" in cause.evidence) for cause in some] == [("unexplained", True)]


def test_without_experiments_nothing_is_explained() -> None:
    found = infer([UNIT], trials(as_it_was="a\n"), network=False)
    assert [(cause.kind, cause.evidence) for cause in found] == [("unexplained", "no experiment was made")]


def test_a_cell_that_asked_for_the_network_that_is_off() -> None:
    asking = Trial("plain", "run-plain", evidence("", "a\n", "fixed\n"), (Note(2, 1, "network", "example.org"),))
    made = Trials(Rules(), "equivalent", [Trial("as it was", "run", evidence("", "a\n", "fixed\n")), asking])
    assert [cause.kind for cause in infer([UNIT], made, network=False)] == ["network"]
    assert [cause.kind for cause in infer([UNIT], made, network=True)] == ["unexplained"]


def test_the_order_of_verdicts() -> None:
    assert is_worse("close", "equivalent")
    assert not is_worse("close", "close")
    assert is_worse("equivalent", "identical")


# --- where things enter ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "cell", "cells"),
    [
        (["x = 1", "y = 2", "print(x)"], 3, (3, 1)),
        (["x = 1", "y = x", "print(y)"], 3, (3, 2, 1)),
        (["x = 1", "x = 2", "print(x)"], 3, (3, 2, 1)),  # the first may have a part in the second
        (["import numpy as np\nnp.random.seed()", "x = np.zeros(3)", "np.ones(1)"], 3, (3,)),
        (["rows = []", "rows.append(1)", "rows"], 3, (3, 2, 1)),
        (["table = {}", "table['a'] = 1", "table"], 3, (3, 2, 1)),
        (["def f(): return 1", "class C: pass", "f(C())"], 3, (3, 2, 1)),
        (["%matplotlib inline\nx = 1", "!ls\nprint(x)"], 2, (2, 1)),
        (["x = (", "x"], 2, (2,)),
    ],
)
def test_which_cells_feed_a_cell(sources: list[str], cell: int, cells: tuple[int, ...]) -> None:
    assert feeding(sources, cell) == cells


@given(st.lists(st.text(max_size=60), min_size=1, max_size=6))
def test_any_text_has_a_flow(sources: list[str]) -> None:
    found = feeding(sources, len(sources))
    assert found[0] == len(sources)
    assert list(found) == sorted(set(found), reverse=True)


def test_the_line_where_something_enters() -> None:
    notes = (Note(1, 2, "random", "numpy 5"), Note(3, 1, "random", "numpy 6"), Note(2, 4, "clock", "True"))
    assert find_entry(notes, 2, "random", SOURCES) == (1, 2)  # fed by cell 1
    assert find_entry(notes, 3, "random", SOURCES) == (3, 1)  # its own
    assert find_entry(notes, 2, "clock", SOURCES) == (2, 4)
    assert find_entry(notes, 3, "clock", SOURCES) == (0, 0)
    same = (Note(1, 2, "random", "numpy 5"),)
    assert find_entry(notes, 2, "random", SOURCES, same) == (0, 0)  # seeded by the notebook itself
    drawn = (Note(1, 2, "random", "entropy"),)
    assert find_entry(drawn, 2, "random", SOURCES, drawn) == (1, 2)  # which is never the same


def test_a_trace_is_read_with_suspicion(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    document = evidence("", "a\n", "").document
    assert read_trace(path, document) == ()
    lines: list[Any] = [
        {"execution": 2, "line": 1, "clock": True},
        {"execution": 1, "line": 2, "writes": "/project/data/out.csv"},
        {"execution": 99, "line": 1, "clock": True},
        {"execution": True, "line": True, "clock": True},
        {"execution": [], "line": 1, "clock": True},
        {"execution": 1, "line": "1", "clock": True},
        {"execution": 1, "line": 1},
        [],
        "text",
        None,
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n{not json\n" + "[" * 100_000)
    notes = read_trace(path, document)
    assert notes == (Note(2, 1, "clock", "True"), Note(1, 2, "writes", "/project/data/out.csv"))
    assert writer_of("data/out.csv", notes) == 1
    assert writer_of("out.csv", notes) is None
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert read_trace(path, document) == ()
