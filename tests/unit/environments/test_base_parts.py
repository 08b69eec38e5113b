"""What a base is put together from: the root file system's entries, Dockerfile.base's layers, the harness."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from installer.sources import WheelFile

from engine import harness
from engine.environments.base_harness import wheel_bytes
from engine.environments.base_ingredients import harness_sources
from engine.environments.base_recipe import flatten
from engine.environments.base_rootfs import belongs, bootstrap, index_entry
from engine.errors import EnvironmentFailed
from engine.progress import Silent
from engine.settings import Home
from engine.software import DebianPackage


@pytest.mark.parametrize(
    "path",
    [
        "dev",
        "tmp",
        "etc/passwd",
        "usr/lib/python3.11/json/__init__.py",
        "usr/lib/locale/C.utf8/LC_CTYPE",
        "usr/share/doc/bash",
        "usr/share/doc/bash/copyright",
        "usr/share/zoneinfo/UTC",
        "var/cache",
        "var/lib/dpkg/status",
        "var/log",
    ],
)
def test_belongs(path: str) -> None:
    assert belongs(path)


@pytest.mark.parametrize(
    "path",
    [
        "dev/null",
        "etc/apt/sources.list",
        "etc/hostname",
        "etc/machine-id",
        "etc/passwd-",
        "etc/resolv.conf",
        "usr/lib/python3.11/json/__pycache__",
        "usr/lib/python3.11/json/__pycache__/decoder.cpython-311.pyc",
        "usr/share/doc/bash/examples/copyright",
        "usr/share/doc/bash/README.gz",
        "usr/share/man/man1/bash.1.gz",
        "var/cache/debconf/templates.dat",
        "var/lib/apt/extended_states",
        "var/lib/dpkg/status-old",
        "var/log/dpkg.log",
    ],
)
def test_left_out(path: str) -> None:
    assert not belongs(path)


def test_index_entry_ends_with_where_the_file_is() -> None:
    package = DebianPackage("a", "1", "all", "pool/main/a/a/a_1_all.deb", "sha256:" + "0" * 64, 7)
    entry = index_entry(package, "Package: a\nVersion: 1\nDescription: x\n y\n", "f.deb")
    assert entry.endswith(f"\n y\nFilename: ./f.deb\nSize: 7\nSHA256: {'0' * 64}\n")


# --- flattening -------------------------------------------------------------------------------

Layer = dict[str, bytes | None]  # None is a folder; ".wh." names are whiteouts


def _tar(files: Layer) -> io.BytesIO:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            info.size = len(content or b"")
            archive.addfile(info, io.BytesIO(content or b""))
    output.seek(0)
    return output


def _flatten(layers: list[Layer], folder: Path) -> Layer:
    target = folder / "flat.tar"
    flatten([_tar(layer) for layer in layers], target)
    return _read(target)


def _read(path: Path) -> Layer:
    with tarfile.open(path) as archive:
        found: Layer = {}
        for member in archive:
            content = archive.extractfile(member)
            found[member.name] = content.read() if content else None
        return found


def _apply(below: Layer, layer: Layer) -> Layer:
    """What is seen after ``layer`` (OCI image specification, "Layer Filesystem Changeset")."""
    seen = dict(below)
    for path in layer:
        folder, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            seen = {key: value for key, value in seen.items() if not key.startswith(f"{folder}/")}
        elif name.startswith(".wh."):
            gone = f"{folder}/{name[4:]}".lstrip("/")
            seen = {k: v for k, v in seen.items() if k != gone and not k.startswith(f"{gone}/")}
    for path, content in layer.items():
        if path.rpartition("/")[2].startswith(".wh."):
            continue
        if content is not None:
            seen = {k: v for k, v in seen.items() if not k.startswith(f"{path}/")}
        seen[path] = content
    return seen


def test_flatten_keeps_the_last_word(tmp_path: Path) -> None:
    layers: list[Layer] = [
        {"a": None, "a/kept": b"1", "a/changed": b"1", "a/gone": b"1", "b": None, "b/c": b"1"},
        {"a": None, "a/changed": b"2", "a/.wh.gone": b"", ".wh.b": b""},
    ]
    assert _flatten(layers, tmp_path) == {
        ".wh.b": b"",
        "a": None,
        "a/.wh.gone": b"",
        "a/changed": b"2",
        "a/kept": b"1",
    }


def test_flatten_leaves_out_what_engines_add(tmp_path: Path) -> None:
    added: Layer = {"etc": None, "etc/hosts": b"1", "etc/x": b"1", "dev": None, "dev/console": b"", "proc": None}
    assert _flatten([{"./etc/resolv.conf": b"", ".dockerenv": b""}, added], tmp_path) == {"etc": None, "etc/x": b"1"}
    of_podman: Layer = {"etc": None, "etc/hosts": b"1", "run": None, "run/.containerenv": b"", "x": b"1"}
    assert _flatten([of_podman], tmp_path) == {"x": b"1"}


@pytest.mark.parametrize("mode", [0, 0o600, 0o644])
def test_whiteouts_are_the_same_from_every_image_store(mode: int, tmp_path: Path) -> None:
    source = io.BytesIO()
    with tarfile.open(fileobj=source, mode="w") as archive:
        for name in ("a/.wh.gone", "a/there"):
            info = tarfile.TarInfo(name)
            info.mode = mode
            archive.addfile(info, io.BytesIO())
    source.seek(0)
    flatten([source], tmp_path / "flat.tar")
    with tarfile.open(tmp_path / "flat.tar") as archive:
        assert {member.name: member.mode for member in archive} == {"a/.wh.gone": 0o600, "a/there": mode}


def test_flatten_gives_hard_links_their_bytes(tmp_path: Path) -> None:
    first = io.BytesIO()
    with tarfile.open(fileobj=first, mode="w") as archive:
        info = tarfile.TarInfo("original")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.LNKTYPE, "original"
        archive.addfile(link)
    first.seek(0)
    flatten([first, _tar({".wh.original": b""})], tmp_path / "flat.tar")
    assert _read(tmp_path / "flat.tar") == {".wh.original": b"", "link": b"abc"}


_NAMES = st.sampled_from(["x", "y"])


@st.composite
def _layers(draw: st.DrawFn) -> list[Layer]:
    """Layers as an engine makes them: each is the difference between two states of a small tree."""
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        layer: Layer = {}
        for name in draw(st.sets(_NAMES)):
            kind = draw(st.sampled_from(["file", "folder", "removed", "opaque"]))
            if kind == "file":
                layer[name] = draw(st.binary(max_size=2))
            elif kind == "removed":
                layer[f".wh.{name}"] = b""
            else:
                layer[name] = None
                if kind == "opaque":
                    layer[f"{name}/.wh..wh..opq"] = b""
                for inner in draw(st.sets(_NAMES)):
                    removed = kind == "folder" and draw(st.booleans())
                    layer[f"{name}/.wh.{inner}" if removed else f"{name}/{inner}"] = b"" if removed else b"z"
        layers.append(layer)
    return layers


@given(layers=_layers())
def test_one_flat_layer_does_what_its_parts_do(tmp_path_factory: pytest.TempPathFactory, layers: list[Layer]) -> None:
    below: Layer = {"x": None, "x/x": b"below", "x/y": b"below", "y": b"below"}
    expected = below
    for layer in layers:
        expected = _apply(expected, layer)
    flat = _flatten(layers, tmp_path_factory.mktemp("flat"))
    assert _apply(below, flat) == expected


# --- the harness ------------------------------------------------------------------------------


def test_the_harness_becomes_one_valid_wheel(tmp_path: Path) -> None:
    sources = harness_sources()
    data = wheel_bytes(sources, str(harness.PROTOCOL))
    assert data == wheel_bytes(dict(reversed(sources.items())), str(harness.PROTOCOL))
    path = tmp_path / f"nbseal_harness-{harness.PROTOCOL}-py3-none-any.whl"
    path.write_bytes(data)
    with WheelFile.open(path) as wheel:
        wheel.validate_record()
        names = {str(record[0]) for record, _, _ in wheel.get_contents()}
    assert {"nbseal_harness/__init__.py", "nbseal_harness/__main__.py"} <= names


# --- without the tools ------------------------------------------------------------------------


def test_without_mmdebstrap_the_user_hears_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFailed) as caught:
        bootstrap([], [], Home(tmp_path), Silent())
    assert caught.value.exit_code == 5
    assert "apt-get install mmdebstrap" in caught.value.hint
    assert "nbseal base import" in caught.value.hint
