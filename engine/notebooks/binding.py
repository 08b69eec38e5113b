"""From ``name=value`` on the command line to the effective value of every flag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.errors import BadInput
from engine.model import Flag, FlagType, FlagValue
from engine.notebooks.literals import NotALiteral, as_type, parse_literal, render, same, type_of
from engine.notebooks.wording import shown

_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_NOUNS: dict[FlagType, str] = {
    "int": "a whole number (int)",
    "float": "a number (float)",
    "bool": "true or false (bool)",
    "str": "text (str)",
    "list": "a list",
    "dict": "a dict",
    "tuple": "a tuple",
    "any": "a value",
}


def bind(
    flags: Sequence[Flag], assignments: Sequence[str], recorded: Sequence[FlagValue] = ()
) -> tuple[FlagValue, ...]:
    """The effective value of all flags, sorted by name; what is not assigned is as ``recorded``, else the default.

    An assignment is ``name=value``; the value is parsed to the flag's type, so ``3`` is 3.0 for a float
    and text stays as it is typed for a str. A value that equals the default gives the default's own
    literal, so that saying it or not is the same. Raises BadInput, with the known flags as hint.
    """
    known = {flag.name: flag for flag in flags}
    given: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals:
            raise BadInput(f"'{shown(assignment)}' is not of the form flag=value.", describe(flags))
        if name not in known:
            raise BadInput(_unknown(name, list(known)), describe(flags))
        if name in given:
            raise BadInput(f"The flag '{name}' is given twice.", "Give each flag once.")
        given[name] = _parse(known[name], text, flags)
    before = {value.name: value.literal for value in recorded}
    return tuple(_effective(known[name], given, before) for name in sorted(known))


def describe(flags: Sequence[Flag]) -> str:
    """The known flags for a message, one a line with type and default."""
    if not flags:
        return "The notebook has no flags: it assigns no plain values at the top level."
    lines = [f"  {flag.name} ({flag.type}, default {shown(flag.default, 40)})" for flag in flags]
    return "The notebook's flags are:\n" + "\n".join(lines)


def _unknown(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f"The notebook has no flag '{shown(name)}'" + (f"; did you mean '{near[0]}'?" if near else ".")


def _effective(flag: Flag, given: dict[str, Any], before: dict[str, str]) -> FlagValue:
    literal = flag.default
    if flag.name not in given:
        literal = before.get(flag.name, flag.default)
    elif not same(given[flag.name], parse_literal(flag.default), flag.type):
        literal = render(given[flag.name])
    return FlagValue(flag.name, flag.type, literal)


def _parse(flag: Flag, text: str, flags: Sequence[Flag]) -> Any:
    if flag.default == "None" and text.strip() == "None" and flag.type != "str":
        return None
    try:
        return _value(flag.type, text)
    except ValueError:
        message = f"The flag '{flag.name}' takes {_NOUNS[flag.type]}, and '{shown(text)}' is not one."
        raise BadInput(message, describe(flags)) from None


def _value(flag_type: FlagType, text: str) -> Any:
    """Raises ValueError (NotALiteral is one) when the text is no value of the type."""
    if flag_type == "str":
        return text
    if flag_type == "int":
        return int(text)
    if flag_type == "float":
        return float(text)
    if flag_type == "bool":
        if text.strip().lower() not in _TRUTH:
            raise ValueError
        return _TRUTH[text.strip().lower()]
    try:
        value = as_type(parse_literal(text), flag_type)
    except NotALiteral:
        if flag_type == "any":
            return text
        raise
    if flag_type != "any" and type_of(value) != flag_type:
        raise ValueError
    return value
