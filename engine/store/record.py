"""The record and the snapshot as JSON, and back from bytes that may have been damaged or forged."""

from __future__ import annotations

import ast
import json
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import VerificationFailed
from engine.files import read_regular
from engine.model import FlagValue, Json, Record, Source, json_number
from engine.store.migration import SCHEMA, lift, schema_of

if TYPE_CHECKING:
    from cattrs import Converter

RUN_ID = re.compile(r"[0-9a-f]{16}")
_MAX_BYTES = 256 << 20
_T = TypeVar("_T")


def new_id() -> str:
    """A run's own id: 16 random hex digits, so that no two machines ever give the same one."""
    return secrets.token_hex(8)


def now() -> str:
    """This moment in UTC, ISO 8601 with ``Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def record_to_json(record: Record) -> Json:
    """run.json: every field of the record; non-finite scalars are strings (see ``json_number``)."""
    document: Json = _converter().unstructure(record)
    document["scalars"] = {name: json_number(value) for name, value in record.scalars.items()}
    if not record.files:  # the manifest has taken its place
        del document["files"]
    return document


def source_to_json(source: Source) -> Json:
    """source.json: the tree of the snapshot."""
    document: Json = _converter().unstructure(source)
    return document


def read_record(path: Path) -> Record:
    """A run.json of any schema. VerificationFailed with one sentence when it is damaged or from a newer version."""
    return _structured(path, read_record_json(path), Record, "record")


def read_record_json(path: Path) -> Json:
    """The same as JSON of the newest schema, its fields unchecked."""
    document = read_json(path, "record")
    try:
        if schema_of(document) <= SCHEMA:
            return lift(document)
    except ValueError as error:
        raise VerificationFailed(f"The record {path} is damaged: {_first_line(error)}.", _HINT) from None
    raise VerificationFailed(
        f"The record {path} was written by a newer nbseal (schema {schema_of(document)!r:.20}).",
        "Upgrade nbseal to read it.",
    )


def read_source_file(path: Path) -> Source:
    """A source.json. VerificationFailed when it is damaged; ``check_source`` judges what it says."""
    return _structured(path, read_json(path, "source snapshot"), Source, "source snapshot")


def read_json(path: Path, what: str) -> Json:
    """A JSON object from a file of the home; VerificationFailed when it is none."""
    try:
        document = json.loads(read_regular(path, _MAX_BYTES))
    except FileNotFoundError:
        raise VerificationFailed(f"The {what} of a run is missing: {path}.", _HINT) from None
    except (OSError, ValueError, RecursionError) as error:
        raise VerificationFailed(f"The {what} {path} is damaged: {_first_line(error)}.", _HINT) from error
    if not isinstance(document, dict):
        raise VerificationFailed(f"The {what} {path} is damaged: it is not a JSON object.", _HINT)
    return document


def plain_flags(flags: Sequence[FlagValue]) -> Json:
    """Flags for reading: each value as JSON where JSON can hold it, else its Python literal as text."""
    return {flag.name: _plain(flag.literal) for flag in flags}


def _plain(literal: str) -> Any:
    try:
        value = ast.literal_eval(literal)
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return literal
    return value


_HINT = "Restore the run from a backup, or remove its folder."


def _structured(path: Path, document: Json, kind: type[_T], what: str) -> _T:
    try:
        return _converter().structure(document, kind)
    except Exception as error:  # cattrs raises whatever the types' constructors raise
        raise VerificationFailed(f"The {what} {path} is damaged: {_first_line(error)}.", _HINT) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")


@cache
def _converter() -> Converter:
    # 60 ms of import that `nbseal runs` does not need.
    from cattrs import Converter

    converter = Converter(detailed_validation=False)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook(float, _number)
    return converter


def _exactly(value: Any, kind: type) -> Any:
    # cattrs would convert: a forged 'id' that is a list would become a string.
    if type(value) is not kind:
        raise ValueError(f"{str(value)[:40]!r} is not of type {kind.__name__}")
    return value


def _number(value: Any, _: type) -> float:
    if type(value) in (int, float) or value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    raise ValueError(f"{str(value)[:40]!r} is not a number")
