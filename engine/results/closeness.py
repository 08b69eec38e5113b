"""How near two texts are that differ only in numbers."""

from __future__ import annotations

import math
import re
from itertools import zip_longest

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?>\d+(?:\.\d*)?|\.\d+)(?>[eE][-+]?\d+)?(?!\w|\.\w)")
_BLANKS = re.compile(r"[ \t]+")
#: Values nearer to zero are measured as if they were this large: their own size is rounding.
SMALLEST = 1e-3


def largest_difference(one: str, other: str) -> float | None:
    """The largest relative difference of numbers that stand in the same places of two texts; None without such places.

    All else must be equal, but for the width of blanks, and so must whole numbers: they count and name
    things. The difference of a and b is ``|a - b| / max(|a|, |b|, SMALLEST)``, 0 for equal ones.
    """
    largest = 0.0
    for (rest, number), (other_rest, other_number) in zip_longest(_split(one), _split(other), fillvalue=("", None)):
        if _BLANKS.sub(" ", rest) != _BLANKS.sub(" ", other_rest) or (number is None) != (other_number is None):
            return None
        if number == other_number:
            continue
        if number is None or other_number is None or _is_whole(number) or _is_whole(other_number):
            return None
        a, b = float(number), float(other_number)
        if math.isinf(a) or math.isinf(b):
            return None
        scale = max(abs(a), abs(b), SMALLEST)
        largest = max(largest, abs(a / scale - b / scale))  # a - b alone could be infinite
    return largest


def _is_whole(number: str) -> bool:
    return number.lstrip("+-").isdigit()


def _split(text: str) -> list[tuple[str, str | None]]:
    """Each number with the text before it; at last the rest with None."""
    parts: list[tuple[str, str | None]] = []
    end = 0
    for match in _NUMBER.finditer(text):
        parts.append((text[end : match.start()], match[0]))
        end = match.end()
    return [*parts, (text[end:], None)]
