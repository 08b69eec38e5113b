"""Records of older schemas, lifted one step at a time to the newest; what lies on the disk stays as it was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.model import Json

#: The newest run.json that this version reads, and the one that it writes.
SCHEMA = 2


def schema_of(document: Json) -> int:
    """The schema that a record says it has; ValueError when it is no number that ever was one."""
    schema: Any = document.get("schema")
    if type(schema) is not int or schema < 1:
        raise ValueError(f"{str(schema)[:20]!r} is no schema")
    return schema


def lift(document: Json) -> Json:
    """A record of any schema up to the newest, as one of the newest. ValueError when it has none."""
    for schema in range(schema_of(document), SCHEMA):
        document = {**_STEPS[schema](document), "schema": schema + 1}
    return document


def _name_the_parent(document: Json) -> Json:
    """1 to 2: a record names the run from whose spec its own was derived, and what for. Nothing was derived before."""
    return {"parent": "", "experiment": "", **document}


#: From which schema, and how.
_STEPS: dict[int, Callable[[Json], Json]] = {1: _name_the_parent}
