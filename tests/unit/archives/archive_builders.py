"""Small members, contents and archives for the tests of archives."""

import hashlib
import tarfile
from pathlib import Path

from engine import archives
from engine.model import Limits, Outcome, Record
from engine.progress import Silent
from engine.software import Base, DebianPackage, Image, Layer, Wheel

SEAL = "5" * 64


def file_member(path: str, file: Path, data: bytes, **changes: object) -> archives.Member:
    file.write_bytes(data)
    return archives.of_file(path, file, len(data), hashlib.sha256(data).hexdigest(), "run", **changes)  # type: ignore[arg-type]


def written(path: Path, members: list[archives.Member], **attestations: bytes) -> archives.Written:
    info = [("Bagging-Date", "2026-01-02")]
    return archives.write(path, "run-0123456789ab", members, info, lambda tags: attestations, Silent())


def content(path: Path) -> dict[str, bytes]:
    """All members, in order; the ending says how it is compressed, which tarfile need not know."""
    data = path.read_bytes()
    if path.name.endswith(".zst"):
        import io

        import zstandard

        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
        path = path.with_suffix("")
        path.write_bytes(data)
    with tarfile.open(path, "r:") as tar:
        found = {}
        for member in tar:
            assert member.isreg()
            assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 315532800)
            file = tar.extractfile(member)
            assert file is not None
            assert member.name not in found
            found[member.name] = file.read()
        return found


def wheel(name: str, digit: str) -> Wheel:
    return Wheel(name, "1.0+local", f"{name}-1.0-py3-none-any.whl", f"sha256:{digit * 64}", 10)


def base() -> Base:
    package = DebianPackage(
        "libstdc++6", "12.2.0-14+deb12u1", "amd64", "pool/l/libstdc++6.deb", "sha256:" + "e" * 64, 9
    )
    layers = (Layer("sha256:" + "1" * 64, 5, "rootfs"),)
    return Base(
        "sha256:" + "b" * 64, "3.11.2", "2.36", layers, (package,), (wheel("nbclient", "c"),), 1, "sha256:" + "d" * 64
    )


def image(digit: str) -> Image:
    return Image(
        "sha256:" + digit * 64, base().id, (wheel("six", "f"),), (*base().layers, Layer("sha256:" + digit * 64, 7, "x"))
    )


def contents(*left_out: str, packed: bool = False, name: str = "n.ipynb") -> archives.Contents:
    outcome = Outcome("completed", started="2026-01-02T03:04:05.678Z", finished="2026-01-02T03:05:00.000Z")
    record = Record(
        id="0123456789abcdef", hash="a" * 64, status="completed", notebook=name, image=image("3").id, base=base().id,
        spec={"schema": 1, "environment": {"TZ": "UTC"}, "notebook": "sha256:" + "7" * 64},
        created="2026-01-02T03:04:00.000Z", limits=Limits(), outcome=outcome,
    )  # fmt: skip
    files = {"executed.ipynb": ("8" * 64, 3), "run.json": ("9" * 64, 3), "project/out": ("0" * 64, 1)}
    return archives.Contents((archives.ArchivedRun(record, SEAL, files, packed),), left_out)
