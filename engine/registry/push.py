"""Content and manifests into a repository: what is there already is not sent, and the name comes last."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from engine.digests import sha256_bytes
from engine.errors import EnvironmentFailed
from engine.registry import artifact
from engine.registry.client import INDEX, Client
from engine.registry.parallel import each
from engine.registry.upload import Content, upload


def send(client: Client, contents: Iterable[Content], advance: Callable[[int], None]) -> int:
    """Upload what the repository lacks; the bytes of what it had."""
    wanted = {item.digest: item for item in contents}

    def bring(item: Content, advance: Callable[[int], None]) -> int:
        if client.has_blob(item.digest):
            advance(item.size)
            return item.size
        upload(client, item, advance)
        return 0

    return sum(each(bring, list(wanted.values()), advance))


def refer(client: Client, run: bytes) -> bool:
    """Store a run's manifest, not yet under a name, and see that it is among those that refer to its image.

    Where the registry does not keep that list itself, it is an index under a tag (OCI's fallback), in which two pushes
    at once can lose an entry: so it is looked at again. False when the registry wants none of it.
    """
    digest = sha256_bytes(run)
    listed = client.put_manifest(digest, run)
    document = json.loads(run)
    if listed or "subject" not in document:
        return True
    tag = document["subject"]["digest"].replace(":", "-")
    try:
        for _ in range(3):
            there = client.manifest(tag, accept=INDEX)
            index = artifact.with_referrer(there, digest, len(run), document["annotations"])
            if index is None:
                return True
            client.put_manifest(tag, index, INDEX)
    except (EnvironmentFailed, ValueError):  # tags that cannot be moved, or something else under that one
        return False
    return True
