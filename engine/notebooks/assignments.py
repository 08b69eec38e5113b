"""Assignments of a literal to a name, with the exact characters that the literal takes up."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from engine.notebooks.cells import mask
from engine.notebooks.literals import NotALiteral, literal_of, parse_module


@dataclass(frozen=True)
class Assignment:
    """``names`` are the plain names assigned to (more than one in ``x = y = 1``).

    ``start`` and ``end`` are offsets in characters of the cell's source, ``line`` counts from 1.
    ``tail`` is the text behind a statement that stands on one line, up to the line's end.
    """

    names: tuple[str, ...]
    value: Any
    line: int
    start: int
    end: int
    annotation: str
    top_level: bool
    tail: str


def assignments(source: str) -> tuple[Assignment, ...]:
    """All of a cell's, nested ones too, in the order of the text; none when the cell is not Python."""
    masked = mask(source)
    tree = parse_module(masked) if masked is not None else None
    if tree is None:
        return ()
    lines = _Lines(source)
    top_level = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets, value, annotation = node.targets, node.value, ""
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
            annotation = node.annotation.id if isinstance(node.annotation, ast.Name) else ""
        else:
            continue
        names = tuple(target.id for target in targets if isinstance(target, ast.Name))
        try:
            literal = literal_of(value)
        except NotALiteral:
            continue
        if names:
            start, end = lines.span(value)
            found.append(
                Assignment(names, literal, node.lineno, start, end, annotation, id(node) in top_level, lines.tail(node))
            )
    return tuple(sorted(found, key=lambda item: item.start))


class _Lines:
    """Positions of a syntax tree, which count bytes of UTF-8 in a line, as characters of the source.

    Masking changes only lines that hold no assignment, so a position in the masked source is one here.
    """

    def __init__(self, source: str) -> None:
        self._lines = source.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def span(self, node: ast.expr) -> tuple[int, int]:
        end_line, end_column = _end(node)
        return self._offset(node.lineno, node.col_offset), self._offset(end_line, end_column)

    def tail(self, node: ast.stmt) -> str:
        end_line, end_column = _end(node)
        if end_line != node.lineno:
            return ""
        return self._lines[end_line - 1].encode()[end_column:].decode()

    def _offset(self, line: int, column: int) -> int:
        text = self._lines[line - 1]
        return self._starts[line - 1] + (column if text.isascii() else len(text.encode()[:column].decode()))


def _end(node: ast.expr | ast.stmt) -> tuple[int, int]:
    if node.end_lineno is None or node.end_col_offset is None:  # never of a tree that the parser made
        raise NotALiteral
    return node.end_lineno, node.end_col_offset
