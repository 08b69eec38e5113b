"""The verdict on one unit: two texts, two pictures, two files."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from engine.model import VERDICTS, Verdict
from engine.results.closeness import largest_difference
from engine.results.likeness import ALIKE, likeness
from engine.results.normalisers import PICTURE_ENCODING, WIDGET_IDS, Normaliser, applying_to
from engine.results.text import clean_text

#: That of numpy.allclose.
TOLERANCE = 1e-5
PICTURES = ("image/png", "image/jpeg", "image/gif")
_SHOWN = 100
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True)
class Rules:
    """What is called close, and which normalisers are switched off."""

    tolerance: float = TOLERANCE
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Judgement:
    """See ``engine.model.Difference``; ``detail`` is for people and empty when the unit is identical."""

    verdict: Verdict
    detail: str = ""
    normalisers: tuple[str, ...] = ()
    largest: float | None = None
    likeness: float | None = None


IDENTICAL = Judgement("identical")


@dataclass(frozen=True)
class Side:
    """One side of a unit: its text, and the same with widgets numbered, where it names any."""

    text: str
    numbered: str | None = None


def worst(judgements: Sequence[Judgement]) -> Judgement:
    """The first of the worst; identical when there are none."""
    return max(judgements, key=lambda item: VERDICTS.index(item.verdict), default=IDENTICAL)


def judge_text(media: str, what: str, old: Side, new: Side, rules: Rules) -> Judgement:
    """Two texts of one type. ``what`` names what the lines of the detail are counted in: "line" or "value"."""
    if old.text == new.text:
        return IDENTICAL
    detail = first_difference(what, old.text.split("\n"), new.text.split("\n"))
    used = []
    one, other = old.text, new.text
    if WIDGET_IDS not in rules.without and old.numbered is not None and new.numbered is not None:
        one, other = old.numbered, new.numbered
        used.append(WIDGET_IDS)
        if one == other:
            return Judgement("equivalent", detail, (WIDGET_IDS,))
    needed = [
        item for item in applying_to(media, rules.without) if (item.apply(one), item.apply(other)) != (one, other)
    ]
    found = _measure(needed, one, other, rules)
    if found.verdict == "different":
        changed = [_apply(needed, side).split("\n") for side in (one, other)]
        return Judgement("different", first_difference(what, *changed), largest=found.largest)
    for item in needed[:]:  # some change only what is equal on both sides
        rest = [other_item for other_item in needed if other_item is not item]
        if _measure(rest, one, other, rules) == found:
            needed = rest
    return replace(found, detail=detail, normalisers=(*used, *(item.name for item in needed)))


def _measure(normalisers: Sequence[Normaliser], one: str, other: str, rules: Rules) -> Judgement:
    """The verdict on two texts that are not identical, after these normalisers."""
    one, other = _apply(normalisers, one), _apply(normalisers, other)
    if one == other:
        return Judgement("equivalent")
    largest = largest_difference(one, other)
    return Judgement("close" if largest is not None and largest <= rules.tolerance else "different", largest=largest)


def _apply(normalisers: Sequence[Normaliser], text: str) -> str:
    for item in normalisers:
        text = item.apply(text)
    return text


def judge_picture(old: bytes, new: bytes, rules: Rules) -> Judgement:
    """Two pictures: of the same pixels, alike, or different."""
    if old == new:
        return IDENTICAL
    alike = likeness(old, new)
    detail = f"{_digest(old)} became {_digest(new)}"
    if alike is None:
        return Judgement("different", detail)
    if alike == 1:
        if PICTURE_ENCODING in rules.without:
            return Judgement("different", f"{detail}, with the same pixels")
        return Judgement("equivalent", f"{detail}, with the same pixels", (PICTURE_ENCODING,))
    verdict: Verdict = "close" if alike >= ALIKE else "different"
    return Judgement(verdict, f"{detail}, likeness {alike:.4f}", likeness=alike)


def judge_encoded(old: str, new: str, rules: Rules) -> Judgement:
    """Two pictures in base64, as notebooks hold them."""
    if old == new:
        return IDENTICAL
    try:
        one, other = (base64.b64decode("".join(text.split()), validate=True) for text in (old, new))
    except (binascii.Error, ValueError):
        return Judgement("different", f"{_digest(old.encode())} became {_digest(new.encode())}")
    if one == other:  # broken into lines in another way
        return judge_text("text/plain", "line", Side("".join(old.split())), Side("".join(new.split())), rules)
    return judge_picture(one, other, rules)


def judge_bytes(media: str, old: bytes, new: bytes, rules: Rules) -> Judgement:
    """Two files of one type; text is what decodes as UTF-8."""
    if media in PICTURES:
        return judge_picture(old, new, rules)
    if old == new:
        return IDENTICAL
    try:
        one, other = old.decode(), new.decode()
    except UnicodeDecodeError:
        return Judgement("different", f"{_digest(old)} became {_digest(new)}")
    if _CONTROL.search(one) or _CONTROL.search(other):  # numbers that happen to be UTF-8
        return Judgement("different", f"{_digest(old)} became {_digest(new)}")
    # Of what a terminal does with escapes and carriage returns a file knows nothing.
    on_disk = replace(rules, without=rules.without | {"colours", "progress-bars"})
    known = media if media.startswith(("text/", "image/svg")) else "text/plain"
    return judge_text(known, "line", Side(one), Side(other), on_disk)


def _digest(data: bytes) -> str:
    return f"{len(data)} bytes with sha256 {hashlib.sha256(data).hexdigest()[:12]}"


def first_difference(what: str, before: Sequence[str], after: Sequence[str]) -> str:
    """The first place where two sequences of lines differ, for people; "" when they are equal."""
    for number, (one, other) in enumerate(zip_longest(before, after), 1):
        if one != other:
            sides = ["nothing" if side is None else _shown(side) for side in (one, other)]
            if None not in (one, other) and sides[0] == sides[1]:
                sides = [_shown(side, _parting(str(one), str(other))) for side in (str(one), str(other))]
            return f"{what} {number}: {sides[0]} became {sides[1]}"
    return ""


def _parting(one: str, other: str) -> int:
    """Where two texts part, less some context, for lines too long to be shown from their beginning."""
    part = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return max(part - 20, 0)


def _shown(text: str, start: int = 0) -> str:
    piece = text[start : start + _SHOWN]
    cut = "..." if start + _SHOWN < len(text) else ""
    return f"{'...' if start else ''}{clean_text(piece)!r}{cut}"
