"""Layers made of trees and of other tars, and the home's keeping of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from pathlib import Path

import pytest

from engine.environments.layers import (
    LayersMissing,
    _take,
    find_damaged,
    has_layer,
    layer_file,
    merge_layers,
    normalise_tar,
    pack_tree,
)
from engine.environments.tars import Link, Program
from engine.errors import EnvironmentFailed
from engine.settings import SOURCE_DATE_EPOCH, Home
from engine.software import Layer, Wheel

WHEEL = Wheel("w", "1", "w-1-py3-none-any.whl", "sha256:" + "7" * 64, 9)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def entry(name: str, content: bytes | None = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes | None]:
    info = tarfile.TarInfo(name)
    if content is None:
        info.type = tarfile.DIRTYPE
    info.size, info.mtime = len(content or b""), random.randrange(1 << 31)  # noqa: S311
    info.uname = info.gname = "somebody"
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar(entries: list[tuple[tarfile.TarInfo, bytes | None]], form: int = tarfile.PAX_FORMAT) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=form) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content) if content else None)
    return output.getvalue()


def members(layer: Layer, home: Home) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer_file(layer, home), "r:") as archive:
        return {member.name: member for member in archive}


def content(layer: Layer, home: Home, name: str) -> bytes:
    with tarfile.open(layer_file(layer, home), "r:") as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def test_tree_becomes_a_layer_under_its_digest(home: Home) -> None:
    files = {"opt/x/run": Program(b"#!/bin/sh\n"), "opt/x/link": Link("run"), "opt/a.txt": b"a", "opt/x/empty": None}
    layer = pack_tree(files, home, "test")
    data = layer_file(layer, home).read_bytes()
    assert layer.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert layer.size == len(data)
    found = members(layer, home)
    assert list(found) == ["opt", "opt/a.txt", "opt/x", "opt/x/empty", "opt/x/link", "opt/x/run"]
    assert [found[name].mode for name in ("opt", "opt/a.txt", "opt/x/run")] == [0o755, 0o644, 0o755]
    assert found["opt/x/empty"].isdir()
    assert found["opt/x/link"].linkname == "run"
    assert {member.mtime for member in found.values()} == {SOURCE_DATE_EPOCH}
    assert pack_tree(dict(reversed(files.items())), home, "test") == layer


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_order_times_names_and_format_of_the_source_do_not_matter(home: Home, form: int) -> None:
    entries = [entry("./b", b"2", uid=7, mode=0o4755), entry("./a/", None, mode=0o700), entry("a/" + "n" * 150, b"1")]
    first = normalise_tar(io.BytesIO(tar(entries)), home, "one")
    random.shuffle(entries)
    again = [entry(info.name, data, uid=info.uid, mode=info.mode) for info, data in entries]
    assert normalise_tar(io.BytesIO(gzip.compress(tar(again, form))), home, "one") == first
    found = members(first, home)
    assert list(found) == ["a", "a/" + "n" * 150, "b"]
    assert (found["b"].uid, found["b"].mode, found["b"].uname) == (7, 0o4755, "")
    assert found["a"].mode == 0o700


def test_hard_links_become_files_and_devices_go(home: Home) -> None:
    link = entry("bin/sh", None, type=tarfile.LNKTYPE, linkname="./bin/dash")
    device = entry("dev/null", None, type=tarfile.CHRTYPE)
    fifo = entry("run/fifo", None, type=tarfile.FIFOTYPE)
    attribute = entry("bin/ping", b"p", pax_headers={"SCHILY.xattr.security.capability": "x"})
    source = tar([entry("bin/dash", b"shell", mode=0o755), link, device, fifo, attribute])
    layer = normalise_tar(io.BytesIO(source), home, "test")
    found = members(layer, home)
    assert list(found) == ["bin/dash", "bin/ping", "bin/sh"]
    assert found["bin/sh"].isreg()
    assert found["bin/sh"].mode == 0o755
    assert content(layer, home, "bin/sh") == b"shell"
    assert not found["bin/ping"].pax_headers


@pytest.mark.parametrize(
    "source",
    [
        b"no tar at all" * 100,
        tar([entry("a/../../etc/passwd", b"x")]),
        tar([entry("x", None, type=tarfile.LNKTYPE, linkname="nowhere")]),
        tar([entry("x", bytes(10_000))])[:5000],
    ],
)
def test_archives_that_cannot_be_trusted_are_refused(home: Home, source: bytes) -> None:
    with pytest.raises(EnvironmentFailed):
        normalise_tar(io.BytesIO(source), home, "test")
    assert not list((home.layers / "work").iterdir())


def test_of_two_layers_the_later_wins(home: Home) -> None:
    lower = pack_tree({"a": b"1", "both": b"1", "folder/x": b"1", "file": b"1"}, home, "lower")
    upper = pack_tree({"b": b"2", "both": b"2", "folder": b"2", "file/x": b"2"}, home, "upper")
    merged = merge_layers([lower, upper], home, "both")
    found = members(merged, home)
    assert list(found) == ["a", "b", "both", "file", "file/x", "folder"]
    assert found["folder"].isreg()
    assert found["file"].isdir()
    assert content(merged, home, "both") == b"2"
    assert merge_layers([lower, upper], home, "both") == merged
    assert merge_layers([upper, lower], home, "both") != merged
    assert merge_layers([upper], home, "one") == upper


def test_damage_is_found_before_it_is_merged(home: Home) -> None:
    layers = [pack_tree({"a": b"1"}, home, "a"), pack_tree({"b": b"2"}, home, "b")]
    damaged = layer_file(layers[0], home)
    data = bytearray(damaged.read_bytes())
    data[600] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(LayersMissing) as caught:
        merge_layers(layers, home, "both")
    assert caught.value.layers == (layers[0],)
    assert not damaged.exists()
    assert find_damaged(layers, home) == (layers[0],)
    assert has_layer(layers[1], home)


def test_a_truncated_layer_does_not_count(home: Home) -> None:
    layer = pack_tree({"a": b"1"}, home, "a")
    layer_file(layer, home).write_bytes(b"")
    assert not has_layer(layer, home)
    assert pack_tree({"a": b"1"}, home, "a") == layer
    assert has_layer(layer, home)


def test_what_a_killed_process_left_is_removed(home: Home) -> None:
    left = home.layers / "work" / "0123456789abcdef" / "out"
    left.mkdir(parents=True)
    (left / "big.tar").write_bytes(b"x")
    normalise_tar(io.BytesIO(tar([entry("a")])), home, "test")
    assert not left.exists()


# --- what a packer says that somebody else's Python ran ---------------------------------------


@pytest.fixture
def output(home: Home, tmp_path: Path) -> Path:
    home.layers.mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "apart").mkdir()
    return tmp_path / "out"


def _answer(output: Path, answer: object) -> None:
    (output / f"{WHEEL.sha256[7:]}.json").write_text(json.dumps(answer))


def test_what_it_packed_is_copied_and_hashed(home: Home, output: Path) -> None:
    data = b"tar" * 100
    (output / f"{WHEEL.sha256[7:]}.tar").write_bytes(data)
    _answer(output, {"diff_id": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)})
    with (output / f"{WHEEL.sha256[7:]}.tar").open("r+b") as still_open:
        layer = _take(WHEEL, output, home, output.parent / "apart")
        still_open.write(b"xxx")
    assert layer_file(layer, home).read_bytes() == data


@pytest.mark.parametrize(
    "answer",
    [
        {}, [], "x", {"diff_id": 1, "size": "2"}, {"diff_id": "sha256:" + "0" * 64, "size": 4},
        {"diff_id": "../../../evil", "size": 4},
        {"diff_id": f"sha256:{hashlib.sha256(b'evil').hexdigest()}", "size": 5},
    ],
)  # fmt: skip
def test_an_answer_that_lies_puts_nothing_into_the_home(answer: object, home: Home, output: Path) -> None:
    (output / f"{WHEEL.sha256[7:]}.tar").write_bytes(b"evil")
    _answer(output, answer)
    with pytest.raises(EnvironmentFailed):
        _take(WHEEL, output, home, output.parent / "apart")
    assert not list(home.layers.iterdir())


def test_a_link_to_a_file_of_this_machine_is_not_followed(home: Home, output: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    _answer(output, {"diff_id": f"sha256:{hashlib.sha256(b'secret').hexdigest()}", "size": 6})
    (output / f"{WHEEL.sha256[7:]}.tar").symlink_to(tmp_path / "secret")
    with pytest.raises(EnvironmentFailed):
        _take(WHEEL, output, home, tmp_path / "apart")
    assert not list(home.layers.iterdir())
