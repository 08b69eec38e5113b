"""Python literals: out of a syntax tree, out of text, and back into text. Nothing is ever evaluated.

A literal is None, a bool, int, float or str, a list, tuple or dict of literals, or
``float('nan')`` and its like, which have no literal of their own.
"""

from __future__ import annotations

import ast
import math
import warnings
from typing import Any

from engine.model import FlagType

#: Longer text is data rather than a value; parsing takes about a hundred times its size in memory.
LONGEST = 2_000_000

_NAMED_FLOATS = {sign + name for sign in ("", "+", "-") for name in ("nan", "inf", "infinity")}
_TYPES: dict[type, FlagType] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "list",
    dict: "dict",
    tuple: "tuple",
}
#: What repr() shows depends on the Unicode tables of the Python at hand, and the text is part of
#: the hash; so what is escaped is fixed here: controls, surrogates, and what is invisible or turns text around.
_ESCAPED_RANGES = (
    (0x00, 0x1F),
    (0x7F, 0xA0),
    (0xAD, 0xAD),
    (0x200B, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0xD800, 0xDFFF),
    (0xFEFF, 0xFEFF),
)


class NotALiteral(ValueError):
    """The expression is something that only running it could tell."""


def parse_module(source: str) -> ast.Module | None:
    """The syntax tree of a source, None when it is not Python (or too long or deep to say)."""
    if len(source) > LONGEST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "invalid escape sequence" is the notebook's business
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def literal_of(node: ast.expr) -> Any:
    """The value of a literal's syntax tree; raises NotALiteral."""
    try:
        return _value(node)
    except (RecursionError, TypeError):  # TypeError: a dict with an unhashable key
        raise NotALiteral from None


def parse_literal(text: str) -> Any:
    """The value of a literal's text; raises NotALiteral."""
    if len(text) > LONGEST:
        raise NotALiteral
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            node = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise NotALiteral from None
    return literal_of(node.body)


def render(value: Any) -> str:
    """The one text of a value, the same on every Python: repr() with a form for nan and inf, and with fixed escapes."""
    if isinstance(value, str):
        return _render_str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f"float('{value!r}')"
    if isinstance(value, list):
        return "[" + ", ".join(map(render, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(render, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{render(key)}: {render(item)}" for key, item in value.items()) + "}"
    return repr(value)


def type_of(value: Any) -> FlagType:
    """The flag type of a literal's value; "any" for None."""
    return _TYPES.get(type(value), "any")


def as_type(value: Any, flag_type: FlagType) -> Any:
    """The value as the type has it: an int where a float is wanted becomes one, everything else stays."""
    if flag_type == "float" and isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            return value
    return value


def same(one: Any, other: Any, flag_type: FlagType) -> bool:
    """Whether two values are the same for a flag of that type; nan is nan, 1 is not True, -0.0 is not 0.0."""
    return render(as_type(one, flag_type)) == render(as_type(other, flag_type))


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value) if value is None or type(value) in (bool, int, float, str):
            return value
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            number = _value(operand)
            if type(number) not in (int, float):
                raise NotALiteral
            return -number if isinstance(sign, ast.USub) else number
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Dict(keys=keys, values=values):
            if None in keys:  # {**other}
                raise NotALiteral
            return {_value(key): _value(item) for key, item in zip(keys, values, strict=True) if key is not None}
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str(name))], keywords=[]):
            if name.strip().lower() in _NAMED_FLOATS:
                return float(name)
    raise NotALiteral


def _render_str(value: str) -> str:
    quote = '"' if "'" in value and '"' not in value else "'"
    return quote + "".join(_render_char(char, quote) for char in value) + quote


def _render_char(char: str, quote: str) -> str:
    if char in (quote, "\\"):
        return "\\" + char
    code = ord(char)
    if any(low <= code <= high for low, high in _ESCAPED_RANGES):
        return char.encode("unicode_escape").decode()
    return char
