"""What differs between two runs of one notebook without being a result, and what looks like it but is one."""
# ruff: noqa: S108 - paths that notebooks print

from __future__ import annotations

import pytest
from executed_builders import code, display, executed, stream
from hypothesis import given
from hypothesis import strategies as st

from engine.model import Comparison, Json
from engine.results import NORMALISER_NAMES, Evidence, Rules, compare
from engine.results.judging import Side, judge_bytes, judge_text

WIDGET = "application/vnd.jupyter.widget-view+json"
KERAS = "\r\x1b[1m1/9\x1b[0m ━━ \x1b[1m3s\x1b[0m 400ms/step\r\x1b[1m9/9\x1b[0m ━━ \x1b[1m{}\x1b[0m {}/step - loss: {}\n"
FORM = "HTML(value='<button onClick=\"code_toggle(\\'{0}\\')\" id=\"{0}\">Hi')"


def between(one: Json, other: Json, rules: Rules = Rules()) -> Comparison:  # noqa: B008 - frozen
    return compare(Evidence("completed", executed(one)), Evidence("completed", executed(other)), rules)


def verdict(one: str, other: str, media: str = "text/plain") -> tuple[str, tuple[str, ...]]:
    found = judge_text(media, "line", Side(one), Side(other), Rules())
    return found.verdict, found.normalisers


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ("1.2 µs ± 3 ns per loop (mean ± std. dev. of 7 runs, 1,000,000 loops each)",
         "1.4 µs ± 9 ns per loop (mean ± std. dev. of 7 runs, 100,000 loops each)", "timings"),
        ("1.2 s ± 3 ms per loop (mean ± std. dev. of 7 runs, 1 loop each)",
         "0.9 s ± 3 ms per loop (mean ± std. dev. of 7 runs, 10 loops each)", "timings"),
        ("100000 loops, best of 5: 2.1 usec per loop", "200000 loops, best of 5: 1.9 usec per loop", "timings"),
        ("The slowest run took 4.07 times longer than the fastest.",
         "The slowest run took 11.2 times longer than the fastest.", "timings"),
        ("10/10 - 1s - 120ms/step - loss: 0.5", "10/10 - 2s - 180ms/step - loss: 0.5", "timings"),
        ("10/10 [====] - 0s 4ms/step", "10/10 [====] - 1s 12ms/step", "timings"),
        ("60000/60000 - 1:02 4s/step", "60000/60000 - 59s 4s/step", "timings"),
        ("3/10 [=>..] - ETA: 0:12 - loss: 0.5", "3/10 [=>..] - ETA: 9s - loss: 0.5", "timings"),
        ("Elapsed: 12.3s", "Elapsed: 14.0s", "timings"),
        ("Training time: 12.3 seconds", "Training time: 1 min 2 s", "timings"),
        ("--- 1.23 seconds ---", "--- 4.56 seconds ---", "timings"),
        ("fib(30) = 832040 in 0.53 seconds", "fib(30) = 832040 in 0.61 seconds", "timings"),
        ("Processed 1000 rows in 3 s", "Processed 1000 rows in 4 s", "timings"),
        ("CPU times: total: 31.2 ms\nWall time: 1min 2s", "CPU times: total: 15.6 ms\nWall time: 58.9 s", "timings"),
        ("CPU times: user 1h 2min 3s, sys: 1e+03 ns, total: 1h 2min 3s",
         "CPU times: user 59min 3s, sys: 2 µs, total: 59min 4s", "timings"),
        ("123it [00:01, 99.9it/s]", "123it [00:02, 61.5it/s]", "progress-bars"),
        ("0it [00:00, ?it/s]", "0it [00:01, ?it/s]", "progress-bars"),
        ("5files [00:01,  4.1files/s, lr=1]", "5files [00:01,  5files/s, lr=1]", "progress-bars"),
        ("/tmp/tmpab12cd_e/x.csv", "/tmp/tmpzz99yy8x/x.csv", "temporary-paths"),
        ("/tmp/run_k3j9x0ab", "/tmp/run_9zq1mm2p", "temporary-paths"),
        ("file:///tmp/tmpab12cd_e.html.", "file:///tmp/tmpzz99yy8x.html.", "temporary-paths"),
        ("/tmp/tmp.Ab12Cd34Ef", "/tmp/tmp.Zb92Xd84Yf", "temporary-paths"),
        ("/tmp/ipykernel_12/345.py:3: Warning", "/tmp/ipykernel_7/9.py:3: Warning", "temporary-paths"),
        ("/tmp/x_3f2b8c1e0d4a4c559a511c2d3e4f5a6b/y", "/tmp/x_9e8d7c6b5a494837a6150f1e2d3c4b5a/y", "temporary-paths"),
        (FORM.format("a4508bec6"), FORM.format("a9511cea1"), "html-ids"),
    ],
)  # fmt: skip
def test_noise_is_passed_over(one: str, other: str, name: str) -> None:
    assert verdict(one, other) == ("equivalent", (name,))
    assert verdict(f"{one}\nyes", f"{other}\nno")[0] == "different"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/tmp/dataA", "/tmp/dataB"),
        ("/tmp/tmpab12cd_e/a.csv", "/tmp/tmpzz99yy8x/b.csv"),
        ("/tmp/model_resnet50", "/tmp/model_resnet18"),
        ("/tmp/run_20261102", "/tmp/run_20261103"),
        ("/tmp/experiment_one", "/tmp/experiment_two"),
        ("ran 10 km in 40 min", "ran 10 km in 42 min"),
        ("the ball falls 30 m in 2.47 s", "the ball falls 30 m in 9.47 s"),
        ("10 loops each", "20 loops each"),
        ("123it [00:01, 99.9it/s]", "124it [00:01, 99.9it/s]"),
        ("123it [00:01, 99.9it/s, loss=1]", "123it [00:01, 99.9it/s, loss=2]"),
        ("10/10 - 1s 4ms/step", "9/10 - 1s 4ms/step"),
        ("id a4508bec6", "id a9511cea1"),
        ("3f2b8c1e-0d4a-4c55-9a51-1c2d3e4f5a6b", "9e8d7c6b-5a49-4837-a615-0f1e2d3c4b5a"),
    ],
)  # fmt: skip
def test_results_are_not(one: str, other: str) -> None:
    assert verdict(one, other)[0] == "different"


def test_a_normaliser_that_fits_only_after_another() -> None:
    one, other = KERAS.format("1s", "4ms", 0.5), KERAS.format("2s", "9ms", 0.5)
    assert verdict(one, other) == ("equivalent", ("colours", "timings"))
    assert verdict(one, KERAS.format("2s", "9ms", 0.6))[0] == "different"
    assert verdict("\x1b[1mWall time: \x1b[0m1 s", "\x1b[1mWall time: \x1b[0m2 s") == (
        "equivalent",
        ("colours", "timings"),
    )


def test_sets_of_close_numbers() -> None:
    assert verdict("{9.9999999, 10.5}", "{10.5, 9.9999998}") == ("close", ("set-order",))
    assert verdict("{0.99999999, 5.5}", "{5.5, 1.00000001}") == ("close", ("set-order",))
    # Sorted by text these would change places: what is in order already stays so.
    assert verdict("{(1.99999999, 'a'), (2.5, 'b')}", "{(2.00000001, 'a'), (2.5, 'b')}")[0] == "close"
    assert verdict("{(9.99999999, 'a'), (9.9999, 'b')}", "{(10.00000001, 'a'), (9.9999, 'b')}") == ("close", ())


def test_only_what_is_needed_is_named() -> None:
    same = "<f at 0x7f11aa22> {2, 1} /tmp/tmpab12cd_e \x1b[1m"
    assert verdict(f"{same} took 1 s", f"{same} took 2 s") == ("equivalent", ("timings",))


def test_of_several_formats_all_is_told() -> None:
    one = display({"text/plain": "<T at 0x7f11aa22> 0.1234567", "text/html": '<p id="T_1a2b3">1.0000001</p>'})
    other = display({"text/plain": "<T at 0x7f33cc44> 0.1234568", "text/html": '<p id="T_9f8e7">1.0000002</p>'})
    (item,) = between(one, other).differences
    assert (item.verdict, item.normalisers) == ("close", ("addresses", "html-ids"))
    assert item.largest == pytest.approx(8.1e-7, rel=0.01)
    worse = {"text/plain": "<T at 0x7f33cc44> 0.1234568", "text/html": "gone"}
    (item,) = between(one, display(worse)).differences
    assert (item.verdict, item.normalisers) == ("different", ())


def test_widget_ids_are_named_only_when_needed() -> None:
    def view(model: str, plain: str) -> Json:
        return code(display({WIDGET: {"model_id": model}, "text/plain": plain}))

    (item,) = between(view("a", "<X at 0x7f11aa22>"), view("a", "<X at 0x7f33cc44>")).differences
    assert item.normalisers == ("addresses",)
    (item,) = between(view("a", "<X at 0x7f11aa22>"), view("b", "<X at 0x7f33cc44>")).differences
    assert item.normalisers == ("addresses", "widget-ids")
    assert between(view("a", "x"), view("b", "x"), Rules(without=frozenset({"widget-ids"}))).verdict == "different"


@pytest.mark.parametrize(
    ("one", "other", "detail"),
    [
        ("\x1b[1mbad", "bad", r"line 1: '\x1b[1mbad' became 'bad'"),
        ("caf\u00e9", "cafe\u0301", r"line 1: 'caf\xe9' became 'cafe\u0301'"),
        ("a\rb", "b", r"line 1: 'a\rb' became 'b'"),
        ("x" * 300 + "\x00", "x" * 300, "line 1: ...'" + "x" * 20 + "\\x00' became ...'" + "x" * 20 + "'"),
    ],
)
def test_the_detail_shows_where_two_sides_part(one: str, other: str, detail: str) -> None:
    rules = Rules(without=frozenset(NORMALISER_NAMES))
    assert judge_text("text/plain", "line", Side(one), Side(other), rules).detail == detail


def test_json_files() -> None:
    def judged(one: str, other: str) -> tuple[str, tuple[str, ...]]:
        found = judge_bytes("application/json", one.encode(), other.encode(), Rules())
        return found.verdict, found.normalisers

    assert judged('{"a": 1, "b": [2, NaN]}', '{"b":[2,NaN],"a":1}') == ("equivalent", ("json-layout",))
    assert judged('{"a": 1.0000001, "b": 2}', '{"b": 2, "a": 1.0000002}') == ("close", ("json-layout",))
    assert judged('{"a": 1.0}', '{"a": 1.0000001}') == ("close", ())
    assert judged('{"a": [1, 2]}', '{"a": [2, 1]}')[0] == "different"
    assert judged('{"a": 1}', '{"a": true}')[0] == "different"
    assert judged('{"a": 1}', '{"a": "1"}')[0] == "different"
    assert judged('{"a": 1, "a": 2}', '{"a": 2, "a": 1}')[0] == "different"
    assert judged("[" * 100_000, "[" * 100_001)[0] == "different"


NOISE = st.sampled_from(
    ["1it [00:01, 9it/s]", "ETA: 3s", "built x in 3 s", " in 0.5 seconds", "/tmp/tmpab12cd_e/f", "1s 4ms/step",
     "10 loops, best of 3: ", "{1.5, 2.5}", "1,234.5", "3.5j", "nan", "[ 1.",
     " ", "\n", "\r", "\x1b[0m", "Wall time: 1 s", 'id="a4508bec6"',
     "/tmp/a_1b2c3d4e"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(NOISE, st.text(max_size=4)), max_size=10).map("".join)
DATA = st.dictionaries(
    st.sampled_from(["text/plain", "text/html", "image/png", "application/json", WIDGET]), TEXTS, min_size=1
)


@given(TEXTS)
def test_normalisers_are_idempotent(text: str) -> None:
    from engine.results.normalisers import NORMALISERS

    for item in NORMALISERS:
        once = item.apply(text)
        assert item.apply(once) == once, item.name


@given(
    TEXTS,
    TEXTS,
    st.sampled_from(["text/plain", "text/html", "application/json", "text/csv", "image/svg+xml", "scalar"]),
)
def test_a_change_of_words_is_always_seen(before: str, after: str, media: str) -> None:
    assert verdict(f"{before}\nresult yes\n{after}", f"{before}\nresult no\n{after}", media)[0] == "different"


@given(TEXTS, st.integers(0, 999), st.integers(0, 999))
def test_a_change_of_a_count_is_always_seen(before: str, one: int, other: int) -> None:
    expected = "identical" if one == other else "different"
    assert verdict(f"{before}\nrows: {one}", f"{before}\nrows: {other}")[0] == expected


@given(
    st.lists(st.builds(display, DATA), max_size=3),
    st.lists(st.builds(stream, TEXTS), max_size=3),
    st.binary(max_size=60),
)
def test_every_run_is_identical_to_itself(shown: list[Json], printed: list[Json], content: bytes) -> None:
    import copy

    document = executed(code(*shown, *printed))
    result = between(document["cells"][0], copy.deepcopy(document)["cells"][0])
    assert (result.verdict, result.differences) == ("identical", ())
    for media in ("image/png", "text/csv", "application/json", "application/zip", "application/octet-stream"):
        assert judge_bytes(media, content, bytes(content), Rules()).verdict == "identical"
