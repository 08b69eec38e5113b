"""The names in an archive."""

import hashlib

import pytest

from engine.archives import layout


def test_an_archive_is_named_after_its_runs_in_any_order() -> None:
    assert layout.archive_name(["0123456789abcdef"]) == "run-0123456789ab"
    two = ["b" * 16, "a" * 16]
    digest = hashlib.sha256(f"{'a' * 16}\n{'b' * 16}\n".encode()).hexdigest()
    assert layout.archive_name(two) == layout.archive_name([*reversed(two), two[0]]) == f"runs-2-{digest[:12]}"
    for name in (layout.archive_name(two), layout.archive_name(two[:1])):
        assert layout.is_archive_name(name)
    for name in ("run-0123456789ag", "run-0123456789ab\n", "runs-0-0123456789ab", "..", "run-0123456789ab/data"):
        assert not layout.is_archive_name(name)


@pytest.mark.parametrize(
    "path",
    ["a%b", "a\nb", "a\rb", "a\tb", "a\\b", "a\x7f", "a\x85b", " a", "a ", "d /a", "a.", "d./a", "\u00a0a", "\udcff",
     "x" * 241, "\u00fc" * 121, "d/" + "x" * 241 + "/a", "/".join(["x" * 99] * 10), "/".join("x" * 91)],
)  # fmt: skip
def test_names_that_cannot_stand_in_a_bag(path: str) -> None:
    assert layout.must_be_packed(["good", path])


@pytest.mark.parametrize(
    "paths",
    [("a", "A"), ("d/a", "D/b"), ("stra\u00dfe", "STRASSE"), ("\u00e9", "e\u0301"), ("d/\u00e9/x", "d/e\u0301/y")],
)
def test_names_that_are_one_on_another_file_system(paths: tuple[str, ...]) -> None:
    assert layout.must_be_packed(paths)


def test_ordinary_names_stay_files() -> None:
    paths = [".gitignore", "a b", "d/a", "d/b", "d/.x/y", "-rf", "\u00fcber/\u4e2d.csv", "x" * 240, "a:b", "d/A.txt"]
    assert not layout.must_be_packed(paths)
