"""Images of registries: their documents, which variables stay, layers unpacked, and what is hostile in any of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from engine.digests import bare, sha256_bytes
from engine.environments import base_archive, base_record, upstream
from engine.environments.base_record import keep_record, load_base, read_base
from engine.environments.unpacking import kept_layer, unpack_layer
from engine.environments.upstream import MAX_LAYERS, Blob, choose, config_of, read_upstream
from engine.environments.variables import kept_variables, search_path, variables_of
from engine.errors import BadInput, EnvironmentFailed, NbsealError, VerificationFailed
from engine.progress import Silent
from engine.registry import parse_image
from engine.settings import Home
from engine.software import Base, Layer, Origin

OCI = "application/vnd.oci.image"
TARS = (b"root" * 100, b"more" * 50)
NAME = "registry.example/team/python"


def _config(tars: tuple[bytes, ...] = TARS, **other: Any) -> dict[str, Any]:
    rootfs = {"type": "layers", "diff_ids": [sha256_bytes(tar) for tar in tars]}
    return {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/a", "X=1"]}, "rootfs": rootfs, **other}


def _layer(tar: bytes) -> dict[str, Any]:
    packed = gzip.compress(tar)
    return {"mediaType": f"{OCI}.layer.v1.tar+gzip", "digest": sha256_bytes(packed), "size": len(packed)}


def _manifest(config: bytes, tars: tuple[bytes, ...] = TARS, **other: Any) -> dict[str, Any]:
    described = {"mediaType": f"{OCI}.config.v1+json", "digest": sha256_bytes(config), "size": len(config)}
    layers = [_layer(tar) for tar in tars]
    return {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": described, "layers": layers, **other}


def _bytes(document: Any) -> bytes:
    return json.dumps(document, indent=2).encode()


def _entry(manifest: bytes, system: str, machine: str, **other: str) -> dict[str, Any]:
    return {
        "mediaType": f"{OCI}.manifest.v1+json",
        "digest": sha256_bytes(manifest),
        "size": len(manifest),
        "platform": {"os": system, "architecture": machine, **other},
    }


def _index(*entries: dict[str, Any]) -> bytes:
    return _bytes({"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": entries})


CONFIG = _bytes(_config())
MANIFEST = _bytes(_manifest(CONFIG))
NAMES = ("mediaType", "manifests", "config", "layers", "digest", "size", "platform", "schemaVersion", "rootfs")
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)
INDEX = _index(_entry(b"arm", "linux", "arm64"), _entry(MANIFEST, "linux", "amd64"), _entry(b"?", "unknown", "unknown"))


# --- documents ----------------------------------------------------------------------------------


def test_each_document_leads_to_the_next() -> None:
    assert choose(MANIFEST, NAME) == ""
    assert choose(INDEX, NAME) == sha256_bytes(MANIFEST)
    assert config_of(MANIFEST, NAME).digest == sha256_bytes(CONFIG)
    for index in (b"", INDEX):
        found = read_upstream(f"{NAME}@{sha256_bytes(index or MANIFEST)}", index, MANIFEST, CONFIG)
        assert [layer.diff_id for layer in found.layers] == [sha256_bytes(tar) for tar in TARS]
        assert found.environment == ("PATH=/a", "X=1")
        assert set(found.documents.values()) == {data for data in (index, MANIFEST, CONFIG) if data}


def test_of_two_variants_the_one_for_every_processor_is_chosen() -> None:
    newer = _entry(b"newer", "linux", "amd64", variant="v3")
    assert choose(_index(newer, _entry(MANIFEST, "linux", "amd64")), NAME) == sha256_bytes(MANIFEST)
    assert choose(_index(newer), NAME) == sha256_bytes(b"newer")


def test_other_platforms_are_named() -> None:
    with pytest.raises(EnvironmentFailed, match="linux/arm64, windows/amd64"):
        choose(_index(_entry(b"a", "linux", "arm64"), _entry(b"b", "windows", "amd64")), NAME)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_chain_that_does_not_hold_is_refused(place: int) -> None:
    """Index, manifest and config in place of which another stands, or a digest that is of none of them."""
    parts = [INDEX, MANIFEST, CONFIG, sha256_bytes(INDEX)]
    other = _bytes(_manifest(CONFIG, annotations={"a": "b"}))
    parts[place] = [_index(_entry(other, "linux", "amd64")), other, _bytes(_config(os="plan9")), "sha256:" + "0" * 64][
        place
    ]
    index, manifest, config, digest = parts
    with pytest.raises(VerificationFailed):
        read_upstream(f"{NAME}@{digest}", index, manifest, config)  # type: ignore[arg-type]


def _read(config: Any, change: Callable[[dict[str, Any]], Any] = lambda manifest: manifest) -> upstream.Upstream:
    described = _bytes(config)
    document = _manifest(described)
    manifest = _bytes(change(document) or document)
    return read_upstream(f"{NAME}@{sha256_bytes(manifest)}", b"", manifest, described)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(schemaVersion=1), "another form"),
        (lambda m: m["config"].update(mediaType="application/vnd.cncf.helm.config.v1+json"), "no image"),
        (lambda m: m["config"].update(size=upstream.MAX_DOCUMENT + 1), "larger than"),
        (lambda m: m["layers"][0].update(mediaType="application/zip"), "of the kind"),
        (lambda m: m["layers"][0].update(urls=["https://a.example/"]), "foreign"),
        (lambda m: m["layers"][0].update(mediaType=f"{OCI}.layer.nondistributable.v1.tar+gzip"), "foreign"),
        (lambda m: m["layers"][0].update(size=-1), "size"),
        (lambda m: m["layers"][0].update(size=1 << 50), "size"),
        (lambda m: m["layers"][0].update(size=True), "size"),
        (lambda m: m["layers"][0].update(digest="sha512:" + "0" * 128), "digest"),
        (lambda m: m.update(layers=m["layers"][:1]), "different layers"),
        (lambda m: m.update(layers="all"), "lists nothing"),
        (lambda m: m.update(layers=[1, 2]), "lacks"),
        (lambda m: m.update(config=None), "lacks"),
    ],
)
def test_manifests_that_no_base_can_be_made_of(change: Callable[[dict[str, Any]], Any], words: str) -> None:
    with pytest.raises(NbsealError, match=words) as error:
        _read(_config(), change)
    assert error.value.exit_code in (4, 5)
    assert error.value.hint or "larger" in words


@pytest.mark.parametrize(
    "config",
    [
        _config(os="windows"), _config(architecture="arm64"), _config(rootfs=None), _config(config={"Env": "PATH=/a"}),
        _config(config={"Env": [1]}), _config(config=[1]), _config(rootfs={"diff_ids": ["a", "b"]}), [], "x", 1, None,
    ],
)  # fmt: skip
def test_configs_that_no_base_can_be_made_of(config: Any) -> None:
    with pytest.raises(NbsealError) as error:
        _read(config)
    assert error.value.exit_code in (4, 5)


def test_an_image_has_at_most_as_many_layers_as_leave_room() -> None:
    for count in (MAX_LAYERS, MAX_LAYERS + 1):
        tars = tuple(b"%d" % number for number in range(count))
        config = _bytes(_config(tars))
        manifest = _bytes(_manifest(config, tars))
        reference = f"{NAME}@{sha256_bytes(manifest)}"
        if count == MAX_LAYERS:
            assert len(read_upstream(reference, b"", manifest, config).layers) == count
        else:
            with pytest.raises(EnvironmentFailed, match=f"{count} layers"):
                read_upstream(reference, b"", manifest, config)


@given(DOCUMENTS)
def test_nothing_that_a_registry_says_is_a_traceback(document: Any) -> None:
    data = _bytes(document)
    for read in (
        lambda: choose(data, NAME),
        lambda: config_of(data, NAME),
        lambda: read_upstream(f"{NAME}@{sha256_bytes(data)}", b"", data, data),
    ):
        try:
            read()
        except NbsealError as error:
            assert error.exit_code in (4, 5)  # noqa: PT017


# --- variables ----------------------------------------------------------------------------------


def test_what_contradicts_the_seal_does_not_reach_a_run() -> None:
    never = [
        *("PYTHONPATH", "PYTHONHOME", "PYTHON_VERSION", "PIP_INDEX_URL", "UV_INDEX", "NBSEAL_HOLD", "NBSEAL_TRACE"),
        *("LD_PRELOAD", "LD_AUDIT", "LD_DEBUG", "BASH_ENV", "ENV", "HOME", "HOSTNAME", "http_proxy", "HTTPS_PROXY"),
        *("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "JUPYTER_PATH", "IPYTHONDIR", "VIRTUAL_ENV"),
    ]  # fmt: skip
    stays = [
        "CUDA_HOME",
        "LD_LIBRARY_PATH",
        "LIBRARY_PATH",
        "NVIDIA_REQUIRE_CUDA",
        "NVIDIA_DRIVER_CAPABILITIES",
        "CONDA_DIR",
    ]
    kept = kept_variables([f"{name}=x" for name in (*never, *stays)])
    assert [item.partition("=")[0] for item in kept] == sorted((*stays, "PATH"))


def test_a_path_has_folders_of_the_image_only() -> None:
    origin = Origin(
        "", "", kept_variables(["PATH=/opt/conda/bin::bin:.:/usr/bin", "PATH=/opt/conda/bin::./x:/bin"]), ""
    )
    assert search_path(origin) == "/opt/conda/bin:/bin"
    assert variables_of(origin)["PATH"] == "/opt/kernel/bin:/opt/conda/bin:/bin"
    assert search_path(None) == ""


@given(st.lists(st.text(max_size=30)))
def test_what_is_kept_stays_as_it_is(own: list[str]) -> None:
    kept = kept_variables(own)
    assert kept_variables(kept) == kept
    assert all("\n" not in item and "\0" not in item for item in kept)


# --- layers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", ["", "gzip", "zstd"])
def test_a_layer_is_unpacked_to_what_its_diff_id_says(packing: str, tmp_path: Path) -> None:
    home, tar = Home(tmp_path / "home"), bytes(range(256)) * 5000
    half = len(tar) // 2
    packers: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}
    pack = packers[packing]
    packed = pack(tar[:half]) + pack(tar[half:])  # members and frames may follow one another
    part = tmp_path / "part"
    part.write_bytes(packed)
    blob = Blob(sha256_bytes(packed), len(packed), packing, sha256_bytes(tar))
    assert kept_layer(blob, "it", home) is None
    layer = unpack_layer(part, blob, "it", home)
    assert layer == Layer(blob.diff_id, len(tar), "it") == kept_layer(blob, "it", home)
    assert (home.layers / f"{bare(blob.diff_id)}.tar").read_bytes() == tar
    (home.layers / f"{bare(blob.diff_id)}.tar").write_bytes(b"x")
    assert kept_layer(blob, "it", home) is None


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["bomb", "cut", "noise", "other", "none of it"])
def test_a_layer_that_is_not_what_was_said_leaves_nothing(packing: str, damage: str, tmp_path: Path) -> None:
    home, pack = Home(tmp_path / "home"), gzip.compress if packing == "gzip" else zstandard.compress
    tar = bytes(96 << 20) if damage == "bomb" else bytes(range(256)) * 100
    packed = pack(tar)
    said = sha256_bytes(b"other" if damage == "other" else tar)
    packed = {"cut": packed[:-9], "noise": b"noise" * 99, "none of it": b""}.get(damage, packed)
    part = tmp_path / "part"
    part.write_bytes(packed)
    with pytest.raises(VerificationFailed) as error:
        unpack_layer(part, Blob(sha256_bytes(packed), len(packed), packing, said), "it", home)
    assert ("unpacks to more" in error.value.message) == (damage == "bomb")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["part"]


# --- bases --------------------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path: Path) -> Base:
    """A base of an image in the home ``tmp_path/there``; its bytes are no layers, but what its record says."""
    home = Home(tmp_path / "there")
    tars = (*TARS, b"ours")
    layers = tuple(Layer(sha256_bytes(tar), len(tar), "layer") for tar in tars)
    config = _bytes({"rootfs": {"diff_ids": [layer.diff_id for layer in layers]}})
    reference = f"{NAME}@{sha256_bytes(INDEX)}"
    found = read_upstream(reference, INDEX, MANIFEST, CONFIG)
    origin = Origin(reference, sha256_bytes(MANIFEST), found.environment, "/usr/bin/python3.12")
    recipe = base_record.folder_of(reference.partition("@")[2], home).name
    base = Base(sha256_bytes(config), "3.12.1", "2.39", layers, (), (), 2, f"sha256:{recipe}", origin=origin)
    home.layers.mkdir(parents=True)
    for layer, tar in zip(layers, tars, strict=True):
        (home.layers / f"{bare(layer.diff_id)}.tar").write_bytes(tar)
    keep_record(base, config, found, home)
    return base


def test_a_base_of_an_image_survives_its_record_and_a_file(base: Base, tmp_path: Path) -> None:
    there, here, file = Home(tmp_path / "there"), Home(tmp_path / "here"), tmp_path / "base.tar"
    assert load_base(there, base.id) == base
    assert base.interpreter == "/usr/bin/python3.12"
    base_archive.export_base(there, base.id, file, Silent())
    assert base_archive.import_base(here, file, Silent()) == base
    assert base_record.base_files(base, here) == base_record.base_files(base, there)
    assert {path.name for path in base_record.folder_of(base.id, here).iterdir()} == {
        "base.json", "config.json", "index.json", "manifest.json", "image.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"reference": f"{NAME}@sha256:" + "0" * 64},
        {"reference": f"{NAME}@{sha256_bytes(MANIFEST)}"},
        {"manifest": "sha256:" + "0" * 64},
        {"environment": ("PATH=/evil",)},
    ],
)
def test_an_origin_that_the_registry_did_not_say_is_forged(change: dict[str, Any], base: Base, tmp_path: Path) -> None:
    assert base.origin is not None
    forged = replace(base, origin=replace(base.origin, **change))
    files = base_record.base_files(base, Home(tmp_path / "there"))
    with pytest.raises(VerificationFailed):
        base_archive.check_base("it", {**files, "base.json": json.dumps(asdict(forged)).encode()})


@pytest.mark.parametrize(
    "change",
    [
        {"python": "python3"}, {"python": "/usr/../bin/python3"}, {"python": "/a\nb"}, {"reference": "/etc/passwd"},
        {"environment": ["LD_PRELOAD=/x", "PATH=/a"]}, {"environment": "PATH=/a"}, {"environment": []}, {"manifest": 1},
    ],
)  # fmt: skip
def test_an_origin_that_has_no_shape_is_no_record(change: dict[str, Any], base: Base) -> None:
    assert base.origin is not None
    document = {**asdict(base), "origin": {**asdict(base.origin), **change}}
    with pytest.raises(BadInput):
        read_base(json.dumps(document).encode())


def test_layers_below_that_are_not_the_image_s_are_told(base: Base, tmp_path: Path) -> None:
    other = Layer(sha256_bytes(b"evil"), 4, "layer")
    layers = (other, *base.layers[1:])
    config = _bytes({"rootfs": {"diff_ids": [layer.diff_id for layer in layers]}})
    forged = replace(base, id=sha256_bytes(config), layers=layers)
    files = base_record.base_files(base, Home(tmp_path / "there"))
    with pytest.raises(VerificationFailed, match="does not stand on"):
        base_archive.check_base(
            "it", {**files, "base.json": json.dumps(asdict(forged)).encode(), "config.json": config}
        )


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("python", "docker.io/library/python"),
        ("python:3.12-slim", "docker.io/library/python:3.12-slim"),
        ("nvidia/cuda@sha256:" + "1" * 64, "docker.io/nvidia/cuda@sha256:" + "1" * 64),
        ("nvidia/cuda:12@sha256:" + "1" * 64, "docker.io/nvidia/cuda@sha256:" + "1" * 64),
        ("localhost:5000/a@sha256:" + "1" * 64, "localhost:5000/a@sha256:" + "1" * 64),
        ("registry.example/a/b:1", "registry.example/a/b:1"),
    ],
)
def test_names_of_images_are_docker_s(text: str, meant: str) -> None:
    assert parse_image(text).image == meant


@pytest.mark.parametrize(
    "text", ["", "a b", "A@sha256:" + "1" * 64, "a@sha256:1", "a@", "oci://host/a", "host:x/a:b:c"]
)
def test_what_is_no_name_of_an_image(text: str) -> None:
    with pytest.raises(BadInput, match="name of an image"):
        parse_image(text)
