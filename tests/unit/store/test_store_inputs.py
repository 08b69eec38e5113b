"""Declared inputs: where they are mounted, and that their bytes are still theirs at a rerun."""

from pathlib import Path

import pytest
from store_builders import project

from engine import store
from engine.errors import BadInput, VerificationFailed
from engine.model import Input
from engine.progress import Silent
from engine.settings import Home
from engine.store import inputs as inputs_module
from engine.store.blobs import blob_path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project(tmp_path / "p", {"sub/n.ipynb": b"{}", "sub/data.csv": b"1"})
    (tmp_path / "elsewhere.csv").write_bytes(b"2")
    (tmp_path / "a=b.csv").write_bytes(b"3")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "p/sub/n.ipynb"


def keep(spec: str, notebook: Path, home: Home) -> Input:
    return store.keep_input(spec, notebook, store.find_project_root(notebook, home), home, Silent())


@pytest.mark.parametrize(
    ("spec", "target"),
    [
        ("p/sub/data.csv", "sub/data.csv"),
        ("p/../p/sub/data.csv", "sub/data.csv"),
        ("elsewhere.csv", "sub/elsewhere.csv"),
        ("elsewhere.csv=data/x.csv", "data/x.csv"),
        ("a=b.csv", "sub/a=b.csv"),
        ("a=b.csv=x.csv", "x.csv"),
    ],
)
def test_target(notebook: Path, home: Home, spec: str, target: str) -> None:
    item = keep(spec, notebook, home)
    assert (item.target, item.kept, item.size) == (target, True, 1)
    assert store.materialise(item, home).read_bytes() in (b"1", b"2", b"3")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("missing.csv", "no input file"),
        ("p", "is a folder"),
        ("elsewhere.csv=../x", "not a place inside"),
        ("elsewhere.csv=/etc/passwd", "not a place inside"),
        ("elsewhere.csv=a/../../x", "not a place inside"),
        ("elsewhere.csv=.", "not a place inside"),
        ("elsewhere.csv=a\nb", "not a place inside"),
        ("elsewhere.csv=", "is not an input"),
        ("/dev/null", "cannot be read"),
    ],
)
def test_refused(notebook: Path, home: Home, spec: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        keep(spec, notebook, home)
    assert caught.value.hint


def test_inputs_are_sorted_and_each_has_its_place(notebook: Path, home: Home) -> None:
    root = store.find_project_root(notebook, home)
    kept = store.keep_inputs(["elsewhere.csv=z", "a=b.csv=a"], notebook, root, home, Silent())
    assert [item.target for item in kept] == ["a", "z"]
    for second in ("a=b.csv=z", "a=b.csv=z/inside"):
        with pytest.raises(BadInput, match="both to be mounted"):
            store.keep_inputs(["elsewhere.csv=z", second], notebook, root, home, Silent())


def test_kept_bytes_are_verified(notebook: Path, home: Home) -> None:
    item = keep("elsewhere.csv", notebook, home)
    Path("elsewhere.csv").unlink()
    path = store.materialise(item, home)
    assert path.stat().st_mode & 0o777 == 0o444
    path.chmod(0o644)
    path.write_bytes(b"x")
    with pytest.raises(VerificationFailed, match="was changed"):
        store.materialise(item, home)


def test_large_inputs_must_still_be_there(notebook: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs_module, "KEPT_BYTES", 0)  # a file of more than a gigabyte would say the same, slowly
    item = keep("elsewhere.csv", notebook, home)
    assert not item.kept
    assert not blob_path(home, item.digest).exists()
    assert store.materialise(item, home) == Path("elsewhere.csv").resolve()
    Path("elsewhere.csv").write_bytes(b"3")
    with pytest.raises(VerificationFailed, match="was changed since"):
        store.materialise(item, home)
    Path("elsewhere.csv").unlink()
    with pytest.raises(VerificationFailed, match="no longer at"):
        store.materialise(item, home)
