"""HTML out of a notebook, reduced to what only looks."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from engine.results.nesting import rebuilt

# fmt: off
_TAGS = frozenset({
    "a", "abbr", "b", "blockquote", "br", "caption", "center", "cite", "code", "col", "colgroup", "dd", "del",
    "details", "dfn", "div", "dl", "dt", "em", "figcaption", "figure", "font", "h1", "h2", "h3", "h4", "h5", "h6", "hr",
    "i", "img", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s", "samp", "small", "span", "strike", "strong",
    "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "tt", "u", "ul", "var",
})
_ATTRIBUTES = frozenset({
    "align", "alt", "bgcolor", "border", "cellpadding", "cellspacing", "class", "color", "colspan", "face", "height",
    "headers", "lang", "open", "rowspan", "scope", "size", "span", "start", "title", "valign", "width",
})
# fmt: on
#: Elements whose text is not for people; it goes with them.
_UNSEEN = re.compile(r"<(style|script|template|noscript|title)\b", re.IGNORECASE)
_PICTURE = re.compile("<img[^>]*>")
_ALTERNATIVE = re.compile(' alt="([^"]*)"')
_INVISIBLE = re.compile(r"[\x00-\x20\x7f-\xa0\u200b\ufeff]+")
_LINKS = ("http://", "https://", "mailto:", "#")
_MAX_STYLE = 10_000
_PASSIVE_IMAGES = ("data:image/png", "data:image/jpeg", "data:image/gif", "data:image/svg+xml", "data:image/webp")


def clean_markup(markup: object) -> str:
    """``markup`` with text elements, tables, lists, pictures and inline styles only.

    Links lead to http, https and mailto; pictures are data: URLs. Style sheets are left out: one in
    an output could hide or change what other cells say. Bytes are taken as UTF-8.
    """
    text = markup.decode("utf-8", "replace") if isinstance(markup, bytes) else str(markup)
    return _PICTURE.sub(_embedded, rebuilt(_without_unseen(text), _TAGS, _kept))


def _embedded(picture: re.Match[str]) -> str:
    """A picture from elsewhere cannot be shown: its alternative text instead of a broken frame."""
    if ' src="' in picture[0]:
        return picture[0]
    described = _ALTERNATIVE.search(picture[0])
    return f"<em>[{described[1]}]</em>" if described and described[1] else ""


def _without_unseen(text: str) -> str:
    """Drop such elements with what is in them, in linear time; one that does not end takes the rest along."""
    kept = []
    lowered = text.lower()
    at = 0
    while match := _UNSEEN.search(text, at):
        kept.append(text[at : match.start()])
        end = lowered.find(f"</{match[1].lower()}", match.end())
        if end < 0:
            return "".join(kept)
        close = text.find(">", end)
        at = len(text) if close < 0 else close + 1
    kept.append(text[at:])
    return "".join(kept)


def _kept(tag: str, name: str, value: str) -> str | None:
    """What an attribute may say: nothing that a browser would run, or fetch."""
    if name == "style":
        return str(_styles().sanitize_css(value)) if len(value) <= _MAX_STYLE else None
    if name in ("src", "href"):
        # Browsers drop blanks and control characters before they look for the scheme.
        address = _INVISIBLE.sub("", value)
        schemes = {"img": _PASSIVE_IMAGES, "a": _LINKS}.get(tag, ()) if (tag == "img") == (name == "src") else ()
        return address if address.lower().startswith(schemes) else None
    return value if name in _ATTRIBUTES else None


@cache
def _styles() -> Any:
    import bleach.css_sanitizer  # type: ignore[import-untyped]

    return bleach.css_sanitizer.CSSSanitizer()
