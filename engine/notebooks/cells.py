"""What IPython adds to Python: which lines of a code cell are magics, shell commands or help.

The host has no IPython, and must not run any, so this reads lines the way that IPython's
``inputtransformer2`` does: a command starts at the start of a logical line (not inside a string,
brackets or a continued line) and goes on while lines end in a backslash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.model import Notebook

#: Cell magics whose body is Python that runs in the notebook's own namespace.
PYTHON_BODIES = frozenset({"time", "timeit", "capture", "prun"})

_COMMAND = re.compile(r"\s*(?:[%!?]|pip[0-9.]*\s+(?:un)?install\s+[^\s=])")
_ASSIGNED = re.compile(r"\s*[A-Za-z_*(][\w.,*\s()\[\]]*=\s*[%!]\s*[^\s=]")
_HELP = re.compile(r"[^#'\"]*\?\s*$")
_OUTSIDE = re.compile(r"""#|'''|\"\"\"|'|"|[()\[\]{}]""")
_INSIDE = {quote: re.compile(r"\\.|\\$|" + quote, re.DOTALL) for quote in ("'", '"', "'''", '"""')}


@dataclass(frozen=True)
class Command:
    """One command: its first and last line (indexes), its indent, and its text with continued lines joined."""

    first: int
    last: int
    indent: str
    text: str


def commands(source: str) -> tuple[Command, ...] | None:
    """The commands of a cell's source, in order; None when another magic (``%%bash``, ``%%html``) owns the cell."""
    lines = source.split("\n")
    found: list[Command] = []
    at = 0
    while True:  # cell magics stack: "%%capture" over "%%time"
        while at < len(lines) and not lines[at].strip():
            at += 1
        if at == len(lines) or not lines[at].lstrip().startswith("%%"):
            break
        name = re.match(r"\s*%%(\w*)", lines[at])
        if name is None or name.group(1) not in PYTHON_BODIES:
            return None
        found.append(_command(lines, at, at))
        at += 1
    state = _State()
    while at < len(lines):
        line = lines[at]
        if state.at_start and (_COMMAND.match(line) or _ASSIGNED.match(line) or _HELP.match(line)):
            last = at
            while lines[last].endswith("\\") and last + 1 < len(lines):
                last += 1
            found.append(_command(lines, at, last))
            at = last
        else:
            state.feed(line)
        at += 1
    return tuple(found)


def mask(source: str) -> str | None:
    """The source as Python with the same lines: ``pass`` stands for each command. None when it is not Python at all."""
    found = commands(source)
    if found is None:
        return None
    lines = source.split("\n")
    for command in found:
        lines[command.first] = command.indent + "pass"
        for index in range(command.first + 1, command.last + 1):
            lines[index] = ""
    return "\n".join(lines)


def executed_cells(notebook: Notebook) -> Iterator[tuple[int, str]]:
    """Index and source of every code cell that will run (nbclient leaves out what is tagged skip-execution)."""
    for index, cell in enumerate(notebook.cells):
        if cell.kind == "code" and "skip-execution" not in cell.tags:
            yield index, cell.source


def _command(lines: list[str], first: int, last: int) -> Command:
    indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
    parts = [line.removesuffix("\\").strip() for line in lines[first : last + 1]]
    return Command(first, last, indent, " ".join(parts).strip())


class _State:
    """Where a scan of Python stands between two lines: in which string, how deep in brackets, continued or not."""

    def __init__(self) -> None:
        self.quote = ""
        self.depth = 0
        self.continued = False

    @property
    def at_start(self) -> bool:
        return not (self.quote or self.depth or self.continued)

    def feed(self, line: str) -> None:
        self.continued = False
        at = 0
        while at <= len(line):
            if self.quote:
                at = self._string(line, at)
                continue
            found = _OUTSIDE.search(line, at)
            if found is None:
                self.continued = line.endswith("\\")
                return
            sign, at = found.group(), found.end()
            if sign == "#":
                return
            if sign in "([{":
                self.depth += 1
            elif sign in ")]}":
                self.depth = max(0, self.depth - 1)
            else:
                self.quote = sign

    def _string(self, line: str, at: int) -> int:
        """Go on inside a string from ``at``; returns where to go on, beyond the line when it ends inside."""
        for found in _INSIDE[self.quote].finditer(line, at):
            if found.group() == self.quote:
                self.quote = ""
                return found.end()
        # A plain string ends with its line, unless that ends in a backslash that is not itself escaped.
        backslashes = len(line) - len(line.rstrip("\\"))
        if len(self.quote) == 1 and backslashes % 2 == 0:
            self.quote = ""
        return len(line) + 1
