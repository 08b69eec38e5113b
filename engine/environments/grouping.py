"""Which distributions share a layer: the documented rule behind an image's layers."""

from __future__ import annotations

from collections.abc import Iterable

from engine.software import Wheel

#: Docker refuses a 126th layer; containers with fewer have room for what an engine or a user adds.
MOST_LAYERS = 100
#: From this size of its wheel on, a distribution has a layer to itself while there are enough of them.
_LARGE = 1 << 22
#: Shared layers are for wheels below these sizes, and one is for all larger ones.
_BOUNDS = (1 << 16, 1 << 20, 1 << 22, 1 << 24)
SHARED = len(_BOUNDS) + 1


def group(wheels: Iterable[Wheel], below: int) -> tuple[tuple[Wheel, ...], ...]:
    """Place wheels into at most ``MOST_LAYERS - below`` layers, in the order in which they are stacked.

    Canonical order is by size of the wheel file, largest first, then by name. The first
    ``MOST_LAYERS - below - SHARED`` of at least 4 MiB get a layer each; the others share one layer with those
    of their size class, stacked in the same order.

    An engine knows a layer by everything below it, so a change moves its own layer and all above. By
    this rule those hold smaller distributions and those of its own class: a changed small requirement
    moves the small ones alone. Small ones share layers even where there are few, because a layer costs an
    engine as much time as ten megabytes. The rule sees nothing but names and sizes of wheels, so that
    the same ones give the same layers everywhere, and that it can be told before they are packed.

    Raises ValueError when ``below`` leaves no room for the shared layers.
    """
    ordered = sorted(wheels, key=lambda wheel: (-wheel.size, wheel.name))
    room = MOST_LAYERS - below - SHARED
    if room < 0:
        raise ValueError(f"{below} layers below leave no room")
    alone = [wheel for wheel in ordered[:room] if wheel.size >= _LARGE]
    shared: dict[int, list[Wheel]] = {}
    for wheel in ordered[len(alone) :]:
        shared.setdefault(size_class(wheel.size), []).append(wheel)
    return (*((wheel,) for wheel in alone), *(tuple(shared[number]) for number in sorted(shared, reverse=True)))


def size_class(size: int) -> int:
    """0 to SHARED - 1, larger for larger wheels."""
    return sum(size >= bound for bound in _BOUNDS)
