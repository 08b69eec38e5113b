"""JSON out of an archive: bounded before it is parsed, since a small text can become a large tree."""

from __future__ import annotations

import json
from typing import Any

from engine.archives.receive import Received

#: Objects, lists and values of one document.
_MAX_VALUES = 4_000_000


def read_json(received: Received, path: str) -> Any:
    """What a JSON file says. VerificationFailed when it is none, or would become too much."""
    data = received.read(path)
    check_json(received, path, data)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise received.refused(path, "is not JSON") from None


def check_json(received: Received, path: str, data: bytes) -> None:
    """VerificationFailed when parsing would need much more memory than the text has."""
    if data.count(b",") + data.count(b"{") + data.count(b"[") > _MAX_VALUES:
        raise received.refused(path, f"is JSON of more than {_MAX_VALUES:,} values")


def read_object(received: Received, path: str) -> dict[str, Any]:
    """The same for a JSON object."""
    document = read_json(received, path)
    if not isinstance(document, dict):
        raise received.refused(path, "is not a JSON object")
    return document
