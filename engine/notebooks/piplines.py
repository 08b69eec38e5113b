"""``%pip install`` and ``!pip install`` lines: what they ask for, and their neutral form in the run's copy.

Only what a line says by itself is read. A variable, a pipe, a second command, a local path or an index of
its own makes the line unreadable; it then carries a ``problem`` and no requirement is guessed from it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.model import Notebook
from engine.notebooks.cells import Command, commands, executed_cells
from engine.notebooks.pep508 import NotARequirement, normalised

_PIP = re.compile(
    r"""
    (?:(?P<target>[A-Za-z_]\w*)\s*=\s*(?=[%!]))?        # out = !pip install ...
    (?P<tool>
      (?:%|!!?)?\s*
      (?:sudo\s+(?:-H\s+)?)?
      (?:["']?(?:\{sys\.executable\}|[\w./-]*python[\d.]*)["']?\s+-m\s+)?
      (?:uv\s+)?pip[\d.]*
    )
    (?:\s+-[\w-]+)*                                # pip -q install ...
    \s+(?P<verb>install|uninstall)(?:\s+(?P<rest>.*))?$
    """,
    re.VERBOSE | re.DOTALL,
)
_LATER_PIP = re.compile(r"(?:&&|\|\|?|;)\s*(?:sudo\s+)?(?:\S*python[\d.]*\s+-m\s+)?pip[\d.]*\s+install\b")
_SILENCED = re.compile(r"(?<=\s)(?:\d|&)?>{1,2}\s*(?:/dev/null|&\d)(?=[\s;]|$)")
_SHORT_FLAGS = re.compile(r"-[qUIv]+")
_HARMLESS = frozenset(
    {"--quiet", "--verbose", "--upgrade", "--user", "--system", "--no-cache", "--no-cache-dir", "--force-reinstall"}
    | {"--ignore-installed", "--disable-pip-version-check", "--no-warn-script-location", "--no-warn-conflicts"}
    | {"--no-input", "--no-color", "--prefer-binary", "--break-system-packages", "--no-python-version-warning"}
    | {"--yes", "-y"}
)
_HARMLESS_WITH_VALUE = frozenset(
    {"--progress-bar", "--root-user-action", "--upgrade-strategy", "--timeout", "--default-timeout", "--retries"}
    | {"--exists-action"}
)
_INDEX_OPTIONS = frozenset(
    {"-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index", "--trusted-host", "--proxy"}
    | {"--cert", "--client-cert", "--index", "--default-index"}
)
#: Lines longer than this are looked at only for a pip call at their start.
_LONGEST_SHELL_LINE = 2_000


@dataclass(frozen=True)
class PipLine:
    """One pip line: requirements and requirement files that it names, or why it cannot be read.

    ``cell`` is an index, ``line`` counts from 1, ``tool`` is how it calls pip (``%pip install``).
    """

    cell: int
    line: int
    tool: str
    requirements: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    problem: str = ""


class _Unreadable(ValueError):
    """Its text completes "the line ...": "uses a variable"."""


def find_pip_lines(notebook: Notebook) -> tuple[PipLine, ...]:
    """All lines of the code cells that will run and that install something with pip, in order."""
    found = []
    for index, source in executed_cells(notebook):
        for command in commands(source) or ():
            line = _read(index, command)
            if line is not None:
                found.append(line)
    return tuple(found)


def neutralise(notebook: Notebook) -> Notebook:
    """The notebook with each pip install and uninstall line as ``pass``, at the same indent, in as many lines.

    What it asked for is in the image already. ``out = !pip install x`` becomes an empty list, so that ``out`` exists.
    """
    cells = list(notebook.cells)
    for index, source in executed_cells(notebook):
        new = _neutral(source)
        if new != source:
            cells[index] = replace(cells[index], source=new)
    return replace(notebook, cells=tuple(cells))


def _neutral(source: str) -> str:
    lines = source.split("\n")
    for command in commands(source) or ():
        match = _PIP.match(command.text)
        if match is None:
            continue
        does = f"{match['target']} = []" if match["target"] else "pass"
        original = lines[command.first].strip()
        lines[command.first] = f"{command.indent}{does}  # nbseal: installed in the image: {original}"
        for index in range(command.first + 1, command.last + 1):
            lines[index] = f"{command.indent}# {lines[index].strip()}"
    return "\n".join(lines)


def _read(cell: int, command: Command) -> PipLine | None:
    match = _PIP.match(command.text)
    if match is None:
        shell = command.text.startswith("!") and len(command.text) <= _LONGEST_SHELL_LINE
        if shell and _LATER_PIP.search(command.text):
            return PipLine(cell, command.first + 1, "!", problem="runs pip behind another command")
        return None
    if match["verb"] == "uninstall":
        return None
    tool = " ".join(match["tool"].split()) + " install"
    try:
        requirements, files = _arguments(match["rest"] or "")
    except _Unreadable as problem:
        return PipLine(cell, command.first + 1, tool, problem=str(problem))
    return PipLine(cell, command.first + 1, tool, requirements, files)


def _arguments(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    text = _without_comment(text)
    for sign, what in (("$", "a variable"), ("{", "a variable"), ("`", "a command's output")):
        if sign in text:
            raise _Unreadable(f"uses {what}")
    lexer = shlex.shlex(_SILENCED.sub("", " " + text), posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError:
        raise _Unreadable("has an unclosed quote") from None
    if words and words[-1] == ";":  # "%pip install x;" only keeps IPython from showing a result
        words.pop()
    requirements: list[str] = []
    files: list[str] = []
    rest = iter(words)
    for word in rest:
        if set(word) <= set("|&;"):
            raise _Unreadable("runs more than one command")
        if word.startswith("-"):
            files.extend(_option(word, rest))
        else:
            requirements.append(_requirement(word))
    return tuple(requirements), tuple(files)


def _option(word: str, rest: Iterator[str]) -> list[str]:
    """The requirement file that an option names, if it is that one; ``rest`` gives the option's value."""
    name, equals, value = word.partition("=")
    if word.startswith("-r") and not word.startswith("--"):
        name, value = "-r", word[2:].removeprefix("=")
    if name in ("-r", "--requirement", "--requirements"):
        value = value or next(rest, "")
        if not value:
            raise _Unreadable("names no file behind -r")
        return [value]
    if name in _INDEX_OPTIONS or re.match(r"-[if]\S", word):
        raise _Unreadable(f"sets where packages come from ({name})")
    if name in ("-e", "--editable") or word.startswith("-e"):
        raise _Unreadable("installs from a folder (-e)")
    if name in _HARMLESS_WITH_VALUE:
        if not equals:
            next(rest, None)
        return []
    if name in _HARMLESS or _SHORT_FLAGS.fullmatch(word):
        return []
    raise _Unreadable(f"has the option {name}, which a lock cannot express")


def _requirement(word: str) -> str:
    if "://" in word or word.startswith("git+"):
        raise _Unreadable("installs from a URL")
    if word.startswith((".", "/", "~")) or word.endswith((".whl", ".tar.gz", ".zip")) or "/" in word.split(";")[0]:
        raise _Unreadable("installs from a local path")
    if word in (">", ">>", "<") or re.match(r"\d?>", word):
        raise _Unreadable("redirects its output to a file")
    try:
        return normalised(word)
    except NotARequirement as error:
        raise _Unreadable(f"holds something that is no requirement: {error}") from None


def _without_comment(text: str) -> str:
    """The text up to a ``#`` that starts a word outside of quotes, as a shell reads it."""
    quote = ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "#" and (at == 0 or text[at - 1].isspace()):
            return text[:at]
    return text
