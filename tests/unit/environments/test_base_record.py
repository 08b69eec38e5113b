"""Records of bases, which packages are current, and bases in files: whole, damaged and hostile."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from engine.digests import bare, sha256_bytes
from engine.environments import base_archive, base_record
from engine.environments.base_ingredients import recipe_of
from engine.environments.base_record import (
    MAX_LAYERS,
    current_pins,
    keep_record,
    list_bases,
    load_base,
    make_current,
    read_base,
    shipped_pins,
)
from engine.environments.debian import Pins, kept_path
from engine.errors import BadInput, EnvironmentFailed, NbsealError, VerificationFailed
from engine.progress import Silent
from engine.settings import Home
from engine.software import Base, DebianPackage, Layer, Wheel

LAYERS = (b"root file system", b"more")
DEB = b"!<arch>\n"
WHEEL = b"PK"
PACKAGE = DebianPackage("aa", "1", "all", "pool/main/a/aa/aa_1_all.deb", sha256_bytes(DEB), len(DEB))


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def base(tmp_path: Path) -> Base:
    """A small base in the home ``tmp_path/there``: its bytes are no image, but they are what its record says."""
    home = Home(tmp_path / "there")
    layers = tuple(Layer(sha256_bytes(data), len(data), "layer") for data in LAYERS)
    wheel = Wheel("w", "1", "w-1-py3-none-any.whl", sha256_bytes(WHEEL), len(WHEEL))
    config = json.dumps({"rootfs": {"diff_ids": [layer.diff_id for layer in layers]}}).encode()
    base = Base(
        id=sha256_bytes(config),
        python="3.11.2",
        glibc="2.36",
        layers=layers,
        packages=(PACKAGE,),
        harness=(wheel,),
        protocol=1,
        recipe=recipe_of((PACKAGE,)),
    )
    for layer, data in zip(layers, LAYERS, strict=True):
        _put(home.layers / f"{bare(layer.diff_id)}.tar", data)
    _put(kept_path(PACKAGE, home), DEB)
    _put(home.wheels / bare(wheel.sha256) / wheel.filename, WHEEL)
    keep_record(base, config, Pins({"a": "needed"}, (PACKAGE,)), home)
    return base


@pytest.fixture
def exported(base: Base, tmp_path: Path) -> Path:
    path = tmp_path / "base.tar"
    base_archive.export_base(Home(tmp_path / "there"), base.id, path, Silent())
    return path


# --- records ----------------------------------------------------------------------------------


def test_a_base_survives_its_own_json(base: Base, tmp_path: Path) -> None:
    home = Home(tmp_path / "there")
    assert read_base(json.dumps(asdict(base)).encode()) == base
    assert load_base(home, base.id) == base
    assert list_bases(home) == (base,)
    assert list_bases(Home(tmp_path / "elsewhere")) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "sha256:../../x"),
        ("id", None),
        ("python", "3.11.2; rm"),
        ("glibc", "new"),
        ("layers", []),
        ("layers", [{"diff_id": "sha256:" + "0" * 64, "size": 1, "of": "x"}] * (MAX_LAYERS + 1)),
        ("layers", [{"diff_id": "sha256:" + "0" * 64, "size": -1, "of": "x"}]),
        ("layers", [{"diff_id": "sha256:" + "0" * 64, "size": 1, "of": "\x1b[2J"}]),
        ("packages", [{"name": "a"}]),
        ("harness", [{"name": "w", "version": "1", "filename": "../w.whl", "sha256": "sha256:" + "0" * 64, "size": 1}]),
        ("protocol", 0),
        ("protocol", "1"),
        ("recipe", ""),
        ("platform", "linux/arm64"),
    ],
)
def test_a_record_that_is_not_of_its_form_is_refused(base: Base, field: str, value: object) -> None:
    with pytest.raises(BadInput):
        read_base(json.dumps({**asdict(base), field: value}).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput):
        read_base(data)


@pytest.mark.parametrize("identity", ["", "sha256:00", "../../etc", "sha256:" + "0" * 64])
def test_a_base_that_the_home_does_not_have(identity: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailed):
        load_base(Home(tmp_path), identity)


def test_a_damaged_record_is_said_and_not_listed(base: Base, tmp_path: Path) -> None:
    home = Home(tmp_path / "there")
    (home.bases / bare(base.id) / "base.json").write_text("{")
    assert list_bases(home) == ()
    with pytest.raises(EnvironmentFailed, match="damaged"):
        load_base(home, base.id)


def test_the_recipe_follows_the_packages() -> None:
    assert recipe_of((PACKAGE,)) != recipe_of((replace(PACKAGE, sha256=sha256_bytes(b"other")),))
    assert recipe_of((PACKAGE,)) == recipe_of((PACKAGE,))


def test_packages_pinned_anew_stay_current_until_a_newer_list_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    assert current_pins(home) == shipped_pins()
    anew = Pins({"a": "needed"}, (PACKAGE,))
    make_current(anew, home)
    assert current_pins(home) == anew

    newer = json.dumps(Pins({}, (replace(PACKAGE, version="2"),)).to_json()).encode()
    monkeypatch.setattr(base_record, "_shipped", lambda: newer)
    assert current_pins(home).packages[0].version == "2"


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"instead_of": 3}', '{"pins": {}}'])
def test_a_damaged_choice_of_packages_is_passed_over(tmp_path: Path, damage: str) -> None:
    _put(Home(tmp_path).bases / "repinned.json", damage.encode())
    assert current_pins(Home(tmp_path)) == shipped_pins()


# --- files ------------------------------------------------------------------------------------


def test_a_base_travels_in_a_file(base: Base, exported: Path, tmp_path: Path) -> None:
    here = Home(tmp_path / "here")
    assert base_archive.import_base(here, exported, Silent()) == base
    assert load_base(here, base.id) == base
    assert kept_path(PACKAGE, here).read_bytes() == DEB
    again = tmp_path / "again.tar"
    base_archive.export_base(here, base.id, again, Silent())
    assert again.read_bytes() == exported.read_bytes()


def test_packages_of_an_imported_base_become_current_where_there_was_none(
    base: Base, exported: Path, tmp_path: Path
) -> None:
    here = Home(tmp_path / "here")
    base_archive.import_base(here, exported, Silent())
    assert current_pins(here).packages == base.packages


def test_an_imported_base_of_another_version_is_kept_but_not_current(base: Base, tmp_path: Path) -> None:
    there, here = Home(tmp_path / "there"), Home(tmp_path / "here")
    path = there.bases / bare(base.id) / "base.json"
    path.write_text(json.dumps({**asdict(base), "recipe": sha256_bytes(b"another version")}))
    base_archive.export_base(there, base.id, tmp_path / "old.tar", Silent())
    imported = base_archive.import_base(here, tmp_path / "old.tar", Silent())
    assert list_bases(here) == (imported,)
    assert current_pins(here) == shipped_pins()


def test_any_tar_program_reads_the_file(exported: Path) -> None:
    with tarfile.open(exported) as archive:
        names = archive.getnames()
        assert {member.type for member in archive.getmembers()} == {tarfile.REGTYPE}
    assert names[:3] == ["base.json", "config.json", "packages.json"]
    assert len(names) == 3 + len(LAYERS) + 2


def test_a_base_with_a_lost_layer_is_not_exported(base: Base, tmp_path: Path) -> None:
    home = Home(tmp_path / "there")
    layer = home.layers / f"{bare(base.layers[0].diff_id)}.tar"
    for damage in (lambda: layer.write_bytes(b"X" * len(LAYERS[0])), layer.unlink):
        damage()
        with pytest.raises(EnvironmentFailed, match="lost"):
            base_archive.export_base(home, base.id, tmp_path / "x.tar", Silent())
        assert not list(tmp_path.glob("*x.tar*"))


def test_a_file_that_cannot_be_written(base: Base, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written"):
        base_archive.export_base(Home(tmp_path / "there"), base.id, tmp_path / "no" / "x.tar", Silent())


def _entries(data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = []
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            found.append((member, content.read()))
        return found


def _join(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for member, content in entries:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return output.getvalue()


def _edited(number: int, edit: Callable[[tarfile.TarInfo, bytes], bytes]) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        entries = _entries(data)
        member, content = entries[number]
        entries[number] = (member, edit(member, content))
        return _join(entries)

    return change


def _renamed(name: str) -> Callable[[tarfile.TarInfo, bytes], bytes]:
    def edit(member: tarfile.TarInfo, content: bytes) -> bytes:
        member.name = name
        return content

    return edit


def _linked(member: tarfile.TarInfo, content: bytes) -> bytes:
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return b""


def _field(name: str, value: object) -> Callable[[tarfile.TarInfo, bytes], bytes]:
    return lambda member, content: json.dumps({**json.loads(content), name: value}).encode()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data: b"", BadInput),
        (lambda data: b"not a tar at all" * 100, BadInput),
        (lambda data: data[:700], BadInput),
        (lambda data: data[: len(data) // 2], BadInput),
        (lambda data: data[: -4 * 512], BadInput),
        (lambda data: data + b"more" * 1000, BadInput),
        (lambda data: _join(_entries(data)[1:]), BadInput),
        (lambda data: _join([*_entries(data)[:3], *reversed(_entries(data)[3:])]), BadInput),
        (lambda data: _join([*_entries(data), *_entries(data)[:1]]), BadInput),
        (_edited(3, _renamed("../../escape")), BadInput),
        (_edited(3, _renamed("/etc/passwd")), BadInput),
        (_edited(3, _linked), BadInput),
        (_edited(0, _linked), BadInput),
        (_edited(0, lambda member, content: b"{}"), BadInput),
        (_edited(0, lambda member, content: content + b" " * (5 << 20)), BadInput),
        (_edited(0, _field("id", sha256_bytes(b"other"))), VerificationFailed),
        (_edited(0, _field("packages", [])), VerificationFailed),
        (_edited(1, lambda member, content: content + b" "), VerificationFailed),
        (_edited(2, lambda member, content: b"[]"), BadInput),
        (_edited(3, lambda member, content: b"X" * len(content)), VerificationFailed),
        (_edited(3, lambda member, content: content + b"X"), VerificationFailed),
        (_edited(5, lambda member, content: content.swapcase()), VerificationFailed),
        (_edited(6, lambda member, content: content.swapcase()), VerificationFailed),
    ],
)
def test_nothing_of_a_bad_file_enters_the_home(
    exported: Path, tmp_path: Path, change: Callable[[bytes], bytes], error: type[NbsealError]
) -> None:
    bad = tmp_path / "bad.tar"
    bad.write_bytes(change(exported.read_bytes()))
    here = Home(tmp_path / "here")
    with pytest.raises(error):
        base_archive.import_base(here, bad, Silent())
    assert [path for path in here.root.rglob("*") if path.is_file()] == []


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        base_archive.import_base(Home(tmp_path / "here"), tmp_path / "none.tar", Silent())
    with pytest.raises(NbsealError):
        base_archive.import_base(Home(tmp_path / "here"), tmp_path, Silent())
