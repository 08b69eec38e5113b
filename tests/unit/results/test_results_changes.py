"""What differs of two runs, by name."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from engine.model import FlagValue, Limits, OutputFile, Record, Source, SourceFile
from engine.results import Change, run_changes, text_changes
from engine.results.changes import changes
from engine.software import Wheel

RECORD = Record(
    id="0" * 16,
    hash="a" * 64,
    status="completed",
    notebook="n.ipynb",
    image="sha256:1",
    base="sha256:2",
    spec={"notebook": "sha256:3", "image": "sha256:1", "environment": {"TZ": "UTC"}},
    created="2026-01-01T00:00:00.000Z",
    limits=Limits(),
    flags=(FlagValue("lr", "float", "0.1"),),
    scalars={"loss": 0.1, "nan": float("nan")},
)
SOURCE = Source("sha256:4", (SourceFile("a.py", "file", "sha256:5", 1), SourceFile("l", "link", "sha256:6", 1, "a.py")))
TEXTS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz"))


@given(TEXTS, TEXTS)
def test_every_difference_is_named_once_and_nothing_else(old: dict[str, str], new: dict[str, str]) -> None:
    found = changes(old, new)
    back = dict(old)
    for item in found:
        assert item.old == old.get(item.name) != item.new
        if item.new is None:
            del back[item.name]
        else:
            back[item.name] = item.new
    assert back == new
    assert len({item.name for item in found}) == len(found)


def test_a_run_does_not_differ_from_itself() -> None:
    assert not any(run_changes(RECORD, SOURCE, RECORD, SOURCE).values())


def test_each_part_has_what_changed_in_it() -> None:
    other = replace(
        RECORD,
        status="failed",
        spec={**RECORD.spec, "network": True, "environment": {"TZ": "CET"}},
        flags=(FlagValue("lr", "float", "0.2"), FlagValue("n", "int", "1")),
        wheels=(Wheel("six", "1.0", "six.whl", "sha256:7", 1),),
        scalars={"loss": 0.25},
        outputs=(OutputFile("o.txt", "added", 1, "sha256:8", "text/plain"),),
    )
    source = replace(SOURCE, files=(SourceFile("a.py", "executable", "sha256:5", 1),))
    assert run_changes(RECORD, SOURCE, other, source) == {
        "setting": (Change("$TZ", "UTC", "CET"), Change("network", None, "True")),
        "flags": (Change("lr", "0.1", "0.2"), Change("n", None, "1")),
        "lock": (Change("six", None, "1.0 sha256:7"),),
        "source": (Change("a.py", "file sha256:5", "executable sha256:5"), Change("l", "link a.py", None)),
        "inputs": (),
        "outcome": (Change("status", "completed", "failed"),),
        "scalars": (Change("loss", "0.1", "0.25"), Change("nan", "nan", None)),
        "files": (Change("o.txt", None, "added sha256:8"),),
    }


def test_texts_are_shown_line_by_line() -> None:
    assert text_changes(b"a\nb\n", b"a\nc\n") == "@@ -1,2 +1,2 @@\n a\n-b\n+c"


def test_what_is_no_small_text_is_not_shown() -> None:
    for other in (b"\0", b"\xff", b"x\n" * 5000, b"x" * (1 << 20)):
        assert text_changes(b"a", other) is None
        assert text_changes(other, b"a") is None
