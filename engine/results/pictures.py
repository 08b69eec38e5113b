"""Pictures in cell outputs, as files that a person can open."""

from __future__ import annotations

import base64
import binascii
from xml.etree.ElementTree import Element

from engine.model import Json
from engine.results.executed import cell_outputs

MAX_PICTURES = 1_000
MAX_BYTES = 256 << 20
#: First bytes, so that a file is what its name says.
_SIGNATURES = {
    "image/png": ("png", (b"\x89PNG\r\n\x1a\n",)),
    "image/jpeg": ("jpg", (b"\xff\xd8\xff",)),
    "image/gif": ("gif", (b"GIF87a", b"GIF89a")),
}
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_ACTIVE = frozenset({"script", "foreignobject", "iframe", "embed", "object", "handler", "listener", "set", "animate"})


def harvest_pictures(document: Json) -> dict[str, bytes]:
    """File names and bytes of the PNG, JPEG, GIF and SVG pictures of a document from ``read_executed``.

    ``cell-3-1.png`` is the first picture of the third cell. An output that has several formats
    gives each. What is not such a picture inside is left out, as is what comes after MAX_PICTURES
    or MAX_BYTES; an SVG loses scripts and references to other files, because a browser would act on them.
    """
    found: dict[str, bytes] = {}
    total = 0
    for cell, outputs in cell_outputs(document):
        number = 0
        for output in outputs:
            images = list(_images(output.get("data", {})))
            number += bool(images)
            for suffix, data in images:
                total += len(data)
                if len(found) == MAX_PICTURES or total > MAX_BYTES:
                    return found
                found[f"cell-{cell + 1}-{number}.{suffix}"] = data
    return found


def _images(data: Json) -> list[tuple[str, bytes]]:
    images = []
    for mime, (suffix, signatures) in _SIGNATURES.items():
        if isinstance(text := data.get(mime), str):
            try:
                decoded = base64.b64decode(text)
            except (binascii.Error, ValueError):
                continue
            if decoded.startswith(signatures):
                images.append((suffix, decoded))
    svg = data.get("image/svg+xml")
    if isinstance(svg, str) and (clean := clean_svg(svg)):
        images.append(("svg", clean))
    return images


def clean_svg(text: str) -> bytes:
    """An SVG without what a browser would execute or fetch; empty when it is no SVG or not XML."""
    from xml.etree import ElementTree

    from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

    try:
        root: Element = fromstring(text)
    except Exception:  # ParseError, and defusedxml's own for entities and external references
        return b""
    if root.tag != f"{{{_SVG}}}svg":
        return b""
    pending = [root]
    while pending:
        element = pending.pop()
        for name in list(element.attrib):
            if not _is_passive(name, element.attrib[name]):
                del element.attrib[name]
        for child in list(element):
            if not isinstance(child.tag, str) or child.tag.rpartition("}")[2].lower() in _ACTIVE:
                element.remove(child)
            else:
                pending.append(child)
        if element.tag.rpartition("}")[2].lower() == "style" and _fetches(element.text or ""):
            element.text = ""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    try:
        return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
    except (RecursionError, ValueError):
        return b""


def _is_passive(name: str, value: str) -> bool:
    local = name.rpartition("}")[2].lower()
    if local.startswith("on"):
        return False
    if local in ("href", "src"):
        return value.startswith(("#", "data:image/png", "data:image/jpeg", "data:image/gif"))
    return not _fetches(value)


def _fetches(css: str) -> bool:
    lowered = css.lower().replace(" ", "")
    return "@import" in lowered or lowered.count("url(") != lowered.count("url(#") or "javascript:" in lowered
