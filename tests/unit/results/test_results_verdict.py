"""Planted differences of all kinds with the verdict that must come out, and what holds for every comparison."""
# ruff: noqa: S108 - paths that notebooks print

from __future__ import annotations

import base64
import io
from importlib import import_module
from typing import Any

import pytest
from executed_builders import code, display, error, executed, stream
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, PngImagePlugin

from engine.model import Comparison, Json, OutputFile
from engine.results import Evidence, Rules, compare
from engine.results.budget import Budget
from engine.results.closeness import largest_difference
from engine.results.judging import Side, judge_bytes, judge_text
from engine.results.likeness import ALIKE, likeness
from engine.results.normalisers import NAMES, NORMALISERS, applying_to

UUIDS = "3f2b8c1e-0d4a-4c55-9a51-1c2d3e4f5a6b", "9e8d7c6b-5a49-4837-a615-0f1e2d3c4b5a"
SUMMARY = "Dep. Variable: y\nDate:          {}\nTime:          {}\nR-squared: 0.91\n"
TIMEIT = "{} ± {} per loop (mean ± std. dev. of 7 runs, 1,000 loops each)"
TQDM = "\rfit:  10%|#         | 1/10 [00:00<00:09, 9.9it/s]\rfit: 100%|##########| {}/{} [00:0{}<00:00, {}it/s]\n"
STYLER = '<style>#T_{0}_row0_col1 {{ color: red }}</style><table id="T_{0}"><td id="T_{0}_row0_col1">{1}</td></table>'
PLOTLY = '<div id="{0}"></div><script>Plotly.newPlot("{0}", [{1}])</script>'


def picture(
    offset: int = 0,
    *,
    comment: str = "",
    size: int = 64,
    shade: int = 0,
    level: int = 6,
    dot: tuple[int, int, int] = (255, 255, 255),
) -> bytes:
    drawn = Image.new("RGB", (size, size), "white")
    drawn.putpixel((60, 60), dot)
    ImageDraw.Draw(drawn).rectangle((8 + offset, 8, 40 + offset, 40), fill=(shade, 0, 90))
    info = PngImagePlugin.PngInfo()
    if comment:
        info.add_text("Software", comment)
    output = io.BytesIO()
    drawn.save(output, "PNG", pnginfo=info, compress_level=level)
    return output.getvalue()


def frames(colour: str) -> bytes:
    output = io.BytesIO()
    first, second = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64), colour)
    first.save(output, "GIF", save_all=True, append_images=[second])
    return output.getvalue()


def plain(text: str) -> Json:
    return display({"text/plain": text})


def html(text: str) -> Json:
    return display({"text/html": text})


#: What is planted, the two sides, the verdict, the normalisers that must be named.
PLANTED: list[tuple[Json, Json, str, tuple[str, ...]]] = [
    # --- identical: no part of any unit
    (stream("a"), stream("a"), "identical", ()),
    (code(stream("a"), stream("b")), code(stream("ab")), "identical", ()),
    (code(stream("a"), count=1), code(stream("a"), count=9), "identical", ()),
    # --- equivalent: memory addresses
    (plain("<Figure at 0x7f11aa>"), plain("<Figure at 0x7f22bb>"), "equivalent", ("addresses",)),
    (stream("<f at 0x7f11aa> a"), stream("<f at 0x7f22bb> b"), "different", ()),
    (stream("mask 0x7f11aa"), stream("mask 0x7f22bb"), "different", ()),
    # --- timings
    (stream("Wall time: 1.2 s\n"), stream("Wall time: 987 ms\n"), "equivalent", ("timings",)),
    (stream("CPU times: user 2 ms, sys: 1 µs, total: 2 ms\n"), stream("CPU times: user 9 ms, sys: 8 µs, total: 9 ms\n"),
     "equivalent", ("timings",)),
    (stream(TIMEIT.format("1.2 µs", "3 ns")), stream(TIMEIT.format("1.4 µs", "9 ns")), "equivalent", ("timings",)),
    (stream("fitted in 3.1 s"), stream("fitted in 2.9 s"), "equivalent", ("timings",)),
    (stream("10/10 - 4 ms/step - loss: 0.5"), stream("10/10 - 5 ms/step - loss: 0.5"), "equivalent", ("timings",)),
    (stream("10/10 - 4 ms/step - loss: 0.5"), stream("10/10 - 5 ms/step - loss: 0.6"), "different", ()),
    (stream("Wall time: 1min 20s"), stream("Wall time: 1min 21s"), "equivalent", ("timings",)),
    (stream("40 km in 2 hours"), stream("40 km in 3 hours"), "different", ()),
    (stream("x: 1.0e308"), stream("x: -1.0e308"), "different", ()),
    (stream("length 3 m"), stream("length 4 m"), "different", ()),
    (stream("speed 3.1 s"), stream("speed 2.9 s"), "different", ()),
    # --- temporary paths
    (stream("wrote /tmp/tmpab12cd_e/x.csv"), stream("wrote /tmp/tmpzz99yy8x/x.csv"), "equivalent",
     ("temporary-paths",)),
    (stream("/tmp/ipykernel_12/345.py:1: Warning", "stderr"), stream("/tmp/ipykernel_9/888.py:1: Warning", "stderr"),
     "equivalent", ("temporary-paths",)),
    (stream("wrote /data/a.csv"), stream("wrote /data/b.csv"), "different", ()),
    # --- progress bars
    (stream(TQDM.format(10, 10, 1, "9.8"), "stderr"), stream(TQDM.format(10, 10, 2, "4.1"), "stderr"),
     "equivalent", ("progress-bars",)),
    (stream("100%|##| 1/1 [00:01<00:00, 9.8it/s, loss=0.5]"), stream("100%|##| 1/1 [00:01<00:00, 9.8it/s, loss=7.9]"),
     "different", ()),
    (stream(TQDM.format(10, 10, 1, "9.8"), "stderr"), stream(TQDM.format(9, 10, 1, "9.8"), "stderr"), "different", ()),
    # --- sets
    (plain("{'a', 'b', 'c'}"), plain("{'c', 'a', 'b'}"), "equivalent", ("set-order",)),
    (stream("seen {3, 1, 2}"), stream("seen {1, 2, 3}"), "equivalent", ("set-order",)),
    (plain("{'a', 'b'}"), plain("{'a', 'c'}"), "different", ()),
    (plain("['a', 'b']"), plain("['b', 'a']"), "different", ()),
    (plain("{'a': 1, 'b': 2}"), plain("{'b': 2, 'a': 1}"), "different", ()),
    # --- dates of summaries
    (plain(SUMMARY.format("Mon, 02 Nov 2026", "10:11:12")), plain(SUMMARY.format("Sat, 21 Nov 2026", "20:21:22")),
     "equivalent", ("dates",)),
    (stream("born 2001-02-03"), stream("born 2001-02-04"), "different", ()),
    # --- identifiers in HTML and SVG
    (html(STYLER.format("1a2b3", 5)), html(STYLER.format("9f8e7", 5)), "equivalent", ("html-ids",)),
    (html(STYLER.format("1a2b3", 5)), html(STYLER.format("9f8e7", 6)), "different", ()),
    (html(PLOTLY.format(UUIDS[0], 1)), html(PLOTLY.format(UUIDS[1], 1)), "equivalent", ("html-ids",)),
    (html(f'<a id="{UUIDS[0]}" href="#{UUIDS[0]}">'), html(f'<a id="{UUIDS[0]}" href="#{UUIDS[1]}">'), "different", ()),
    (display({"image/svg+xml": "<svg><dc:date>2026-11-01T10:00:00</dc:date></svg>"}),
     display({"image/svg+xml": "<svg><dc:date>2026-11-21T11:22:33</dc:date></svg>"}), "equivalent", ("dates",)),
    # --- colours
    (code(error("\x1b[31mbad\x1b[0m")), code(error("bad")), "equivalent", ("colours",)),
    # --- close: numbers
    (stream("loss: 0.1234567"), stream("loss: 0.1234568"), "close", ()),
    (plain("array([1.0000001, 2. , nan])"), plain("array([1.0000002, 2. , nan])"), "close", ()),
    (html("<td>0.33333333</td>"), html("<td>0.33333334</td>"), "close", ()),
    (display({"application/json": {"a": 1.0000001}}), display({"application/json": {"a": 1.0000002}}), "close", ()),
    (stream("1.0e-17"), stream("-3.0e-17"), "close", ()),
    (stream("loss: 0.12"), stream("loss: 0.13"), "different", ()),
    (stream("rows: 180"), stream("rows: 181"), "different", ()),
    (stream("id 1234567890"), stream("id 1234567891"), "different", ()),
    (stream("loss: 0.5 ok"), stream("loss: 0.5 no"), "different", ()),
    (stream("1.5 2.5"), stream("1.5"), "different", ()),
    (stream("nan"), stream("1.0"), "different", ()),
    (stream("1e999"), stream("2e999"), "different", ()),
    (stream("<f at 0x7f11aa> loss: 0.1234567"), stream("<f at 0x7f22bb> loss: 0.1234568"), "close", ("addresses",)),
    (stream("<f at 0x7f11aa> took 1 s"), stream("<f at 0x7f11aa> took 2 s"), "equivalent", ("timings",)),
    # --- errors and structure
    (code(error("t")), code(error("t", ename="KeyError")), "different", ()),
    (code(plain("a")), code(), "different", ()),
    (code(plain("a"), plain("b")), code(plain("b"), plain("a")), "different", ()),
    (display({"text/plain": "a", "text/html": "b"}), display({"text/plain": "a"}), "different", ()),
]  # fmt: skip


def between(one: Json, other: Json, rules: Rules = Rules()) -> Comparison:  # noqa: B008 - frozen
    return compare(Evidence("completed", executed(one)), Evidence("completed", executed(other)), rules)


@pytest.mark.parametrize(("one", "other", "verdict", "normalisers"), PLANTED)
def test_planted(one: Json, other: Json, verdict: str, normalisers: tuple[str, ...]) -> None:
    result = between(one, other)
    assert result.verdict == verdict
    if verdict == "equivalent":
        assert {name for item in result.differences for name in item.normalisers} == set(normalisers)
        switched_off = between(one, other, Rules(without=frozenset(normalisers)))
        assert switched_off.verdict in ("close", "different")
        assert switched_off.without == tuple(sorted(normalisers))


def test_there_are_enough() -> None:
    assert len(PLANTED) >= 40
    named = {name for row in PLANTED for name in row[3]}
    # These have tests of their own.
    assert named == set(NAMES) - {"widget-ids", "picture-encoding", "json-layout", "archive-times"}


# --- pictures and files -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (picture(), "identical"),
        (picture(comment="Matplotlib 3.11"), "equivalent"),
        (picture(level=1), "equivalent"),
        (picture(shade=2), "close"),
        (picture(offset=6), "different"),
        (picture(dot=(0, 0, 0)), "different"),
        (picture(dot=(250, 250, 250)), "close"),
        (picture(shade=255), "different"),
        (picture(size=65), "different"),
        (picture()[:100], "different"),
        (b"no picture", "different"),
        (frames("red"), "different"),
    ],
)
def test_pictures(other: bytes, verdict: str) -> None:
    found = judge_bytes("image/png", picture(), other, Rules())
    assert found.verdict == verdict
    assert found.normalisers == (("picture-encoding",) if verdict == "equivalent" else ())
    if verdict == "close":
        assert found.likeness is not None
        assert ALIKE <= found.likeness < 1


def drawn(line: tuple[int, int, int] | None, *, shift: int = 0, size: tuple[int, int] = (800, 600)) -> bytes:
    """A white picture with an edge drawn at a quarter of a pixel, and a thin line somewhere."""
    large = Image.new("RGB", (size[0] * 4, size[1] * 4), "white")
    ImageDraw.Draw(large).ellipse((400, 400 + shift, 1200, 1200 + shift), fill=(31, 119, 180))
    small = large.resize(size, Image.Resampling.BOX)
    if line:
        ImageDraw.Draw(small).line((500, 300, 540, 300), fill=line)
    output = io.BytesIO()
    small.save(output, "PNG")
    return output.getvalue()


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        (drawn(None), drawn((0, 0, 0)), "different"),  # the mean of all windows is above 0.99 in each of these
        (drawn(None), drawn((225, 225, 225)), "different"),
        (drawn((255, 0, 0)), drawn((0, 130, 0)), "different"),  # of one luminance
        (drawn((255, 0, 0)), drawn((251, 3, 2)), "close"),
        (drawn((0, 0, 0)), drawn((0, 0, 0), shift=4), "different"),  # a whole pixel
    ],
)
def test_a_small_change_in_a_large_white_picture_is_seen(one: bytes, other: bytes, verdict: str) -> None:
    found = judge_bytes("image/png", one, other, Rules())
    assert found.verdict == verdict
    assert f"likeness {found.likeness:.4f}" in found.detail


def test_the_noise_of_drawing_edges_is_close() -> None:
    def jpeg(quality: int) -> bytes:
        output = io.BytesIO()
        Image.open(io.BytesIO(drawn(None))).save(output, "JPEG", quality=quality)
        return output.getvalue()

    def rough(by: int) -> bytes:
        drawing = Image.open(io.BytesIO(drawn(None)))
        output = io.BytesIO()
        edges = [value + by if 100 < value < 220 and i % 2 else value for i, value in enumerate(drawing.tobytes())]
        Image.frombytes("RGB", drawing.size, bytes(edges)).save(output, "PNG")
        return output.getvalue()

    assert judge_bytes("image/png", rough(0), rough(4), Rules()).verdict == "close"
    assert judge_bytes("image/jpeg", jpeg(95), jpeg(94), Rules()).verdict == "close"


def test_a_comparison_has_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        import_module("engine.results.compare"), "Budget", lambda: Budget(bytes_left=100, pixels_left=9_000)
    )
    cells = [code(stream(f"<f at 0x7f{side}>" + "x" * 30)) for side in ("11aa22", "33cc44")]
    one, other = (Evidence("completed", executed(cell, cell)) for cell in cells)
    verdicts = [item.verdict for item in compare(one, other).differences]
    assert verdicts == ["equivalent", "different"]
    assert "by digest alone" in compare(one, other).differences[1].detail
    assert compare(one, one).verdict == "identical"
    pictures = [display({"image/png": base64.b64encode(picture(shade=shade)).decode()}) for shade in (0, 2)]
    one, other = (Evidence("completed", executed(item, item)) for item in pictures)
    assert [item.verdict for item in compare(one, other).differences] == ["close", "different"]
    large = tuple(OutputFile("f", "added", 200, digest, "text/plain") for digest in ("sha256:1", "sha256:2"))
    one, other = (Evidence("completed", executed(), (file,), pytest.fail) for file in large)
    assert "by digest alone" in compare(one, other).differences[0].detail


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ("a  b", "a b", "different"),
        ("if x:\n  y", "if x:\n    y", "different"),
        ("0.1234567\n\nif x:\n  y", "0.12345678\n\nif x:\n    y", "different"),
        ("0.1234567\n  y", "0.1234568\n    y", "different"),  # no number became longer
        ("     a    b\n0  1.5  2.5", "     a          b\n0  1.5  2.5000001", "close"),
        ("array([ 0.1, 2. ])", "array([0.1000001, 2.       ])", "close"),
        ("[1.e+00 1.e-17]", "[ 1.e+00 -1.e-17]", "close"),
        ("1e-05", "0.00001", "close"),
        ("12.500001%", "12.500002%", "close"),
        ("1,999.9999999", "2,000.0000001", "close"),
        ("1,234,567.8", "1,234,568.1", "close"),
        ("1,234,567", "1,234,568", "different"),
        ("(1.5+2.0000001j)", "(1.5+2.0000002j)", "close"),
        ("(1.5+2e-17j)", "(1.5-3e-17j)", "close"),
        ("(1.5+2.1j)", "(1.5+2.2j)", "different"),
        ("nan 1.5", "nan 1.5000001", "close"),
        ("nan", "1.5", "different"),
        ("inf", "-inf", "different"),
        ("v1.2.3", "v1.2.4", "different"),
        ("2026-11-02", "2026-11-03", "different"),
    ],
)
def test_numbers_in_text(one: str, other: str, verdict: str) -> None:
    for sides in ((one, other), (other, one)):
        assert judge_text("text/plain", "line", *map(Side, sides), Rules()).verdict == verdict


def test_commas_part_columns_of_a_csv_file() -> None:
    assert judge_bytes("text/csv", b"1,999.9999999", b"2,000.0000001", Rules()).verdict == "different"


def test_a_picture_that_promises_too_much_is_not_unpacked() -> None:
    huge = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(huge, "PNG")
    assert likeness(huge.getvalue(), picture()) is None


@pytest.mark.parametrize(
    ("media", "one", "other", "verdict"),
    [
        ("text/csv", b"a,b\n1.0,2.0\n", b"a,b\n1.0000001,2.0\n", "close"),
        ("text/csv", b"a,b\n1,2\n", b"a,b\n1,3\n", "different"),
        ("application/json", b'{"x": 0.1}', b'{"x": 0.10000001}', "close"),
        ("application/octet-stream", b"\xff\x00", b"\xff\x01", "different"),
        ("application/octet-stream", b"\x01\x02", b"\x03\x04", "different"),
        ("text/plain", b"a,b\r1,2\r3,4", b"a,b\r9,9\r3,4", "different"),
        ("text/plain", b"at 0x12345", b"at 0x99999", "different"),
        ("text/plain", b"<o at 0x123456>", b"<o at 0x999999>", "equivalent"),
    ],
)
def test_files(media: str, one: bytes, other: bytes, verdict: str) -> None:
    assert judge_bytes(media, one, other, Rules()).verdict == verdict


# --- what holds for all -----------------------------------------------------------------------

PIECES = st.sampled_from(
    ["<o at 0x7f12ab34>", "Wall time: 3 ms", "/tmp/x/y", "{3, 1}", "{'b', 'a'}", "1.25", "-3e-5", "7", "\r", "\n", " ",
     "50%|## | 1/2 [00:01<00:01]", "\x1b[1m", UUIDS[0], "T_1a2b3_", 'id="T_1a2b3"', "Date: Mon, 02 Nov 2026", "<", ">"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12).map("".join)


@given(TEXTS)
@example("built x in 3 s in 0.5 secondsbuilt x in 3 s")
def test_normalisers_are_idempotent(text: str) -> None:
    for item in NORMALISERS:
        once = item.apply(text)
        assert item.apply(once) == once, item.name


@given(TEXTS, st.sampled_from(["text/plain", "text/html", "image/svg+xml", "scalar", "application/json"]))
def test_everything_is_identical_to_itself(text: str, media: str) -> None:
    assert judge_text(media, "line", Side(text), Side(text), Rules()).verdict == "identical"


@given(TEXTS, TEXTS)
def test_a_change_of_words_is_always_seen(before: str, after: str) -> None:
    one, other = (Side(f"{before}\nthe answer is {word}\n{after}") for word in ("yes", "no"))
    assert judge_text("text/plain", "line", one, other, Rules()).verdict == "different"


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_closeness_is_symmetric_and_zero_only_for_equals(a: float, b: float) -> None:
    one, other = f"x {a!r} y", f"x {b!r} y"
    found = largest_difference(one, other)
    assert found == largest_difference(other, one)
    assert (found == 0) == (a == b) or found is None or abs(a - b) < 1e-300


def test_ten_thousand_cells_that_all_differ() -> None:
    import time

    def document(value: float) -> Any:
        cells = [code(stream(f"loss {i}: {value + i}\n" * 3), plain(f"<x at 0x{i + 4096:x}>")) for i in range(10_000)]
        return Evidence("completed", executed(*cells))

    began = time.process_time()
    result = compare(document(0.1), document(0.10000001))
    assert (result.verdict, result.units) == ("close", 20_000)
    assert time.process_time() - began < 5


def test_ten_thousand_mixed_cells_of_which_a_fifth_differs() -> None:
    import time

    from benchmarks.compare import mixed

    old, new = mixed(10_000, 2_000)
    began = time.process_time()
    result = compare(old, new)
    assert time.process_time() - began < 5
    assert (result.verdict, len(result.differences)) == ("close", 2_001)  # and the series of the scalar
    assert {name for item in result.differences for name in item.normalisers} == {"addresses", "html-ids", "timings"}


def test_normalisers_are_for_their_types_and_can_be_switched_off() -> None:
    assert "timings" not in {item.name for item in applying_to("text/html")}
    assert applying_to("text/plain", frozenset(NAMES)) == ()


@pytest.mark.parametrize(
    "piece",
    ["1", "1.", "1,234", "1,", "1+", "[ ", "ran in ", "built ", "built in 1", " in 1.5 sec", "1it [",
     "1it [00:00, ", "/tmp/a_", "/tmp/a_a1a", "1:00 ", "1 s - ", "1,1 loops", "0a1b2c3d", '{"a":', "[1,", "MB 1",
     "{", "{1,", "/tmp/", "a", " ", "%|", "%|#| 1/", "%|#| 1/1 [", " at 0x", " in 1",
     '"mpc', "\x1b[", "\r", "1 s ± ",
     "Date: ", "CPU times: user 1", "T_", "<dc:date>", "1e", "-"],
)  # fmt: skip
def test_hostile_text_costs_no_more_than_its_length(piece: str) -> None:
    import time

    text = piece * (100_000 // len(piece))
    began = time.process_time()
    judge_text("text/html", "line", Side(text), Side(text + "x"), Rules())
    judge_text("text/plain", "line", Side(text), Side(text + "x"), Rules())
    judge_text("application/json", "line", Side(text), Side(text + "x"), Rules())
    assert time.process_time() - began < 5
