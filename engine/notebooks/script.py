"""The ``# /// script`` block (PEP 723) of a notebook, as juv, marimo and uv write it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.errors import BadInput
from engine.model import Notebook
from engine.notebooks.pep508 import NotARequirement, normalised
from engine.notebooks.wording import cell_line, shown

_OPENING = re.compile(r"# /// ([a-zA-Z0-9-]+)")
_CLOSING = "# ///"


@dataclass(frozen=True)
class ScriptBlock:
    """``cell`` is an index, ``line`` counts from 1; ``requirements`` are normalised."""

    cell: int
    line: int
    requirements: tuple[str, ...]
    requires_python: str


def find_script_block(notebook: Notebook) -> ScriptBlock | None:
    """The one block of type ``script`` in the code cells, None when there is none.

    Its ``[tool.*]`` tables are other tools' and are passed over. Raises BadInput for two blocks (as the
    PEP says), for a block that is not TOML, and for entries that are not what the PEP asks for.
    """
    found = [
        (index, line, text)
        for index, cell in enumerate(notebook.cells)
        if cell.kind == "code"
        for line, kind, text in _blocks(cell.source)
        if kind == "script"
    ]
    if not found:
        return None
    if len(found) > 1:
        places = " and ".join(cell_line(index, line) for index, line, _ in found[:2])
        raise BadInput(f"There are two script blocks, in {places}.", "Keep one '# /// script' block (PEP 723).")
    index, line, text = found[0]
    return _parse(index, line, text)


def _blocks(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, type and content of each block; the last closing line of a run of comments ends the block (PEP 723)."""
    lines = source.split("\n")
    at = 0
    while at < len(lines):
        if not _is_content(lines[at]):
            at += 1
            continue
        end = at
        while end < len(lines) and _is_content(lines[end]):
            end += 1
        closings = [index for index in range(at, end) if lines[index] == _CLOSING]
        openings = [index for index in range(at, end) if _OPENING.fullmatch(lines[index])]
        if closings and openings and openings[0] + 1 < closings[-1]:
            first, last = openings[0], closings[-1]
            kind = lines[first].removeprefix("# /// ")
            yield first + 1, kind, "\n".join(line[2:] for line in lines[first + 1 : last])
        at = end


def _is_content(line: str) -> bool:
    return line == "#" or line.startswith("# ")


def _parse(cell: int, line: int, text: str) -> ScriptBlock:
    import tomllib

    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    where = f"The script block in {cell_line(cell, line)}"
    hint = "See PEP 723: requires-python is text, dependencies is a list of requirements."
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadInput(f"{where} is not TOML: {shown(str(error))}.", hint) from None
    python, dependencies = table.get("requires-python", ""), table.get("dependencies", [])
    listed = isinstance(dependencies, list) and all(isinstance(entry, str) for entry in dependencies)
    if not isinstance(python, str) or not listed:
        raise BadInput(f"{where} has an entry of the wrong type.", hint)
    try:
        SpecifierSet(python)
        requirements = tuple(normalised(entry) for entry in dependencies)
    except InvalidSpecifier:
        raise BadInput(f"{where} has no valid requires-python: '{shown(python)}'.", hint) from None
    except NotARequirement as error:
        raise BadInput(f"{where} has an entry that cannot be used: {error}.", hint) from None
    return ScriptBlock(cell, line, requirements, python)
