"""Joining of stream messages, so that how a kernel cuts them leaves no trace."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output

from engine.harness.client import _join_stream, finish_streams


def joined(*outputs: Any) -> list[tuple[str, str]]:
    cell: NotebookNode = new_code_cell("")
    for output in outputs:
        cell.outputs.append(output)
        if output.output_type == "stream":
            _join_stream(cell.outputs)
    finish_streams(cell)
    return [(item.get("name", item.output_type), item.get("text", "")) for item in cell.outputs]


def out(text: str) -> NotebookNode:
    return new_output("stream", name="stdout", text=text)


def err(text: str) -> NotebookNode:
    return new_output("stream", name="stderr", text=text)


def picture() -> NotebookNode:
    return new_output("display_data", data={"text/plain": "picture"})


def test_pieces_of_one_stream_become_one_output() -> None:
    assert joined(out("a"), out("b\n"), out("c")) == [("stdout", "ab\nc")]


def test_stdout_stands_before_stderr_whichever_came_first() -> None:
    assert joined(err("e1"), out("o1"), err("e2"), out("o2")) == [("stdout", "o1o2"), ("stderr", "e1e2")]


def test_other_outputs_separate_streams() -> None:
    assert joined(out("a"), picture(), err("e"), out("b"), picture(), out("c")) == [
        ("stdout", "a"),
        ("display_data", ""),
        ("stdout", "b"),
        ("stderr", "e"),
        ("display_data", ""),
        ("stdout", "c"),
    ]


@given(st.text(min_size=1), st.text(min_size=1), st.data())
def test_any_cut_and_any_interleaving_gives_the_same(stdout: str, stderr: str, data: st.DataObject) -> None:
    pieces = {"stdout": stdout, "stderr": stderr}
    outputs = []
    while any(pieces.values()):
        name = data.draw(st.sampled_from([name for name, rest in pieces.items() if rest]))
        size = data.draw(st.integers(1, len(pieces[name])))
        outputs.append(new_output("stream", name=name, text=pieces[name][:size]))
        pieces[name] = pieces[name][size:]
    assert joined(*outputs) == [("stdout", stdout), ("stderr", stderr)]
