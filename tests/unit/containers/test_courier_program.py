"""What runs in the courier, on files of the test's own and, for root's, on /etc/passwd."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engine.containers.remote import program
from engine.containers.remote.program import usage

#: A regular file of root's on every machine.
ROOTS = Path("/etc/passwd")


class Said(list[tuple[str, bytes, dict[str, Any]]]):
    """What the program said; to be given in place of its ``say``."""

    def __call__(self, frame: str, data: bytes = b"", **fields: Any) -> None:
        self.append((frame, data, fields))

    def kinds(self) -> list[str]:
        return [frame for frame, _, _ in self if frame != "alive"]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    said = Said()
    monkeypatch.setattr(program, "say", said)
    return said


def nothing() -> None:
    """No sign of life."""


def of_somebody(path: Path) -> Path:
    if os.getuid() == 0:
        os.chown(path, 10001, 10001)
    return path


def test_an_input_goes_on_where_another_courier_was_cut_off(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"a" * 600 + b"b" * 400
    digest = hashlib.sha256(data).hexdigest()
    rest = [data[600:]]
    monkeypatch.setattr(program, "CACHE", str(tmp_path))
    monkeypatch.setattr(program, "read", lambda size: rest.pop())
    (tmp_path / digest).mkdir()
    with (tmp_path / digest / "data.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=program.keep, args=(digest, len(data)), daemon=True)
        waiting.start()
        time.sleep(0.2)
        other.write(data[:600])
    waiting.join(10)
    assert [(frame, fields) for frame, _, fields in said if frame != "alive"] == [
        ("have", {"bytes": 600}),
        ("kept", {}),
    ]
    assert (tmp_path / digest / "data").read_bytes() == data


def test_laid_inputs_do_not_count_and_what_replaced_them_does(tmp_path: Path) -> None:
    blocks = ROOTS.stat().st_blocks * 512
    assert blocks > 0
    before, after = usage(["/etc"], nothing), usage(["/etc"], nothing, {str(ROOTS)})
    assert before - after == blocks
    (tmp_path / "d.csv").write_bytes(b"x" * 1_000_000)
    of_somebody(tmp_path / "d.csv")
    assert usage([str(tmp_path)], nothing, {str(tmp_path / "d.csv")}) >= 1_000_000


def test_a_laid_input_is_known_again(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "CACHE", str(tmp_path))
    monkeypatch.setattr(program, "PROJECT", str(ROOTS.parent))
    content = ROOTS.read_bytes()
    right, wrong = hashlib.sha256(content).hexdigest(), "0" * 64
    for digest in (right, wrong):
        (tmp_path / digest).mkdir()
        (tmp_path / digest / "data").write_bytes(content)
    assert program.is_laid(right, ROOTS.name)  # by its bytes
    assert not program.is_laid(wrong, ROOTS.name)
    shutil.copystat(ROOTS, tmp_path / wrong / "data")
    assert program.is_laid(wrong, ROOTS.name)  # by its time and size, and not read
    assert not program.is_laid(right, "no-such-file")
    assert not program.is_laid(right, "ssl")  # a folder, or nothing
    monkeypatch.setattr(program, "PROJECT", str(tmp_path))
    (tmp_path / "own").write_bytes(content)
    of_somebody(tmp_path / "own")
    assert not program.is_laid(right, "own")
    (tmp_path / "link").symlink_to(ROOTS)
    assert not program.is_laid(right, "link")


def test_an_input_is_laid_with_the_time_of_its_source(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(program, "PROJECT", str(tmp_path))
    digest = hashlib.sha256(b"data").hexdigest()
    source = tmp_path / "cache" / digest / "data"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"data")
    os.utime(source, ns=(1, 1_600_000_000_123_456_789))
    program.lay(digest, "d.csv")
    assert said.kinds() == ["laid"]
    assert (tmp_path / "d.csv").stat().st_mtime_ns == source.stat().st_mtime_ns


def test_a_listing_goes_in_frames_that_can_be_received(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "PROJECT", str(tmp_path))
    monkeypatch.setattr(program, "SPOOL", str(tmp_path / "none"))
    names = [os.fsdecode(b"\xff" * 200 + f"{i}".encode()) for i in range(1000)]  # six bytes for one
    for name in names:
        (tmp_path / name).touch()
    program.tell({}, 2000, 1 << 30)
    frames = [data for frame, data, _ in said if frame == "entries"]
    assert len(frames) > 1
    assert max(map(len, frames)) < 1 << 19
    assert sorted(item["path"] for data in frames for item in json.loads(data)) == sorted(names)
    assert said.kinds()[-1] == "listed"
