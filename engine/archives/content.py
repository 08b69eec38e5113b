"""Content by digest: what lies under a digest must have it, and must be of use."""

from __future__ import annotations

from collections.abc import Collection

from engine.archives import layout
from engine.archives.receive import Received

#: Folders of the payload whose files lie under their digest, as ``<digest>`` or ``<digest>/<file name>``.
BY_DIGEST = (layout.BLOBS, layout.WHEELS, layout.PACKAGES, layout.IMAGE_BLOBS)


def check_digests(received: Received, folder: str) -> None:
    """VerificationFailed names the first file that is not what it is called, or lies there under a second name."""
    seen: set[str] = set()
    for path, file in received.payload(folder).items():
        digest = path.partition("/")[0]
        if digest != file.digest:
            raise received.refused(f"{layout.PAYLOAD}/{folder}/{path}", "is not what its name says")
        if digest in seen:
            raise received.refused(f"{layout.PAYLOAD}/{folder}/{path}", "is there under another name already")
        seen.add(digest)


def check_use(received: Received, folder: str, wanted: Collection[str]) -> None:
    """A folder of the payload must hold these paths, all of them and no other."""
    check_strays(received, folder, wanted)
    check_there(received, folder, wanted)


def check_strays(received: Received, folder: str, wanted: Collection[str]) -> None:
    """A folder of the payload may hold these paths, and no other."""
    if stray := sorted(received.payload(folder).keys() - set(wanted)):
        raise received.refused(f"{layout.PAYLOAD}/{folder}/{stray[0]}", "belongs to no run of the archive")


def check_there(received: Received, folder: str, wanted: Collection[str]) -> None:
    """A folder of the payload must hold these paths."""
    if lacking := sorted(set(wanted) - received.payload(folder).keys()):
        raise received.refused(f"{layout.PAYLOAD}/{folder}/{lacking[0]}", "is missing, and a run needs it")
