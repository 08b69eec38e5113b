"""Arrays and archives in files: judged by what is in them, hostile ones by their bytes."""

from __future__ import annotations

import gzip
import io
import pickle
import time
import zipfile
from typing import Any

import numpy as np
import pytest

from engine.results import Rules
from engine.results.archives import read_array
from engine.results.budget import Budget
from engine.results.judging import judge_bytes

VALUES = np.linspace(0.1, 9.7, 12).reshape(3, 4)


def npy(array: Any) -> bytes:
    output = io.BytesIO()
    np.save(output, array)
    return output.getvalue()


def packed(members: dict[str, bytes], year: int = 2020, level: int = 6, mode: int = 0o644) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, content in members.items():
            item = zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0))
            item.compress_type = zipfile.ZIP_DEFLATED
            item.external_attr = mode << 16
            archive.writestr(item, content)
    return output.getvalue()


def judged(old: bytes, new: bytes, rules: Rules = Rules()) -> tuple[str, tuple[str, ...]]:  # noqa: B008 - frozen
    found = judge_bytes("application/octet-stream", old, new, rules)
    return found.verdict, found.normalisers


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (VALUES, VALUES * (1 + 1e-9), "close"),
        (VALUES, np.asfortranarray(VALUES), "close"),
        (VALUES, VALUES * 1.01, "different"),
        (VALUES, VALUES.astype("f4"), "different"),
        (VALUES, VALUES.reshape(4, 3), "different"),
        (VALUES.astype("f2"), np.nextafter(VALUES.astype("f2"), np.float16(99)), "different"),
        (np.array([1.5, np.nan, np.inf]), np.array([1.5000001, np.nan, np.inf]), "close"),
        (np.array([1.5, np.nan]), np.array([1.5, 2.0]), "different"),
        (np.array([1.5, np.inf]), np.array([1.5, -np.inf]), "different"),
        (np.array([1 + 2j]), np.array([1 + 2.0000001j]), "close"),
        (np.array([1 + 2j]), np.array([1 + 2.1j]), "different"),
        (np.arange(9), np.arange(9) + 1, "different"),
        (np.array(["a"]), np.array(["b"]), "different"),
        (np.array([(1, 2.0)], "i4,f8"), np.array([(1, 2.0000001)], "i4,f8"), "different"),
        (np.array([]), np.array([[]]), "different"),
        (np.float64(1.5), np.float64(1.5000001), "close"),
    ],
)
def test_arrays(old: Any, new: Any, verdict: str) -> None:
    assert judged(npy(old), npy(new)) == (verdict, ())


def test_arrays_are_not_unpickled_and_promise_nothing() -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (exec, ("raise SystemExit('unpickled')",))

    with pytest.raises(SystemExit):
        pickle.loads(pickle.dumps(Evil()))  # noqa: S301 - so that the test can fail
    evil = npy(np.array([Evil()], dtype=object))
    assert read_array(evil) is None
    assert judged(evil, evil + b"x") == ("different", ())
    huge = npy(np.zeros(4)).replace(b"(4,)", b"(999999999999,)")
    assert read_array(huge) is None
    assert read_array(b"\x93NUMPY") is None
    assert read_array(npy(np.zeros(4))[:-1]) is None


def test_archives_of_equal_members() -> None:
    members = {"a.csv": b"x,1.5\n", "b/c.bin": b"\xff\x00"}
    assert judged(packed(members), packed(members, year=2026)) == ("equivalent", ("archive-times",))
    assert judged(packed(members), packed(members, level=1, year=2021)) == ("equivalent", ("archive-times",))
    off = Rules(without=frozenset({"archive-times"}))
    assert judged(packed(members), packed(members, year=2026), off) == ("different", ())
    for other in (
        {"a.csv": b"x,1.6\n", "b/c.bin": b"\xff\x00"},
        {"b/c.bin": b"\xff\x00", "a.csv": b"x,1.5\n"},
        {"a.csv": b"x,1.5\n"},
        {"a.csv": b"x,1.5\n", "b/c.bin": b"\xff\x01"},
    ):
        assert judged(packed(members), packed(other, year=2026)) == ("different", ())
    assert judged(packed(members), packed(members, mode=0o755))[0] == "different"


def test_archives_of_close_members() -> None:
    old, new = (packed({"x.npy": npy(VALUES * scale)}, year) for scale, year in ((1, 2020), (1 + 1e-9, 2026)))
    found = judge_bytes("application/octet-stream", old, new, Rules())
    assert (found.verdict, found.normalisers) == ("close", ("archive-times",))
    assert found.largest == pytest.approx(1e-9, rel=0.01)
    worse = judge_bytes("application/octet-stream", old, packed({"x.npy": npy(VALUES * 2)}), Rules())
    assert worse.detail.startswith("x.npy: ")


def test_a_spreadsheet_saved_at_another_time() -> None:
    core = '<dcterms:created xsi:type="dcterms:W3CDTF">2026-11-{}T10:11:12Z</dcterms:created>'
    one, other = (packed({"docProps/core.xml": core.format(day).encode()}) for day in (11, 12))
    assert judged(one, other) == ("equivalent", ("dates", "archive-times"))


def test_gzip() -> None:
    old, new = gzip.compress(b"a,1.5\n", mtime=1), gzip.compress(b"a,1.5\n", mtime=2)
    assert judged(old, new) == ("equivalent", ("archive-times",))
    assert judged(old, gzip.compress(b"a,1.6\n", mtime=1)) == ("different", ())
    assert judged(old, gzip.compress(b"a,1.5000001\n", mtime=1)) == ("close", ("archive-times",))
    assert judged(old, old[:-4] + b"\x00\x00\x00\x00") == ("different", ())


@pytest.mark.parametrize("bomb", [gzip.compress(bytes(64 << 20)), packed({"x": bytes(64 << 20)})])
def test_what_unpacks_to_more_than_the_budget_is_judged_by_its_bytes(bomb: bytes) -> None:
    began = time.process_time()
    rules = Rules(budget=Budget(bytes_left=1 << 20))
    found = judge_bytes("application/zip", bomb, bomb + b"\x00", rules)
    assert found.verdict == "different"
    assert "by digest alone" in found.detail
    assert time.process_time() - began < 1


def test_an_archive_that_lies_about_its_size() -> None:
    bomb = packed({"x": bytes(1 << 20)})
    size = (1 << 20).to_bytes(4, "little")
    liar = bomb.replace(size, (5).to_bytes(4, "little"))
    assert judged(liar, packed({"x": bytes(5)})) == ("different", ())
    assert judged(b"PK\x03\x04" + b"PK\x01\x02" * 1000, b"PK\x03\x04")[0] == "different"
