"""Scalars that cells print, as Guild AI's default patterns find them."""

import math
import time

import pytest
from executed_builders import code, display, executed, stream
from hypothesis import given
from hypothesis import strategies as st

from engine.model import Json
from engine.results import harvest_scalars, json_number, last_values
from engine.results import scalars as scalars_module


def found(document: Json) -> list[tuple[str, float, int | None]]:
    return [(item.name, item.value, item.step) for item in harvest_scalars(document)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("loss: 0.5", ("loss", 0.5, None)),
        ("loss:\t -1e-3", ("loss", -0.001, None)),
        ("val/acc@1: 1", ("val/acc@1", 1.0, None)),
        ("a:b: .5", ("a:b", 0.5, None)),
        ("_x: 5.", ("_x", 5.0, None)),
        ("loss: 0.5 (step 3)", ("loss", 0.5, 3)),
        ("loss: 0.5 (3)", ("loss", 0.5, 3)),
        ("loss: 0.5 (better)", ("loss", 0.5, None)),
        ("loss: 0.5 (step x)", ("loss", 0.5, None)),
        ("loss: inf", ("loss", math.inf, None)),
        ("loss: -inf", ("loss", -math.inf, None)),
        ("\x1b[1mloss\x1b[0m: \x1b[31m2\x1b[0m", ("loss", 2.0, None)),
        ("loss: 1\rloss: 2", ("loss", 2.0, None)),
        ("loss: 1\r", ("loss", 1.0, None)),
        ("loss: 1\r\n", ("loss", 1.0, None)),
        ("loss: 1e999", ("loss", math.inf, None)),
        ("loss:0.5", None),
        ("loss : 0.5", None),
        (" loss: 0.5", None),
        ("loss: 0.5 s", None),
        ("loss: 0.5, acc: 1", None),
        ("1st: 2", None),
        ("Out[6]: 1", ("Out[6]", 1.0, None)),  # only if printed; results carry no such prefix here
        ("loss: 1_000", None),
        ("loss: 0x10", None),
        ("loss: ٣", None),
        ("time: 12:30", None),
        ("x" * 2000 + ": 1", None),
    ],
)
def test_line(line: str, expected: tuple[str, float, int | None] | None) -> None:
    assert found(executed(stream(line))) == ([expected] if expected else [])


def test_nan() -> None:
    (item,) = harvest_scalars(executed(stream("loss: nan")))
    assert math.isnan(item.value)


def test_step_is_sticky_over_cells() -> None:
    document = executed(
        stream("a: 1\nloss: 0.5 (step 1)\nacc: 0.1\nloss: 0.4 (step 2)\n"),
        stream("acc: 0.2\nx: 1 (step 99999999999999999999)"),
    )
    assert found(document) == [
        ("a", 1, None), ("loss", 0.5, 1), ("acc", 0.1, 1), ("loss", 0.4, 2), ("acc", 0.2, 2), ("x", 1, 2),
    ]  # fmt: skip
    assert [item.cell for item in harvest_scalars(document)] == [0, 0, 0, 0, 1, 1]
    assert last_values(harvest_scalars(document)) == {"a": 1, "loss": 0.4, "acc": 0.2, "x": 1}


def test_chunks_and_interleaving_do_not_matter() -> None:
    one = executed(code(stream("loss: 0."), stream("warn: 1\n", "stderr"), stream("25\nacc: 1\n")))
    other = executed(code(stream("warn: 1\n", "stderr"), stream("loss: 0.25\nacc: 1\n")))
    assert found(one) == found(other) == [("loss", 0.25, None), ("acc", 1, None), ("warn", 1, None)]


def test_text_of_results_and_displays() -> None:
    document = executed(code(display({"text/plain": "loss: 1", "text/html": "acc: 2"}), display({"text/plain": "5"})))
    assert found(document) == [("loss", 1, None)]


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scalars_module, "MAX_SCALARS", 3)
    monkeypatch.setattr(scalars_module, "MAX_NAMES", 2)
    assert found(executed(stream("a: 1\nb: 1\nc: 1\na: 2\na: 3\n"))) == [("a", 1, None), ("b", 1, None), ("a", 2, None)]


@given(st.lists(st.sampled_from(["loss", ":", " ", "1", "nan", "(", ")", "step", "\r", "\n", "\x1b[", "m"])
                | st.text(st.characters(), max_size=3)).map("".join))  # fmt: skip
def test_never_fails(text: str) -> None:
    for item in harvest_scalars(executed(stream(text))):
        assert isinstance(item.value, float)
        assert item.name.isprintable() or not item.name.isascii()


@pytest.mark.parametrize("piece", ["a:", "a: ", "a: 1 (", "a: 1 ", "a: 1e", "\r", ":\n", "a: 11111111\n"])
def test_takes_linear_time(piece: str) -> None:
    began = time.process_time()
    harvest_scalars(executed(stream(("a" + piece * (990 // len(piece)) + "\n") * 1000)))
    assert time.process_time() - began < 5


def test_numbers_as_json() -> None:
    assert [json_number(x) for x in (1.5, math.nan, math.inf, -math.inf)] == [1.5, "NaN", "Infinity", "-Infinity"]
