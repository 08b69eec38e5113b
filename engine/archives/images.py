"""The images in an archive: one folder that is an OCI layout and a ``docker save`` at once, held against their ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.archives import layout
from engine.archives.documents import read_json, read_object
from engine.archives.receive import Received
from engine.digests import PREFIX, bare

_MAX_CONFIG = 4 << 20


@dataclass(frozen=True)
class ArchivedImage:
    """One image: its config byte for byte, and its layers, lowest first."""

    id: str
    config: bytes
    layers: tuple[tuple[str, int], ...]  # diff id and size


def check_images(received: Received) -> dict[str, ArchivedImage]:
    """The images by id, after holding both manifests against configs and layers, and every blob against its name."""
    there = received.payload(layout.IMAGE)
    if not there:
        return {}
    blobs = {
        PREFIX + path.rpartition("/")[2]: file.size for path, file in there.items() if path.startswith("blobs/sha256/")
    }
    if read_object(received, _path(layout.OCI_LAYOUT)) != {"imageLayoutVersion": "1.0.0"}:
        raise received.refused(_path(layout.OCI_LAYOUT), "is not that of an OCI layout")
    used: set[str] = set()
    by_oci = _of_oci(received, blobs, used)
    by_docker = _of_docker(received, blobs)
    if by_oci != by_docker:
        raise received.refused(_path(layout.DOCKER_MANIFEST), "lists other images than index.json")
    found = {}
    for identity, layers in by_oci.items():
        config = received.read(_path(layout.image_blob(bare(identity))))
        used |= {identity, *layers}
        if _diff_ids(received, identity) != list(layers):
            raise received.refused(_path(layout.image_blob(bare(identity))), "is a config with other layers")
        found[identity] = ArchivedImage(identity, config, tuple((layer, blobs[layer]) for layer in layers))
    if stray := sorted(blobs.keys() - used):
        raise received.refused(_path(layout.image_blob(bare(stray[0]))), "belongs to no image")
    return found


def _of_oci(received: Received, blobs: Mapping[str, int], used: set[str]) -> dict[str, tuple[str, ...]]:
    """Layers by the config's digest, as index.json has them."""
    path = _path(layout.OCI_INDEX)
    found: dict[str, tuple[str, ...]] = {}
    for item in _items(received, path, read_object(received, path), "manifests"):
        manifest = _descriptor(received, path, item, blobs)
        used.add(manifest)
        where = _path(layout.image_blob(bare(manifest)))
        document = read_object(received, where) if blobs[manifest] <= _MAX_CONFIG else {}
        config = _descriptor(received, where, document.get("config"), blobs)
        layers = _items(received, where, document, "layers")
        found[config] = tuple(_descriptor(received, where, layer, blobs) for layer in layers)
    return found


def _of_docker(received: Received, blobs: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """The same as manifest.json has it."""
    path = _path(layout.DOCKER_MANIFEST)
    found: dict[str, tuple[str, ...]] = {}
    for item in _items(received, path, {"": read_json(received, path)}, ""):
        config = _named(received, path, item.get("Config"), blobs)
        if item.get("RepoTags") not in ([layout.image_tag(bare(config))], None):
            raise received.refused(path, f"gives the image {config} another name")
        layers = _items(received, path, {"": item.get("Layers")}, "", of=str)
        found[config] = tuple(_named(received, path, layer, blobs) for layer in layers)
    return found


def _diff_ids(received: Received, identity: str) -> object:
    path = _path(layout.image_blob(bare(identity)))
    if received.files[path].size > _MAX_CONFIG:
        raise received.refused(path, "is too large for a config")
    rootfs = read_object(received, path).get("rootfs")
    return rootfs.get("diff_ids") if isinstance(rootfs, dict) else None


def _items(received: Received, path: str, document: Mapping[str, Any], name: str, *, of: type = dict) -> list[Any]:
    items = document.get(name)
    if not isinstance(items, list) or not all(isinstance(item, of) for item in items):
        raise received.refused(path, "does not say what images there are")
    return items


def _descriptor(received: Received, path: str, item: Any, blobs: Mapping[str, int]) -> str:
    digest = item.get("digest") if isinstance(item, dict) else None
    if not isinstance(digest, str) or digest not in blobs or item.get("size") != blobs[digest]:
        raise received.refused(path, f"names {str(digest)[:80]}, which is not there or has another size")
    return digest


def _named(received: Received, path: str, name: Any, blobs: Mapping[str, int]) -> str:
    digest = PREFIX + str(name).rpartition("/")[2]
    if digest not in blobs or name != layout.image_blob(bare(digest)).removeprefix(f"{layout.IMAGE}/"):
        raise received.refused(path, f"names {str(name)[:80]}, which is not there")
    return digest


def _path(name: str) -> str:
    return f"{layout.PAYLOAD}/{name}"
