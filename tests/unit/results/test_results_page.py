"""The page of a notebook shows it, runs nothing and fetches nothing."""

import time

import pytest
from bs4 import BeautifulSoup
from executed_builders import code, display, error, executed, stream

from engine.results import page as page_module
from engine.results import render_html
from engine.results.markup import clean_markup
from engine.results.page import POLICY

HOSTILE = [
    "<script>evil()</script>", "<ScRiPt src=https://evil>", "<img src=x onerror=evil()>", "<svg onload=evil()>",
    "<iframe src='https://evil'></iframe>", "<a href='javascript:evil()'>x</a>", "<a href=' data:text/html,evil'>x</a>",
    "<style>@import 'https://evil'</style>", "<link rel=stylesheet href=https://evil>", "<form action=https://evil>",
    "<meta http-equiv=refresh content='0;url=https://evil'>", "<div style='background: url(https://evil)'>x</div>",
    "<base href=https://evil>", "<object data=https://evil>", "<math><mtext><script>evil()</script></mtext></math>",
    "</pre></div><script>evil()</script>", "<img src='https://evil/x.png'>",
    "<noscript><p title='</noscript><img src=x onerror=evil()>'>",
    "<template><script>evil()</script></template>", "<input onfocus=evil() autofocus>", "<b onclick=evil()>x</b>",
]  # fmt: skip


def test_shows_what_a_notebook_holds() -> None:
    frame = (
        "<table class='dataframe'><thead><tr><th>h</th></tr></thead><tr><td style='color: red'>cell</td></tr></table>"
    )
    page = render_html(
        executed(
            {"cell_type": "markdown", "metadata": {}, "source": "# Heading\n\n*text* [link](https://example.org)"},
            code(stream("printed\n"), stream("warned\n", "stderr"), display({"text/html": frame, "text/plain": "-"})),
            code(display({"image/png": "aaaa"}), display({"image/svg+xml": "<svg/>"}), display({"image/gif": "bbbb"})),
            code(error("\x1b[31mTraceback\x1b[0m", "ValueError: bad")),
        ),
        "a title & more",
    )
    soup = BeautifulSoup(page, "html.parser")
    assert soup.title is not None
    assert soup.title.text == "a title & more"
    assert soup.find("h1").text.startswith("Heading")
    assert soup.find("a", string="link")["href"] == "https://example.org"
    assert soup.select_one("table.dataframe td[style]").text == "cell"
    assert [image["src"][:16] for image in soup.find_all("img")] == [
        "data:image/png;b",
        "data:image/svg+x",
        "data:image/gif;b",
    ]
    assert soup.select_one(".ansi-red-fg").text == "Traceback"
    for text in ("printed", "warned", "ValueError: bad"):
        assert text in soup.text


@pytest.mark.parametrize("markup", HOSTILE)
def test_runs_nothing_and_fetches_nothing(markup: str) -> None:
    document = executed(
        {"cell_type": "markdown", "metadata": {"tags": [markup]}, "source": markup, "id": markup},
        {"cell_type": "raw", "metadata": {"raw_mimetype": "text/html"}, "source": markup},
        code(
            stream(markup), error(markup),
            display({"text/html": markup}), display({"text/markdown": markup}), display({"text/latex": markup}),
            display({"image/png": markup}, {"image/png": {"width": markup, "height": 3}}),
            display({"image/gif": markup}),
            display({"text/vnd.mermaid": markup}), display({"application/javascript": markup}),
            display({"application/vnd.jupyter.widget-view+json": {"model_id": markup}}), display({markup: markup}),
        ),
    )  # fmt: skip
    document["metadata"] = {"title": markup, "widgets": {markup: markup}}
    page = render_html(document, markup)
    soup = BeautifulSoup(page, "html.parser")
    assert soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"] == POLICY
    assert len(soup.find_all("meta", {"http-equiv": True})) == 1
    assert (
        soup.find_all(["script", "iframe", "object", "embed", "form", "base", "link", "svg", "input", "template"]) == []
    )
    for element in soup.find_all(True):
        for name, value in element.attrs.items():
            assert not name.startswith("on")
            if name == "src":
                assert value.startswith("data:image/")
            if name == "href":
                assert value.startswith(("https://", "http://", "mailto:", "#"))
            if name == "style":
                assert "url" not in value
    assert "evil" not in "".join(style.text for style in soup.find_all("style"))


@pytest.mark.parametrize(
    ("markup", "cleaned"),
    [
        ("<b>x</b>", "<b>x</b>"),
        ("a < b & c", "a &lt; b &amp; c"),
        ("<style>x</style>y<script>z</script>w", "yw"),
        ("x<style>never ends", "x"),
        ("<img src='https://x/y.png' alt='a plot'>", "<em>[a plot]</em>"),
        ("<img src='https://x/y.png'>", ""),
        (b"\xff", "\ufffd"),
        ("<a href=' java\nscript:alert(1)'>x</a>", "<a>x</a>"),
        ("<a href='&#106;avascript:alert(1)'>x</a>", "<a>x</a>"),
        ("<b onclick=x style='position:fixed;color:red'>x", '<b style="color:red;">x</b>'),
        ("<svg><b>x</svg><math>y", "<b>xy</b>"),
        ("<i title='\"><u>'>x", '<i title="&quot;&gt;&lt;u&gt;">x</i>'),
        ("<p>a<p>b<ul><li>1<li>2", "<p>a</p><p>b</p><ul><li>1</li><li>2</li></ul>"),
        ("<table><tr><td>1<td>2<tr><td>3", "<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>"),
        ("<!-- <b> -->x<!-- never", "x"),
        ("&lt;b&gt; &amp;amp; 1<2", "&lt;b&gt; &amp;amp; 1&lt;2"),
        ("</p></div>x<b never ends", "x"),
    ],
)
def test_markup(markup: str | bytes, cleaned: str) -> None:
    assert clean_markup(markup) == cleaned


@pytest.mark.parametrize(
    "piece",
    ["<div>", "<b>", "<li><div>", "<p>x", "<div><b></b></div>", "<b><p></b>", "<p><b title=1><p>y</p>", "<",
     "<a ", "<!--", "<b '", "</div>", "<a><div>",
     "<td><table>", "<b title=1>x</b>", "&", "<b a=1 b=2 ", "<img alt=1>", "<style>"],
)  # fmt: skip
def test_hostile_markup_costs_no_more_than_its_length(piece: str) -> None:
    began = time.process_time()
    cleaned = clean_markup("<table>" + piece * (200_000 // len(piece)))
    assert time.process_time() - began < 3
    assert len(cleaned) < 2_000_000


def test_nesting_is_bounded_and_text_kept() -> None:
    cleaned = clean_markup("<div>" * 5_000 + "deep")
    assert cleaned.count("<div>") == 64
    assert "deep" in cleaned


def test_long_output_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    page = render_html(executed(stream("x" * 50_000_000)), "t")
    assert "more characters are in executed.ipynb" in page
    assert len(page) < 1_000_000
    assert time.monotonic() - began < 10
    monkeypatch.setattr(page_module, "MAX_PAGE", 100)
    page = render_html(executed(*[stream(f"{i}" + "y" * 60) for i in range(9)]), "t")
    assert page.count("yyyy" * 10) == 1
    assert page.count("Further outputs are in executed.ipynb") == 1


def test_a_missing_attachment_is_its_alternative_text() -> None:
    text = "![a](attachment:gone.png) [b](attachment:there.png)"
    cell = {
        "cell_type": "markdown",
        "source": text,
        "metadata": {},
        "attachments": {"there.png": {"image/png": "AA=="}},
    }
    output = display({"text/markdown": "![c](attachment:x.png)"})
    page = render_html({**executed(output), "cells": [cell, *executed(output)["cells"]]}, "title")
    assert "[a]" in page
    assert "[c]" in page
