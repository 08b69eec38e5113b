"""Archives that somebody made to do harm: each is refused, named by its entry, and leaves no trace."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from engine import pipeline, signing
from engine.archives import stream
from engine.digests import canonical_json
from engine.errors import BadInput, EnvironmentFailed, NbsealError, VerificationFailed
from engine.progress import Silent
from engine.settings import Home
from tests.fuzz.mutations import resealed
from tests.unit.archives import small_archives
from tests.unit.archives.conftest import Sample
from tests.unit.archives.small_archives import Member, rebag, tree

Edit = Callable[[list[Member], str], "list[Member] | None"]


def refusal(path: Path, target: Home, kind: type[NbsealError] = VerificationFailed) -> NbsealError:
    """Import it, which must fail without a trace in the home or around it."""
    target.root.mkdir(exist_ok=True)
    before = tree(target.root.parent)
    with pytest.raises(NbsealError) as caught:
        pipeline.import_archive(path, target, Silent())
    assert type(caught.value) is kind, caught.value.message
    assert caught.value.hint
    assert tree(target.root.parent) == before
    return caught.value


def at(name: str) -> Callable[[list[Member]], Member]:
    """The member whose name ends so."""
    return lambda items: next(item for item in items if item.name.endswith(name))


def add(name: str, data: bytes = b"x", **how: Any) -> Edit:
    return lambda items, top: items.insert(3, Member(name.format(top=top), data, **how))


def again(name: str, new: str) -> Edit:
    def edit(items: list[Member], top: str) -> None:
        item = at(name)(items)
        items.append(Member(item.name.removesuffix(name) + new, item.data))

    return edit


def change(name: str, **fields: Any) -> Edit:
    def edit(items: list[Member], top: str) -> None:
        for field, value in fields.items():
            setattr(at(name)(items), field, value)

    return edit


def content(name: str, data: bytes) -> Edit:
    """Bytes changed, and every manifest of the bag made to fit."""

    def edit(items: list[Member], top: str) -> list[Member]:
        at(name)(items).data = data
        return rebag(items)

    return edit


def value(name: str, change: Callable[[Any], object], *, seal: bool = False) -> Edit:
    """A JSON document changed, and every manifest of the bag made to fit; with ``seal`` those of the runs too."""

    def edit(items: list[Member], top: str) -> list[Member]:
        item = at(name)(items)
        document = json.loads(item.data)
        change(document)
        item.data = canonical_json(document) + (b"\n" if "/ledger/" in item.name else b"")
        return rebag(resealed(items) if seal else items)

    return edit


def drop(name: str, *, bag: bool = False) -> Edit:
    def edit(items: list[Member], top: str) -> list[Member] | None:
        items.remove(at(name)(items))
        return rebag(items) if bag else None

    return edit


def stray(name: str, data: bytes = b"x") -> Edit:
    def edit(items: list[Member], top: str) -> list[Member]:
        return rebag([*items, Member(name.format(top=top), data)])

    return edit


def extended(name: str, value: str, new: str = "{top}/data/x") -> Edit:
    """A header of POSIX.1-2001 before a file."""

    def edit(items: list[Member], top: str) -> None:
        body = f" {name}={value}\n".encode("utf-8", "surrogateescape")
        length = len(body) + len(str(len(body)))
        record = str(length + (len(str(length)) > len(str(len(body))))).encode() + body
        items[3:3] = [Member("x", record, kind=tarfile.XHDTYPE), Member(new.format(top=top), b"x")]

    return edit


def huge_header(items: list[Member], top: str) -> None:
    items.insert(1, Member("x", b"", kind=tarfile.GNUTYPE_LONGNAME, size=1 << 40))


def pulled(document: Any, *keys: Any) -> Any:
    for key in keys:
        document = document[key]
    return document


def irregular(*items: tuple[str, str, str]) -> Edit:
    listed = [{"path": path, "kind": kind, "target": text} for path, kind, text in items]

    def edit(members: list[Member], top: str) -> list[Member]:
        at("/irregular.json")(members).data = json.dumps(listed).encode()
        return rebag(resealed(members))

    return edit


DEEP = b"[" * 100_000 + b"]" * 100_000
PROJECT = "{top}/data/runs/0123456789abcdef/project"

HOSTILE: dict[str, tuple[Edit, str]] = {
    # names
    "traversal": (add("{top}/../../x"), "../../x"),
    "traversal in the payload": (add("{top}/data/runs/../../../../x"), "runs/../../../../x"),
    "absolute": (add("/etc/nbseal-was-here"), "/etc/nbseal-was-here"),
    "absolute by an extended header": (extended("path", "/etc/x", "x"), "/etc/x"),
    "beside the folder": (add("run-000000000000/data/x"), "run-000000000000/data/x"),
    "no folder": (add("x"), "'x'"),
    "dot": (add("{top}/./bagit.txt"), "./bagit.txt"),
    "empty part": (add("{top}//x"), "//x"),
    "backslash": (add(PROJECT + "/a\\b"), "a\\b"),
    "percent": (add(PROJECT + "/a%0Ab"), "a%0Ab"),
    "line end": (add(PROJECT + "/a\nb"), "a\\nb"),
    "escape sequence": (add(PROJECT + "/\x1b[31m"), "\\x1b[31m"),
    "not UTF-8": (add(PROJECT + "/caf\udce9"), "caf\\udce9"),
    "long name": (add("{top}/data/" + "x" * 2000), "xxx"),
    "deep": (add(PROJECT + "/" + "d/" * 200 + "x"), "d/d/d"),
    "twice": (again("/bagit.txt", "/bagit.txt"), "bagit.txt"),
    "case": (again("/project/out.txt", "/project/OUT.TXT"), "OUT.TXT"),
    "case of a folder": (again("/project/lib/x", "/project/LIB/y"), "LIB/y"),
    "unicode form": (
        lambda items, top: items.extend(
            Member(f"{PROJECT.format(top=top)}/{name}", b"x") for name in ("\u00e9", "e\u0301")
        ),
        "e\u0301",
    ),
    "file and folder": (again("/project/out.txt", "/project/out.txt/x"), "out.txt/x"),
    "folder and file": (again("/project/lib/x", "/project/lib"), "project/lib"),
    "stray file": (add("{top}/data/x"), "data/x"),
    "stray file at the top": (add("{top}/x"), "/x"),
    "stray attestation": (add("{top}/attestations/x"), "attestations/x"),
    "empty folder": (add("{top}/data/pages/x", b"", kind=tarfile.DIRTYPE), "data/pages/x"),
    "bag in a bag": (stray("{top}/data/runs-1-000000000000/bagit.txt"), "runs-1-000000000000/bagit.txt"),
    # kinds
    "symbolic link": (add("{top}/data/README2.md", b"", kind=tarfile.SYMTYPE, link="/etc/passwd"), "symbolic link"),
    "symbolic link as a folder": (add("{top}/data/blobs", b"", kind=tarfile.SYMTYPE, link="../../.."), "data/blobs"),
    "hard link": (add("{top}/data/x", b"", kind=tarfile.LNKTYPE, link="/etc/passwd"), "hard link"),
    "character device": (add("{top}/data/x", b"", kind=tarfile.CHRTYPE), "character device"),
    "block device": (add("{top}/data/x", b"", kind=tarfile.BLKTYPE), "block device"),
    "pipe": (add("{top}/data/x", b"", kind=tarfile.FIFOTYPE), "pipe"),
    "sparse": (add("{top}/data/x", b"", kind=tarfile.GNUTYPE_SPARSE), "sparse"),
    "unknown kind": (add("{top}/data/x", b"", kind=b"Z"), "unknown kind"),
    "header for all": (add("{top}/data/x", b"16 comment=hallo\n", kind=tarfile.XGLTYPE), "header for all"),
    "sparse by an extended header": (extended("GNU.sparse.major", "1"), "GNU.sparse.major"),
    # sizes
    "long name that never ends": (huge_header, "impossible size"),
    "more bytes than there are": (add("{top}/data/pages/0123456789abcdef.html", size=1 << 43), "0123456789abcdef.html"),
    "large small file": (add("{top}/attestations/checkpoint.x", bytes(10)), "checkpoint.x"),
    "large tag file": (change("/bagit.txt", data=bytes(5000)), "bagit.txt"),
    "large signature": (change("/tagmanifest-sha256.txt.sig", data=bytes(5000)), "tagmanifest-sha256.txt.sig"),
    "impossible size by an extended header": (extended("size", "9" * 15), "data/x"),
    # manifests
    "changed": (change("/README.md", data=b"x"), "README.md"),
    "missing": (drop("/README.md"), "README.md"),
    "extra": (add("{top}/data/pages/0123456789abcdef.html"), "pages/0123456789abcdef.html"),
    "no declaration": (drop("/bagit.txt"), "bagit.txt"),
    "another declaration": (content("/bagit.txt", b"BagIt-Version: 0.97\n"), "bagit.txt"),
    "manifest that is none": (change("}/manifest-sha256.txt".lstrip("}"), data=b"x\n"), "manifest-sha256.txt"),
    "tag manifest that is empty": (change("/tagmanifest-sha256.txt", data=b""), "tagmanifest-sha256.txt"),
    "another seal in bag-info": (content("/bag-info.txt", b"External-Identifier: sha256:0\n"), "bag-info.txt"),
    # JSON
    "deep JSON": (content("/archive.json", DEEP), "archive.json"),
    "deep record": (content("/run.json", DEEP), "run.json"),
    "JSON of many values": (content("/run.json", b"[" + b"0," * 5_000_000 + b"0]"), "run.json"),
    "no JSON": (content("/archive.json", b"{"), "archive.json"),
    "a newer archive": (value("/archive.json", lambda d: d.update(schema=2)), "archive.json"),
    "a list of nothing": (value("/archive.json", lambda d: d.update(runs=[])), "archive.json"),
    "more than it should say": (value("/archive.json", lambda d: d.update(x=1)), "archive.json"),
    "not canonical": (
        lambda items, top: content("/archive.json", b" " + at("/archive.json")(items).data)(items, top), "archive.json",
    ),
    # content
    "blob": (content("/data/blobs/52186c933993da4082b3cdc7c40bb4bf735b391ff54a2ef78c037dda6c38a680", b"x"), "52186c93"),
    "wheel": (content("/numpy-1.0-py3-none-any.whl", b"x"), "numpy-1.0"),
    "package": (content("/tiny_1.0-1_amd64.deb", b"x"), "tiny_1.0-1"),
    "stray blob": (stray("{top}/data/blobs/" + hashlib.sha256(b"x").hexdigest()), "belongs to no run"),
    "stray wheel": (stray("{top}/data/wheels/" + hashlib.sha256(b"x").hexdigest() + "/x-1-py3-any.whl"), "x-1-py3"),
    "stray layer": (stray("{top}/data/image/blobs/sha256/" + hashlib.sha256(b"x").hexdigest()), "belongs to no image"),
    "stray run": (stray("{top}/data/runs/0123456789abcdef/run.json"), "0123456789abcdef"),
    "stray page": (stray("{top}/data/pages/0123456789abcdef.html"), "0123456789abcdef"),
    "no blob": (drop("52186c933993da4082b3cdc7c40bb4bf735b391ff54a2ef78c037dda6c38a680", bag=True), "52186c93"),
    "no wheel": (drop("/numpy-1.0-py3-none-any.whl", bag=True), "numpy-1.0"),
    "no record": (drop("/run.json", bag=True), "run.json"),
    "no ledger": (lambda items, top: rebag([item for item in items if "/ledger/" not in item.name]), "ledger"),
    # images and bases
    "another image": (value("/index.json", lambda d: d.update(manifests=[])), "manifest.json"),
    "layers in another order": (value("/image/manifest.json", lambda d: d[0]["Layers"].reverse()), "manifest.json"),
    "another tag": (value("/image/manifest.json", lambda d: d[0].update(RepoTags=["nbseal/base:x"])), "manifest.json"),
    "a path as a layer": (value("/image/manifest.json", lambda d: d[0].update(Layers=["../../x"])), "../../x"),
    "another base": (value("/base.json", lambda d: d.update(id="sha256:" + "0" * 64)), "bases/"),
    "a base without layers": (value("/base.json", lambda d: d.update(layers=[])), "base"),
    "other packages": (value("/packages.json", lambda d: d.update(packages=[])), "bases/"),
    # runs
    "another status": (value("/archive.json", lambda d: d["runs"][0].update(status="failed")), "archive.json"),
    "changed output": (content("/project/out.txt", b"x"), "project/out.txt"),
    "added to a run": (lambda items, top: rebag([*items, Member(_run_of(items) + "/x", b"x")]), "x of run"),
    "another spec": (value("/run.json", lambda d: d["spec"].update(network=True), seal=True), "hash"),
    "another hash": (value("/run.json", lambda d: d.update(hash="0" * 64), seal=True), "run.json"),
    "still running": (value("/run.json", lambda d: d.update(status="running"), seal=True), "run"),
    "a wheel with a path": (
        value("/run.json", lambda d: d["wheels"][0].update(filename="../x.whl"), seal=True), "../x.whl",
    ),
    "source outside": (value("/source.json", lambda d: d["files"][0].update(path="../../x"), seal=True), "source"),
    # what has no bytes
    "link outside of project": (irregular(("images", "link", "/etc")), "images"),
    "link above a file": (irregular(("project/a", "link", "/usr"), ("project/a/b", "folder", "")), "project/a/b"),
    "link in place of a file": (irregular(("project/out.txt", "link", "/etc/passwd")), "project/out.txt"),
    "traversing link": (irregular(("project/../../../x", "link", "/etc")), "../../../x"),
    "device of a notebook": (irregular(("project/sda", "device", "")), "project/sda"),
    "no bytes, no sense": (irregular(("project/\ud800", "link", "x")), "ud800"),
    # attestations
    "a signature that is none": (change("/tagmanifest-sha256.txt.sig", data=b"x"), "tagmanifest-sha256.txt.sig"),
    "a checkpoint that is none": (change("/attestations/checkpoint", data=b"x"), "checkpoint"),
    "a proof of nothing": (change(".tlog-proof", data=b"x"), "tlog-proof"),
    "a time stamp that is none": (add("{top}/attestations/tagmanifest-sha256.txt.tsr"), "tsr"),
    "a proof without a checkpoint": (drop("/attestations/checkpoint"), "tlog-proof"),
    "another ending in the ledger": (
        lambda items, top: _other_ledger(items, lambda entry: entry.update(status="failed")), "tlog-proof",
    ),
    "another seal in the ledger": (
        lambda items, top: _other_ledger(items, lambda entry: entry.update(seal="sha256:" + "0" * 64)), "ledger",
    ),
}  # fmt: skip


def _other_ledger(items: list[Member], change: Callable[[dict[str, Any]], object]) -> list[Member]:
    item = next(item for item in items if "/data/ledger/" in item.name)
    lines = [json.loads(line) for line in item.data.splitlines()]
    change(lines[-1])
    item.data = b"".join(canonical_json(line) + b"\n" for line in lines)
    return _unsigned(rebag(items))


def _run_of(items: list[Member]) -> str:
    return at("/run.json")(items).name.rpartition("/")[0]


def _unsigned(items: list[Member]) -> list[Member]:
    """Without the two signatures, which a forger can only take away."""
    return [item for item in items if not item.name.endswith((".sig", ".sigstore.json")) or "/runs/" in item.name]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_by_name_without_a_trace(
    name: str, sample: Sample, target: Home, tmp_path: Path
) -> None:
    edit, told = HOSTILE[name]
    items = sample.members()
    top = items[0].name.partition("/")[0]
    edited = edit(items, top)
    items = items if edited is None else edited
    # What is behind the signature is looked at first where the archive has none.
    if edited is not None:
        items = _unsigned(items)
    error = refusal(small_archives.write(tmp_path / "hostile.tar", items), target)
    assert told in error.message


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("project/../../x", "project/../../x"), ("/etc/x", "/etc/x"), ("x", "'x'"), ("project", "'project'"),
        ("project/out.txt", "project/out.txt"), ("project/out.txt/x", "out.txt/x"), ("project/a//b", "a//b"),
        ("project/" + "d/" * 1600 + "x", "too long"),
    ],
)  # fmt: skip
def test_a_packed_work_tree_stays_in_its_folder(
    name: str, told: str, sample: Sample, target: Home, tmp_path: Path
) -> None:
    items = sample.packed_members()
    packed = at("/project.tar")(items)
    packed.data = packed.data[:-1024] + Member(name, b"x").bytes() + bytes(1024)
    error = refusal(small_archives.write(tmp_path / "x.tar", _unsigned(rebag(items))), target)
    assert told in error.message


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_a_packed_work_tree_holds_files_alone(kind: bytes, sample: Sample, target: Home, tmp_path: Path) -> None:
    items = sample.packed_members()
    packed = at("/project.tar")(items)
    packed.data = packed.data[:-1024] + Member("project/z", b"", kind=kind, link="/etc").bytes() + bytes(1024)
    error = refusal(small_archives.write(tmp_path / "x.tar", _unsigned(rebag(items))), target)
    assert "project/z" in error.message


def test_truncated_at_every_block(sample: Sample, target: Home, tmp_path: Path) -> None:
    whole = sample.path.read_bytes()
    for size in (*range(0, len(whole), 20 * 512), len(whole) - 1, len(whole) - 512, len(whole) - 513):
        (tmp_path / "short.tar").write_bytes(whole[:size])
        refusal(tmp_path / "short.tar", target, VerificationFailed if size >= 512 else BadInput)


def test_bytes_after_the_end(sample: Sample, target: Home, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(sample.path.read_bytes() + b"x")
    assert "after its end" in refusal(tmp_path / "x.tar", target).message


def test_what_is_no_archive_at_all(sample: Sample, target: Home, tmp_path: Path) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("readme.txt"))
    for data in (b"", b"x", b"PK\3\4" + bytes(2000), b"\x1f\x8b" + bytes(2000), bytes(10240), plain.getvalue()):
        (tmp_path / "x.tar").write_bytes(data)
        assert "x.tar" in refusal(tmp_path / "x.tar", target, BadInput).message
    for path in (tmp_path, tmp_path / "nothing", Path("/dev/zero"), Path("a\0b")):
        refusal(path, target, BadInput)


#: Of zeros, Zstandard makes nothing much.
ZEROS = bytes(64 << 20)


def bomb(path: Path, start: bytes, zeros: int, end: bytes = b"") -> Path:
    """A file of some KiB that unpacks to ``zeros`` MiB."""
    compressor = zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as file:
        file.write(compressor.compress(start))
        for _ in range(zeros // 64):
            file.write(compressor.compress(ZEROS))
        file.write(compressor.compress(end) + compressor.flush())
    assert path.stat().st_size < len(start) + (zeros << 7)
    return path


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes came out of a compressed file, piece by piece."""
    sizes: list[int] = []

    class Counting(stream._Unpacked):
        def read(self, size: int) -> bytes:
            data = super().read(size)
            sizes.append(len(data))
            return data

    monkeypatch.setattr(stream, "_Unpacked", Counting)
    return sizes


def test_what_a_bomb_announces_is_judged_before_it_is_unpacked(
    target: Home, tmp_path: Path, unpacked: list[int]
) -> None:
    name = "run-0123456789ab/data/ro-crate-metadata.json"
    room = shutil.disk_usage(tmp_path).free
    for size, kind in ((room, EnvironmentFailed), (1 << 45, VerificationFailed)):
        path = bomb(tmp_path / "x.tar.zst", Member(name, size=size).bytes(), 256)
        assert name in refusal(path, target, kind).message
    assert sum(unpacked) == 2 * tarfile.BLOCKSIZE


def test_a_bomb_gives_no_more_than_it_announces(
    sample: Sample, target: Home, tmp_path: Path, unpacked: list[int]
) -> None:
    whole = sample.path.read_bytes()
    assert "after its end" in refusal(bomb(tmp_path / "x.tar.zst", whole, 1024), target).message
    header = Member("x", kind=tarfile.XHDTYPE, size=1 << 30).bytes()
    assert "impossible size" in refusal(bomb(tmp_path / "x.tar.zst", whole[:-1024] + header, 1024), target).message
    assert sum(unpacked) < 2 * len(whole) + (2 << 20)


def test_a_forged_archive_of_zeros_leaves_nothing(target: Home, tmp_path: Path) -> None:
    name = "run-0123456789ab/data/ro-crate-metadata.json"
    path = bomb(tmp_path / "x.tar.zst", Member(name, size=512 << 20).bytes(), 512, bytes(1024))
    assert "bagit.txt" in refusal(path, target).message


def test_a_window_that_needs_gigabytes_is_refused(sample: Sample, target: Home, tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    (tmp_path / "x.tar.zst").write_bytes(stream.compress(sample.path.read_bytes()) + stream.flush())
    assert "x.tar.zst" in refusal(tmp_path / "x.tar.zst", target).message


def test_a_stream_of_zstandard_that_is_cut_or_changed(sample: Sample, target: Home, tmp_path: Path) -> None:
    data = zstandard.compress(sample.path.read_bytes())
    for broken in (data[: len(data) // 2], data[:200] + bytes([data[200] ^ 1]) + data[201:], data + b"x"):
        (tmp_path / "x.tar.zst").write_bytes(broken)
        assert "x.tar.zst" in refusal(tmp_path / "x.tar.zst", target).message


def test_a_disk_without_room_is_told_before_it_is_full(
    sample: Sample, target: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["engine.archives.receive"], "RESERVE", 1 << 60)
    target.root.mkdir()
    with pytest.raises(NbsealError, match="no room"):
        pipeline.import_archive(sample.path, target, Silent())
    assert not any(target.temporary.iterdir())


def test_the_signature_of_another_run_or_another_key(sample: Sample, target: Home, tmp_path: Path) -> None:
    others = sample.packed_members()
    for end in ("/tagmanifest-sha256.txt.sig", "/provenance.sigstore.json", "/attestations/checkpoint"):
        items = sample.members()
        at(end)(items).data = at(end)(others).data if "checkpoint" not in end else at(end)(items).data + b"x"
        assert end.rpartition("/")[2] in refusal(small_archives.write(tmp_path / "x.tar", items), target).message
    items = sample.members()
    seal = next(item for item in items if item.name.endswith(f"{sample.one.id}/manifest-sha256.txt.sig"))
    seal.data = next(i for i in others if i.name.endswith(f"{sample.other.id}/manifest-sha256.txt.sig")).data
    error = refusal(small_archives.write(tmp_path / "x.tar", _unsigned(rebag(items))), target)
    assert sample.one.id in error.message


def test_what_is_not_signed_in_a_bundle_must_fit_what_is(sample: Sample, target: Home, tmp_path: Path) -> None:
    def edited(change: Callable[[dict[str, Any]], object]) -> Path:
        items = sample.members()
        bundle = at("/provenance.sigstore.json")(items)
        document = json.loads(bundle.data)
        change(document)
        bundle.data = canonical_json(document)
        return small_archives.write(tmp_path / "x.tar", items)

    signing.trust(target, "alice@example.org", sample.key.public)
    for change in (
        lambda d: d["verificationMaterial"]["publicKey"].update(hint="SHA256:x"),
        lambda d: d["verificationMaterial"].update(tlogEntries=[{}]),
        lambda d: d["dsseEnvelope"]["signatures"].append(d["dsseEnvelope"]["signatures"][0]),
        lambda d: d["dsseEnvelope"]["signatures"][0].update(sig="AAAA"),
        lambda d: d["dsseEnvelope"].update(payload="e30="),
        lambda d: d.update(extra=1),
    ):
        assert "provenance.sigstore.json" in refusal(edited(change), target).message
