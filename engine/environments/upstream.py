"""An image as a registry has it: index, manifest and config, each held against the digest that led to it.

Formats: OCI image specification 1.1, and Docker's image manifest version 2, schema 2. All of it may come from somebody
hostile. The layers are named here by their compressed form, as they are fetched, and by their diff ids.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from engine.digests import sha256_bytes
from engine.environments.grouping import MOST_LAYERS, SHARED
from engine.environments.variables import kept_variables
from engine.errors import EnvironmentFailed, VerificationFailed

#: The names under which a home keeps what a registry said, byte for byte.
INDEX, MANIFEST, CONFIG = "index.json", "manifest.json", "image.json"
MAX_DOCUMENT = 4 << 20
#: On top come what nbseal adds (one), the harness (two), and in each image a frame and the shared layers.
MAX_LAYERS = MOST_LAYERS - SHARED - 4
#: Bytes that all layers of an image may have, packed.
_MAX_PACKED = 1 << 38

_OCI, _DOCKER = "application/vnd.oci.image", "application/vnd.docker"
_INDEXES = (f"{_OCI}.index.v1+json", f"{_DOCKER}.distribution.manifest.list.v2+json")
_MANIFESTS = (f"{_OCI}.manifest.v1+json", f"{_DOCKER}.distribution.manifest.v2+json")
_CONFIGS = (f"{_OCI}.config.v1+json", f"{_DOCKER}.container.image.v1+json")
#: What a registry is asked for.
ACCEPT = ", ".join((*_MANIFESTS, *_INDEXES))
#: How a layer is packed, by its media type.
_PACKED = {
    f"{_OCI}.layer.v1.tar": "",
    f"{_OCI}.layer.v1.tar+gzip": "gzip",
    f"{_OCI}.layer.v1.tar+zstd": "zstd",
    f"{_DOCKER}.image.rootfs.diff.tar": "",
    f"{_DOCKER}.image.rootfs.diff.tar.gzip": "gzip",
    f"{_DOCKER}.image.rootfs.diff.tar.zstd": "zstd",
}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHANGED = "Its content was changed, or never was right; nothing of it entered the home."
_WANTED = "A base is made of an image for linux/amd64."


@dataclass(frozen=True)
class Blob:
    """Content of a registry by digest. ``packing`` is "gzip", "zstd" or "", ``diff_id`` of a layer its bare form."""

    digest: str
    size: int
    packing: str = ""
    diff_id: str = ""


@dataclass(frozen=True)
class Upstream:
    """An image of a registry for our platform; its layers are still to be fetched, or are in the home."""

    reference: str  # HOST[:PORT]/REPOSITORY@sha256:...
    index: bytes  # empty when the reference is that of the manifest
    manifest: bytes
    config: bytes
    layers: tuple[Blob, ...]  # lowest first
    environment: tuple[str, ...]

    @property
    def documents(self) -> dict[str, bytes]:
        """By the names under which a home keeps them."""
        found = {INDEX: self.index, MANIFEST: self.manifest, CONFIG: self.config}
        return {name: data for name, data in found.items() if data}


def choose(data: bytes, reference: str) -> str:
    """The digest of the manifest for our platform that an index names; empty when ``data`` is a manifest itself."""
    document = _document(data, reference)
    if not _is_index(document):
        return ""
    ours: list[tuple[bool, str]] = []
    others: list[str] = []
    for item in _list(document, "manifests", reference):
        platform = _object(item.get("platform") or {}, reference)
        system, machine, variant = (str(platform.get(name) or "") for name in ("os", "architecture", "variant"))
        if (system, machine) == ("linux", "amd64") and item.get("mediaType") in _MANIFESTS:
            ours.append((bool(variant), _blob(item, reference).digest))  # a variant wants a newer processor
        elif system != "unknown":  # attestations
            others.append(f"{system}/{machine}"[:40])
    if not ours:
        said = ", ".join(sorted(set(others))[:6]) or "none"
        raise EnvironmentFailed(f"{reference} is not for linux/amd64; its platforms are: {said}.", _WANTED)
    return min(ours, key=lambda found: found[0])[1]


def config_of(manifest: bytes, reference: str) -> Blob:
    """Where a manifest's config is; EnvironmentFailed when it is the manifest of something else than an image."""
    document = _document(manifest, reference)
    if document.get("schemaVersion") != 2 or document.get("mediaType") not in (*_MANIFESTS, None):
        raise EnvironmentFailed(
            f"The manifest of {reference} is of another form than those of OCI and Docker's schema 2.",
            "Push the image again with a tool of this decade.",
        )
    config = _object(document.get("config"), reference)
    if config.get("mediaType") not in _CONFIGS:
        raise EnvironmentFailed(f"{reference} is no image of a container.", "Look at its name and digest.")
    found = _blob(config, reference)
    if found.size > MAX_DOCUMENT:
        raise EnvironmentFailed(f"The config of {reference} is larger than {MAX_DOCUMENT >> 20} MiB.")
    return found


def read_upstream(reference: str, index: bytes, manifest: bytes, config: bytes) -> Upstream:
    """An image from its documents, which must lead from the digest in ``reference`` one to the next.

    VerificationFailed when they do not; EnvironmentFailed when it is an image that no base can be made of.
    """
    digest = reference.partition("@")[2]
    if index:
        chosen = choose(index, reference)
        if sha256_bytes(index) != digest or chosen != sha256_bytes(manifest):
            raise VerificationFailed(f"The index of {reference} is not that of its manifest.", _CHANGED)
    elif sha256_bytes(manifest) != digest:
        raise VerificationFailed(f"The manifest of {reference} is not what its digest says.", _CHANGED)
    if config_of(manifest, reference).digest != sha256_bytes(config):
        raise VerificationFailed(f"The config of {reference} is not that of its manifest.", _CHANGED)
    found = _document(config, reference)
    platform = f"{found.get('os')}/{found.get('architecture')}"
    if platform != "linux/amd64":
        raise EnvironmentFailed(f"{reference} is for {platform[:40]}, not linux/amd64.", _WANTED)
    layers = _layers(manifest, found, reference)
    own = _object(found.get("config") or {}, reference).get("Env") or []
    if not isinstance(own, list) or not all(isinstance(item, str) for item in own):
        raise _bad(reference, "its variables are none")
    return Upstream(reference, index, manifest, config, layers, kept_variables(own))


def _layers(manifest: bytes, config: dict[str, Any], reference: str) -> tuple[Blob, ...]:
    listed = _list(_document(manifest, reference), "layers", reference)
    rootfs = _object(config.get("rootfs"), reference)
    diff_ids = rootfs.get("diff_ids")
    if not isinstance(diff_ids, list) or len(diff_ids) != len(listed):
        raise _bad(reference, "its config and its manifest have different layers")
    if not 0 < len(listed) <= MAX_LAYERS:
        raise EnvironmentFailed(
            f"{reference} has {len(listed)} layers; a base can have 1 to {MAX_LAYERS} below its own.",
            "Flatten the image (docker build --squash, or docker export and import), and push that.",
        )
    layers = []
    for number, (item, diff_id) in enumerate(zip(listed, diff_ids, strict=True), 1):
        kind = str(item.get("mediaType"))
        if item.get("urls") or "foreign" in kind or "nondistributable" in kind:
            raise EnvironmentFailed(
                f"Layer {number} of {reference} is a foreign one, which its registry does not hold.",
                "Push the image with all of its layers to a registry of yours.",
            )
        if kind not in _PACKED:
            raise EnvironmentFailed(
                f"Layer {number} of {reference} is of the kind {kind[:80]!r}.",
                "nbseal reads tars, plain or packed by gzip or zstd.",
            )
        if not isinstance(diff_id, str) or not _DIGEST.fullmatch(diff_id):
            raise _bad(reference, "a diff id is none")
        found = _blob(item, reference)
        layers.append(Blob(found.digest, found.size, _PACKED[kind], diff_id))
    if sum(layer.size for layer in layers) > _MAX_PACKED:
        raise EnvironmentFailed(f"{reference} is larger than {_MAX_PACKED >> 30} GiB.")
    return tuple(layers)


def _is_index(document: dict[str, Any]) -> bool:
    kind = document.get("mediaType")
    return kind in _INDEXES or (kind is None and "manifests" in document and "layers" not in document)


def _blob(item: dict[str, Any], reference: str) -> Blob:
    digest, size = item.get("digest"), item.get("size")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise _bad(reference, "a digest is no sha256")
    if type(size) is not int or not 0 < size <= _MAX_PACKED:
        raise _bad(reference, "a size is none")
    return Blob(digest, size)


def _document(data: bytes, reference: str) -> dict[str, Any]:
    try:
        if len(data) > MAX_DOCUMENT:
            raise ValueError
        return _object(json.loads(data), reference)
    except (ValueError, RecursionError):
        raise _bad(reference, "a document is no JSON, or too long") from None


def _object(value: Any, reference: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _bad(reference, "it lacks what it should say")
    return value


def _list(document: dict[str, Any], name: str, reference: str) -> list[dict[str, Any]]:
    items = document.get(name)
    if not isinstance(items, list) or len(items) > 10_000:
        raise _bad(reference, "it lists nothing, or too much")
    return [_object(item, reference) for item in items]


def _bad(reference: str, why: str) -> VerificationFailed:
    return VerificationFailed(f"What the registry says of {reference} is damaged: {why}.", _CHANGED)
