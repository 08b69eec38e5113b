"""What ``fsck`` has to say."""

from __future__ import annotations

from dataclasses import dataclass


def counted(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``, ``2 entries``."""
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was left. ``where`` is "ledger", "run <id>", "blobs", ...; ``detail`` a sentence.

    ``what`` is one of changed, added, removed, reordered, unsigned, bad-signature, unknown-key, no-entry, unreadable.
    """

    where: str
    what: str
    detail: str


@dataclass(frozen=True)
class Report:
    """All findings, what was repaired because it is only a cache, and what was looked at."""

    runs: int
    entries: int
    files: int
    bytes: int
    checkpoint: str
    findings: tuple[Finding, ...]
    repairs: tuple[str, ...]
    notes: tuple[str, ...]
