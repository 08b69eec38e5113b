"""What is not the same of two runs: names with what each side has for them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from engine.model import Record, Source

#: Longer files are named and not shown: what difflib needs grows with the square of their lines.
_MAX_LINES = 2000
_MAX_TEXT = 256 << 10


@dataclass(frozen=True)
class Change:
    """One name; None on the side that does not have it."""

    name: str
    old: str | None
    new: str | None


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    """By name, those whose values differ."""
    names = sorted(old.keys() | new.keys())
    return tuple(Change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name))


def run_changes(old: Record, old_source: Source, new: Record, new_source: Source) -> Mapping[str, tuple[Change, ...]]:
    """By part of a run, in the order in which one thing leads to the next; parts in which nothing changed are empty."""
    before, after = _parts(old, old_source), _parts(new, new_source)
    return {part: changes(before[part], after[part]) for part in before}


def _parts(record: Record, source: Source) -> dict[str, dict[str, str]]:
    spec = record.spec
    # The source and the notebook are compared by what is in them.
    names = ("image", "platform", "directory", "network", "gpus")
    setting = {name: str(spec[name]) for name in names if name in spec} | {"base": record.base}
    setting |= {f"${name}": str(value) for name, value in dict(spec.get("environment", {})).items()}
    return {
        "setting": setting,
        "flags": {flag.name: flag.literal for flag in record.flags},
        "lock": {wheel.name: f"{wheel.version} {wheel.sha256}" for wheel in record.wheels},
        "source": {
            item.path: f"{item.kind} {item.target}" if item.kind == "link" else f"{item.kind} {item.digest}"
            for item in source.files
        },
        "inputs": {item.target: item.digest for item in record.inputs},
        "outcome": {"status": record.status},
        "scalars": {name: repr(value) for name, value in record.scalars.items()},
        "files": {item.path: f"{item.change} {item.sha256}" for item in record.outputs},
    }


def text_changes(old: bytes, new: bytes) -> str | None:
    """A unified diff of two small texts, without its header; None for other bytes."""
    if max(len(old), len(new)) > _MAX_TEXT or b"\0" in old + new:
        return None
    try:
        before, after = old.decode().splitlines(), new.decode().splitlines()
    except UnicodeDecodeError:
        return None
    if max(len(before), len(after)) > _MAX_LINES:
        return None
    return "\n".join(list(difflib.unified_diff(before, after, lineterm=""))[2:])
