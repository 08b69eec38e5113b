"""Which wheel files fit a base, and which of them fits best (platform compatibility tags, PEP 425 and 600)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from engine.environments.lockfile import minor
from engine.software import Base

if TYPE_CHECKING:
    from packaging.tags import Tag

_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class WheelName:
    """What a wheel's file name says (binary distribution format): normalised name, version, how well it fits."""

    name: str
    version: str
    rank: tuple[int, tuple[int, str], str]  # sorts the best first, and the same way everywhere


def platforms(glibc: str) -> tuple[str, ...]:
    """Platform tags of x86-64 Linux with this glibc, best first; manylinux_2_5 is the oldest there is."""
    names: list[str] = []
    for number in range(int(glibc.split(".")[1]), 4, -1):
        names.append(f"manylinux_2_{number}_x86_64")
        if number in _OLD_NAMES:
            names.append(f"{_OLD_NAMES[number]}_x86_64")
    return (*names, "linux_x86_64")


@cache
def tags(python: str, glibc: str) -> dict[Tag, int]:
    """Every tag that CPython ``python`` on such a Linux accepts, with its rank; 0 is the best."""
    from packaging.tags import compatible_tags, cpython_tags

    major, second = (int(part) for part in minor(python).split("."))
    interpreter, names = f"cp{major}{second}", platforms(glibc)
    every = (
        *cpython_tags((major, second), [interpreter], names),
        *compatible_tags((major, second), interpreter, names),
    )
    return {tag: rank for rank, tag in reversed(list(enumerate(every)))}


def read_wheel_name(filename: str, base: Base) -> WheelName | None:
    """What ``filename`` says; None when it is not a wheel's name or does not fit ``base``."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    if "/" in filename or len(filename) > 255:
        return None
    try:
        name, version, build, own = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return None
    accepted = tags(base.python, base.glibc)
    ranks = [accepted[tag] for tag in own if tag in accepted]
    if not ranks:
        return None
    number, text = (build[0], build[1]) if build else (-1, "")
    return WheelName(str(name), str(version), (min(ranks), (-number, text), filename))


def best(filenames: Iterable[str], base: Base) -> str | None:
    """The wheel that pip would take in ``base``: best tag, then highest build number, then name."""
    fitting: Sequence[tuple[WheelName, str]] = [
        (wheel, filename) for filename in filenames if (wheel := read_wheel_name(filename, base))
    ]
    return min(fitting, key=lambda item: item[0].rank)[1] if fitting else None
