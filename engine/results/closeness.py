"""How near two texts, or two arrays, are that differ only in numbers."""

from __future__ import annotations

import math
import re
from itertools import zip_longest
from typing import Any

#: A number that stands alone, or the part of a complex one. Also a sign before its imaginary part belongs to it.
_PLAIN = (
    r"(?:(?<![\w.])[-+]?|(?<=[\d.])[-+](?=[\d.e+-]{1,40}j))"
    r"(?>\d+(?:\.\d*)?|\.\d+)(?>[eE][-+]?\d+)?(?![a-ik-zA-Z_\d]|j\w|\.\w)"
)
#: 1,234,567.8 is one number where a fraction shows that commas part thousands; in CSV they part columns.
_THOUSANDS = r"(?<![\w.,])[-+]?\d{1,3}(?:,\d{3}){1,6}\.\d+(?![\w,]|\.\w)"
_NUMBER = re.compile(_PLAIN)
_NUMBER_OR_THOUSANDS = re.compile(f"{_THOUSANDS}|{_PLAIN}")
#: Blank lines part blocks: a table is one, and a long number in it shifts only its own columns.
_BLOCK = re.compile(r"\n(?=\n)")
#: Runs of blanks; behind an opening bracket also none, because NumPy pads its columns there.
_BLANKS = re.compile(r"([ \t]+|(?<=\[)(?![ \t]))")
#: Values nearer to zero are measured as if they were this large: their own size is rounding.
SMALLEST = 1e-3
_CHUNK = 1 << 20  # elements


def largest_difference(one: str, other: str, *, thousands: bool = False) -> float | None:
    """The largest relative difference of numbers that stand in the same places of two texts; None without such places.

    All else must be equal, and so must whole numbers: they count and name things. Blanks may be more or fewer only
    where a longer number shifts the columns of its table. The difference of a and b is
    ``|a - b| / max(|a|, |b|, SMALLEST)``, 0 for equal ones. ``thousands`` takes 1,234.5 for one number.
    """
    pattern = _NUMBER_OR_THOUSANDS if thousands else _NUMBER
    blocks, other_blocks = _BLOCK.split(one), _BLOCK.split(other)
    if len(blocks) != len(other_blocks):
        return None
    largest = 0.0
    for block, other_block in zip(blocks, other_blocks, strict=True):
        if block != other_block:
            found = _in_block(pattern, block, other_block)
            if found is None:
                return None
            largest = max(largest, found)
    return largest


def _in_block(pattern: re.Pattern[str], one: str, other: str) -> float | None:
    largest = 0.0
    shortest = longest = blanks = 0  # how the lengths of numbers, and of blanks, changed
    pairs = zip_longest(_split(pattern, one), _split(pattern, other), fillvalue=("", None))
    for (rest, number), (other_rest, other_number) in pairs:
        if rest != other_rest:
            shift = _shift(rest, other_rest)
            if shift is None:
                return None
            blanks = max(blanks, shift)
        if number == other_number:
            continue
        difference = _difference(number, other_number)
        if number is None or other_number is None or difference is None:
            return None
        largest = max(largest, difference)
        grown = len(other_number) - len(number)
        shortest, longest = min(shortest, grown), max(longest, grown)
    # A column is as wide as its longest number: no blank changes by more than the numbers do between them.
    return largest if blanks <= longest - shortest else None


def _shift(rest: str, other: str) -> int | None:
    """By how much the blanks of two texts differ at most; None when anything else does."""
    parts, other_parts = _BLANKS.split(rest), _BLANKS.split(other)
    if parts[::2] != other_parts[::2]:
        return None
    return max(abs(len(a) - len(b)) for a, b in zip(parts[1::2], other_parts[1::2], strict=True))


def _difference(one: str | None, other: str | None) -> float | None:
    if one is None or other is None or _is_whole(one) or _is_whole(other):
        return None
    a, b = float(one.replace(",", "")), float(other.replace(",", ""))
    if math.isinf(a) or math.isinf(b):
        return None
    scale = max(abs(a), abs(b), SMALLEST)
    return abs(a / scale - b / scale)  # a - b alone could be infinite


def _is_whole(number: str) -> bool:
    return number.lstrip("+-").isdigit()


def _split(pattern: re.Pattern[str], text: str) -> list[tuple[str, str | None]]:
    """Each number with the text before it; at last the rest with None."""
    parts: list[tuple[str, str | None]] = []
    end = 0
    for match in pattern.finditer(text):
        parts.append((text[end : match.start()], match[0]))
        end = match.end()
    return [*parts, (text[end:], None)]


def largest_array_difference(one: Any, other: Any) -> float | None:
    """The same of two NumPy arrays; None when type or shape differ, or anything that is no real or complex number.

    In pieces, so that no more than a few megabytes are held beside the arrays.
    """
    import numpy as np

    if one.dtype != other.dtype or one.shape != other.shape:
        return None
    largest = 0.0
    flat, other_flat = one.reshape(-1), other.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        a, b = flat[start : start + _CHUNK], other_flat[start : start + _CHUNK]
        if one.dtype.kind not in "fc":
            if not np.array_equal(a, b):
                return None
            continue
        # Real and imaginary parts are each a number, as in text.
        reals = [(part.real, part.imag) if one.dtype.kind == "c" else (part,) for part in (a, b)]
        for x, y in zip(*reals, strict=True):
            if not np.array_equal(np.isfinite(x), np.isfinite(y)):
                return None
            if not np.array_equal(x[~np.isfinite(x)], y[~np.isfinite(y)], equal_nan=True):
                return None
            u, v = (side[np.isfinite(side)].astype(np.float64) for side in (x, y))
            scale = np.maximum(np.maximum(abs(u), abs(v)), SMALLEST)
            largest = max(largest, float(np.max(abs(u / scale - v / scale), initial=0.0)))
    return largest
