"""Pictures out of cell outputs, without what a browser would act on."""

import base64

import pytest
from executed_builders import code, display, executed

from engine.results import harvest_pictures
from engine.results import pictures as pictures_module
from engine.results.pictures import clean_svg

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{}</svg>'


def encoded(data: bytes) -> str:
    return base64.encodebytes(data).decode()


def test_names_and_bytes() -> None:
    document = executed(
        {"cell_type": "markdown", "metadata": {}, "source": ""},
        code(
            display({"text/plain": "x"}),
            display({"image/png": encoded(PNG), "image/svg+xml": SVG.format("<g/>")}),
            display({"image/jpeg": encoded(b"\xff\xd8\xffrest")}, kind="execute_result"),
            display({"image/gif": encoded(b"GIF89a")}),
        ),
    )
    found = harvest_pictures(document)
    assert list(found) == ["cell-2-1.png", "cell-2-1.svg", "cell-2-2.jpg", "cell-2-3.gif"]
    assert found["cell-2-1.png"] == PNG


@pytest.mark.parametrize(
    "data",
    [
        {"image/png": "not base64!"}, {"image/png": encoded(b"<html>")}, {"image/jpeg": encoded(PNG)},
        {"image/png": "é"},
        {"image/png": {"a": 1}}, {"image/svg+xml": "<html/>"}, {"image/svg+xml": "<svg>"}, {"../x": "y"}, {},
    ],
)  # fmt: skip
def test_what_is_no_picture(data: dict) -> None:
    assert harvest_pictures(executed(display(data))) == {}


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    document = executed(*[display({"image/png": encoded(PNG)})] * 5)
    monkeypatch.setattr(pictures_module, "MAX_PICTURES", 3)
    assert len(harvest_pictures(document)) == 3
    monkeypatch.setattr(pictures_module, "MAX_BYTES", len(PNG))
    assert len(harvest_pictures(document)) == 1


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>", "<g><SCRIPT>alert(1)</SCRIPT></g>", '<rect onload="alert(1)"/>',
        '<a xlink:href="javascript:alert(1)"><g/></a>', '<a href="https://alert"/>', '<image href="http://alert/x.png"/>',
        '<use xlink:href="file:///alert"/>', "<foreignObject>alert</foreignObject>", '<g style="fill: url(http://alert)"/>',
        "<style>@import 'http://alert';</style>", '<animate attributeName="href" to="javascript:alert(1)"/>',
        '<g xmlns:x="http://www.w3.org/1999/xhtml"><x:script>alert(1)</x:script></g>',
        "<?xml-stylesheet href='alert'?>",
    ],
)  # fmt: skip
def test_svg_loses_what_acts(inside: str) -> None:
    cleaned = clean_svg(SVG.format(inside + '<path d="M 0 0"/>'))
    assert b"alert" not in cleaned
    assert b'd="M 0 0"' in cleaned


def test_svg_keeps_what_looks() -> None:
    inside = '<defs><path id="a"/></defs><use xlink:href="#a"/><g style="clip-path: url(#a)"/><text>é</text>'
    cleaned = clean_svg(SVG.format(inside)).decode()
    assert cleaned.startswith("<?xml")
    for piece in ('xlink:href="#a"', "url(#a)", "<text>é</text>", '<path id="a" />'):
        assert piece in cleaned


def test_svg_bombs_are_no_pictures() -> None:
    entities = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + SVG.format("&b;")
    external = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + SVG.format("&a;")
    deep = SVG.format("<g>" * 5000 + "</g>" * 5000)
    assert [clean_svg(text) for text in (entities, external, deep)] == [b"", b"", b""]
