"""Requirement files in pip's format, and those that are hash-locked."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BadInput
from engine.notebooks.bounded import read_regular
from engine.notebooks.pep508 import NotARequirement, normalised, pinned
from engine.notebooks.wording import shown

LARGEST = 10_000_000
_DEEPEST = 20

_HASH = re.compile(r"\s--hash[= ]\s*(sha(?:256|384|512):[0-9a-f]+)")
_HARMLESS = re.compile(r"--(?:require-hashes|prefer-binary|only-binary[= ]\s*\S+)$")
_INDEX = re.compile(r"(?:-i|-f|--index-url|--extra-index-url|--find-links|--no-index|--trusted-host)(?=$|[\s=\w.:/])")
_INCLUDE = re.compile(r"(?:-r|--requirements?)[\s=]*(\S.*)$")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class RequirementFile:
    """``requirements`` are normalised; ``lock_text`` is not empty when every one of them is pinned and hashed."""

    requirements: tuple[str, ...]
    lock_text: str = ""


@dataclass(frozen=True)
class _Entry:
    requirement: str
    hashes: tuple[str, ...]


def read_requirement_file(path: Path, within: Path | None) -> RequirementFile:
    """Read a requirement file and what it includes with ``-r``.

    ``within`` is the project for a file that was found there, which then may not lead out of it; None for a
    file that the user named. A hash-locked file is written anew, pins and hashes only: its comments and
    index settings may hold names of hosts or credentials, and hashes say what a file is wherever it comes
    from. Raises BadInput for what a lock cannot express: constraints (``-c``), index settings without
    hashes, paths, URLs, variables, options that change what is chosen, and hashes on only some requirements.
    """
    reader = _Reader(within)
    reader.read(path, 0)
    entries = reader.entries
    requirements = tuple(entry.requirement for entry in entries)
    hashed = [entry for entry in entries if entry.hashes]
    if not hashed:
        if reader.index_option:
            raise BadInput(
                f"{reader.index_option} sets where packages come from, which a file of the project may not do.",
                "Take the option out and set it in pip's own configuration (pip config set global.index-url ...).",
            )
        return RequirementFile(requirements)
    name = shown(path.name)
    if len(hashed) < len(entries):
        bare = next(entry.requirement for entry in entries if not entry.hashes)
        raise BadInput(
            f"{name} has hashes for some requirements but none for '{shown(bare)}'.",
            "Lock all of it (pip-compile --generate-hashes), or leave the hashes out.",
        )
    loose = next((entry.requirement for entry in entries if not pinned(entry.requirement)), None)
    if loose is not None:
        raise BadInput(
            f"{name} has a hash for '{shown(loose)}', which is not pinned with ==.", "Pin it to one version."
        )
    return RequirementFile(requirements, _written(entries))


def _written(entries: list[_Entry]) -> str:
    hashes: dict[str, set[str]] = {}
    for entry in entries:
        hashes.setdefault(entry.requirement, set()).update(entry.hashes)
    lines = [[name, *(f"    --hash={value}" for value in sorted(hashes[name]))] for name in sorted(hashes)]
    return "".join(" \\\n".join(line) + "\n" for line in lines)


class _Reader:
    """Reads one file and its includes."""

    def __init__(self, within: Path | None) -> None:
        self.within = within.resolve() if within is not None else None
        self.entries: list[_Entry] = []
        self.index_option = ""
        self._seen: set[Path] = set()

    def read(self, path: Path, depth: int) -> None:
        try:
            real = path.resolve()
        except (OSError, ValueError, RuntimeError):  # a loop of links, a NUL
            raise BadInput(f"{shown(path.name)} cannot be read.", "Check the path.") from None
        if self.within is not None and not real.is_relative_to(self.within):
            raise BadInput(
                f"The requirements file {shown(str(path), 200)} lies outside of the project.",
                "Name it with -r on the command line if you want it.",
            )
        if depth > _DEEPEST:
            raise BadInput(f"{shown(path.name)} is included too deep.", "Put the requirements into fewer files.")
        if real in self._seen:
            return
        self._seen.add(real)
        text = _decoded(read_regular(real, LARGEST), path)
        for number, line in _logical_lines(text):
            self._line(line, real, f"{shown(path.name)} line {number}", depth)

    def _line(self, line: str, path: Path, where: str, depth: int) -> None:
        include = _INCLUDE.match(line)
        if include:
            self.read(path.parent / include.group(1).strip().strip("\"'"), depth + 1)
        elif _INDEX.match(line):
            self.index_option = self.index_option or where
        elif line.startswith("-"):
            if not _HARMLESS.match(line):
                raise BadInput(f"{where} has the option {_option_name(line)}, which is not supported.", _hint(line))
        else:
            self.entries.append(_entry(line, where))


def _entry(line: str, where: str) -> _Entry:
    hint = "Write requirements as 'numpy>=2' (PEP 508), one a line."
    hashes = tuple(_HASH.findall(line))
    text = _HASH.sub("", line).strip()
    if "${" in text:
        raise BadInput(f"{where} uses a variable: '{shown(text)}'.", hint)
    if re.search(r"\s--\w", text):
        raise BadInput(f"{where} has an option that is not supported: '{shown(text)}'.", hint)
    try:
        return _Entry(normalised(text), hashes)
    except NotARequirement as error:
        raise BadInput(f"{where} cannot be used: {error}.", hint) from None


def _option_name(line: str) -> str:
    return shown(re.split(r"[\s=]", line, maxsplit=1)[0], 30)


def _hint(line: str) -> str:
    if line.startswith(("-c", "--constraint")):
        return "Write the constraint as a requirement instead."
    return "Take the option out of the file."


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Lines without comments, joined at backslashes, with the number (from 1) of their first line; as pip does it."""
    joined: list[tuple[int, str]] = []
    parts: list[str] = []
    first = 1
    for number, line in enumerate(text.split("\n"), 1):
        if not parts:
            first = number
        comment = re.match(r"\s*#", line)
        if line.endswith("\\") and not comment:
            parts.append(line[:-1])
            continue
        parts.append(" " if comment and parts else line)
        joined.append((first, "".join(parts)))
        parts = []
    if parts:
        joined.append((first, "".join(parts)))
    stripped = ((number, re.sub(r"(^|\s)#.*$", "", line).strip()) for number, line in joined)
    return [(number, line) for number, line in stripped if line]


def _decoded(data: bytes, path: Path) -> str:
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise BadInput(f"{shown(path.name)} is not a text file in UTF-8.", "Save it as UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
