"""Line ends of a git checkout, from indexes that are written here byte by byte (gitformat-index(5))."""

import hashlib
import struct
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_builders import project, taken

from engine.settings import Home
from engine.store.gitindex import GitIndex, parse_index, read_git_index


def blob(data: bytes) -> bytes:
    return hashlib.sha1(b"blob " + str(len(data)).encode() + b"\0" + data).digest()  # noqa: S324


def index(files: dict[str, bytes], version: int = 2, stage: int = 0) -> bytes:
    """An index of these files, by path, as git writes it."""
    data = b"DIRC" + struct.pack(">LL", version, len(files))
    before = b""
    for name in sorted(files):
        path = name.encode()
        extended = 0x4000 if version == 3 else 0
        flags = stage << 12 | extended | min(len(path), 0xFFF)
        entry = bytes(40) + blob(files[name]) + struct.pack(">H", flags) + (b"\0\0" if extended else b"")
        if version == 4:
            shared = next((at for at in range(len(before)) if before[at : at + 1] != path[at : at + 1]), len(before))
            dropped = len(before) - shared
            assert dropped < 0x80
            entry += bytes([dropped]) + path[shared:] + b"\0"
        else:
            entry += path
            entry += bytes(8 - len(entry) % 8)
        data += entry
        before = path
    return data + hashlib.sha1(data).digest()  # noqa: S324


FILES = {"helper.py": b"x = 1\n", "data/both.txt": b"a\nb\n", "data/\u00e9": b"\n", "run.bat": b"dir\r\n"}


@pytest.mark.parametrize("version", [2, 3, 4])
def test_every_version_of_the_index(version: int) -> None:
    assert parse_index(index(FILES, version)) == {name: blob(data) for name, data in FILES.items()}


def test_conflicts_are_not_merged() -> None:
    assert parse_index(index(FILES, stage=2)) == {}


def test_converted_line_ends_are_taken_as_git_keeps_them(tmp_path: Path) -> None:
    plain = taken(project(tmp_path / "plain", FILES), Home(tmp_path / "home"))
    converted = {name: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for name, data in FILES.items()}
    checkout = project(tmp_path / "checkout", converted)
    home = Home(tmp_path / "home")
    assert taken(checkout, home).digest != plain.digest  # no git: bytes are bytes
    (tmp_path / "checkout/.git").mkdir()
    (tmp_path / "checkout/.git/index").write_bytes(index(FILES))
    source = taken(checkout, home)
    assert source == plain
    assert {file.path: file.size for file in source.files}["data/both.txt"] == 4
    (tmp_path / "checkout/helper.py").write_bytes(b"x = 2\r\n")  # changed since: as it is
    assert taken(checkout, home).digest != plain.digest


def test_a_project_inside_a_checkout(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/index").write_bytes(index({"sub/a": b"1\n", "b": b"2\n", "subway": b"3\n"}))
    assert read_git_index(tmp_path / "sub").blobs == {"a": blob(b"1\n")}


@pytest.mark.parametrize(
    ("kept", "there", "taken_as"),
    [
        (b"a\nb\n", b"a\r\nb\r\n", b"a\nb\n"),
        (b"a\r\nb\r\n", b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\r\nb\r\n", b"a\nb\n", b"a\nb\n"),  # the other way round there is no conversion
        (b"a\nb\n", b"a\r\nc\r\n", b"a\r\nc\r\n"),
        (b"a\nb\n", b"a\r\nb\n", b"a\nb\n"),
        (b"\r\r\n", b"\r\n", b"\r\n"),
    ],
)
def test_only_what_git_keeps(kept: bytes, there: bytes, taken_as: bytes) -> None:
    found = GitIndex({"f": blob(kept)}).as_kept("f", BytesIO(there), len(there)).read()
    assert found == taken_as


@pytest.mark.parametrize("where", ["link", "file", "none", "fifo"])
def test_what_is_no_index_is_none(tmp_path: Path, where: str) -> None:
    import os

    (tmp_path / "real").mkdir()
    (tmp_path / "real/index").write_bytes(index(FILES))
    git = tmp_path / "p/.git"
    git.parent.mkdir()
    if where == "link":
        git.symlink_to(tmp_path / "real")
    elif where == "file":
        git.write_text(f"gitdir: {tmp_path / 'real'}\n")
    else:
        git.mkdir()
        if where == "fifo":
            os.mkfifo(git / "index")
    assert read_git_index(tmp_path / "p").blobs == {}


@given(st.binary(max_size=300), st.integers(0, 400), st.booleans())
def test_a_damaged_index_says_nothing(noise: bytes, at: int, repaired: bool) -> None:
    """Also when somebody gave it a checksum that fits."""
    data = index(FILES, 4)[:-20]
    data = data[:at] + noise + data[at + len(noise) :]
    data += hashlib.sha1(data).digest() if repaired else bytes(20)  # noqa: S324
    try:
        found = parse_index(data)
    except (ValueError, struct.error, IndexError):
        return
    assert all(isinstance(name, str) and len(value) <= 20 for name, value in found.items())
