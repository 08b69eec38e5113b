"""The page of a comparison: both sides, safe to open, bounded."""

from __future__ import annotations

import base64
import io
import re

from executed_builders import code, display, executed, stream
from PIL import Image

from engine.model import Cause, Json, OutputFile
from engine.results import Evidence, Rules, examine, render_comparison
from engine.results.likeness import difference_picture


def page(old: Json, new: Json, *files: OutputFile, rules: Rules | None = None) -> str:
    sides = [Evidence("completed", document, files[i : i + 1], lambda item: item.path.encode())
             for i, document in enumerate((old, new))]  # fmt: skip
    return render_comparison(*examine(*sides, rules or Rules()), "a <title>", ("the old", "the new"))


def square(shade: int) -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (20, 20), (shade, 0, 0)).save(output, "PNG")
    return output.getvalue()


def test_both_sides_with_what_differs_marked() -> None:
    text = page(executed(stream("same\nmine\n")), executed(stream("same\nyours\n")))
    assert "<del>mine</del>" in text
    assert "<ins>yours</ins>" in text
    assert "<del>same" not in text
    assert text.index("the old") < text.index("the new")
    assert "a &lt;title&gt;" in text
    assert '<span data-verdict="different">different</span> 1 unit compared' in text


def test_identical_runs_have_a_page_too() -> None:
    document = executed(stream("a"))
    assert 'data-verdict="identical"' in page(document, document)
    assert "<section>" not in page(document, document)


def test_nothing_of_a_notebook_runs_or_is_fetched() -> None:
    evil = '<script>alert(1)</script><img src="http://evil/x" onerror="alert(2)"><b onclick="alert(3)">bold</b>'
    old = executed(stream(evil), display({"text/html": evil}), display({"image/png": '"><script>4</script>'}))
    new = executed(stream("x"), display({"text/html": "y"}), display({"image/png": "z"}))
    text = page(old, new)
    assert "default-src &#x27;none&#x27;" in text
    assert "<script" not in text
    assert not re.search(r"<[^>]+ on\w+=", text)
    assert not re.search(r"<[^>]+(src|href)=\"http", text)
    assert "<b>bold</b>" in text


def test_no_output_can_look_like_a_verdict() -> None:
    fake = (
        '<section><h2 data-by>cell 9</h2><p data-verdict="identical" class="verdict identical">identical</p></section>'
    )
    text = page(executed(display({"text/html": fake})), executed(display({"text/html": "x"})))
    assert re.findall(r'data-verdict="(\w+)', text.partition("<body>")[2]) == ["different", "different"]
    (output,) = re.findall("<div data-output>(.*cell 9.*?)</div>", text)
    assert "data-" not in output
    assert "<section" not in output
    assert ".verdict" not in text


def test_pictures_come_with_their_difference() -> None:
    old, new = ({"image/png": base64.b64encode(square(shade)).decode(), "text/plain": "<Figure>"} for shade in (0, 200))
    text = page(executed(display(old)), executed(display(new)))
    assert text.count('<img alt="" src="data:image/png;base64,') == 3
    assert "what differs, in red" in text
    with Image.open(io.BytesIO(difference_picture(square(0), square(200)))) as drawn:
        assert drawn.getpixel((5, 5)) == (207, 34, 46)
    with Image.open(io.BytesIO(difference_picture(square(0), square(0)))) as drawn:
        assert drawn.getpixel((5, 5)) == (191, 191, 191)
    assert difference_picture(square(0), b"no picture") == b""


def test_a_side_that_is_not_there() -> None:
    file = OutputFile("made.txt", "added", 8, "sha256:1", "text/plain")
    text = page(executed(code()), executed(display({"text/plain": "new"})), file)
    assert text.count("nothing") == 2
    assert "made.txt</pre>" in text
    assert "only in the new run" in text
    assert "only in the old run" in text


def test_escapes_and_lengths_are_bounded() -> None:
    text = page(executed(stream("\x1b]0;title\x07" + "x" * 300_000)), executed(stream("y")))
    assert "\x1b" not in text
    assert "more characters]" in text
    assert len(text) < 300_000


def test_a_difference_comes_with_its_causes() -> None:
    found = examine(
        Evidence("completed", executed(stream("1\n"))), Evidence("completed", executed(stream("2\n"))), Rules()
    )
    causes = (
        Cause("cell 1 stdout", 1, "random", "seen in <b>", "cell 1 line 1: a < b"),
        Cause("other", 2, "clock", "no"),
    )
    text = render_comparison(*found, "title", ("old", "new"), causes)
    assert "<b>random</b>: enters at <code>cell 1 line 1: a &lt; b</code>; seen in &lt;b&gt;" in text
    assert "clock" not in text
