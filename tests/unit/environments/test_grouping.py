"""Which distributions share a layer."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.environments.grouping import MOST_LAYERS, SHARED, group, size_class
from engine.software import Wheel

BELOW = 5
sizes = st.one_of(st.integers(1_000, 3_000_000), st.integers(1, 1 << 40))


def wheel(name: str, size: int) -> Wheel:
    return Wheel(name, "1.0", f"{name}-1.0-py3-none-any.whl", "", size)


stacks = st.lists(sizes, max_size=260).map(
    lambda values: [wheel(f"dist-{number}", size) for number, size in enumerate(values)]
)


@given(stacks)
def test_every_distribution_is_placed_once_in_at_most_a_hundred_layers(wheels: list[Wheel]) -> None:
    groups = group(wheels, BELOW)
    assert len(groups) + BELOW <= MOST_LAYERS
    assert sorted((one for shared in groups for one in shared), key=str) == sorted(wheels, key=str)
    assert all(groups)


@given(stacks, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(wheels: list[Wheel], chance: random.Random) -> None:
    shuffled = wheels[:]
    chance.shuffle(shuffled)
    assert group(shuffled, BELOW) == group(wheels, BELOW)


@given(stacks)
def test_all_in_all_the_largest_come_first(wheels: list[Wheel]) -> None:
    flat = [one for shared in group(wheels, BELOW) for one in shared]
    assert flat == sorted(wheels, key=lambda one: (-one.size, one.name))


@given(stacks, sizes)
def test_one_more_distribution_changes_at_most_two_layers(wheels: list[Wheel], size: int) -> None:
    before, after = group(wheels, BELOW), group([*wheels, wheel("added", size)], BELOW)
    assert len(set(after) - set(before)) <= 2


@given(stacks, sizes)
def test_what_is_clearly_larger_than_the_added_one_keeps_its_layers(wheels: list[Wheel], size: int) -> None:
    before, after = group(wheels, BELOW), group([*wheels, wheel("added", size)], BELOW)
    same = next((n for n, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), len(before))
    moved = [one for shared in before[same:] for one in shared]
    assert all(size_class(one.size) <= size_class(size) for one in moved)


def test_large_ones_are_alone_and_small_ones_together() -> None:
    large = [wheel(f"large-{number}", 10_000_000 + number) for number in range(5)]
    small = [wheel(f"small-{number}", 20_000 + number) for number in range(5)]
    groups = group([*small, *large], BELOW)
    assert [len(shared) for shared in groups] == [1, 1, 1, 1, 1, 5]


def test_more_large_ones_than_layers_share_too() -> None:
    wheels = [wheel(f"large-{number}", (6 << 20) + number) for number in range(200)]
    groups = group(wheels, BELOW)
    alone = MOST_LAYERS - BELOW - SHARED
    assert [len(shared) for shared in groups] == [1] * alone + [200 - alone]


def test_no_room_is_an_error() -> None:
    with pytest.raises(ValueError, match="leave no room"):
        group([], MOST_LAYERS)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_size_classes_follow_size(one: int, other: int) -> None:
    assert 0 <= size_class(one) < SHARED
    if one <= other:
        assert size_class(one) <= size_class(other)
