"""The executed notebook as one HTML page that runs nothing and fetches nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any
from urllib.parse import unquote

from engine.model import Json
from engine.results.markup import clean_markup
from engine.results.text import clean_text

#: No scripts, frames or forms, nothing from the network (W3C Content Security Policy Level 3).
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; base-uri 'none'; form-action 'none'"
)
#: How the pages begin that a command writes where it is told to: by that they are known when another is to replace one.
PAGE_START = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="nbseal">
"""
PAGE_HEAD = f"""{PAGE_START}<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">
<meta name="referrer" content="no-referrer"><meta name="viewport" content="width=device-width, initial-scale=1">
"""
#: Characters of one text output and of all outputs; a longer page is not read, and browsers choke on it.
MAX_TEXT = 200_000
MAX_PAGE = 64 << 20
_IMAGES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif")
_ATTACHMENT = re.compile(r"attachment:([^)\s\"'>]*)")
_SHOWN_FIRST = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain", "text/latex"]
_TEMPLATE = """\
{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}
<meta http-equiv="Content-Security-Policy" content="@policy@">
<meta name="referrer" content="no-referrer">
{%- endblock html_head_js -%}
{%- block jupyter_widgets -%}{%- endblock jupyter_widgets -%}
{%- block html_head_js_mathjax -%}{%- endblock html_head_js_mathjax -%}
{%- block html_head_js_mermaidjs -%}{%- endblock html_head_js_mermaidjs -%}
{%- block html_head_css -%}
<style>
body.jp-Notebook { max-width: 60rem; margin: 0 auto; padding: 1.5rem; overflow: auto; height: auto; }
.jp-RenderedText pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.jp-RenderedImage img, .jp-RenderedSVG img { max-width: 100%; height: auto; background: white; }
</style>
{%- endblock html_head_css -%}
{%- block footer -%}{%- endblock footer -%}
""".replace("@policy@", html.escape(POLICY))


def render_html(document: Json, title: str) -> str:
    """A whole page, with everything that it shows inside, of a document from ``read_executed``.

    Markup in outputs and Markdown is reduced to what only looks (see ``clean_markup``); pictures
    are data: URLs; widgets and scripts are left out. Texts beyond MAX_TEXT characters are cut, and
    outputs beyond MAX_PAGE left out, both with a note.
    """
    import warnings

    from nbformat import from_dict

    notebook = from_dict(_shown(document))  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the lexer of a package that we do not need
        page, _ = _exporter().from_notebook_node(notebook, {"metadata": {"name": title}})
    return str(page)


@cache
def _exporter() -> Any:
    """nbconvert's, set up once: compiling its templates takes ten times as long as rendering a small notebook."""
    from nbconvert.exporters import HTMLExporter
    from traitlets.config import Config

    config = Config({"NbConvertBase": {"display_data_priority": _SHOWN_FIRST}})
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        config=config, raw_template=_TEMPLATE, sanitize_html=True, filters={"clean_html": clean_markup}
    )
    exporter.log.disabled = True  # it warns of pictures without an alternative text
    return exporter


def renderers() -> tuple[str, ...]:
    """The packages, with their versions, that decide what a page looks like."""
    from importlib.metadata import version

    return tuple(f"{name} {version(name)}" for name in ("nbconvert", "jinja2", "mistune", "pygments", "bleach"))


def _shown(document: Json) -> Json:
    """What the page shows, built anew: no metadata, attribute or type that we do not know gets into a template."""
    budget = [MAX_PAGE]
    cells = []
    for number, cell in enumerate(document["cells"], 1):
        shown = {"cell_type": cell["cell_type"], "id": f"{number}", "metadata": {}, "source": cell["source"]}
        if cell["cell_type"] == "markdown":
            shown["source"] = _without_dangling(cell["source"], cell.get("attachments"))
        if cell["cell_type"] == "code":
            outputs = [done for output in _joined(cell["outputs"]) for done in _output(output, budget)]
            shown |= {"execution_count": cell["execution_count"], "outputs": outputs}
        elif isinstance(cell.get("attachments"), dict):
            shown["attachments"] = {
                name: {mime: data for mime, data in bundle.items() if mime in _IMAGES and isinstance(data, str)}
                for name, bundle in cell["attachments"].items()
                if isinstance(bundle, dict)
            }
        cells.append(shown)
    language = {"name": "python", "pygments_lexer": "ipython3"}
    return {"cells": cells, "metadata": {"language_info": language}, "nbformat": 4, "nbformat_minor": 5}


def _without_dangling(source: str, attachments: Any = None) -> str:
    """Markdown whose references to attachments that are not there are dead links: nbconvert refuses such a notebook."""
    there = attachments if isinstance(attachments, dict) else {}
    return _ATTACHMENT.sub(lambda found: found[0] if unquote(found[1]) in there else f"#{found[0]}", source)


def _joined(outputs: Sequence[Json]) -> Iterator[Json]:
    """Neighbouring chunks of one stream as one output."""
    waiting: Json | None = None
    for output in outputs:
        if waiting and output["output_type"] == "stream" and output["name"] == waiting["name"]:
            waiting = {**waiting, "text": waiting["text"] + output["text"]}
            continue
        if waiting:
            yield waiting
        waiting = output if output["output_type"] == "stream" else None
        if waiting is None:
            yield output
    if waiting:
        yield waiting


def _output(output: Json, budget: list[int]) -> Iterator[Json]:
    kind = output["output_type"]
    if kind == "stream":
        shown = {**output, "text": _cut(clean_text(output["text"]))}
        size = len(shown["text"])
    elif kind == "error":
        traceback = _cut(clean_text("\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}"))
        shown = {**output, "traceback": traceback.split("\n")}
        size = len(traceback)
    else:
        data = _data(output["data"])
        if not data:
            return
        shown = {**output, "data": data, "metadata": _sizes(output["metadata"])}
        size = sum(len(value) for value in data.values())
    budget[0] -= size
    if budget[0] >= 0:
        yield shown
    elif budget[0] + size >= 0:  # the first that does not fit
        yield {"output_type": "stream", "name": "stderr", "text": "[Further outputs are in executed.ipynb.]\n"}


def _data(data: Json) -> dict[str, str]:
    """The one format of an output that the page shows, under its type."""
    texts = {mime: value for mime, value in data.items() if isinstance(value, str) and value.strip()}
    markup = texts.get("text/html", "")
    picture = next((mime for mime in _IMAGES if mime in texts), "")
    needs_scripts = "<script" in markup.lower()
    if markup and len(markup) <= MAX_TEXT and not (needs_scripts and picture):
        note = "<p><em>Parts of this output need scripts, which this page does not run.</em></p>"
        return {"text/html": markup + (note if needs_scripts else "")}
    if picture == "image/gif":
        return {"text/html": f'<img src="data:image/gif;base64,{html.escape(texts[picture])}">'}
    if picture:
        return {picture: texts[picture]}
    for mime in ("text/markdown", "text/plain", "text/latex"):
        if mime in texts:
            text = clean_text(texts[mime]) if mime == "text/plain" else texts[mime]
            return {mime: _cut(_without_dangling(text) if mime == "text/markdown" else text)}
    return {}


def _sizes(metadata: Json) -> Json:
    """Width and height that a picture asks for: the template writes them without quotes, so only whole numbers."""
    sizes: Json = {}
    for mime in _IMAGES:
        asked = metadata.get(mime)
        if isinstance(asked, dict):
            sizes[mime] = {name: asked[name] for name in ("width", "height") if type(asked.get(name)) is int}
    return sizes


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}\n[... {len(text) - MAX_TEXT:,} more characters are in executed.ipynb]\n"
