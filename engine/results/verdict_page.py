"""A comparison as one HTML page, both sides of each difference beside each other; it runs and fetches nothing."""

from __future__ import annotations

import base64
import binascii
import html
from collections.abc import Iterator, Sequence

from engine.model import Cause, Comparison, Difference
from engine.results.compare import Shown, Unit
from engine.results.judging import PICTURES
from engine.results.likeness import difference_picture
from engine.results.markup import clean_markup
from engine.results.page import MAX_PAGE, MAX_TEXT, PAGE_HEAD
from engine.results.text import overwritten, strip_escapes

# Ours are told by data- attributes, which ``clean_markup`` leaves to no output: none can look like a verdict of ours.
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #57606a; --line: #d0d7de; --shade: #f6f8fa;
  --gone: #ffd7d5; --come: #ccffd8; --link: #0969da; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #9198a1; --line: #3d444d;
  --shade: #161b22; --gone: #67060c; --come: #04411a; --link: #4493f8; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; margin: 0 auto;
  max-width: 76rem; padding: 1.5rem clamp(.8rem, 3vw, 1.5rem); }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } section > h2 { display: inline; font-size: 1.05rem; margin: 0; }
h2, [data-by] { overflow-wrap: anywhere; }
[data-verdict] { border-radius: 1em; color: white; font-size: .85rem; font-weight: 600; padding: .1em .7em; }
[data-verdict=identical], [data-verdict=equivalent] { background: #1a7f37; }
[data-verdict=close] { background: #9a6700; } [data-verdict=different] { background: #cf222e; }
section { border-top: 1px solid var(--line); margin-top: 1.2rem; padding-top: 1rem; }
[data-by], figcaption { color: var(--faint); font-size: .85rem; } p[data-by] { margin: .4rem 0; }
[data-sides] { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); }
[data-sides] > figure { margin: .3rem 0 0; min-width: 0; }
pre { background: var(--shade); border-radius: .3rem; margin: .2rem 0; overflow-wrap: anywhere; padding: .6rem;
  white-space: pre-wrap; }
pre > del { background: var(--gone); text-decoration: none; }
pre > ins { background: var(--come); text-decoration: none; }
figure > img { background: white; border: 1px solid var(--line); box-sizing: border-box; height: auto;
  max-width: 100%; }
/* Notebooks colour their tables for a white page; no part of an output is painted beyond its box. */
[data-output] { background: white; border: 1px solid var(--line); border-radius: .3rem; color: #1b1f24;
  color-scheme: light; contain: content; margin: .2rem 0; overflow: auto; padding: .6rem; }
[data-output] table { border-collapse: collapse; font-size: .9rem; }
[data-output] :is(td, th) { border: 1px solid #d0d7de; padding: .2rem .5rem; }
"""
_PAGE = """{head}<title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1>
<p><span data-verdict="{verdict}">{verdict}</span> {summary}</p>
{sections}
</body></html>
"""


def render_comparison(
    comparison: Comparison,
    differing: Sequence[tuple[Difference, Unit]],
    title: str,
    names: tuple[str, str],
    causes: Sequence[Cause] = (),
) -> str:
    """A whole page of what ``examine`` gave; ``names`` say what the old and the new side are.

    Markup in outputs is reduced to what only looks (see ``clean_markup``). Texts beyond MAX_TEXT characters are cut,
    and units beyond MAX_PAGE named without their sides.
    """
    counts = ", ".join(f"{sum(item.verdict == verdict for item in comparison.differences)} {verdict}"
                       for verdict in ("equivalent", "close", "different"))  # fmt: skip
    off = f" Switched off: {', '.join(comparison.without)}." if comparison.without else ""
    summary = (
        f"{comparison.units} {'unit' if comparison.units == 1 else 'units'} compared: {counts}, all others identical. "
        f"Numbers are close up to a relative difference of {comparison.tolerance:g}.{off}"
    )
    units = {id(difference): unit for difference, unit in differing}
    return _PAGE.format(
        head=PAGE_HEAD,
        title=html.escape(title),
        style=_STYLE,
        verdict=comparison.verdict,
        summary=html.escape(summary),
        sections="\n".join(_sections(comparison.differences, units, names, causes)),
    )


def _sections(
    differences: Sequence[Difference], units: dict[int, Unit], names: tuple[str, str], causes: Sequence[Cause]
) -> Iterator[str]:
    left = MAX_PAGE
    for item in differences:
        unit = units.get(id(item))
        sides = "".join(_figures(unit, names)) if unit is not None and left > 0 else ""
        left -= len(sides)
        by = ", ".join(_measures(item))
        why = "".join(_cause(cause) for cause in causes if cause.unit == item.where)
        yield (
            f'<section><h2>{_text(item.where)}</h2> <span data-verdict="{item.verdict}">{item.verdict}</span> '
            f"<span data-by>{_text(by)}</span><p data-by>{_text(item.detail)}</p>{why}"
            f"<div data-sides>{sides}</div></section>"
        )


def _cause(cause: Cause) -> str:
    enters = f"enters at <code>{_text(cause.enters)}</code>; " if cause.enters else ""
    return f"<p><b>{cause.kind}</b>: {enters}{_text(cause.evidence)}</p>"


def _measures(item: Difference) -> Iterator[str]:
    yield from item.normalisers
    if item.largest is not None:
        yield f"largest relative difference {item.largest:.3g}"
    if item.likeness is not None:
        yield f"likeness {item.likeness:.4f}"


def _figures(unit: Unit, names: tuple[str, str]) -> Iterator[str]:
    old, new = unit.sides()
    media = _best(old, new)
    if media is None:  # no type that both have and that differs
        for side, name in ((old, names[0]), (new, names[1])):
            own = next(iter(side)) if side else ""
            yield _figure(name, _rendered(own, (side or {}).get(own, ""), None))
        return
    one, other = (old or {})[media], (new or {})[media]
    yield _figure(names[0], _rendered(media, one, other, "del"))
    yield _figure(names[1], _rendered(media, other, one, "ins"))
    if media in PICTURES and (planted := _difference(one, other)):
        yield _figure("what differs, in red", planted)


def _best(old: Shown, new: Shown) -> str | None:
    """Of the types that differ the one that shows it best: a picture, else markup, else text."""
    common = [media for media in old or {} if media in (new or {}) and (old or {})[media] != (new or {})[media]]
    order = (*PICTURES, "text/html", "text/plain")
    return min(common, key=lambda media: order.index(media) if media in order else len(order), default=None)


def _figure(name: str, inside: str) -> str:
    return f"<figure><figcaption>{_text(name)}</figcaption>{inside}</figure>"


def _rendered(media: str, text: str, other: str | None, mark: str = "") -> str:
    if media in PICTURES:
        return _picture(media, text)
    if media == "text/html" and len(text) <= MAX_TEXT and (looks := clean_markup(text)).strip():
        return f"<div data-output>{looks}</div>"
    lines = _clean(text).split("\n")
    others = frozenset(_clean(other).split("\n")) if other is not None else frozenset(lines)
    marked = (f"<{mark}>{html.escape(line)}</{mark}>" if line not in others else html.escape(line) for line in lines)
    return f"<pre>{chr(10).join(marked)}</pre>" if text else "<p data-by>nothing</p>"


def _clean(text: str) -> str:
    kept = strip_escapes(overwritten(text))
    return kept if len(kept) <= MAX_TEXT else f"{kept[:MAX_TEXT]}\n[... {len(kept) - MAX_TEXT:,} more characters]"


def _picture(media: str, encoded: str) -> str:
    try:
        data = base64.b64encode(base64.b64decode(encoded)).decode()
    except (binascii.Error, ValueError):
        return "<p data-by>not a picture</p>"
    return f'<img alt="" src="data:{media};base64,{data}">'


def _difference(one: str, other: str) -> str:
    try:
        drawn = difference_picture(base64.b64decode(one), base64.b64decode(other))
    except (binascii.Error, ValueError):
        return ""
    return _picture("image/png", base64.b64encode(drawn).decode()) if drawn else ""


def _text(text: str) -> str:
    return html.escape(strip_escapes(text))
