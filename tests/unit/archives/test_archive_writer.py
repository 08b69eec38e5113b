"""Writing a bag: its bytes, and what happens when something is not as it should be."""

import fcntl
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_builders import content, file_member, written

from engine import archives
from engine.errors import BadInput


def test_a_bag_has_payload_tags_and_attestations_in_this_order(tmp_path: Path) -> None:
    members = [
        file_member("runs/b", tmp_path / "b", b"two", executable=True),
        archives.of_text("pages/a.html", lambda: "<p>"),
        archives.of_bytes("README.md", b""),
    ]
    done = written(tmp_path / "a.tar", members, zebra=b"z", apple=b"a")
    found = content(tmp_path / "a.tar")
    top = "run-0123456789ab"
    assert list(found) == [
        f"{top}/{name}"
        for name in (
            "data/README.md", "data/pages/a.html", "data/runs/b", "bag-info.txt", "bagit.txt", "manifest-sha256.txt",
            "tagmanifest-sha256.txt", "attestations/apple", "attestations/zebra",
        )
    ]  # fmt: skip
    manifest = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {path}\n"
        for path, data in (("data/README.md", b""), ("data/pages/a.html", b"<p>"), ("data/runs/b", b"two"))
    )
    assert found[f"{top}/manifest-sha256.txt"].decode() == manifest
    assert found[f"{top}/bag-info.txt"] == b"Bagging-Date: 2026-01-02\nPayload-Oxum: 6.3\n"
    tagged = found[f"{top}/tagmanifest-sha256.txt"]
    assert [line.split("  ")[1] for line in tagged.decode().splitlines()] == [
        "bag-info.txt", "bagit.txt", "manifest-sha256.txt",
    ]  # fmt: skip
    assert (done.digest, done.files, done.bytes) == (f"sha256:{hashlib.sha256(tagged).hexdigest()}", 3, 6)
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert [member.mode for member in tar][:4] == [0o644, 0o644, 0o755, 0o644]


def test_the_order_of_members_and_compression_change_nothing(tmp_path: Path) -> None:
    members = [file_member(f"runs/{n}", tmp_path / f"{n}", bytes([n]) * n * 1000) for n in range(20)]
    for name, given in (("a.tar", members), ("b.tar", members[::-1]), ("c.tar.zst", members)):
        written(tmp_path / name, given)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    plain = content(tmp_path / "c.tar.zst")
    assert (tmp_path / "c.tar").read_bytes() == (tmp_path / "a.tar").read_bytes()
    assert plain == content(tmp_path / "a.tar")


def test_many_workers_compress_to_the_same_bytes() -> None:
    import zstandard

    data = os.urandom(3 << 20) + bytes(30 << 20) + b"abc" * (3 << 20)
    frames = []
    for workers in (1, 2, 3):
        output = io.BytesIO()
        with zstandard.ZstdCompressor(level=3, threads=workers, write_checksum=True).stream_writer(
            output, closefd=False
        ) as stream:
            for start in range(0, len(data), 1 << 20):
                stream.write(data[start : start + (1 << 20)])
        frames.append(output.getvalue())
    assert frames[0] == frames[1] == frames[2]


@pytest.mark.parametrize("how", ["changed", "shorter", "longer", "gone", "link", "folder", "pipe"])
def test_a_member_that_is_not_what_it_was_is_named_and_nothing_is_left(tmp_path: Path, how: str) -> None:
    path = tmp_path / "file"
    member = file_member("runs/x/file", path, b"abc")
    path.unlink()
    match how:
        case "changed" | "shorter" | "longer":
            path.write_bytes({"changed": b"abd", "shorter": b"ab", "longer": b"abcd"}[how])
        case "link":
            (tmp_path / "other").write_bytes(b"abc")
            path.symlink_to(tmp_path / "other")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
    with pytest.raises(archives.Spoiled, match="runs/x/file") as caught:
        written(tmp_path / "a.tar", [archives.of_bytes("README.md", b"x"), member])
    assert caught.value.exit_code == 4
    assert caught.value.member is member
    assert not [item.name for item in tmp_path.iterdir() if "a.tar" in item.name]


def test_a_tar_in_the_bag_keeps_names_byte_for_byte(tmp_path: Path) -> None:
    names = ["project/a%b\nc", "project/caf\udce9", "project/" + "x" * 300, "project/empty", "project/d/e"]
    inside = [file_member(name, tmp_path / f"{n}", name.encode(errors="replace")[n:]) for n, name in enumerate(names)]
    inside.append(file_member("project/zero", tmp_path / "zero", b"", executable=True))
    written(tmp_path / "a.tar", [archives.packed("runs/x/project.tar", inside)])
    data = content(tmp_path / "a.tar")["run-0123456789ab/data/runs/x/project.tar"]
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert found == {member.path: b"".join(member.read()) for member in inside}
    assert list(found) == sorted(found, key=os.fsencode)
    (tmp_path / "1").write_bytes(b"changed")
    with pytest.raises(archives.Spoiled, match="caf"):
        written(tmp_path / "b.tar", [archives.packed("runs/x/project.tar", inside)])


def test_only_new_files_with_a_known_ending(tmp_path: Path) -> None:
    (tmp_path / "there.tar").touch()
    (tmp_path / "link.tar").symlink_to("nowhere")
    for name in ("a.zip", "a.tar.gz", "there.tar", "link.tar", "no/a.tar"):
        with pytest.raises(BadInput):
            archives.check_output(tmp_path / name)
    archives.check_output(tmp_path / "a.tar.zst")


def test_who_was_killed_is_cleaned_up_after_and_who_is_at_work_is_not(tmp_path: Path) -> None:
    (tmp_path / ".a.tar.01234567").touch()
    (tmp_path / ".a.tar.mine").touch()
    at_work = tmp_path / ".a.tar.89abcdef"
    with at_work.open("xb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        written(tmp_path / "a.tar", [])
    assert sorted(item.name for item in tmp_path.iterdir()) == [".a.tar.89abcdef", ".a.tar.mine", "a.tar"]


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    def read() -> Iterator[bytes]:
        yield b"x"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "a.tar.zst", [archives.Member("README.md", 2, read)])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(BadInput, match="cannot be written"):
            written(tmp_path / "a.tar", [archives.of_bytes("README.md", bytes(1_000_000))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []
