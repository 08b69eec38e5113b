"""What a host says that a run left there, when it lies; and what a truthful one makes of the folders here."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.containers.launch import PROJECT, SPOOL, Folders
from engine.containers.remote.gather import MAX_FILES, Gatherer, Listing, read_entries
from engine.containers.remote.session import Frame
from engine.errors import EngineUnavailable


def entry(path: str, kind: str = "file", content: bytes = b"", **more: Any) -> dict[str, Any]:
    item = {"root": PROJECT, "path": path, "kind": kind, "mode": 0o644, "size": len(content)}
    if kind == "file":
        item["digest"] = hashlib.sha256(content).hexdigest()
    return {**item, **more}


class Host:
    """Says of files what it was told to, and counts what it was asked for."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.asked: list[tuple[str, int]] = []

    def ask(self, do: str, *, wanted: list[tuple[str, str, int]]) -> None:
        assert do == "send"
        self._wanted = iter(wanted)

    def frames(self, last: str) -> Iterator[Frame]:
        _, path, offset = next(self._wanted)
        self.asked.append((path, offset))
        data = self.contents[path][offset:]
        for at in range(0, len(data), 10):
            yield Frame("data", {}, data[at : at + 10])
        yield Frame(last, {}, b"")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / "run/project", tmp_path / "run/spool")
    made.project.mkdir(parents=True)
    made.spool.mkdir()
    return made


def gather(folders: Folders, host: Host, *items: dict[str, Any], inputs: tuple[str, ...] = ()) -> None:
    Gatherer(folders, inputs).gather(host, read_entries(json.dumps(items).encode()))  # type: ignore[arg-type]


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_the_folders_become_what_was_left(folders: Folders) -> None:
    project = folders.project
    for path, text in (("same", "same"), ("changed", "old"), ("deleted", "x"), ("dir/file", "x"), ("was/dir", "x")):
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_text(text)
    (project / "link").symlink_to("same")
    (project / "in").mkdir()
    (project / "in/data").touch()  # where an input would be mounted
    (folders.spool / "events.jsonl").write_text("one\n")
    reader = (folders.spool / "events.jsonl").open()
    host = Host(
        {"changed": b"new text", "twice": b"t" * 25, "again": b"t" * 25, "new/a": b"a", "events.jsonl": b"one\ntwo\n"}
    )
    items = (
        entry("events.jsonl", content=b"one\ntwo\n", root=SPOOL),
        entry("same", content=b"same"),
        entry("changed", content=b"new text", mode=0o755),
        entry("twice", content=b"t" * 25),
        entry("again", content=b"t" * 25),
        entry("new", "folder", mode=0),
        entry("new/a", content=b"a"),
        entry("new/out", "link", target="/etc/passwd"),
        entry("was", content=b"same"),
        entry("link", "folder", mode=0o700),
        entry("fifo", "fifo"),
    )
    host.contents["was"] = b"same"
    gather(folders, host, *items, inputs=("in/data",))
    assert tree(project) == {
        "again": "t" * 25,
        "changed": "new text",
        "in/data": "",
        "new/a": "a",
        "new/out": "-> /etc/passwd",
        "same": "same",
        "twice": "t" * 25,
        "was": "same",
    }
    assert (project / "fifo").is_fifo()
    assert os.access(project / "changed", os.X_OK)
    assert (project / "link").is_dir()
    assert reader.read() == "one\ntwo\n"  # whoever reads it goes on reading
    assert [path for path, _ in host.asked if path in ("twice", "again")] in (["twice"], ["again"])
    assert not list(folders.spool.glob(".incoming*"))
    host.asked.clear()
    gather(folders, host, *items, inputs=("in/data",))
    assert host.asked == []


@pytest.mark.parametrize(
    ("left", "found"),
    [
        ([entry("data", content=b"x")], {"data": "x"}),
        ([entry("data", "link", target="other")], {"data": "-> other"}),
        ([entry("data", "folder"), entry("data/sub", content=b"x")], {"data/sub": "x"}),
    ],
)
def test_the_place_of_an_input_may_be_anything_afterwards(
    left: list[dict[str, Any]], found: dict[str, str], folders: Folders
) -> None:
    (folders.project / "data/sub").mkdir(parents=True)
    (folders.project / "data/sub/d.csv").touch()  # where the input would be mounted
    for _ in range(2):  # and so it does when it is asked again
        gather(folders, Host({"data": b"x", "data/sub": b"x"}), *left, inputs=("data/sub/d.csv",))
        assert tree(folders.project) == found


def test_no_more_is_fetched_than_may_be_whatever_the_host_counts(tmp_path: Path) -> None:
    def fits(*items: dict[str, Any]) -> bool:
        return listing.add(json.dumps(items).encode())

    listing = Listing(tmp_path, 100)
    assert fits(entry("a", content=b"x" * 60), entry("folder", "folder", size=4096))
    assert fits(entry("events.jsonl", content=b"x" * 40, root=SPOOL))
    assert not fits(entry("b", content=b"x"))
    listing = Listing(tmp_path, 100)
    for at in range(0, MAX_FILES, 10_000):
        assert fits(*(entry(f"{at + i}", "folder") for i in range(10_000)))
    assert fits(entry("events.jsonl", root=SPOOL))
    assert not fits(entry("one", "folder"))
    assert not Listing(tmp_path, 100).add(json.dumps([entry("/".join(["x" * 255] * 15 + ["y" * 254]))]).encode())


def test_what_was_cut_off_goes_on(folders: Folders) -> None:
    content = b"0123456789" * 10
    digest = hashlib.sha256(content).hexdigest()
    (folders.spool / ".incoming").mkdir()
    (folders.spool / f".incoming/{digest}.part").write_bytes(content[:37])
    host = Host({"big": content})
    gather(folders, host, entry("big", content=content))
    assert host.asked == [("big", 37)]
    assert (folders.project / "big").read_bytes() == content


def test_what_was_damaged_on_its_way_is_asked_for_again(folders: Folders) -> None:
    content = b"0123456789" * 10
    digest = hashlib.sha256(content).hexdigest()
    (folders.spool / ".incoming").mkdir()
    (folders.spool / f".incoming/{digest}.part").write_bytes(b"x" * 37)
    host = Host({"big": content})
    gather(folders, host, entry("big", content=content))
    assert host.asked == [("big", 37), ("big", 0)]
    assert (folders.project / "big").read_bytes() == content


def test_a_host_that_sends_something_else_is_refused(folders: Folders) -> None:
    with pytest.raises(EngineUnavailable, match="does not arrive"):
        gather(folders, Host({"a": b"other"}), entry("a", content=b"right"))
    with pytest.raises(EngineUnavailable, match="sends more"):
        gather(folders, Host({"a": b"right and more"}), entry("a", content=b"right"))
    assert tree(folders.project) == {}


@pytest.mark.parametrize(
    "items",
    [
        [entry("../out")],
        [entry("/etc/passwd")],
        [entry("a/../../out")],
        [entry("a//b")],
        [entry("")],
        [entry("a\0b")],
        [entry("a/b")],  # in no folder
        [entry("a", "link", target="/etc"), entry("a/passwd")],
        [entry("a", "folder"), entry("a", "link", target="/etc"), entry("a/passwd")],
        [entry("a"), entry("a")],
        [entry("a", "door")],
        [entry("a", size=-1)],
        [entry("a", digest="../../x")],
        [entry("a", digest="A" * 64)],
        [entry("a", digest="")],
        [{key: value for key, value in entry("a").items() if key != "digest"}],
        [entry("a", size=float("inf"))],
        [entry("a", mode=float("inf"))],
        [entry("\ud800", "folder")],
        [entry("a", "link", target="\ud800")],
        [entry("a", "link", target="")],
        [entry("a", "link", target="x" * 5000)],
        [entry("given")],
        [entry("given", "folder"), entry("given/a")],
        [entry("other", root=SPOOL)],
        [entry("events.jsonl", root="/etc")],
        [entry("x/" * 3000 + "y")],
        ["text"],
        [{}],
    ],
)
def test_a_list_that_lies_is_refused(items: list[Any], folders: Folders, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(EngineUnavailable, match="makes no sense"):
        gather(folders, Host({}), *items, inputs=("given",))
    assert sorted(tmp_path.rglob("*")) == before


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with suppress(EngineUnavailable):
        assert isinstance(read_entries(data), list)


def test_nothing_is_written_through_a_link_that_was_here(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (folders.project / "a").symlink_to(tmp_path / "outside")
    gather(folders, Host({"a/b": b"x"}), entry("a", "folder"), entry("a/b", content=b"x"))
    assert not list((tmp_path / "outside").iterdir())
    assert (folders.project / "a/b").read_bytes() == b"x"
