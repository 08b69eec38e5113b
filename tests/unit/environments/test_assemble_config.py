"""An image's config, byte for byte, and the archive that carries it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from engine.digests import bare, sha256_bytes
from engine.environments.assemble import archive, image_config
from engine.environments.layers import LayersMissing, layer_file, pack_tree
from engine.settings import Home
from engine.software import Layer

LAYERS = (Layer("sha256:" + "a" * 64, 1024, "one"), Layer("sha256:" + "b" * 64, 2048, "two"))


def test_config_is_these_bytes() -> None:
    # Every recorded image id stands on this: it may change only with a new layout of images.
    config = image_config(LAYERS, environment={"PATH": "/bin", "LANG": "C"})
    assert config == (
        b'{"architecture":"amd64","config":{"Env":["LANG=C","PATH=/bin"],"Labels":{"nbseal":"image"},"WorkingDir":"/"},'
        b'"created":"1980-01-01T00:00:00Z","history":[{"created":"1980-01-01T00:00:00Z","created_by":"nbseal"},'
        b'{"created":"1980-01-01T00:00:00Z","created_by":"nbseal"}],"os":"linux","rootfs":{"diff_ids":["sha256:'
        + b"a" * 64
        + b'","sha256:'
        + b"b" * 64
        + b'"],"type":"layers"}}'
    )


def test_what_a_layer_is_called_is_not_in_the_id() -> None:
    renamed = tuple(Layer(layer.diff_id, layer.size, "renamed") for layer in LAYERS)
    assert image_config(renamed, environment={}) == image_config(LAYERS, environment={})
    assert image_config(LAYERS[::-1], environment={}) != image_config(LAYERS, environment={})


def _files(data: bytes) -> dict[str, bytes]:
    assert len(data) % tarfile.BLOCKSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as opened:
        return {name: opened.extractfile(name).read() for name in opened.getnames()}  # type: ignore[union-attr]


def test_archive_is_an_oci_layout_and_what_docker_save_writes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    layers = [pack_tree({"a": bytes(3 << 20)}, home, "large"), pack_tree({"b": b"2"}, home, "small")]
    config = image_config(layers, environment={})
    files = _files(b"".join(archive(config, layers, 0, "nbseal/image:1", home)))
    (saved,) = json.loads(files.pop("manifest.json"))
    assert (saved["RepoTags"], files[saved["Config"]]) == (["nbseal/image:1"], config)
    assert [sha256_bytes(files[path]) for path in saved["Layers"]] == [layer.diff_id for layer in layers]
    (described,) = json.loads(files.pop("index.json"))["manifests"]
    assert described["annotations"]["io.containerd.image.name"] == "docker.io/nbseal/image:1"
    manifest = json.loads(files[f"blobs/sha256/{bare(described['digest'])}"])
    for part, digest in ((manifest["config"], sha256_bytes(config)), *zip(manifest["layers"], layers, strict=True)):
        assert part["digest"] == getattr(digest, "diff_id", digest)
        assert len(files[f"blobs/sha256/{bare(part['digest'])}"]) == part["size"]
    assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    assert {path: f"blobs/sha256/{bare(sha256_bytes(content))}" for path, content in files.items()} == {
        path: path for path in files
    }


def test_archive_leaves_out_what_the_engine_has(tmp_path: Path) -> None:
    home = Home(tmp_path)
    layers = [LAYERS[0], pack_tree({"b": b"2"}, home, "small")]
    files = _files(b"".join(archive(image_config(layers, environment={}), layers, 1, "nbseal/image:1", home)))
    assert [f"blobs/sha256/{bare(layer.diff_id)}" in files for layer in layers] == [False, True]


def test_archive_stops_at_a_layer_that_shrank(tmp_path: Path) -> None:
    home = Home(tmp_path)
    layer = pack_tree({"b": b"2"}, home, "small")
    layer_file(layer, home).write_bytes(b"short")
    with pytest.raises(LayersMissing):
        list(archive(image_config([layer], environment={}), [layer], 0, "nbseal/image:1", home))
