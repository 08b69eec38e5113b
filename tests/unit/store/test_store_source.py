"""Which folder is the project, what of it is taken, and what copies of it are worth."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_builders import project, taken

from engine import store
from engine.errors import BadInput, VerificationFailed
from engine.model import Input, Source, SourceFile
from engine.progress import Silent
from engine.settings import Home
from engine.store.blobs import blob_path
from engine.store.source import tree_digest


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def paths(source: Source) -> list[str]:
    return [file.path for file in source.files]


# --- the root -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markers", "expected"),
    [
        ([], "a/b/c"),
        (["a/nbseal.yml"], "a"),
        (["a/guild.yml", "a/b/nbseal.yml"], "a/b"),
        (["a/.git/HEAD"], "a"),
        (["a/.git/HEAD", "a/b/.git"], "a/b"),  # a worktree or submodule has a file
        (["a/nbseal.yml", "a/b/.git/HEAD"], "a"),
    ],
)
def test_root(tmp_path: Path, home: Home, markers: list[str], expected: str) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    for marker in markers:
        (tmp_path / marker).parent.mkdir(exist_ok=True)
        (tmp_path / marker).touch()
    notebook = tmp_path / "a/b/c/n.ipynb"
    root = store.find_project_root(notebook, home)
    assert root == tmp_path / expected
    assert root / store.folder_in(root, notebook) == notebook.parent


def test_home_directory_is_no_project(tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    notebook = project(tmp_path / "user", {".git/HEAD": b"", "private.txt": b"", "work/x.py": b""})
    assert store.find_project_root(tmp_path / "user/work/n.ipynb", home) == tmp_path / "user/work"
    source = taken(notebook, home)
    assert source.files == ()
    assert "folder of its own" in source.left_out[0]
    (tmp_path / "n.ipynb").touch()  # above it neither
    assert taken(tmp_path / "n.ipynb", home).files == ()


def test_shared_folder_is_no_project(tmp_path: Path, home: Home) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    project(shared, {"of-another-user": b""})
    assert taken(shared / "n.ipynb", home).files == ()
    assert store.find_project_root(shared / "mine/n.ipynb", home) == shared / "mine"


# --- the snapshot -------------------------------------------------------------------------------


def test_takes_source_and_leaves_machinery(tmp_path: Path, home: Home) -> None:
    notebook = project(
        tmp_path / "p",
        {
            "helper.py": b"x = 1\n", "data/é.csv": b"", "other.ipynb": b"{}", ".env.example": b"", ".hidden": b"",
            "n.requirements.lock": b"", "lonely.requirements.lock": b"",
            ".git/HEAD": b"", ".venv/x": b"", "myenv/pyvenv.cfg": b"", "myenv/lib/x.py": b"",
            "a/__pycache__/x.pyc": b"",
            ".ipynb_checkpoints/n.ipynb": b"", ".mypy_cache/x": b"", "node_modules/x/y.js": b"", "x.pyc": b"",
            ".env": b"KEY=1", "deploy/.env.production": b"", "server.pem": b"", "ID_RSA": b"", ".aws/credentials": b"",
        },
    )  # fmt: skip
    source = taken(notebook, home)
    assert paths(source) == [
        ".env.example", ".hidden", "data/é.csv", "helper.py", "lonely.requirements.lock", "nbseal.yml", "other.ipynb",
    ]  # fmt: skip
    assert source.secrets == (".aws/", ".env", "ID_RSA", "deploy/.env.production", "server.pem")


def test_leaves_its_own_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "p/.nbseal")
    notebook = project(tmp_path / "p", {"helper.py": b""})
    first = taken(notebook, home)
    assert paths(first) == ["helper.py", "nbseal.yml"]
    assert taken(notebook, home) == first


def test_links_and_special_files(tmp_path: Path, home: Home) -> None:
    notebook = project(tmp_path / "p", {"a/x.txt": b"x", "b/y.txt": b"y"})
    root = notebook.parent
    (root / "a/inside").symlink_to("../b/y.txt")
    (root / "a/folder").symlink_to("../b")
    (root / "a/deep").symlink_to("..")
    (root / "dangling").symlink_to("not/yet/there")
    (root / "absolute").symlink_to(root / "a/x.txt")
    (root / "outside").symlink_to("../secret")
    (root / "by-way-of").symlink_to("a/deep/../..")  # stays inside as text only
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    source = taken(notebook, home)
    links = {file.path: file.target for file in source.files if file.kind == "link"}
    assert links == {
        "a/inside": "../b/y.txt", "a/folder": "../b", "a/deep": "..", "dangling": "not/yet/there", "loop": "loop",
    }  # fmt: skip
    assert [note.partition(":")[0] for note in source.left_out] == ["absolute", "by-way-of", "fifo", "outside"]


def test_an_input_hides_the_file_in_its_place(tmp_path: Path, home: Home) -> None:
    notebook = project(tmp_path / "p", {"data.csv": b"old", "x.py": b""})
    item = Input("data.csv", "sha256:" + "0" * 64, 3, kept=True)
    assert "data.csv" not in paths(store.snapshot(notebook.parent, notebook, home, Silent(), [item]))


@pytest.mark.parametrize("name", [b"line\nbreak.txt", b"latin-\xe9.txt", b"tab\t.txt"])
def test_names_that_no_record_can_hold(tmp_path: Path, home: Home, name: bytes) -> None:
    notebook = project(tmp_path / "p", {})
    Path(os.fsdecode(os.fsencode(notebook.parent) + b"/" + name)).touch()
    with pytest.raises(BadInput, match="no record can hold it") as caught:
        taken(notebook, home)
    assert caught.value.message.isprintable()


FILES = st.dictionaries(
    st.lists(st.text(st.characters(codec="utf-8", categories=["L", "N", "So"]), min_size=1, max_size=4), max_size=3)
    .map("/".join)
    .filter(lambda path: path.strip("/") != ""),
    st.tuples(st.binary(max_size=20), st.booleans()),
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=FILES, seed=st.integers())
def test_digest_depends_on_content_alone(tmp_path_factory: pytest.TempPathFactory, files: dict, seed: int) -> None:
    """Not on the folder, the order of creation, times or the umask; on every byte and executable bit."""
    files = {path: value for path, value in files.items() if not any(other.startswith(path + "/") for other in files)}
    digests = []
    for order in (1, 2):
        folder = tmp_path_factory.mktemp("p")
        names = sorted(files)
        random.Random(seed * order).shuffle(names)  # noqa: S311
        umask = os.umask(0o077 if order == 1 else 0o002)
        try:
            notebook = project(folder / "p", {})
            for name in names:
                data, executable = files[name]
                path = folder / "p" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                path.chmod(0o744 if executable else 0o640)
                os.utime(path, (order * 1000, order * 1000))
        finally:
            os.umask(umask)
        home = Home(folder / "home")
        source = taken(notebook, home)
        digests.append(source.digest)
        store.checkout(source, home, folder / "q/copy")
        (folder / "q/copy/n.ipynb").touch()
        assert taken(folder / "q/copy/n.ipynb", home).digest == source.digest
    assert digests[0] == digests[1]


def test_digest_changes_with_content_kind_and_name(tmp_path: Path, home: Home) -> None:
    notebook = project(tmp_path / "p", {"x.py": b"1"})
    digests = {taken(notebook, home).digest}
    (notebook.parent / "x.py").write_bytes(b"2")
    digests.add(taken(notebook, home).digest)
    (notebook.parent / "x.py").chmod(0o755)
    digests.add(taken(notebook, home).digest)
    (notebook.parent / "x.py").rename(notebook.parent / "y.py")
    digests.add(taken(notebook, home).digest)
    assert len(digests) == 4
    (notebook.parent / "empty folder").mkdir()
    notebook.write_bytes(b"the notebook is kept apart")
    assert taken(notebook, home).digest in digests


# --- copies -------------------------------------------------------------------------------------


def test_checkout_is_a_fresh_copy(tmp_path: Path, home: Home) -> None:
    big = random.Random(1).randbytes((8 << 20) + 3)  # noqa: S311
    notebook = project(tmp_path / "p", {"a/x.sh": b"#!/bin/sh\n", "big.bin": big})
    (notebook.parent / "a/x.sh").chmod(0o755)
    (notebook.parent / "link").symlink_to("a/x.sh")
    source = taken(notebook, home)
    for name in ("one", "two"):
        store.checkout(source, home, tmp_path / name)
    assert (tmp_path / "one/big.bin").read_bytes() == big
    assert (tmp_path / "one/a/x.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "one/link").readlink() == Path("a/x.sh")
    (tmp_path / "one/a/x.sh").write_text("changed")
    assert (tmp_path / "two/a/x.sh").read_bytes() == b"#!/bin/sh\n"


def test_content_that_is_there_is_not_written_again(tmp_path: Path, home: Home) -> None:
    notebook = project(tmp_path / "p", {"x.py": b"1"})
    source = taken(notebook, home)
    blob = blob_path(home, source.files[-1].digest)
    before = blob.stat()
    taken(notebook, home)
    assert (blob.stat().st_ino, blob.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    blob.chmod(0o644)
    blob.write_bytes(b"")  # as a power cut may leave it
    taken(notebook, home)
    assert blob.read_bytes() == b"1"
    assert list(home.temporary.iterdir()) == []


def test_checkout_verifies(tmp_path: Path, home: Home) -> None:
    source = taken(project(tmp_path / "p", {"x.py": b"1"}), home)
    blob = blob_path(home, source.files[-1].digest)
    blob.chmod(0o644)
    blob.write_bytes(b"2")
    with pytest.raises(VerificationFailed, match="was changed"):
        store.checkout(source, home, tmp_path / "one")
    blob.unlink()
    with pytest.raises(VerificationFailed, match="no longer holds"):
        store.checkout(source, home, tmp_path / "two")


EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    "files",
    [
        [SourceFile("../x", "file", EMPTY, 0)],
        [SourceFile("/etc/x", "file", EMPTY, 0)],
        [SourceFile("a//x", "file", EMPTY, 0)],
        [SourceFile("a/./x", "file", EMPTY, 0)],
        [SourceFile("", "file", EMPTY, 0)],
        [SourceFile("x", "file", "sha256:../../../etc/passwd", 0)],
        [SourceFile("x", "file", EMPTY, 0), SourceFile("x", "file", EMPTY, 0)],
        [SourceFile("x", "link", EMPTY, 0, ""), SourceFile("x/y", "file", EMPTY, 0)],
        [SourceFile("x", "link", "sha256:" + "0" * 64, 0, "y")],
        [SourceFile("x", "link", "sha256:" + "0" * 64, 0, "\ud800")],
        [SourceFile("x", "link", "sha256:" + "0" * 64, 0, "../..")],
    ],
)
def test_forged_snapshots_write_nothing_outside(tmp_path: Path, home: Home, files: list[SourceFile]) -> None:
    (blob_path(home, EMPTY).parent).mkdir(parents=True)
    blob_path(home, EMPTY).touch()
    forged = Source(tree_digest(files) if "\ud800" not in files[0].target else "", tuple(files))
    with pytest.raises(VerificationFailed):
        store.checkout(forged, home, tmp_path / "into/project")
    assert sorted(path.name for path in tmp_path.iterdir()) in (["home"], ["home", "into"])
