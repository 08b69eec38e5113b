"""What a run is in a registry: an artifact whose subject is its image (OCI image 1.1; docs/reference/registry.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.digests import canonical_json
from engine.errors import BadInput, VerificationFailed
from engine.model import Json
from engine.registry.client import INDEX, MANIFEST, MAX_MANIFEST
from engine.registry.reference import DIGEST

RUN = "application/vnd.nbseal.run.v1"
#: Of the tar with the small files of the bag, and of the files that are content of their own.
BAG = "application/vnd.nbseal.bag.v1.tar"
FILE = "application/octet-stream"
TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"
RUN_ID, RUN_HASH, RUN_SEAL = "nbseal.run", "nbseal.hash", "nbseal.seal"

_EMPTY = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "size": 2,
    "data": "e30=",
}
#: Files that are content of their own; a manifest with so many stays below what registries take.
MAX_FILES = 2000
MAX_LAYERS = 200
_MAX_REFERRERS = 10_000
#: As large as anything in an archive may be.
_MAX_SIZE = 1 << 44


@dataclass(frozen=True)
class Descriptor:
    """Content by digest. ``title`` is its path in the bag, where it is a file of it."""

    media_type: str
    digest: str
    size: int
    title: str = ""

    def to_json(self) -> Json:
        described: Json = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.title:
            described["annotations"] = {TITLE: self.title}
        return described


@dataclass(frozen=True)
class Artifact:
    """A run's manifest: the tar, the other files, the image (None when it was left out), and what people read."""

    bag: Descriptor
    files: tuple[Descriptor, ...]
    subject: Descriptor | None
    annotations: Mapping[str, str]


def render(artifact: Artifact) -> bytes:
    """The manifest; the same run gives the same bytes."""
    manifest: Json = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": RUN,
        "config": _EMPTY,
        "layers": [item.to_json() for item in (artifact.bag, *artifact.files)],
        "annotations": dict(artifact.annotations),
    }
    if artifact.subject is not None:
        manifest["subject"] = artifact.subject.to_json()
    return canonical_json(manifest)


def read(data: bytes, source: str) -> Artifact:
    """BadInput when it is the manifest of something else; VerificationFailed when it is one of a run, and damaged."""
    document = _object(data, source)
    if document.get("mediaType") != MANIFEST or document.get("artifactType") != RUN:
        raise BadInput(f"{source} is no run of nbseal.", "Give what `nbseal push` printed.")
    try:
        first, *rest = _list(document["layers"], MAX_FILES + 1)
        bag = _descriptor(first)
        files = tuple(_descriptor(item) for item in rest)
        subject = document.get("subject")
        found = Artifact(bag, files, None if subject is None else _descriptor(subject), {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(source, error) from None
    if bag.media_type != BAG or not all(item.media_type == FILE and item.title for item in files):
        raise _damaged(source, ValueError("a layer is of another kind"))
    if found.subject is not None and found.subject.media_type != MANIFEST:
        raise _damaged(source, ValueError("its subject is no image"))
    return found


def read_image(data: bytes, source: str) -> tuple[Descriptor, ...]:
    """Config and layers of an image's manifest. VerificationFailed when it is none."""
    document = _object(data, source)
    try:
        return tuple(_descriptor(item) for item in (document["config"], *_list(document["layers"], MAX_LAYERS)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(source, error) from None


def with_referrer(index: bytes | None, digest: str, size: int, annotations: Mapping[str, str]) -> bytes | None:
    """An index of referrers with this run in it; None when it has it. ValueError when ``index`` is none."""
    entry = {"mediaType": MANIFEST, "digest": digest, "size": size, "artifactType": RUN, "annotations": {**annotations}}
    listed: list[Any] = []
    if index is not None:
        try:
            document = json.loads(index)
            listed = _list(document["manifests"], _MAX_REFERRERS) if document.get("mediaType") == INDEX else []
            if document.get("mediaType") != INDEX or any(not isinstance(item, dict) for item in listed):
                raise ValueError("it is no index")
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("it is no index") from error
    if any(item.get("digest") == digest for item in listed):
        return None
    made = json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*listed, entry]}, separators=(",", ":")
    ).encode()
    if len(made) > MAX_MANIFEST:
        raise ValueError("it is full")
    return made


def _object(data: bytes, source: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise VerificationFailed(f"The manifest of {source} is not a JSON object.", "Nothing of it entered the home.")
    return document


def _descriptor(item: Any) -> Descriptor:
    digest, size, title = item["digest"], item["size"], (item.get("annotations") or {}).get(TITLE, "")
    if not (isinstance(digest, str) and DIGEST.fullmatch(digest)):
        raise ValueError("a digest is none")
    if type(size) is not int or not 0 <= size <= _MAX_SIZE:
        raise ValueError("a size is none")
    if not isinstance(title, str) or not isinstance(item["mediaType"], str):
        raise ValueError("a name is none")
    return Descriptor(item["mediaType"], digest, size, title)


def _list(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError("it lists nothing, or too much")
    return value


def _damaged(source: str, error: Exception) -> VerificationFailed:
    why = str(error) if type(error) is ValueError else "it lacks what it should say"
    return VerificationFailed(f"The manifest of {source} is damaged: {why}.", "Nothing of it entered the home.")
