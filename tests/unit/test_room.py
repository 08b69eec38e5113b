"""Which machine a run goes to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.pipeline.room import Room, find_place

BIG, SMALL = Room("big", 4, 4), Room("small", 1, 1)


@pytest.mark.parametrize(
    ("gpus", "running", "place"),
    [
        ("1", [], "big"),
        ("1", ["1", "1", "1"], "big"),
        ("1", ["1", "1", "1", "1"], "small"),
        ("1", ["all"], "small"),
        ("2", ["1", "1"], "big"),
        ("2", ["2", "1"], None),  # the small one would refuse it
        ("0,1", ["2,3"], "big"),
        ("all", ["1"], "small"),
        ("9", [], "big"),
        ("", ["1", "all"], "big"),  # GPUs take no processors from one that asks for none
        ("", ["", "", "", ""], "small"),
        ("", [""] * 9, "small"),
    ],
)
def test_the_roomiest(gpus: str, running: list[str], place: str | None) -> None:
    assert find_place(gpus, [BIG, SMALL], [(other, "big") for other in running]) == place


def test_full_and_half_taken() -> None:
    assert find_place("1", [SMALL], [("1", "small")]) is None
    assert find_place("1", [Room("taken", 4, 0), Room("free", 2, 2)], []) == "free"
    assert find_place("1", [Room("taken", 4, 0)], []) == "taken"  # where it waits for its turn
    assert find_place("1", [Room("first", 2, 2), Room("second", 2, 2)], []) == "first"


@given(
    st.lists(st.integers(1, 8), min_size=1, max_size=4),
    st.lists(st.sampled_from(["", "1", "2", "0,1,2", "all", "64"]), max_size=30),
)
def test_no_machine_gets_more_than_it_has_and_every_job_its_turn(places: list[int], wanted: list[str]) -> None:
    rooms = [Room(f"m{index}", count, count) for index, count in enumerate(places)]
    size = {room.host: room.places for room in rooms}
    running: list[tuple[str, str]] = []
    for gpus in wanted:
        while (place := find_place(gpus, rooms, running)) is None:
            running.pop(0)
        running.append((gpus, place))
        there = [other for other, host in running if other and host == place]
        count = {"1": 1, "2": 2, "0,1,2": 3, "all": 64, "64": 64}
        assert sum(min(size[place], count[other]) for other in there) <= size[place]
