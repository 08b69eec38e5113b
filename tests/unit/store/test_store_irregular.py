"""What irregular.json may make: bounded in number and length, and in time by what it makes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from engine.errors import VerificationFailed
from engine.files import remove_tree
from engine.settings import Home
from engine.store import irregular, seal
from engine.store.directory import RunDirectory


def run_of(folder: Path, *items: tuple[str, str]) -> RunDirectory:
    """A run of which there is nothing but what was irregular: paths and kinds."""
    run = RunDirectory(Home(folder), folder / "runs/0123456789abcdef")
    run.project.mkdir(parents=True)
    listed = [{"path": path, "kind": kind, "target": "x" if kind == "link" else ""} for path, kind in items]
    (run.path / seal.IRREGULAR).write_text(json.dumps(listed))
    return run


def test_all_kinds_are_made_and_found_again(tmp_path: Path) -> None:
    items = {
        "project/a": "link", "project/a-b/c": "folder", "project/a-b/d": "link", "project/a.b": "pipe",
        "project/deep/er/x": "link", "project/deep/er/y": "folder",
    }  # fmt: skip
    run = run_of(tmp_path, *items.items())
    irregular.restore_irregular(run)
    found = seal.walk(run, 0).irregular
    assert {path: kind for path, (kind, _) in found.items()} == items


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ((("project/" + "a/" * 50_000 + "b", "folder"),), "too long a name"),
        ((("project/a\0b", "folder"),), "no file can have"),
        ((("project/a", "link"), ("project/a!", "folder"), ("project/a/b", "folder")), "below something"),
        ((("project/a", "pipe"), ("project/a/b/c", "link")), "below something"),
        ((("project", "link"),), "outside of project/"),
        ((("project/./a", "folder"),), "outside of project/"),
    ],
    ids=["long", "NUL", "below a link", "below a pipe", "project itself", "no plain path"],
)
def test_what_can_be_no_work_tree_is_refused_at_once(
    items: tuple[tuple[str, str], ...], told: str, tmp_path: Path
) -> None:
    run = run_of(tmp_path, *items)
    try:
        began = time.process_time()
        with pytest.raises(VerificationFailed) as refused:
            irregular.restore_irregular(run)
        assert told in refused.value.message
        assert time.process_time() - began < 2  # a few milliseconds on an idle machine
        assert not list(run.project.iterdir())
    finally:
        remove_tree(run.path)


def test_deep_paths_take_time_by_the_folders_that_they_make(tmp_path: Path) -> None:
    chain = "project/" + "a/" * 1400
    run = run_of(tmp_path, *((f"{chain}{number}", "folder") for number in range(200)))
    try:
        began = time.process_time()
        irregular.restore_irregular(run)
        assert time.process_time() - began < 10  # well under 1 s on an idle machine
        assert len(seal.walk(run, 0).irregular) == 200
    finally:
        remove_tree(run.path)  # pytest's own cleaning would run into Python's recursion limit


def test_no_more_is_made_than_a_seal_covers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(irregular, "MAX_ENTRIES", 3)
    irregular.restore_irregular(run_of(tmp_path / "few", ("project/a/b", "folder")))
    with pytest.raises(VerificationFailed, match="more than 3 folders"):
        irregular.restore_irregular(run_of(tmp_path / "deep", ("project/a/b/c", "folder")))
    with pytest.raises(VerificationFailed, match="more than 3 entries"):
        irregular.restore_irregular(run_of(tmp_path / "many", *((f"project/{i}", "pipe") for i in range(4))))


def test_many_uncovered_paths_cost_nothing(tmp_path: Path) -> None:
    run = run_of(tmp_path, *((f"project/gone/{number}", "uncovered") for number in range(20_000)))
    for number in range(2_000):
        (run.project / f"{number}").touch()
    (run.project / "gone").mkdir()
    (run.project / "gone/7").touch()
    began = time.process_time()
    found = seal.check(run, b"", 1 << 20)
    assert time.process_time() - began < 2  # it was 2,000 times 20,000 comparisons
    assert "project/gone/7" not in found.sizes
    assert len([path for path in found.sizes if path.startswith("project/")]) == 2_000
