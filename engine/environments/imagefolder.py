"""What an image's archive says of it: an OCI layout that is a ``docker save`` folder too, for every engine.

Docker's own store reads manifest.json (Docker's image specification 1.2). Its containerd store reads index.json and
keeps the manifest as it is (OCI image layout 1.1): then layers that it has need not be sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.digests import bare, canonical_json, sha256_bytes
from engine.model import Json
from engine.software import Layer

_MEDIA = "application/vnd.oci.image"


def blob_path(digest: str) -> str:
    """Where the archive has the content with this digest."""
    return f"blobs/sha256/{bare(digest)}"


def documents(config: bytes, layers: Sequence[Layer], tag: str) -> tuple[tuple[str, bytes], ...]:
    """All files of the archive but its layers: path and content."""
    described = [_descriptor("layer.v1.tar", layer.diff_id, layer.size) for layer in layers]
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA}.manifest.v1+json",
            "config": _descriptor("config.v1+json", sha256_bytes(config), len(config)),
            "layers": described,
        }
    )
    entry = {
        **_descriptor("manifest.v1+json", sha256_bytes(manifest), len(manifest)),
        "platform": {"architecture": "amd64", "os": "linux"},
        "annotations": {"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": f"docker.io/{tag}"},
    }
    index = {"schemaVersion": 2, "mediaType": f"{_MEDIA}.index.v1+json", "manifests": [entry]}
    saved = {
        "Config": blob_path(sha256_bytes(config)),
        "RepoTags": [tag],
        "Layers": [blob_path(layer.diff_id) for layer in layers],
    }
    return (
        (blob_path(sha256_bytes(config)), config),
        (blob_path(sha256_bytes(manifest)), manifest),
        ("oci-layout", canonical_json({"imageLayoutVersion": "1.0.0"})),
        ("index.json", canonical_json(index)),
        ("manifest.json", canonical_json([saved])),
    )


def _descriptor(kind: str, digest: str, size: int) -> Json:
    return {"mediaType": f"{_MEDIA}.{kind}", "digest": digest, "size": size}
