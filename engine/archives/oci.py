"""Images as one folder that docker, podman and skopeo read: an OCI layout which is a ``docker save`` folder too.

OCI image layout 1.1 (oci-layout, index.json, blobs) and Docker's image specification 1.2 (manifest.json). Layers are
uncompressed tars in both, so that the config, whose digest is the image's id, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.archives import layout
from engine.archives.members import Member, of_bytes, of_file
from engine.digests import bare, canonical_json, sha256_bytes
from engine.model import Json
from engine.software import Image, Layer

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class WholeImage:
    """An image and its config, byte for byte."""

    image: Image
    config: bytes


def members(images: Sequence[WholeImage], layer_file: Callable[[Layer], Path]) -> Mapping[str, Member]:
    """The files of image/, by path; images share the layers that they have in common."""
    found: dict[str, Member] = {}
    index: list[Json] = []
    saved: list[Json] = []
    for whole in sorted(images, key=lambda item: item.image.id):
        identity, layers = bare(whole.image.id), whole.image.layers
        manifest = canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _descriptor(_CONFIG, whole.image.id, len(whole.config)),
                "layers": [_descriptor(_LAYER, layer.diff_id, layer.size) for layer in layers],
            }
        )
        for data in (whole.config, manifest):
            digest = bare(sha256_bytes(data))
            _put(found, of_bytes(layout.image_blob(digest), data, digest=digest))
        for layer in layers:
            digest = bare(layer.diff_id)
            _put(found, of_file(layout.image_blob(digest), layer_file(layer), layer.size, digest, "layer"))
        tag = layout.image_tag(identity)
        names = {"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": f"docker.io/{tag}"}
        platform = {"architecture": "amd64", "os": "linux"}
        described = _descriptor(_MANIFEST, sha256_bytes(manifest), len(manifest))
        index.append({**described, "platform": platform, "annotations": names})
        saved.append(
            {
                "Config": _inside(identity),
                "RepoTags": [tag],
                "Layers": [_inside(bare(layer.diff_id)) for layer in layers],
            }
        )
    _put(found, of_bytes(layout.OCI_LAYOUT, canonical_json({"imageLayoutVersion": "1.0.0"})))
    _put(
        found,
        of_bytes(layout.OCI_INDEX, canonical_json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": index})),
    )
    _put(found, of_bytes(layout.DOCKER_MANIFEST, canonical_json(saved)))
    return found


def _put(found: dict[str, Member], member: Member) -> None:
    found[member.path] = member


def _descriptor(media_type: str, digest: str, size: int) -> Json:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _inside(digest: str) -> str:
    return layout.image_blob(digest).removeprefix(f"{layout.IMAGE}/")
