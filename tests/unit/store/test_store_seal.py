"""Manifests: what they cover, how names stand in them, and what they do not let pass."""

import os
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_builders import DOCUMENT, project, record, taken

from engine import store
from engine.errors import VerificationFailed
from engine.model import Limits, Source
from engine.settings import Home
from engine.store import seal
from engine.store.sealing import faults

NAMES = st.binary(min_size=1, max_size=20).map(os.fsdecode).filter(lambda name: "\0" not in name)
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def source(tmp_path: Path, home: Home) -> Source:
    return taken(project(tmp_path / "p", {"x.py": b"1"}), home)


@given(st.dictionaries(NAMES, HEX, max_size=8))
def test_a_manifest_says_what_was_put_into_it(digests: dict[str, str]) -> None:
    data = seal.manifest_bytes(digests)
    assert seal.parse_manifest(data) == digests
    assert data.count(b"\n") == len(digests)


@given(st.dictionaries(NAMES, HEX, min_size=1, max_size=4), st.data())
def test_no_other_bytes_say_the_same(digests: dict[str, str], data: st.DataObject) -> None:
    whole = bytearray(seal.manifest_bytes(digests))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    with suppress(ValueError):
        assert seal.parse_manifest(bytes(whole)) != digests


@pytest.mark.parametrize(
    "data", [b"\n", b"x", b"0" * 64 + b" a\n", b"0" * 64 + b"  a", b"0" * 64 + b"  b\n" + b"0" * 64 + b"  a\n",
             (b"0" * 64 + b"  a\n") * 2, b"\\" + b"0" * 64 + b"  a\n"]
)  # fmt: skip
def test_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        seal.parse_manifest(data)


def published(home: Home, source: Source, fill, limits: Limits | None = None) -> store.RunDirectory:  # type: ignore[no-untyped-def]
    started = record(limits=limits or Limits())
    with store.begin_run(home, started, b"", DOCUMENT, "", source) as run:
        fill(run.project)
        store.publish(run, replace(started, status="completed"), DOCUMENT, (), {})
    return run


def holds(run: store.RunDirectory) -> bool:
    return faults(run, store.load_record(run.home, run.id), project=True) == ()


def test_what_has_no_bytes_is_covered_too(home: Home, source: Source, tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "link").symlink_to("/etc/passwd")
        (folder / "empty/inside").mkdir(parents=True)
        os.mkfifo(folder / "pipe")
        here = Path.cwd()
        os.chdir(folder)  # the name of a socket may not be long
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind("socket")
        finally:
            os.chdir(here)
        (folder / os.fsdecode(b"caf\xe9")).write_text("latin-1")

    run = published(home, source, fill)
    assert seal.read_irregular(run) == {
        "project/link": ("link", "/etc/passwd"),
        "project/empty/inside": ("folder", ""),
        "project/pipe": ("pipe", ""),
        "project/socket": ("socket", ""),
    }
    assert holds(run)
    (run.project / "link").unlink()
    (run.project / "link").symlink_to("/etc/shadow")
    (run.project / "pipe").unlink()
    (run.project / "empty/inside/new").mkdir()
    found = {(fault.path, fault.what) for fault in faults(run, store.load_record(home, run.id), project=True)}
    assert found == {
        ("project/link", "changed"),
        ("project/pipe", "removed"),
        ("project/empty/inside", "removed"),
        ("project/empty/inside/new", "added"),
    }


def test_a_link_in_place_of_a_file_is_not_followed(home: Home, source: Source, tmp_path: Path) -> None:
    run = published(home, source, lambda folder: None)
    copy = tmp_path / "copy"
    copy.write_bytes((run.project / "x.py").read_bytes())
    (run.project / "x.py").unlink()
    (run.project / "x.py").symlink_to(copy)
    found = [(fault.path, fault.what) for fault in faults(run, store.load_record(home, run.id), project=True)]
    assert found == [("project/x.py", "added"), ("project/x.py", "removed")]


@pytest.mark.parametrize("much", ["bytes", "files"])
def test_more_than_a_seal_covers_is_said_and_does_not_hang(
    home: Home, source: Source, monkeypatch: pytest.MonkeyPatch, much: str
) -> None:
    monkeypatch.setattr(seal, "MAX_ENTRIES", 50)

    def fill(folder: Path) -> None:
        if much == "bytes":
            with (folder / "sparse").open("wb") as file:
                file.truncate(1 << 42)  # four terabytes that take no room
        else:
            for number in range(60):
                (folder / str(number)).touch()

    run = published(home, source, fill)
    [(path, (kind, reason))] = seal.read_irregular(run).items()
    assert (path, kind) == ("project", "uncovered")
    assert "more" in reason
    assert holds(run)
    assert not any(path.startswith("project/") for path in seal.parse_manifest((run.path / seal.MANIFEST).read_bytes()))


def test_use_is_refused_when_the_manifest_was_made_anew(home: Home, source: Source) -> None:
    """Whoever changes a file can write a manifest that fits; the ledger has the digest of the one that there was."""
    run = published(home, source, lambda folder: None)
    done = store.load_record(home, run.id)
    store.verify_run(run, done)
    run.executed.chmod(0o644)
    run.executed.write_text("{}")
    with pytest.raises(VerificationFailed, match=r"executed\.ipynb of run .* was changed"):
        store.verify_run(run, done)
    digests = seal.parse_manifest((run.path / seal.MANIFEST).read_bytes())
    files = dict.fromkeys(digests, 0)
    anew = {path: str(digest) for path, digest in seal.digest_files(run, files, lambda _: None).items()}
    (run.path / seal.MANIFEST).chmod(0o644)
    (run.path / seal.MANIFEST).write_bytes(seal.manifest_bytes(anew))
    with pytest.raises(VerificationFailed, match=r"manifest-sha256\.txt of run .* was changed"):
        store.verify_run(run, done)
    (run.path / seal.MANIFEST).unlink()
    with pytest.raises(VerificationFailed, match=r"manifest-sha256\.txt of run .* is gone"):
        store.verify_run(run, done)
