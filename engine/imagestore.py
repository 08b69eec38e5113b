"""Under which id an engine holds an image.

An image's id is the sha256 of its config, in every record and for every engine but one: Docker's containerd image
store calls an image by the digest of a manifest that it makes itself. What is in the config can be asked for there,
so that it is put together again, and its digest compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from engine.digests import bare, canonical_json, sha256_bytes

_TIME = "1980-01-01T00:00:00Z"  # SOURCE_DATE_EPOCH
#: What images of ours are tagged, where they stay.
_KINDS = ("image", "base")


def find_by_config(image_id: str, label: str, api: Any) -> str | None:
    """What such a store calls exactly this image, if it holds it; all images of ours bear ``label``."""
    from docker.errors import ImageNotFound

    for name in _candidates(image_id, label, api):
        with suppress(ImageNotFound):
            inspected = api.inspect_image(name)
            if _config_digest(inspected) == image_id:
                return str(inspected["Id"])
    return None


def config_of(diff_ids: Sequence[str], environment: Sequence[str], labels: Mapping[str, str]) -> bytes:
    """The config of the image with these layers, lowest first, and nothing but that (OCI image specification 1.1)."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": _TIME,
        "config": {"Env": list(environment), "Labels": dict(labels), "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [{"created": _TIME, "created_by": "nbseal"} for _ in diff_ids],
    }
    return canonical_json(config)


def _candidates(image_id: str, label: str, api: Any) -> Iterator[str]:
    """Names under which it may be: by its tags, else any image of ours."""
    for kind in _KINDS:
        yield f"nbseal/{kind}:{bare(image_id)[:12]}"
    for listed in api.images(filters={"label": label}):
        yield str(listed["Id"])


def _config_digest(inspected: Mapping[str, Any]) -> str:
    """The digest of its config, if that is one of ours; empty when something is in it that ours never have."""
    config = dict(inspected.get("Config") or {})
    environment, labels = config.pop("Env", None) or [], config.pop("Labels", None) or {}
    directory = config.pop("WorkingDir", "")
    about = [inspected.get(name) for name in ("Architecture", "Os", "Created")]
    if about != ["amd64", "linux", _TIME] or directory != "/" or any(config.values()):
        return ""
    return sha256_bytes(config_of(inspected["RootFS"].get("Layers") or [], environment, labels))
