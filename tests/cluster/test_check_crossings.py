"""The history checker finds what a fence's crossings may not be (GEO-17, GEO-18, CHAT-19)."""

from collections.abc import Sequence

import pytest

from cluster.check import check
from cluster.history import AnyLine, Bound, Crossed, Members, Moved, Walked, entries


def stored(*events: str, user: str = "ann", fence: str = "park") -> list[AnyLine]:
    """A person's `fences` stream."""
    return [Crossed(user=user, offset=n, fence=fence, event=event) for n, event in enumerate(events, 1)]


def moved(*events: str, user: str = "ann") -> list[AnyLine]:
    """What a bound room's log holds."""
    return [Moved(ch="room:1", offset=n, user=user, event=event) for n, event in enumerate(events, 1)]


BOUND = Bound(fence="park", ch="room:1")
WALKED = Walked(user="ann", fence="park", events=["enter", "exit", "enter"])
IN, NOT_IN = Members(ch="room:1", users=["ann"]), Members(ch="room:1", users=[])
RIGHT: list[AnyLine] = [*stored("enter", "dwell", "exit", "enter"), *moved("join", "leave", "join")]


def kinds(*lines: AnyLine) -> list[str]:
    """Of the violations."""
    return [violation.kind for violation in check([], [entries("log", lines)]).violations]


def test_crossings_that_alternate_and_move_membership_once_each_are_right() -> None:
    verdict = check([entries("ann", [WALKED])], [entries("log", [BOUND, *RIGHT, IN])])
    assert verdict.faults == []
    assert verdict.crossings == 4


def test_a_first_fix_inside_begins_a_visit() -> None:
    assert kinds(BOUND, *stored("inside", "exit"), *moved("join", "leave"), NOT_IN) == []


@pytest.mark.parametrize(
    "events",
    [("enter", "enter"), ("exit",), ("enter", "exit", "exit"), ("enter", "dwell", "inside"), ("dwell",),
     ("enter", "exit", "inside"), ("enter", "left")],
)  # fmt: skip
def test_what_does_not_alternate_is_found(events: Sequence[str]) -> None:
    assert "crossing" in kinds(*stored(*events))


def test_a_gap_and_a_double_in_the_offsets_are_found() -> None:
    enter, leave = stored("enter", "exit")
    again = Crossed(user="ann", offset=2, fence="park", event="enter")
    assert kinds(leave) == ["crossing", "crossing"]
    assert kinds(enter, leave, again) == ["crossing"]


def test_two_people_and_two_fences_are_apart() -> None:
    in_cafe = Crossed(user="ann", offset=2, fence="cafe", event="enter")
    assert kinds(*stored("enter"), in_cafe, *stored("enter", user="bob")) == []


def test_a_walk_whose_crossing_is_lost_or_told_twice_is_found() -> None:
    assert kinds(WALKED, *stored("enter", "exit")) == ["uncrossed"]
    assert kinds(WALKED, *stored("enter", "exit", "enter", "exit")) == ["uncrossed"]
    assert kinds(WALKED) == ["uncrossed"]


@pytest.mark.parametrize(
    "events",
    [("join", "leave"), ("join", "leave", "join", "join"), ("join", "join", "leave"), (), ("join", "talk")],
)
def test_a_room_that_took_in_or_let_out_otherwise_than_its_fence_is_found(events: Sequence[str]) -> None:
    assert "membership" in kinds(BOUND, *stored("enter", "exit", "enter"), *moved(*events))


def test_somebody_who_came_into_a_bound_room_without_crossing_is_found() -> None:
    assert kinds(BOUND, *moved("join", user="bob")) == ["membership"]


def test_membership_at_the_end_is_that_of_the_last_crossing() -> None:
    assert kinds(BOUND, *RIGHT, NOT_IN) == ["membership"]
    left = [*stored("enter", "exit"), *moved("join", "leave")]
    assert kinds(BOUND, *left, NOT_IN) == []
    assert kinds(BOUND, *left, IN) == ["membership"]
