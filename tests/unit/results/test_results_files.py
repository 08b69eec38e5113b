"""What a run wrote, changed or deleted, in a work tree that may be booby-trapped."""

import os
import socket
import time
from pathlib import Path

import pytest

from engine import store
from engine.digests import sha256_bytes
from engine.errors import BadInput
from engine.files import remove_tree
from engine.model import Source, SourceFile
from engine.progress import Silent
from engine.results import files as files_module
from engine.results import harvest_files, read_output
from engine.settings import Home


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Path, Source]:
    """A fresh copy of a project's snapshot."""
    root = tmp_path / "p"
    for name in ("nbseal.yml", "same.py", "changed.py", "gone/away.csv", "tool.sh", "data.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "link").symlink_to("same.py")
    home = Home(tmp_path / "home")
    source = store.snapshot(root, root / "n.ipynb", home, Silent())
    store.checkout(source, home, tmp_path / "project")
    return tmp_path / "project", source


def changes(project: Path, source: Source, *inputs: str) -> dict[str, str]:
    return {item.path: item.change for item in harvest_files(project, source, inputs)}


def test_nothing_changed(tree: tuple[Path, Source]) -> None:
    assert harvest_files(*tree) == ()


def test_changes(tree: tuple[Path, Source]) -> None:
    project, source = tree
    (project / "changed.py").write_text("other")
    os.utime(project / "changed.py", (0, 0))
    (project / "gone/away.csv").unlink()
    (project / "tool.sh").chmod(0o755)
    (project / "out/deep").mkdir(parents=True)
    (project / "out/deep/é.parquet").write_text("x")
    (project / "link").unlink()
    (project / "link").write_text("same.py")
    (project / "__pycache__").mkdir()
    (project / "__pycache__/x.pyc").touch()
    os.utime(project / "same.py", (0, 0))
    found = harvest_files(project, source)
    assert [(item.path, item.change) for item in found] == [
        ("changed.py", "changed"), ("gone/away.csv", "deleted"), ("link", "changed"), ("out/deep/é.parquet", "added"),
        ("tool.sh", "changed"),
    ]  # fmt: skip
    added, deleted = found[3], found[1]
    assert (added.size, added.sha256, added.media_type) == (1, sha256_bytes(b"x"), "application/vnd.apache.parquet")
    assert (deleted.size, deleted.sha256) == (13, sha256_bytes(b"gone/away.csv"))


def test_mount_points_of_inputs_are_no_output(tree: tuple[Path, Source]) -> None:
    project, source = tree
    (project / "in").mkdir()
    (project / "in/large.bin").touch()
    (project / "data.csv").unlink()
    assert changes(project, source, "in/large.bin", "data.csv") == {}


def test_nothing_is_followed_or_opened(tree: tuple[Path, Source], tmp_path: Path) -> None:
    project, source = tree
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("secret")
    (project / "to-file").symlink_to(tmp_path / "secret/key")
    (project / "to-folder").symlink_to(tmp_path / "secret")
    (project / "to-self").symlink_to("to-self")
    os.mkfifo(project / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(project / "socket"))
    found = {item.path: item for item in harvest_files(project, source)}
    assert {path: item.media_type for path, item in found.items()} == {
        "fifo": "inode/fifo", "socket": "inode/socket",
        "to-file": "inode/symlink", "to-folder": "inode/symlink", "to-self": "inode/symlink",
    }  # fmt: skip
    assert found["to-file"].sha256 == sha256_bytes(str(tmp_path / "secret/key").encode())


def test_names_that_are_no_text(tree: tuple[Path, Source]) -> None:
    project, source = tree
    for name in (b"latin-\xe9", b"line\nbreak", b"escape\x1b[2J"):
        Path(os.fsdecode(os.fsencode(project) + b"/" + name)).touch()
    assert sorted(changes(project, source)) == ["escape\\x1b[2J", "latin-\\xe9", "line\\x0abreak"]


def test_closed_files_and_folders(tree: tuple[Path, Source]) -> None:
    project, source = tree
    (project / "closed").mkdir()
    (project / "closed/x").write_text("x")
    (project / "closed/x").chmod(0)
    (project / "closed").chmod(0)
    (project / "listed").mkdir()
    (project / "listed/y").touch()
    (project / "listed").chmod(0o400)
    assert changes(project, source) == {"closed/x": "added", "listed/y": "added"}


def test_folders_deeper_than_a_path(tree: tuple[Path, Source]) -> None:
    project, source = tree
    deep = os.open(project, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d" * 20, dir_fd=deep)
        deeper = os.open("d" * 20, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = deeper
    os.close(deep)
    with pytest.raises(BadInput, match="nested deeper"):
        harvest_files(project, source)
    remove_tree(project)
    assert not project.exists()


def test_bounds(tree: tuple[Path, Source], monkeypatch: pytest.MonkeyPatch) -> None:
    project, source = tree
    with (project / "sparse").open("wb") as file:
        file.truncate(1 << 42)
    began = time.monotonic()
    with pytest.raises(BadInput, match="more bytes"):
        harvest_files(project, source)
    assert time.monotonic() - began < 1
    (project / "sparse").unlink()
    monkeypatch.setattr(files_module, "MAX_FILES", 5)
    with pytest.raises(BadInput, match="more than 5 files"):
        harvest_files(project, source)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.csv", "text/csv"), ("x.png", "image/png"), ("x.ipynb", "application/x-ipynb+json"),
        ("x", "application/octet-stream"),
        ("x.tar.gz", "application/gzip"), ("x.json", "application/json"), ("x.pkl", "application/octet-stream"),
    ],
)  # fmt: skip
def test_media_types(tree: tuple[Path, Source], name: str, kind: str) -> None:
    (tree[0] / name).touch()
    (item,) = harvest_files(*tree)
    assert item.media_type == kind


def test_no_two_names_become_one(tmp_path: Path) -> None:
    names = [b"\xff", b"\\xff", b"\\x5cxff", b"\x85", "\x85".encode(), b"\x01", b"\\x01", b"\\", b"\\\\xff"]
    for number, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text(str(number))
    found = harvest_files(tmp_path, Source("", (), (), ()))
    assert len({item.path for item in found}) == len(names)
    assert {read_output(tmp_path, item, 9) for item in found} == {str(number).encode() for number in range(len(names))}
    assert all(item.path.isprintable() for item in found)


def test_a_name_with_a_backslash_that_the_project_had(tmp_path: Path) -> None:
    (tmp_path / "a\\x41").write_text("x")
    source = Source("", (SourceFile("a\\x41", "file", sha256_bytes(b"x"), 1),), (), ())
    assert harvest_files(tmp_path, source) == ()
