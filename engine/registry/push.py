"""Content and manifests into a repository: what is there already is not sent, and the name comes last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from engine.digests import sha256_bytes
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


def refer(client: Client, run: bytes, subject: str, annotations: Mapping[str, str]) -> bool:
    """Enter a run into the list of what refers to its image, where the registry does not keep it (OCI's fallback).

    Whether it is in the list. Two pushes at once can lose an entry there, so it is looked at again.
    """
    digest, tag = sha256_bytes(run), subject.replace(":", "-")
    for _ in range(3):
        try:
            index = artifact.with_referrer(client.manifest(tag, accept=INDEX), digest, len(run), annotations)
        except ValueError:
            return False
        if index is None:
            return True
        client.put_manifest(tag, index, INDEX)
    return artifact.with_referrer(client.manifest(tag, accept=INDEX), digest, len(run), annotations) is None
