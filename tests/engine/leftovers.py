"""What is left in an engine that others build with at the same time: other tests, other checkouts, its owner."""

from __future__ import annotations

import time

from engine.daemon import Engine

#: Seconds within which whatever others hold for a while is gone.
_PATIENCE = 120.0


def left_tags(engine: Engine, *kinds: str) -> set[str]:
    """Tags of these kinds that stay. Those of builds under way go by themselves; those that were left behind do not."""
    left = _tags(engine, kinds)
    end = time.monotonic() + _PATIENCE
    while left and time.monotonic() < end:
        time.sleep(0.2)
        left &= _tags(engine, kinds)
    return left


def _tags(engine: Engine, kinds: tuple[str, ...]) -> set[str]:
    prefixes = tuple(f"nbseal/{kind}:" for kind in kinds)
    listed = engine.client.api.images()
    return {tag for image in listed for tag in image["RepoTags"] or () if tag.startswith(prefixes)}
