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
from engine.model import Layer
from engine.settings import Home

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


def test_archive_is_what_docker_save_writes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    layers = [pack_tree({"a": bytes(3 << 20)}, home, "large"), pack_tree({"b": b"2"}, home, "small")]
    config = image_config(layers, environment={})
    data = b"".join(archive(config, layers, 0, "nbseal/image:1", home))
    assert len(data) % tarfile.BLOCKSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as opened:
        contents = {name: opened.extractfile(name).read() for name in opened.getnames()}  # type: ignore[union-attr]
    manifest = json.loads(contents.pop("manifest.json"))
    assert manifest == [
        {
            "Config": f"{bare(sha256_bytes(config))}.json",
            "RepoTags": ["nbseal/image:1"],
            "Layers": [f"{bare(layer.diff_id)}.tar" for layer in layers],
        }
    ]
    assert contents.pop(manifest[0]["Config"]) == config
    assert {f"sha256:{name.removesuffix('.tar')}": sha256_bytes(layer) for name, layer in contents.items()} == {
        layer.diff_id: layer.diff_id for layer in layers
    }


def test_archive_leaves_out_what_the_engine_has(tmp_path: Path) -> None:
    home = Home(tmp_path)
    layers = [LAYERS[0], pack_tree({"b": b"2"}, home, "small")]
    data = b"".join(archive(image_config(layers, environment={}), layers, 1, "nbseal/image:1", home))
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as opened:
        assert [name for name in opened.getnames() if name.endswith(".tar")] == [f"{bare(layers[1].diff_id)}.tar"]


def test_archive_stops_at_a_layer_that_shrank(tmp_path: Path) -> None:
    home = Home(tmp_path)
    layer = pack_tree({"b": b"2"}, home, "small")
    layer_file(layer, home).write_bytes(b"short")
    with pytest.raises(LayersMissing):
        list(archive(image_config([layer], environment={}), [layer], 0, "nbseal/image:1", home))
