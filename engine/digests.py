"""Digests and canonical JSON: the only place that says how bytes become an identity."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

PREFIX = "sha256:"


def sha256_bytes(data: bytes) -> str:
    """``sha256:`` and 64 hex digits of ``data``."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """``sha256:`` and 64 hex digits of a regular file's bytes."""
    with path.open("rb") as file:
        return PREFIX + hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """RFC 8785 (JCS) bytes of a JSON value; integers beyond 2**53 and NaN are refused by the RFC."""
    import rfc8785

    return rfc8785.dumps(value)


def digest_of(value: Any) -> str:
    """``sha256:`` digest of a value's canonical JSON."""
    return sha256_bytes(canonical_json(value))


def bare(digest: str) -> str:
    """The 64 hex digits of a digest, for file names and for what a user types."""
    return digest.removeprefix(PREFIX)
