"""How text out of a user's file is shown in a message."""

from __future__ import annotations


def shown(text: str, limit: int = 80) -> str:
    """``text`` on one line, shortened, with control characters (terminal escapes too) spelt out."""
    plain = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[: limit + 1]
    )
    return plain if len(text) <= limit else plain[:limit] + "..."


def cell_line(cell: int, line: int) -> str:
    """A place for people, who count from 1: ``cell`` is an index into the notebook's cells, ``line`` counts from 1."""
    return f"cell {cell + 1} line {line}"
