"""Which distributions share a layer: the documented rule behind an image's layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Docker refuses a 126th layer; containers with fewer have room for what an engine or a user adds.
MOST_LAYERS = 100
#: Shared layers: two for each doubling of size from 16 KiB to 16 MiB.
_SMALLEST, _LARGEST = 1 << 14, 1 << 24
SHARED = 2 * (_LARGEST.bit_length() - _SMALLEST.bit_length())


@dataclass(frozen=True)
class Member:
    """A distribution to place: its normalised name and the size of its own layer tar in bytes."""

    name: str
    size: int


def group(members: Iterable[Member], below: int) -> tuple[tuple[Member, ...], ...]:
    """Place distributions into at most ``MOST_LAYERS - below`` layers, in the order in which they are stacked.

    Canonical order is largest first, then by name. The largest ``MOST_LAYERS - below - SHARED``
    distributions get a layer each; the others share layers by their size: two classes for each
    doubling, stacked in the same order, every distribution of a class in the same layer.

    An engine knows a layer by everything below it, so a change moves its own layer and all above. By
    this rule those hold only distributions that are smaller, or share its class (less than 1.5 times
    its size): a changed small requirement moves the small ones alone. The rule sees nothing but names
    and sizes, so that the same distributions give the same layers everywhere.

    Raises ValueError when ``below`` leaves no room for the shared layers.
    """
    ordered = sorted(members, key=lambda member: (-member.size, member.name))
    room = MOST_LAYERS - below
    if room < SHARED:
        raise ValueError(f"{below} layers below leave no room")
    alone = room - SHARED
    shared: dict[int, list[Member]] = {}
    for member in ordered[alone:]:
        shared.setdefault(size_class(member.size), []).append(member)
    rest = (tuple(shared[number]) for number in sorted(shared, reverse=True))
    return (*((member,) for member in ordered[:alone]), *rest)


def size_class(size: int) -> int:
    """0 to SHARED - 1: the position of ``size`` between 16 KiB and 16 MiB, in halves of a doubling."""
    size = min(max(size, _SMALLEST), _LARGEST - 1)
    doublings = size.bit_length() - 1
    half = size >> (doublings - 1) & 1
    return 2 * (doublings - (_SMALLEST.bit_length() - 1)) + half
