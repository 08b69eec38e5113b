"""HTML written anew from chosen elements and attributes, in linear time, as a tree of bounded depth.

Parsers that build the tree which HTML5 prescribes need quadratic time for hostile markup, and can make gigabytes of
kilobytes. This one does not read as a browser would, and need not: what it writes has only elements that were asked
for, each closed, and every other ``<``, ``&`` and quote escaped, so that all parsers read the same.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection

#: Elements in elements; what is deeper loses its tags and keeps its text.
_MAX_DEPTH = 64
#: Elements that HTML opens again after each block that they reach into: every one multiplies what follows.
_MAX_FORMATTING = 8
_FORMATTING = frozenset({"a", "b", "code", "em", "font", "i", "s", "small", "strike", "strong", "tt", "u"})
_VOID = frozenset({"br", "col", "hr", "img"})
_ROWS = frozenset({"td", "th", "tr"})
_GROUPS = _ROWS | {"tbody", "tfoot", "thead", "colgroup", "caption"}
_P = frozenset({"p"})
#: What the start of an element ends, when that is the last one open: end tags that HTML lets people leave out.
_ENDS = {
    "li": _P | {"li"}, "dt": _P | {"dt", "dd"}, "dd": _P | {"dt", "dd"},
    "td": _P | {"td", "th"}, "th": _P | {"td", "th"}, "tr": _P | _ROWS,
    "tbody": _GROUPS, "tfoot": _GROUPS, "thead": _GROUPS,
    "blockquote": _P, "center": _P, "details": _P, "div": _P, "dl": _P, "figcaption": _P, "figure": _P, "h1": _P,
    "h2": _P, "h3": _P, "h4": _P, "h5": _P, "h6": _P, "hr": _P, "ol": _P, "p": _P, "pre": _P, "summary": _P,
    "table": _P, "ul": _P,
}  # fmt: skip
_TOKEN = re.compile(
    r"<!--(?P<comment>)|<[!?][^>]*>"
    r"|<(?P<end>/?)(?P<name>[a-zA-Z][a-zA-Z0-9]*)(?P<rest>(?:[^\"'>]|\"[^\"]*\"|'[^']*')*+)>"
)
#: Gives what is written of an element's attribute and its value; None for nothing.
Keep = Callable[[str, str, str], str | None]
_ATTRIBUTE = re.compile(r"([a-zA-Z][a-zA-Z-]*)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+)))?+")


def rebuilt(markup: str, tags: Collection[str], keep: Keep) -> str:
    """``markup`` with only these elements, none of which may hold raw text, and what ``keep`` gives."""
    kept: list[str] = []
    opened: list[str] = []
    at = 0
    while (start := markup.find("<", at)) >= 0:
        kept.append(_escaped(markup[at:start]))
        token = _TOKEN.match(markup, start)
        if token is None:
            if markup.startswith(("</", "<!", "<?"), start) or markup[start + 1 : start + 2].isalpha():
                at = len(markup)  # a tag that never ends: to search it for others would take quadratic time
            else:
                kept.append("&lt;")
                at = start + 1
            continue
        at = token.end()
        if token["comment"] is not None:
            end = markup.find("-->", at)
            at = len(markup) if end < 0 else end + 3
        elif token["name"] and (name := token["name"].lower()) in tags:
            kept.append(_close(name, opened) if token["end"] else _open(name, token["rest"], opened, keep))
    kept.append(_escaped(markup[at:]))
    kept.extend(f"</{name}>" for name in reversed(opened))
    return "".join(kept)


def _open(name: str, rest: str, opened: list[str], keep: Keep) -> str:
    ends = []
    while opened and opened[-1] in _ENDS.get(name, ()):
        ends.append(f"</{opened.pop()}>")
    formatting = name in _FORMATTING and sum(item in _FORMATTING for item in opened) >= _MAX_FORMATTING
    if name not in _VOID:
        if formatting or len(opened) >= _MAX_DEPTH:
            return "".join(ends)
        opened.append(name)
    written = []
    for key, double, single, bare in _ATTRIBUTE.findall(rest):
        value = keep(name, key.lower(), html.unescape(double or single or bare))
        if value is not None:
            written.append(f' {key.lower()}="{html.escape(value)}"')
    return f"{''.join(ends)}<{name}{''.join(written)}>"


def _escaped(text: str) -> str:
    return html.escape(html.unescape(text), quote=False)


def _close(name: str, opened: list[str]) -> str:
    if name not in opened:
        return ""
    ends = []
    while True:
        ends.append(f"</{(last := opened.pop())}>")
        if last == name:
            return "".join(ends)
