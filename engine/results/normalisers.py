"""Named normalisers: what may differ between two runs without the result being another.

Each replaces what it is named for by a fixed text, the same on both sides, and nothing else; applied to its own
result it changes nothing. A comparison names those that it needed, and each can be switched off.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from engine.results.text import overwritten, strip_escapes

# Every repetition has a bound or can only be tried once: hostile text must not cost more than its length.
_NUMBER = r"(?<![\d.])\d{1,15}(?:\.\d{1,15})?(?:e[-+]?\d{1,3})?"
_UNIT = r"(?:ns|µs|μs|us|ms|s|secs?|seconds?|min|mins|minutes?|hours?)"
_DURATION = rf"{_NUMBER} ?{_UNIT}\b(?: \d{{1,4}} ?{_UNIT}\b){{0,3}}"
#: How long something took, as IPython, timeit, Keras and people write it.
_TIMINGS = (
    rf"(?<=CPU times: )user {_DURATION}, sys: {_DURATION}(?:, total: {_DURATION})?",
    rf"(?<=Wall time: ){_DURATION}",
    rf"{_DURATION} ± {_DURATION} per loop",
    rf"\b{_NUMBER} ?{_UNIT}/(?:step|epoch|iter|batch|sample)\b",
    rf"(?i:(?<=took )|(?<=took: )|(?<=elapsed )|(?<=elapsed: )|(?<=elapsed time: )|(?<=finished in )|(?<=done in )"
    rf"|(?<=completed in )|(?<=fitted in )|(?<=trained in )|(?<=ran in )|(?<=loaded in )){_DURATION}",
)
_TEMPORARY = (
    r"/tmp/ipykernel_\d+/\d+\.py",  # noqa: S108 - what notebooks print
    r"<ipython-input-\d+-[0-9a-f]+>",
    r"(?<![\w.\-/])/(?:tmp|var/tmp|var/folders)/[\w.\-/]*\w",
)
_DATES = (
    r"(?<=\nDate:)\s{2,40}\w{3}, \d{2} \w{3} \d{4}",  # statsmodels
    r"(?<=\nTime:)\s{2,40}\d{2}:\d{2}:\d{2}",
    r"(?<=<dc:date>)[^<]{1,100}(?=</)",  # matplotlib's SVG
)
_IDS = (
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",  # RFC 9562
    r"(?<=[\"'#_-])[0-9a-f]{32}\b",
    r"(?<=\bT_)[0-9a-f]{5}(?=[_\s\"'{])",  # pandas' Styler
    r"(?<=\bsk-container-id-)\d+\b",  # scikit-learn
    r"(?<=[\"#])[mpcChi]+[0-9a-f]{10}(?=[\")])",  # matplotlib's SVG
)
_PROGRESS = re.compile(  # tqdm; what it shows behind its rate is a result
    r"(?<=%\|)[^|\n]{0,500}(?P<count>\| {0,20}[\d.]{1,20}[kMGT]?/[\d.]{1,20}[kMGT]? \[)"
    r"[\d:?]{1,12}<[\d:?]{1,12}, {0,9}[\d.?]{1,20}[\w/]{1,20}"
)
_SET = re.compile(r"\{[^{}:]{1,10000}\}")


@dataclass(frozen=True)
class Normaliser:
    """``apply`` gives a text without ``what``; it is for texts of the types that begin with one of ``media``."""

    name: str
    what: str
    media: tuple[str, ...]
    apply: Callable[[str], str]


def applying_to(media: str, without: frozenset[str] = frozenset()) -> tuple[Normaliser, ...]:
    """The normalisers for texts of this type, but for those that are switched off."""
    return tuple(item for item in NORMALISERS if media.startswith(item.media) and item.name not in without)


def _replace(patterns: tuple[str, ...], replacement: str) -> Callable[[str], str]:
    compiled = re.compile("|".join(patterns))
    return lambda text: compiled.sub(replacement, text)


def _number(patterns: tuple[str, ...]) -> Callable[[str], str]:
    """Replace each distinct match by the number of its first appearance, so that references must still agree."""
    compiled = re.compile("|".join(patterns))

    def apply(text: str) -> str:
        numbers: dict[str, int] = {}
        return compiled.sub(lambda match: f"<id {numbers.setdefault(match[0], len(numbers) + 1)}>", text)

    return apply


def _progress_bars(text: str) -> str:
    """The last state of each line, without the bar and its times; how far it came stays."""
    return _PROGRESS.sub(r"\g<count><progress>", overwritten(text))


def _sort_sets(text: str) -> str:
    return _SET.sub(_sort_set, text)


def _sort_set(match: re.Match[str]) -> str:
    """The elements in order of their text, where this is a set as Python shows it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on escapes and the like
            value = ast.literal_eval(match[0])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return match[0]
    if not isinstance(value, set):
        return match[0]
    elements = sorted(map(repr, value))
    written = match[0][1:-1]
    # {1, 1} and {1.50} are text that somebody wrote: every element must stand there as Python shows it.
    if len(written) != len(", ".join(elements)) or any(element not in written for element in elements):
        return match[0]
    return "{" + ", ".join(elements) + "}"


_TEXT = ("text/plain",)
_MARKUP = ("text/html", "image/svg+xml")
NORMALISERS = (
    Normaliser("progress-bars", "progress bars, but for how far they came", _TEXT, _progress_bars),
    Normaliser("colours", "colours and other escape sequences", _TEXT, strip_escapes),
    Normaliser("addresses", "memory addresses as in <Figure at 0x7f2c>", ("text/",), _replace(
        (r"(?<= at )0x[0-9a-fA-F]{6,16}\b",), "0x...")),
    Normaliser("timings", "how long something took", _TEXT, _replace(_TIMINGS, "<time>")),
    Normaliser("temporary-paths", "paths below /tmp", ("text/",), _replace(_TEMPORARY, "<temporary path>")),
    Normaliser("set-order", "the order in which a set shows its elements", _TEXT, _sort_sets),
    Normaliser("dates", "dates of summaries and pictures", ("text/", "image/svg+xml"), _replace(_DATES, " <date>")),
    Normaliser("html-ids", "random identifiers in HTML and SVG", _MARKUP, _number(_IDS)),
)  # fmt: skip
#: These two are applied where cells and pictures are read; they can be switched off like the others.
WIDGET_IDS = "widget-ids"
PICTURE_ENCODING = "picture-encoding"
NAMES = (*(item.name for item in NORMALISERS), WIDGET_IDS, PICTURE_ENCODING)
