"""Named normalisers: what may differ between two runs without the result being another.

Each replaces what it is named for by a fixed text, the same on both sides, and nothing else; applied to its own
result it changes nothing. A comparison names those that it needed, and each can be switched off.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.results.text import overwritten

# Every repetition has a bound or can only be tried once: hostile text must not cost more than its length.
_NUMBER = r"(?<![\w.])\d{1,15}(?:\.\d{1,15})?(?:e[-+]?\d{1,3})?"
_UNIT = r"(?:nsec|usec|msec|ns|µs|μs|us|ms|s|secs?|seconds?|min|mins|minutes?|h|hours?|d)"
_DURATION = rf"{_NUMBER} ?{_UNIT}\b(?: \d{{1,4}} ?{_UNIT}\b){{0,3}}"
_CLOCK = r"\b\d{1,3}:\d{2}(?::\d{2})?\b"
#: What programs do, and not what they simulate: "ran 10 km in 40 min" is a result.
_DONE = (
    "built|calculated|compiled|computed|converged|downloaded|evaluated|executed|fitted|generated|loaded|processed|saved"
    "|solved|trained|wrote"
)
#: How long something took, as IPython, timeit, Keras and people write it. What is said before it stays.
_TIMINGS = (
    rf"(?<=CPU times: )(?:user {_DURATION}, sys: {_DURATION}(?:, total: {_DURATION})?|total: {_DURATION})",
    rf"(?:(?<=Wall time: )|(?<=Compiler : )|(?<=Parser   : )){_DURATION}",
    rf"{_DURATION} ± {_DURATION} per loop",
    r"(?<=std\. dev\. of )\d{1,4} runs?, [\d,]{1,15} loops?(?= each\))",
    rf"(?<![\w,])[\d,]{{1,15}} loops?, best of \d{{1,3}}: {_DURATION} per loop",
    rf"(?<=The slowest run took ){_NUMBER}(?= times longer)",
    rf"(?:(?:{_DURATION}|{_CLOCK})(?: -)? )?{_NUMBER} ?{_UNIT}/(?:step|epoch|iter|batch|sample)\b",
    rf"(?<=ETA: )(?:{_CLOCK}|{_DURATION})",
    rf"(?<=--- ){_NUMBER} seconds?(?= ---)",
    rf"(?i:(?<=took )|(?<=took: )|(?<=elapsed )|(?<=elapsed: )|(?<=elapsed time: )|(?<=elapsed time )"
    rf"|(?<=time elapsed: )|(?<=training time: )|(?<=execution time: )|(?<=run time: )|(?<=runtime: )){_DURATION}",
    # A fraction of seconds with the unit written out at the end of a line is how time.time() gets printed.
    r"(?<= in )\d{1,9}\.\d{1,15} ?sec(?:ond)?s?(?=[.,;)!]{0,3}(?:\n|$))",
)
_DONE_IN = re.compile(
    rf"\b(?P<said>(?i:(?:ran|done|completed|finished)|(?:{_DONE})\b(?:(?!<time>)[^\n]){{0,60}}?) in ){_DURATION}"
)
#: Every line that one of these patterns can fit has one of these, in small letters: most lines have none.
_TIMING_SIGNS = (
    " in ", "time", "loop", "took", "elapsed", "eta: ", "seconds", "compiler", "parser",
    "/step", "/epoch", "/iter", "/batch", "/sample",
)  # fmt: skip
_IPYTHON_FILES = (
    r"/tmp/ipykernel_\d{1,20}/\d{1,20}\.py",  # noqa: S108 - what notebooks print
    r"<ipython-input-\d{1,20}-[0-9a-f]{1,40}>",
)
_TEMPORARY = re.compile(
    rf"(?P<cell>{'|'.join(_IPYTHON_FILES)})|"
    + r"(?:(?<![\w.\-/])|(?<=://))/(?:tmp|var/tmp|var/folders)(?:/[\w.\-+@]{1,255}){1,40}"
)
#: Parts of paths that tempfile, mktemp(1) and libraries draw at random; a name that somebody chose stays.
_RANDOM_NAME = re.compile(
    r"(?<=/)(?:tmp[a-z0-9_]{8}|tmp\.[A-Za-z0-9]{10}|ipykernel_\d{1,20}"
    r"|(?P<prefix>(?:pymp|matplotlib)-|[\w.\-+@]{1,200}[_.-](?=[a-z0-9_]{0,6}[0-9][a-z])(?=[a-z0-9_]{0,6}[a-z][0-9]))"
    r"[a-z0-9_]{8})(?=[/.]|$)"
    r"|(?<![0-9a-f])[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}(?![0-9a-f])"
)
_DATES = (
    r"(?<=\nDate:)\s{2,40}\w{3}, \d{2} \w{3} \d{4}",  # statsmodels
    r"(?<=\nTime:)\s{2,40}\d{2}:\d{2}:\d{2}",
    r"(?<=<dc:date>)[^<]{1,100}(?=</)",  # matplotlib's SVG
    r"(?<=W3CDTF\">)\d{4}-\d\d-\d\dT[\d:.]{5,20}Z?(?=</dcterms:)",  # Office documents
)
_IDS = (
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",  # RFC 9562
    r"(?<=[\"'#_-])[0-9a-f]{32}\b",
    r"(?<=\bT_)[0-9a-f]{5}(?=[_\s\"'{])",  # pandas' Styler
    r"(?<=\bsk-container-id-)\d+\b",  # scikit-learn
    r"(?<=[\"#])[mpcChi]+[0-9a-f]{10}(?=[\")])",  # matplotlib's SVG
    *(_FORM_IDS := (r"(?<=id=\")a[0-9a-f]{8}(?=\")", r"(?<=code_toggle\()(?:\\?')a[0-9a-f]{8}(?=\\?')")),  # ipyform
)
_CLOCKS = r"[\d:?]{1,12}<[\d:?]{1,12}, {0,9}[\d.?]{1,20}[\w/]{1,20}"
_PROGRESS = re.compile(  # tqdm, with a total and without; what it shows behind its rate is a result
    rf"(?<=%\|)[^|\n]{{0,500}}(?P<count>\| {{0,20}}[\d.]{{1,20}}[kMGT]?/[\d.]{{1,20}}[kMGT]? \[){_CLOCKS}"
    r"|(?P<so_far>(?<![\w.])[\d.]{1,20}[kMGT]?[A-Za-z]{1,20} \[)"
    r"[\d:]{4,12}, {0,9}[\d.?]{1,20}[kMGT]?[\w/]{1,20}(?=[],])"
    r"|(?<=[kMG]B )[\d.]{1,20} [kMG]?B/s eta [\d:-]{1,12}"  # pip
)
#: As a terminal takes them, but what stands in a title or another string of commands stays: it may be a result.
_ESCAPE = re.compile("(?:\x1b\\[|\x9b)[0-?]{0,64}[ -/]{0,16}[@-~]|\x1b[ -/]{0,16}[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
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
    return _PROGRESS.sub(lambda found: f"{found['count'] or found['so_far'] or ''}<progress>", overwritten(text))


def _colours(text: str) -> str:
    return _ESCAPE.sub("", text)


def _timings(text: str) -> str:
    lines = text.split("\n")
    for number, line in enumerate(lines):
        small = line.lower()
        if any(sign in small for sign in _TIMING_SIGNS):
            lines[number] = _DONE_IN.sub(r"\g<said><time>", _ANY_TIMING.sub("<time>", line))
    return "\n".join(lines)


def _temporary_paths(text: str) -> str:
    return _TEMPORARY.sub(_without_random_names, text)


def _without_random_names(path: re.Match[str]) -> str:
    if path["cell"]:
        return "<cell>"
    return _RANDOM_NAME.sub(lambda found: f"{found['prefix'] or ''}<random>", path[0])


def _json_layout(text: str) -> str:
    """The same values in one layout, with sorted keys; what is no JSON, or has a key twice, stays."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
        return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands there twice")
    return members


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
    elements = [repr(item) for item in sorted(value, key=_place)]
    written = match[0][1:-1]
    # {1, 1} and {1.50} are text that somebody wrote: every element must stand there as Python shows it.
    if len(written) != len(", ".join(elements)) or any(element not in written for element in elements):
        return match[0]
    return "{" + ", ".join(elements) + "}"


def _place(element: object) -> tuple[bool, float, str]:
    """Numbers by their size, so that close ones find each other; then all else by its text."""
    if isinstance(element, int | float) and abs(element) < 1e300:
        return False, float(element), repr(element)
    return True, 0.0, repr(element)


_ANY_TIMING = re.compile("|".join(_TIMINGS))
_TEXT = ("text/plain", "application/json")
_MARKUP = ("text/html", "image/svg+xml")
NORMALISERS = (
    Normaliser("progress-bars", "progress bars, but for how far they came", _TEXT, _progress_bars),
    Normaliser("colours", "colours and other escape sequences", _TEXT, _colours),
    Normaliser("addresses", "memory addresses as in <Figure at 0x7f2c>", ("text/", "application/json"), _replace(
        (r"(?<= at )0x[0-9a-fA-F]{6,16}\b",), "0x...")),
    Normaliser("timings", "how long something took", _TEXT, _timings),
    Normaliser("temporary-paths", "random names in temporary paths", ("text/", "application/json"), _temporary_paths),
    Normaliser("set-order", "the order in which a set shows its elements", _TEXT, _sort_sets),
    Normaliser("dates", "dates of summaries, pictures and documents", ("text/", "image/svg+xml", "application/xml"),
               _replace(_DATES, " <date>")),
    Normaliser("html-ids", "random identifiers in HTML and SVG", _MARKUP, _number(_IDS)),
    Normaliser("html-ids", "the same in a form that is shown as text", ("text/plain",), _number(_FORM_IDS)),
    Normaliser("json-layout", "the order of keys, and blanks between values", ("application/json",), _json_layout),
)  # fmt: skip
#: These are applied where cells, pictures and archives are read; they can be switched off like the others.
WIDGET_IDS = "widget-ids"
PICTURE_ENCODING = "picture-encoding"
ARCHIVE_TIMES = "archive-times"
NAMES = (*dict.fromkeys(item.name for item in NORMALISERS), WIDGET_IDS, PICTURE_ENCODING, ARCHIVE_TIMES)
