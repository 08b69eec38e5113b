"""Colab's form fields: what stands behind ``# @param`` on the line of an assignment.

Grammar: an object ``{type: "slider", min: 0}`` with bare or quoted keys, a list of choices
``["a", "b"]``, both in either order, or nothing; text behind them is ignored. Colab reads it leniently, and
so do we: real notebooks hold unclosed objects and keys of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.model import FlagType

#: A field longer than this is read up to here; the longest real ones have some hundreds of characters.
LONGEST = 10_000

_PARAM = re.compile(r"[\s;]*#\s*@param(?![\w-])(.*)$", re.DOTALL)
_STRING = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_ENTRY = re.compile(rf"\s*(?:,\s*)?(?P<key>{_STRING}|[\w-]+)\s*:\s*(?P<value>{_STRING}|[^\s,{{}}\[\]\"']+)", re.DOTALL)
_LIST = re.compile(rf"\[(?:{_STRING}|[^\[\]\"'])*\]", re.DOTALL)

_TYPES: Mapping[str, FlagType] = {
    "string": "str",
    "date": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
}


@dataclass(frozen=True)
class Field:
    """One form field: its options as text (type, min, max, step, placeholder, ...), and whether it is a dropdown."""

    options: Mapping[str, str] = field(default_factory=dict)
    dropdown: bool = False

    @property
    def declared(self) -> FlagType | None:
        """The flag type that the field asks for; None when the default's own type decides (raw, untyped, dropdown)."""
        kind = self.options.get("type", "")
        if kind == "slider":
            whole = all(_is_whole(self.options.get(key, usual)) for key, usual in (("min", "0"), ("step", "1")))
            return "int" if whole else "float"
        return None if self.dropdown else _TYPES.get(kind)


def parse_field(tail: str) -> Field | None:
    """The field in the text behind an assignment, None when that is not a form's comment."""
    found = _PARAM.match(tail)
    if found is None:
        return None
    text = found.group(1)[:LONGEST].strip()
    choices = _LIST.match(text)
    if choices:
        return Field(_options(text[choices.end() :].lstrip()), dropdown=True)
    if not text.startswith("{"):
        return Field()
    close = text.find("}")
    return Field(_options(text), dropdown=close >= 0 and bool(_LIST.match(text[close + 1 :].lstrip())))


def _options(text: str) -> dict[str, str]:
    if not text.startswith("{"):
        return {}
    options: dict[str, str] = {}
    at = 1
    while found := _ENTRY.match(text, at):
        options.setdefault(_unquoted(found["key"]), _unquoted(found["value"]))
        at = found.end()
    return options


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text[0] in "\"'" else text


def _is_whole(number: str) -> bool:
    try:
        return float(number).is_integer()
    except ValueError:
        return False
