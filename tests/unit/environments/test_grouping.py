"""Which distributions share a layer."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.environments.grouping import MOST_LAYERS, SHARED, Member, group, size_class

BELOW = 5
sizes = st.one_of(st.integers(10_000, 3_000_000), st.integers(1, 1 << 40))
stacks = st.lists(sizes, max_size=260).map(
    lambda values: [Member(f"dist-{number}", size) for number, size in enumerate(values)]
)


@given(stacks)
def test_every_distribution_is_placed_once_in_at_most_a_hundred_layers(members: list[Member]) -> None:
    groups = group(members, BELOW)
    assert len(groups) + BELOW <= MOST_LAYERS
    assert sorted((m for shared in groups for m in shared), key=str) == sorted(members, key=str)
    assert all(groups)


@given(stacks, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(members: list[Member], chance: random.Random) -> None:
    shuffled = members[:]
    chance.shuffle(shuffled)
    assert group(shuffled, BELOW) == group(members, BELOW)


@given(stacks)
def test_all_in_all_the_largest_come_first(members: list[Member]) -> None:
    flat = [member for shared in group(members, BELOW) for member in shared]
    assert flat == sorted(members, key=lambda member: (-member.size, member.name))


@given(stacks, sizes)
def test_one_more_distribution_changes_at_most_two_layers(members: list[Member], size: int) -> None:
    before, after = group(members, BELOW), group([*members, Member("added", size)], BELOW)
    assert len(set(after) - set(before)) <= 2


@given(stacks, sizes)
def test_what_is_clearly_larger_than_the_added_one_keeps_its_layers(members: list[Member], size: int) -> None:
    before, after = group(members, BELOW), group([*members, Member("added", size)], BELOW)
    same = next((n for n, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), len(before))
    moved = [member for shared in before[same:] for member in shared]
    beyond_the_classes = size >= 1 << 24
    assert all(member.size < 1.5 * max(size, 1 << 14) or beyond_the_classes for member in moved)


def test_few_distributions_have_a_layer_each() -> None:
    members = [Member(f"dist-{number}", 1000 * number) for number in range(MOST_LAYERS - BELOW - SHARED)]
    assert all(len(shared) == 1 for shared in group(members, BELOW))


def test_no_room_is_an_error() -> None:
    with pytest.raises(ValueError, match="leave no room"):
        group([], MOST_LAYERS)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_size_classes_follow_size(one: int, other: int) -> None:
    assert 0 <= size_class(one) < SHARED
    if one <= other:
        assert size_class(one) <= size_class(other)
