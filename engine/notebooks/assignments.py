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
    if masked is None:
        return ()
    # IPython takes the first line's indent off a cell; inside a block, the cell parses with its columns as they are.
    first_line = next((line for line in masked.split("\n") if line.strip()), "")
    indented = first_line[:1].isspace()
    tree = parse_module("if True:\n" + masked if indented else masked)
    if tree is None:
        return ()
    lines = _Lines(source, above=1 if indented else 0)
    block = tree.body[0].body if indented and isinstance(tree.body[0], ast.If) else []
    top_level = {id(node) for node in (*tree.body, *block)}
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
            line, top = lines.number(node), id(node) in top_level
            found.append(Assignment(names, literal, line, start, end, annotation, top, lines.tail(node)))
    return tuple(sorted(found, key=lambda item: item.start))


class _Lines:
    """Positions of a syntax tree, which count bytes of UTF-8 in a line, as characters of the source.

    Masking changes only lines that hold no assignment, so a position in the masked source is one here.
    ``above`` is the number of lines that stood above the source when it was parsed.
    """

    def __init__(self, source: str, above: int) -> None:
        self._lines = source.split("\n")
        self._above = above
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def span(self, node: ast.expr) -> tuple[int, int]:
        end_line, end_column = _end(node)
        return self._offset(node.lineno, node.col_offset), self._offset(end_line, end_column)

    def number(self, node: ast.stmt) -> int:
        return node.lineno - self._above

    def tail(self, node: ast.stmt) -> str:
        end_line, end_column = _end(node)
        if end_line != node.lineno:
            return ""
        return self._lines[end_line - 1 - self._above].encode()[end_column:].decode()

    def _offset(self, line: int, column: int) -> int:
        text = self._lines[line - 1 - self._above]
        start = self._starts[line - 1 - self._above]
        return start + (column if text.isascii() else len(text.encode()[:column].decode()))


def _end(node: ast.expr | ast.stmt) -> tuple[int, int]:
    if node.end_lineno is None or node.end_col_offset is None:  # never of a tree that the parser made
        raise NotALiteral
    return node.end_lineno, node.end_col_offset
