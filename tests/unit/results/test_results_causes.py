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


def trials(texts: dict[str, list[str]]) -> Trials:
    """Experiments by name, each with what cell 2 printed in it, once or several times."""
    done = [
        Trial(name, f"run {name} {number}", evidence("", f"{text}\n", "fixed\n"), TRACES.get(name, ()))
        for name, printed in texts.items()
        for number, text in enumerate(printed, 1)
    ]
    return Trials(Rules(), "equivalent", done)


#: The generator is in another state after the same line, when seeds are free.
TRACES = {
    "held": (Note(1, 1, 2, "random", "numpy 7"), Note(2, 2, 1, "clock", "True")),
    "free seeds": (Note(1, 1, 2, "random", "numpy 8"),),
}
UNIT = "cell 2 stdout"
ALIKE = {"as it was": ["a"], "plain": ["b"]}
FREE = {"free seeds": ["h"], "free clock": ["h"], "free threads": ["h", "h"]}
HELD = {"held": ["h", "h", "h"]}
CHANGED = {name: ["a"] for name in ("clock held", "other hashes", "elsewhere", "one thread", "plain processor")}


@pytest.mark.parametrize(
    ("outcome", "kinds"),
    [
        ({**HELD, **FREE, "free seeds": ["s"]}, ["random"]),
        ({**HELD, **FREE, "free clock": ["c"]}, ["clock"]),
        ({**HELD, **FREE, "free threads": ["h", "t"]}, ["threads"]),
        # Another number of threads gives another result, and always the same: that is no cause of what moves.
        ({**HELD, **FREE, "free threads": ["t", "t", "t"]}, ["unexplained"]),
        ({**HELD, **FREE, "free seeds": ["s"], "free clock": ["c"]}, ["random", "clock"]),
        # A coin that fell as it is held, twice.
        ({**HELD, **FREE, "free seeds": ["h", "h", "s"]}, ["random"]),
        # A coin that nobody held fell the same way twice, and not the third time.
        ({**FREE, "free seeds": ["s"], "held": ["h", "h", "s"]}, ["unexplained"]),
        ({**HELD, **FREE}, ["unexplained"]),
        ({"held": ["h", "i"]}, ["unexplained"]),
        ({"held": ["h"]}, ["unexplained"]),
        ({}, ["unexplained"]),
    ],
)
def test_what_moves(outcome: dict[str, list[str]], kinds: list[str]) -> None:
    found = infer([UNIT], trials({**ALIKE, **outcome}), network=False)
    assert [cause.kind for cause in found] == kinds
    assert all(cause.unit == UNIT and cause.cell == 2 and cause.evidence for cause in found)
    if kinds == ["random"]:
        assert found[0].enters == "cell 1 line 2: x = np.random.rand()"
        assert "run free seeds 1" in found[0].evidence
    if kinds == ["clock"]:
        assert found[0].enters == "cell 2 line 1: print(x)"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("clock held", "clock"),
        ("other hashes", "hash-order"),
        ("elsewhere", "identity"),
        ("one thread", "threads"),
        ("plain processor", "hardware"),
    ],
)
def test_what_stays(name: str, kind: str) -> None:
    alike = {"as it was": ["a"], "plain": ["a"]}

    def causes(outcome: dict[str, list[str]]) -> list[tuple[str, bool]]:
        found = infer([UNIT], trials({**alike, **outcome}), network=False)
        return [(cause.kind, "not every" in cause.evidence) for cause in found]

    assert causes({**CHANGED, name: ["b", "b"]}) == [(kind, False)]
    assert causes(CHANGED) == [("unexplained", False)]
    assert causes({other: texts for other, texts in CHANGED.items() if other != name}) == [("unexplained", True)]
    # Once is not enough, and what differs between two changes in the same way moves by itself.
    assert causes({**CHANGED, name: ["b"]}) == [("unexplained", False)]
    assert causes({**CHANGED, name: ["b", "c"]}) == [("unexplained", True)]


def test_two_runs_that_differed_already_are_enough_to_call_it_moving() -> None:
    outcome = {"as it was": ["a", "b"], "plain": ["a"], **HELD, **FREE, "free seeds": ["s"]}
    assert [cause.kind for cause in infer([UNIT], trials(outcome), network=False)] == ["random"]


def test_without_experiments_nothing_is_explained() -> None:
    found = infer([UNIT], trials({"as it was": ["a"]}), network=False)
    assert [(cause.kind, cause.evidence) for cause in found] == [("unexplained", "no experiment was made")]


def test_a_cell_that_asked_for_the_network_that_is_off() -> None:
    def asking(text: str) -> Trials:
        trace = (Note(2, 1, 1, "network", "example.org"),)  # by a function that cell 1 defines
        plain = Trial("plain", "run plain", evidence("", text, "fixed\n"), trace)
        return Trials(Rules(), "equivalent", [Trial("as it was", "run", evidence("", "a\n", "fixed\n")), plain])

    [cause] = infer([UNIT], asking("a\n"), network=False)
    assert (cause.kind, cause.enters) == ("network", "cell 1 line 1: import numpy as np")
    assert [cause.kind for cause in infer([UNIT], asking("a\n"), network=True)] == ["unexplained"]
    # What moves does not do so because of a network that is off in every run.
    assert [cause.kind for cause in infer([UNIT], asking("b\n"), network=False)] == ["unexplained"]


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
    own, other = Note(3, 3, 1, "random", "numpy 6"), Note(1, 1, 2, "random", "numpy 5")
    clock, called = Note(2, 2, 4, "clock", "True"), Note(4, 1, 1, "clock", "True")
    notes = (other, own, clock, called)
    sources = [*SOURCES, "f()"]
    assert find_entry(notes, 2, "random", sources) == other  # fed by cell 1
    assert find_entry(notes, 3, "random", sources) == own
    assert find_entry(notes, 2, "clock", sources) == clock
    assert find_entry(notes, 4, "clock", sources) == called
    assert find_entry(notes, 3, "clock", sources) is None
    assert find_entry(notes, 2, "random", sources, (other,)) is None  # seeded by the notebook itself
    drawn = (Note(1, 1, 2, "random", "entropy"),)
    assert find_entry(drawn, 2, "random", sources, drawn) == drawn[0]  # which is never the same


def test_a_trace_is_read_with_suspicion(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    document = evidence("", "a\n", "").document
    assert read_trace(path, document) == ()
    lines: list[Any] = [
        {"execution": 2, "defined": 1, "line": 1, "clock": True},
        {"execution": 1, "defined": 1, "line": 2, "writes": "/project/data/out.csv"},
        {"execution": 99, "defined": 1, "line": 1, "clock": True},
        {"execution": 1, "defined": 99, "line": 1, "clock": True},
        {"execution": True, "defined": 1, "line": True, "clock": True},
        {"execution": [], "defined": 1, "line": 1, "clock": True},
        {"execution": 1, "defined": 1, "line": "1", "clock": True},
        {"execution": 1, "defined": 1, "line": 1},
        [],
        "text",
        None,
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n{not json\n" + "[" * 100_000)
    notes = read_trace(path, document)
    assert notes == (Note(2, 1, 1, "clock", "True"), Note(1, 1, 2, "writes", "/project/data/out.csv"))
    assert writer_of("data/out.csv", notes) == 1
    assert writer_of("out.csv", notes) is None
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert read_trace(path, document) == ()
