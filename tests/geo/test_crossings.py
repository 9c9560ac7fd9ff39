"""Entering and leaving."""

import itertools
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.crossings import (
    NEVER_SEEN,
    OUTSIDE,
    Crossing,
    Event,
    Observation,
    Rules,
    Standing,
    close,
    follow,
    observe,
    rules_of,
    step,
)
from geo.fences import FenceIndex
from geo.fixes import Fix
from geo.geojson import parse_shape

RULES = Rules(fence_radius_m=100, buffer_m=20)
CAFE = parse_shape({"type": "Point", "coordinates": [13.405, 52.52], "radius_m": 100})
METRE_DEG = 1 / 111_270


def inside(t_s, acc_m=10.0, depth_m=50.0):
    return Observation(t_s * 1_000, acc_m, True, 0.0, depth_m)


def outside(t_s, outside_m=200.0, acc_m=10.0):
    return Observation(t_s * 1_000, acc_m, False, outside_m, 0.0)


def run(*observations, standing=OUTSIDE, rules=RULES):
    """Step through; return the events with their times in seconds, and the last standing."""
    events = []
    for seen in observations:
        standing, crossing = step(standing, seen, rules)
        if crossing is not None:
            events.append((crossing.event.value, crossing.at_ms / 1_000))
    return events, standing


def test_two_agreeing_fixes_enter_and_two_clear_of_the_buffer_exit():
    events, standing = run(outside(0), inside(1), inside(2), inside(3), outside(4), outside(5))
    assert events == [("enter", 2), ("exit", 5)]
    assert standing.is_idle


def test_one_glitch_either_way_is_no_crossing():
    assert run(outside(0), inside(1), outside(2), inside(3), outside(4))[0] == []
    assert run(inside(1), inside(2), outside(3), inside(4), outside(5), inside(6))[0] == [("enter", 2)]


@pytest.mark.parametrize("confirm_fixes", [1, 2, 3, 10])
def test_a_fence_says_how_many_fixes_must_agree(confirm_fixes):
    rules = Rules(fence_radius_m=100, buffer_m=20, confirm_fixes=confirm_fixes)
    fixes = [*(inside(t) for t in range(1, 11)), *(outside(t) for t in range(11, 21))]
    assert run(*fixes, rules=rules)[0] == [("enter", confirm_fixes), ("exit", 10 + confirm_fixes)]


def test_the_first_fix_ever_inside_is_inside_and_not_enter():
    events, standing = run(
        inside(1), inside(2), outside(3), outside(4), inside(5), inside(6), standing=NEVER_SEEN
    )
    assert events == [("inside", 1), ("exit", 4), ("enter", 6)]
    assert standing.is_inside
    assert run(outside(1), inside(2), inside(3), standing=NEVER_SEEN)[0] == [("enter", 3)]


def test_a_vague_first_fix_inside_leaves_open_whether_it_was_the_first():
    assert run(inside(1, acc_m=500), inside(2), standing=NEVER_SEEN)[0] == [("inside", 2)]
    assert run(inside(1, acc_m=500), outside(2), inside(3), standing=NEVER_SEEN)[0] == []


def test_an_accuracy_radius_beyond_the_fence_never_enters():
    assert run(*(inside(t, acc_m=101) for t in range(1, 9)))[0] == []
    assert run(inside(1), inside(2, acc_m=101), inside(3), inside(4))[0] == [("enter", 4)]
    assert run(inside(1, acc_m=100), inside(2, acc_m=100))[0] == [("enter", 2)]


def test_within_the_buffer_or_the_accuracy_nobody_has_left():
    start = (inside(1), inside(2))
    assert run(*start, *(outside(t, outside_m=20) for t in range(3, 9)))[0] == [("enter", 2)]
    assert run(*start, *(outside(t, outside_m=300, acc_m=280) for t in range(3, 9)))[0] == [("enter", 2)]
    assert run(*start, outside(3, 31), outside(4, 25), outside(5, 31), outside(6, 31))[0][-1] == ("exit", 6)


def test_an_exit_says_since_when_and_how_long():
    standing, _ = step(OUTSIDE, inside(10), RULES)
    standing, enter = step(standing, inside(20), RULES)
    standing, _ = step(standing, outside(320), RULES)
    standing, leave = step(standing, outside(330), RULES)
    assert (enter.entered_at_ms, enter.dwell_s) == (enter.at_ms, None)
    assert (leave.entered_at_ms, leave.dwell_s, leave.reason) == (enter.at_ms, 310.0, None)


def test_confidence_grows_with_the_margin_and_falls_with_the_error():
    def entering(depth_m, acc_m):
        standing, _ = step(OUTSIDE, inside(1, acc_m, depth_m), RULES)
        return step(standing, inside(2, acc_m, depth_m), RULES)[1].confidence

    assert entering(0, 10) == 0.5
    assert 0.5 < entering(5, 10) < entering(20, 10) <= 1.0
    assert entering(20, 80) < entering(20, 10)


def test_a_late_or_repeated_observation_changes_nothing():
    _, standing = run(inside(1), inside(5))
    for late in (outside(5), outside(3), inside(5)):
        assert step(standing, late, RULES) == (standing, None)


def test_closing_gives_one_exit_to_who_is_inside_and_none_to_others():
    _, standing = run(inside(1), inside(2))
    after, crossing = close(standing, 62_000, "removed")
    assert crossing == Crossing(Event.EXIT, 62_000, 2_000, 1.0, dwell_s=60.0, reason="removed")
    assert close(after, 63_000, "removed")[1] is None
    assert close(NEVER_SEEN, 63_000, "removed")[1] is None
    assert close(standing, 0, "expired")[1].dwell_s == 0


def test_a_fence_derives_its_rules_from_its_size():
    assert rules_of(CAFE).buffer_m == 20
    assert rules_of(CAFE, confirm_fixes=3).confirm_fixes == 3
    large = parse_shape({"type": "Point", "coordinates": [13.405, 52.52], "radius_m": 5_000})
    assert rules_of(large).buffer_m == pytest.approx(500)
    assert rules_of(large).fence_radius_m == pytest.approx(5_000)


OBSERVATIONS = st.lists(
    st.tuples(st.booleans(), st.floats(0, 300), st.floats(1, 200)).map(
        lambda told: Observation(
            0, told[2], told[0], 0.0 if told[0] else told[1], told[1] if told[0] else 0.0
        )
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(OBSERVATIONS, st.sampled_from([NEVER_SEEN, OUTSIDE]), st.integers(1, 4))
def test_entries_and_exits_alternate_and_events_survive_a_snapshot(observations, standing, confirm_fixes):
    rules = Rules(fence_radius_m=100, buffer_m=20, confirm_fixes=confirm_fixes)
    restored, events = standing, []
    for number, seen in enumerate(observations):
        at = msgspec.structs.replace(seen, t_ms=number * 1_000)
        standing, crossing = step(standing, at, rules)
        snapshot = msgspec.json.encode(restored)
        restored, again = step(msgspec.json.decode(snapshot, type=Standing), at, rules)
        assert (restored, again) == (standing, crossing)
        if crossing is not None:
            events.append(crossing)
            assert 0.5 <= crossing.confidence <= 1.0
            assert crossing.entered_at_ms <= crossing.at_ms == at.t_ms
    kinds = [crossing.event for crossing in events]
    assert all((a is Event.EXIT) != (b is Event.EXIT) for a, b in itertools.pairwise(kinds))
    assert not kinds or kinds[0] is not Event.EXIT
    assert standing.is_inside == bool(kinds and kinds[-1] is not Event.EXIT)
    assert Event.INSIDE not in kinds[1:]


def fix_at(t_s, east_m, acc_m=10.0):
    lon = 13.405 + east_m * METRE_DEG / np.cos(np.radians(52.52))
    return Fix(lat=52.52, lon=float(lon), acc_m=acc_m, t_ms=t_s * 1_000, seq=t_s)


def test_an_observation_measures_the_fix_against_the_edge():
    deep, away = observe(CAFE, fix_at(1, 30), inside=True), observe(CAFE, fix_at(1, 150), inside=False)
    assert (deep.inside, deep.outside_m) == (True, 0)
    assert deep.depth_m == pytest.approx(70, abs=0.5)
    assert (away.inside, away.depth_m) == (False, 0)
    assert away.outside_m == pytest.approx(50, abs=0.5)


def walked(index, fixes, standings=None, first_ever=True):
    """Follow one person; return (second, fence, event) and the standings."""
    rules = {fence_id: rules_of(shape) for fence_id, shape in zip(index.ids, index.shapes, strict=True)}
    standings, told = standings or {}, []
    for fix in fixes:
        _, hits = index.hits(np.array([fix.lat]), np.array([fix.lon]))
        covering = {index.ids[hit] for hit in hits}
        standings, crossings = follow(standings, fix, covering, index, rules, first_ever=first_ever)
        told += [(fix.t_ms // 1_000, fence_id, crossing.event.value) for fence_id, crossing in crossings]
        first_ever = False
    return told, standings


def cafes():
    east = [fix_at(0, metres) for metres in (0, 400)]
    return FenceIndex(
        (name, parse_shape({"type": "Point", "coordinates": [fix.lon, fix.lat], "radius_m": 100}))
        for name, fix in zip(("a", "b"), east, strict=True)
    )


def test_a_walk_through_two_fences_tells_the_four_crossings_and_leaves_nothing_behind():
    walk = [fix_at(second, -305 + 10 * second) for second in range(101)]
    told, standings = walked(cafes(), walk)
    # Out is beyond 100 m, 20 m of buffer and 10 m of accuracy; the second fix decides.
    assert told == [(22, "a", "enter"), (45, "a", "exit"), (62, "b", "enter"), (85, "b", "exit")]
    assert standings == {}


def test_who_starts_inside_is_told_inside():
    told, standings = walked(cafes(), [fix_at(1, 0), fix_at(2, 1)])
    assert told == [(1, "a", "inside")]
    assert list(standings) == ["a"]


def test_jumping_from_one_fence_to_the_other_exits_before_it_enters():
    told, _ = walked(cafes(), [fix_at(t, 0 if t < 3 else 400) for t in range(1, 6)])
    assert told == [(1, "a", "inside"), (4, "a", "exit"), (4, "b", "enter")]


def test_a_removed_fence_keeps_its_standing_until_it_is_closed():
    _, standings = walked(cafes(), [fix_at(1, 0)])
    told, kept = walked(FenceIndex([]), [fix_at(2, 400)], standings, first_ever=False)
    assert told == []
    assert kept == standings


def test_a_person_at_rest_near_an_edge_seldom_crosses_it():
    """GEO's figure: one fix each 10 s with glitches; two agreeing fixes give under two crossings an hour."""
    chance = random.Random(11)
    standing, crossings, naive, was_inside = OUTSIDE, 0, 0, False
    rules = rules_of(CAFE)
    hours = 40
    for second in range(0, hours * 3_600, 10):
        spread_m = 80.0 if chance.random() < 0.04 else 8.0
        fix = fix_at(second, 85 + chance.gauss(0, spread_m))
        now_inside = CAFE.covers(fix.lat, fix.lon)
        naive += now_inside != was_inside
        was_inside = now_inside
        standing, crossing = step(standing, observe(CAFE, fix, inside=now_inside), rules)
        crossings += crossing is not None
    assert crossings / hours < 1
    assert naive / hours > 20
