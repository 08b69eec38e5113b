"""The origin of a base, read from its record and held against what the registry said of the image."""

from __future__ import annotations

import re
from typing import Any

from engine.digests import bare, sha256_bytes
from engine.environments.upstream import Upstream, read_upstream
from engine.environments.variables import kept_variables
from engine.errors import VerificationFailed
from engine.software import Base, Origin

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE = re.compile(r"[A-Za-z0-9.:\[\]-]{1,200}/[a-z0-9._/-]{1,255}@sha256:[0-9a-f]{64}")
_PATH = re.compile(r"(/[A-Za-z0-9_+@-][A-Za-z0-9._+@-]*){1,20}")
_FORGED = "Its record was damaged or forged."


def read_origin(item: Any) -> Origin | None:
    """An origin from its JSON; ValueError, KeyError or TypeError when a field is not of its form."""
    if item is None:
        return None
    own = item["environment"]
    if not isinstance(own, list) or not all(isinstance(name, str) for name in own) or kept_variables(own) != (*own,):
        raise ValueError("its variables are none")
    return Origin(
        reference=_matching(_REFERENCE, item["reference"]),
        manifest=_matching(_DIGEST, item["manifest"]),
        environment=(*own,),
        python=_matching(_PATH, item["python"]),
    )


def _matching(form: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"{str(value)[:60]!r} is not what it should be")
    return value


def check_upstream(base: Base, origin: Origin, index: bytes, manifest: bytes, config: bytes) -> Upstream:
    """The image of a base's origin; VerificationFailed unless these documents are its, and the base stands on it."""
    found = read_upstream(origin.reference, index, manifest, config)
    below = [layer.diff_id for layer in base.layers[: len(found.layers)]]
    if sha256_bytes(manifest) != origin.manifest or [layer.diff_id for layer in found.layers] != below:
        raise VerificationFailed(f"The base {bare(base.id)[:12]} does not stand on {origin.reference}.", _FORGED)
    if origin.environment != found.environment:
        raise VerificationFailed(
            f"The base {bare(base.id)[:12]} has other variables than {origin.reference}.",
            _FORGED,
        )
    return found
