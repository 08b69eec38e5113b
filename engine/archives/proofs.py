"""The form of an inclusion proof that needs nothing beside it (C2SP tlog-proof v1)."""

from __future__ import annotations

import base64
from collections.abc import Sequence

HEADER = "c2sp.org/tlog-proof@v1"


def told_missing(run: str) -> str:
    """What archive.json calls the proof of a run that has none."""
    return f"the ledger's proof of run {run}"


def proof(index: int, path: Sequence[bytes], checkpoint: bytes) -> bytes:
    """That the entry ``index`` is in the tree of a checkpoint."""
    lines = [HEADER, f"index {index}", *(base64.b64encode(step).decode() for step in path), ""]
    return "".join(f"{line}\n" for line in lines).encode() + checkpoint
