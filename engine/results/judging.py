"""The verdict on one unit: two texts, two pictures, two files."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from engine.model import VERDICTS, Verdict
from engine.results.archives import is_array, paired_members, read_array
from engine.results.budget import BEYOND, Budget
from engine.results.closeness import largest_array_difference, largest_difference
from engine.results.files import media_type
from engine.results.likeness import ALIKE, likeness, pixels
from engine.results.normalisers import (
    ARCHIVE_TIMES,
    NAMES,
    PICTURE_ENCODING,
    WIDGET_IDS,
    Normaliser,
    applying_to,
)
from engine.results.text import overwritten, strip_escapes

#: That of numpy.allclose.
TOLERANCE = 1e-5
PICTURES = ("image/png", "image/jpeg", "image/gif")
_SHOWN = 100
#: Types of text in which a comma may part thousands.
_PROSE = ("text/plain", "text/html", "text/markdown", "error", "value")
#: Types of files that normalisers know; any other text is taken for plain.
_KNOWN = ("text/", "image/svg+xml", "application/json", "application/xml")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True)
class Rules:
    """What is called close, and which normalisers are switched off."""

    tolerance: float = TOLERANCE
    without: frozenset[str] = frozenset()
    #: What one comparison may still cost; ``examine`` gives each a new one.
    budget: Budget = field(default_factory=Budget, compare=False, repr=False)


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


def combined(judgements: Sequence[Judgement]) -> Judgement:
    """The verdict on something of several parts: that of the worst, with what it took in all of them."""
    found = worst(judgements)
    used = {name for item in judgements for name in item.normalisers} if found.verdict != "different" else set()
    return replace(
        found,
        normalisers=tuple(name for name in NAMES if name in used),
        largest=max((item.largest for item in judgements if item.largest is not None), default=None),
        likeness=min((item.likeness for item in judgements if item.likeness is not None), default=None),
    )


def judge_text(media: str, what: str, old: Side, new: Side, rules: Rules) -> Judgement:
    """Two texts of one type. ``what`` names what the lines of the detail are counted in: "line" or "value"."""
    if old.text == new.text:
        return IDENTICAL
    if not rules.budget.read(len(old.text) + len(new.text)):
        return beyond(old.text.encode("utf-8", "replace"), new.text.encode("utf-8", "replace"))
    detail = first_difference(what, old.text.split("\n"), new.text.split("\n"))
    plain = (old.text, new.text)
    if WIDGET_IDS in rules.without or old.numbered is None or new.numbered is None:
        numbered = plain
    else:
        numbered = (old.numbered, new.numbered)
    found, needed, (one, other) = _normalised(media, *numbered, rules)
    if found.verdict == "different":
        return Judgement("different", first_difference(what, one.split("\n"), other.split("\n")), largest=found.largest)
    widgets = () if numbered == plain or _measure(media, needed, *plain, rules) == found else (WIDGET_IDS,)
    names = {*widgets, *(item.name for item in needed)}
    return replace(found, detail=detail, normalisers=tuple(name for name in NAMES if name in names))


def _normalised(
    media: str, one: str, other: str, rules: Rules
) -> tuple[Judgement, Sequence[Normaliser], tuple[str, str]]:
    """The best that normalisers make of two texts, those that it needs, and the texts after all that apply."""
    needed: list[Normaliser] = []
    sides = (one, other)
    for item in applying_to(media, rules.without):  # one may apply only to what another has left
        if (after := (item.apply(sides[0]), item.apply(sides[1]))) != sides:
            sides = after
            needed.append(item)
    found = _compared(media, *sides, rules)
    if found.verdict == "different":
        # What puts things in order parts those that are close: one of them may be in the way.
        for item in needed:
            rest = [other_item for other_item in needed if other_item is not item]
            if (without := _measure(media, rest, one, other, rules)).verdict != "different":
                found, needed = without, rest
                break
    if found.verdict != "different":
        for item in needed[:]:
            rest = [other_item for other_item in needed if other_item is not item]
            if _measure(media, rest, one, other, rules) == found:
                needed = rest
    return found, needed, sides


def _measure(media: str, normalisers: Sequence[Normaliser], one: str, other: str, rules: Rules) -> Judgement:
    for item in normalisers:
        one, other = item.apply(one), item.apply(other)
    return _compared(media, one, other, rules)


def _compared(media: str, one: str, other: str, rules: Rules) -> Judgement:
    """The verdict on what normalisers have left of two texts."""
    if one == other:
        return Judgement("equivalent")
    largest = largest_difference(one, other, thousands=media in _PROSE)
    return Judgement("close" if largest is not None and largest <= rules.tolerance else "different", largest=largest)


def judge_picture(old: bytes, new: bytes, rules: Rules) -> Judgement:
    """Two pictures: of the same pixels, alike, or different."""
    if old == new:
        return IDENTICAL
    if not rules.budget.unpack(pixels(old) + pixels(new)):
        return beyond(old, new)
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
    if is_array(old) and is_array(new):
        return _judge_arrays(old, new, rules)
    refused = rules.budget.refused
    if ARCHIVE_TIMES not in rules.without and (pairs := paired_members(old, new, rules.budget)) is not None:
        return _judge_members(pairs, old, new, rules)
    if rules.budget.refused > refused:
        return beyond(old, new)
    try:
        one, other = old.decode(), new.decode()
    except UnicodeDecodeError:
        return _by_digest(old, new)
    if _CONTROL.search(one) or _CONTROL.search(other):  # numbers that happen to be UTF-8
        return _by_digest(old, new)
    # Of what a terminal does with escapes and carriage returns a file knows nothing.
    on_disk = replace(rules, without=rules.without | {"colours", "progress-bars"})
    known = media if media.startswith(_KNOWN) else "text/plain"
    return judge_text(known, "line", Side(one), Side(other), on_disk)


def _judge_arrays(old: bytes, new: bytes, rules: Rules) -> Judgement:
    one, other = read_array(old), read_array(new)
    if one is None or other is None or (largest := largest_array_difference(one, other)) is None:
        return _by_digest(old, new)
    verdict: Verdict = "close" if largest <= rules.tolerance else "different"
    return Judgement(verdict, f"{_digest(old)} became {_digest(new)}: arrays of numbers", largest=largest)


def _judge_members(pairs: Sequence[tuple[str, bytes, bytes]], old: bytes, new: bytes, rules: Rules) -> Judgement:
    """Two archives whose members have the same names. An archive in an archive is just bytes."""
    judgements = [Judgement("equivalent", f"{_digest(old)} became {_digest(new)}", (ARCHIVE_TIMES,))]
    for name, one, other in pairs:
        inside = replace(rules, without=rules.without | {ARCHIVE_TIMES})
        found = judge_bytes(media_type(name), one, other, inside)
        if found != IDENTICAL:
            judgements.append(replace(found, detail=f"{name}: {found.detail}"))
    return combined(judgements)


def beyond(old: bytes, new: bytes) -> Judgement:
    """The verdict when a comparison has cost as much as one may."""
    return Judgement("different", f"{_digest(old)} became {_digest(new)}, by digest alone: {BEYOND}")


def _by_digest(old: bytes, new: bytes) -> Judgement:
    return Judgement("different", f"{_digest(old)} became {_digest(new)}")


def _digest(data: bytes) -> str:
    return f"{len(data)} bytes with sha256 {hashlib.sha256(data).hexdigest()[:12]}"


def first_difference(what: str, before: Sequence[str], after: Sequence[str]) -> str:
    """The first place where two sequences of lines differ, for people; "" when they are equal."""
    for number, (one, other) in enumerate(zip_longest(before, after), 1):
        if one != other:
            if one is None or other is None:
                sides = ["nothing" if side is None else _shown(side) for side in (one, other)]
            else:
                sides = _told_apart(one, other)
            return f"{what} {number}: {sides[0]} became {sides[1]}"
    return ""


def _told_apart(one: str, other: str) -> list[str]:
    """Two texts so shown that a person sees where they differ: from where they part, and with what is invisible."""
    for start in (0, _parting(one, other)):
        sides = [_shown(side, start) for side in (one, other)]
        if unicodedata.normalize("NFKC", sides[0]) != unicodedata.normalize("NFKC", sides[1]):
            return sides
    return [_shown(side, _parting(one, other), ascii) for side in (one, other)]


def _parting(one: str, other: str) -> int:
    """Where two texts part, less some context, for lines too long to be shown from their beginning."""
    part = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return max(part - 20, 0)


def _shown(
    text: str, start: int = 0, show: Callable[[str], str] = lambda piece: repr(strip_escapes(overwritten(piece)))
) -> str:
    piece = text[start : start + _SHOWN]
    cut = "..." if start + _SHOWN < len(text) else ""
    return f"{'...' if start else ''}{show(piece)}{cut}"
