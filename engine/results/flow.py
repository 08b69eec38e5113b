"""Which earlier cells a cell's values come from, by the names that it reads and they bind."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache


def feeding(sources: Sequence[str], cell: int) -> tuple[int, ...]:
    """The cells, from 1, whose names reach ``cell``: itself first, then backwards.

    A cell that is no plain Python (magics, shell lines) is taken line by line as far as its lines parse alone.
    What flows through files or attributes of objects is not seen.
    """
    found = [cell]
    names = [_names(source) for source in sources[:cell]]
    modules = frozenset[str]().union(*(item.imported for item in names))
    wanted = names[-1].read - modules
    for earlier in range(cell - 1, 0, -1):
        if names[earlier - 1].bound & wanted:
            found.append(earlier)
            wanted |= names[earlier - 1].read - modules
    return tuple(found)


@lru_cache(maxsize=4096)
def _names(source: str) -> _Names:
    """The names of a cell."""
    try:
        trees = [ast.parse(source)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        trees = list(_lines(source))
    visitor = _Names()
    for tree in trees:
        try:
            visitor.visit(tree)
        except RecursionError:
            continue
    return visitor


def _lines(source: str) -> list[ast.Module]:
    trees = []
    for line in source.split("\n"):
        try:
            trees.append(ast.parse(line.strip()))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return trees


class _Names(ast.NodeVisitor):
    """Collects the names that a cell reads, those that it binds or changes, and those of modules."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.bound: set[str] = set()
        self.imported: set[str] = set()

    def visit_alias(self, node: ast.alias) -> None:
        self.imported.add(node.asname or node.name.partition(".")[0])

    def visit_Name(self, node: ast.Name) -> None:
        (self.read if isinstance(node.ctx, ast.Load) else self.bound).add(node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.bound.add(node.name)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.bound.add(node.name)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._changes(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._changes(node)

    def visit_Call(self, node: ast.Call) -> None:
        # A method may change its object: model.fit(x), rows.append(x).
        if isinstance(node.func, ast.Attribute):
            self._bind_root(node.func)
        self.generic_visit(node)

    def _changes(self, node: ast.Attribute | ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._bind_root(node)
        self.generic_visit(node)

    def _bind_root(self, node: ast.expr) -> None:
        while isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        if isinstance(node, ast.Name):
            self.bound.add(node.id)
