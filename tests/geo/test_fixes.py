"""Which fixes move a person."""

import itertools
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.distance import distance_m
from geo.fixes import FUTURE_MAX_MS, PAST_MAX_MS, Fix, Reason, Verdict, admit

NOW_MS = 1_760_000_000_000
METRE_DEG = 1 / 111_320


def fix(t_s=0.0, east_m=0.0, acc_m=10.0, **fields):
    t_ms = NOW_MS + round(t_s * 1_000)
    return Fix(**{"lat": 0.0, "lon": east_m * METRE_DEG, "acc_m": acc_m, "t_ms": t_ms, "seq": t_ms} | fields)


def feed(*fixes, now_ms=NOW_MS):
    """Admit fixes in turn; return the admissions."""
    admissions, last, held = [], None, None
    for each in fixes:
        admission = admit(each, last, held, now_ms)
        last, held = admission.last, admission.held
        admissions.append(admission)
    return admissions


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"lat": math.nan}, Reason.COORDINATES),
        ({"lon": math.inf}, Reason.COORDINATES),
        ({"lat": 90.5}, Reason.COORDINATES),
        ({"acc_m": 0.0}, Reason.ACCURACY),
        ({"acc_m": -3.0}, Reason.ACCURACY),
        ({"acc_m": 5_000.5}, Reason.ACCURACY),
        ({"acc_m": math.nan}, Reason.ACCURACY),
    ],
)
def test_a_malformed_fix_is_refused_and_changes_nothing(fields, reason):
    last = fix()
    admission = admit(fix(5, **fields), last, None, NOW_MS)
    assert (admission.verdict, admission.reason, admission.ok) == (Verdict.REFUSED, reason, False)
    assert (admission.accepted, admission.last, admission.held) == ((), last, None)


def test_the_first_fix_is_live_with_its_longitude_normalised():
    admission = admit(fix(lon=190.0, acc_m=5_000.0), None, None, NOW_MS)
    assert admission.verdict is Verdict.LIVE
    assert admission.ok
    assert admission.last.lon == -170.0
    assert admission.accepted == (admission.last,)


def test_an_unknown_speed_or_heading_is_dropped_and_a_turn_of_heading_removed():
    told = admit(fix(speed_mps=-1.0, heading_deg=-1.0), None, None, NOW_MS).fix
    assert (told.speed_mps, told.heading_deg) == (None, None)
    told = admit(fix(speed_mps=3.0, heading_deg=370.0), None, None, NOW_MS).fix
    assert (told.speed_mps, told.heading_deg) == (3.0, 10.0)
    assert admit(fix(speed_mps=math.nan, heading_deg=math.inf), None, None, NOW_MS).fix.speed_mps is None


def test_device_time_is_clamped_to_a_day_back_and_30_s_ahead():
    assert admit(fix(t_s=3_600), None, None, NOW_MS).fix.t_ms == NOW_MS + FUTURE_MAX_MS
    assert admit(fix(t_s=-90_000), None, None, NOW_MS).fix.t_ms == NOW_MS - PAST_MAX_MS
    assert admit(fix(t_s=-80_000), None, None, NOW_MS).fix.t_ms == NOW_MS - 80_000_000
    assert admit(fix(seq=1, t_ms=10**30), None, None, NOW_MS).fix.t_ms == NOW_MS + FUTURE_MAX_MS


def test_a_fix_not_newer_than_the_last_goes_to_history_only():
    first, late, same_time = feed(fix(0), fix(-5), fix(0, seq=7))
    for stale in (late, same_time):
        assert (stale.verdict, stale.reason, stale.ok) == (Verdict.HISTORY, Reason.STALE, False)
        assert stale.accepted == ()
        assert stale.last == first.last


def test_a_repeat_of_a_seq_is_answered_ok_and_does_nothing():
    first, again = feed(fix(0), fix(0))
    assert (again.verdict, again.ok, again.accepted, again.last) == (Verdict.DUPLICATE, True, (), first.last)
    _, _, held_again = feed(fix(0), fix(10, 5_000), fix(10, 5_000))
    assert held_again.verdict is Verdict.DUPLICATE
    assert held_again.held is not None


def test_a_glitch_is_held_and_forgotten_when_the_next_fix_is_back():
    start, glitch, back = feed(fix(0), fix(10, 5_000), fix(20, 10))
    assert (glitch.verdict, glitch.reason, glitch.accepted) == (Verdict.HELD, Reason.JUMP, ())
    assert glitch.last == start.last
    assert (back.verdict, back.held) == (Verdict.LIVE, None)
    assert back.accepted == (back.fix,)


def test_a_jump_that_the_next_fix_confirms_is_accepted_with_it_in_order():
    _, jump, confirmed = feed(fix(0), fix(10, 500_000), fix(20, 500_050))
    assert confirmed.verdict is Verdict.LIVE
    assert confirmed.accepted == (jump.fix, confirmed.fix)
    assert (confirmed.last, confirmed.held) == (confirmed.fix, None)


def test_a_second_jump_elsewhere_replaces_the_held_one():
    start, _, second = feed(fix(0), fix(10, 500_000), fix(20, -500_000))
    assert (second.verdict, second.held, second.last) == (Verdict.HELD, second.fix, start.last)


def test_seventy_metres_a_second_is_the_limit():
    within, beyond = (feed(fix(-200), fix(-100, metres))[1] for metres in (6_990, 7_010))
    assert within.verdict is Verdict.LIVE
    assert beyond.verdict is Verdict.HELD


def test_noise_between_fixes_of_the_same_second_is_no_jump():
    assert feed(fix(0), fix(0.01, 30))[1].verdict is Verdict.LIVE


def test_a_plausible_fix_older_than_the_held_one_leaves_it_to_its_next():
    _, jump, between, after = feed(fix(0), fix(10, 5_000), fix(5, 10), fix(12, 5_010))
    assert between.verdict is Verdict.LIVE
    assert between.held == jump.fix
    assert after.accepted == (jump.fix, after.fix)


def test_an_implausible_fix_older_than_the_held_one_changes_nothing():
    _, jump, between = feed(fix(0), fix(10, 5_000), fix(5, 5_010))
    assert (between.verdict, between.accepted, between.held) == (Verdict.HELD, (), jump.fix)


def test_fixes_survive_json():
    told = fix(speed_mps=2.0)
    assert msgspec.json.decode(msgspec.json.encode(told), type=Fix) == told


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(-40, 40), st.floats(-20_000, 20_000)), max_size=12))
def test_accepted_fixes_rise_in_time_and_each_is_reached_at_70_mps_or_confirmed(walk):
    admissions = feed(*(fix(t_s, east_m, seq=number) for number, (t_s, east_m) in enumerate(walk)))
    accepted = [each for admission in admissions for each in admission.accepted]
    assert [each.t_ms for each in accepted] == sorted({each.t_ms for each in accepted})
    confirmed = {id(pair[0]) for pair in (a.accepted for a in admissions) if len(pair) == 2}
    for before, after in itertools.pairwise(accepted):
        seconds = max(1, (after.t_ms - before.t_ms) / 1_000)
        assert id(after) in confirmed or distance_m(0, before.lon, 0, after.lon) <= 70 * seconds
