"""Places: what merging keeps, and what the hours of a week tell."""

import datetime as dt
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.coordinates import LatLng
from geo.distance import distance_m
from geo.places import (
    JOIN_M,
    Staying,
    came,
    home_and_work,
    hours_of_week,
    place_of,
    places_of,
    solar_offset_ms,
    went,
)
from geo.stays import Stay, stays_of

BERLIN = LatLng(52.52, 13.405)
MONDAY_MS = round(dt.datetime(2026, 11, 23, tzinfo=dt.UTC).timestamp() * 1_000)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def east(metres, at=BERLIN):
    return LatLng(at.lat, at.lon + metres / (111_320 * math.cos(math.radians(at.lat))))


def stay(at, since_ms, until_ms):
    return Stay(at.lat, at.lon, since_ms, at.lat, at.lon, until_ms)


def at_hours(at, day, first, last):
    return stay(
        at, MONDAY_MS + round((day * 24 + first) * HOUR_MS), MONDAY_MS + round((day * 24 + last) * HOUR_MS)
    )


def test_stays_within_100_m_are_one_place_and_farther_ones_another():
    stays = [at_hours(east(metres), day, 9, 10) for day, metres in enumerate([0, 90, -40, 260, 300])]
    places, held = places_of(stays)
    assert [place.visits for place in places] == [3, 2]
    assert [one.place for one in held] == [0, 0, 0, 1, 1]
    assert places[0].stayed_ms == 3 * HOUR_MS
    assert (places[0].first_ms, places[0].last_ms) == (stays[0].since_ms, stays[2].last_ms)


def test_a_stay_goes_to_the_nearest_place_not_to_the_first():
    places = [came(None, at_hours(east(metres), 0, 1, 2)) for metres in (0, 150)]
    assert place_of(places, at_hours(east(80), 1, 1, 2)) == 1
    assert place_of(places, at_hours(east(70), 1, 1, 2)) == 0
    assert place_of(places, at_hours(east(150 + JOIN_M + 1), 1, 1, 2)) is None


def test_one_visit_may_be_of_several_stays():
    first, second = at_hours(BERLIN, 0, 9, 10), at_hours(BERLIN, 0, 10.2, 11)
    later = at_hours(BERLIN, 0, 12, 13)
    [place], _ = places_of([first, second, later])
    assert (place.visits, place.stayed_ms) == (2, first.length_ms + second.length_ms + later.length_ms)


@given(st.lists(st.tuples(st.floats(-60, 60), st.integers(300, 90_000)), min_size=1, max_size=8))
def test_centre_and_spread_are_those_of_all_the_time_spent_there(spent):
    place, since_ms = None, MONDAY_MS
    for metres, seconds in spent:
        one = stay(east(metres), since_ms, since_ms + seconds * 1_000)
        place = went(came(place, one), one)
        since_ms += DAY_MS
    weights = [seconds for _, seconds in spent]
    mean = sum(metres * seconds for metres, seconds in spent) / sum(weights)
    square = sum((metres - mean) ** 2 * seconds for metres, seconds in spent) / sum(weights)
    assert distance_m(place.lat, place.lon, *(east(mean).lat, east(mean).lon)) < 0.5
    assert place.radius_m == pytest.approx(max(25.0, 2 * math.sqrt(square)), rel=0.01, abs=0.1)


def test_the_radius_holds_nearly_all_of_the_time_there():
    chance, fixes = random.Random(4), []
    for second in range(0, 3_600, 5):
        noise = [chance.gauss(0, 15) for _ in range(2)]
        at = east(noise[0])
        fixes.append((MONDAY_MS + second * 1_000, at.lat + noise[1] / 111_250, at.lon, 10.0))
    [place], _ = places_of(stays_of(fixes))
    within = [distance_m(place.lat, place.lon, fix[1], fix[2]) <= place.radius_m for fix in fixes]
    assert 0.95 <= sum(within) / len(within) < 1.0
    assert distance_m(place.lat, place.lon, BERLIN.lat, BERLIN.lon) < 3


def test_places_lie_across_the_antimeridian_too():
    one, other = LatLng(-16.8, 179.9998), LatLng(-16.8, -179.9998)
    [place], _ = places_of([at_hours(one, 0, 1, 2), at_hours(other, 1, 1, 2)])
    assert place.visits == 2
    assert abs(abs(place.lon) - 180.0) < 1e-9


HOME, OFFICE, CAFE = BERLIN, east(3_000), east(-2_000)


def week(offset_h=0.0):
    """Nights at home, days at the office, coffee between; times are local, `offset_h` ahead of UTC."""
    stays = []
    for day in range(5):
        stays += [
            at_hours(HOME, day, 0 - offset_h, 8 - offset_h),
            at_hours(OFFICE, day, 9 - offset_h, 13 - offset_h),
            at_hours(CAFE, day, 13.2 - offset_h, 13.6 - offset_h),
            at_hours(OFFICE, day, 13.8 - offset_h, 17 - offset_h),
            at_hours(HOME, day, 18 - offset_h, 23.9 - offset_h),
        ]
    return stays


@pytest.mark.parametrize("offset_h", [0.0, 1.0, 9.0, -7.5])
def test_home_is_where_the_nights_are_and_work_where_the_days_are(offset_h):
    places, held = places_of(week(offset_h))
    home, work = home_and_work(places, held, round(offset_h * HOUR_MS))
    assert home is not None
    assert work is not None
    assert distance_m(places[home].lat, places[home].lon, HOME.lat, HOME.lon) < 1
    assert distance_m(places[work].lat, places[work].lon, OFFICE.lat, OFFICE.lon) < 1


def test_without_a_given_offset_the_sun_tells_the_hour():
    tokyo = LatLng(35.68, 139.76)
    assert solar_offset_ms(tokyo) == pytest.approx(9.317 * HOUR_MS, abs=60_000)
    places, held = places_of([at_hours(tokyo, day, 13, 20) for day in range(4)])  # UTC: the night there
    assert home_and_work(places, held) == (0, None)
    assert home_and_work(places, held, 0) == (None, 0)


def test_two_nights_make_no_home_and_a_weekend_no_work():
    places, held = places_of([at_hours(HOME, day, 0, 8) for day in range(2)])
    assert home_and_work(places, held, 0) == (None, None)
    places, held = places_of([at_hours(OFFICE, day, 9, 17) for day in (5, 6, 12, 13)])
    assert home_and_work(places, held, 0) == (None, None)


def test_one_night_across_midnight_counts_once():
    places, held = places_of(
        [at_hours(HOME, 0, 22, 30), at_hours(HOME, 1, 22.5, 30), at_hours(HOME, 2, 12, 13)]
    )
    assert home_and_work(places, held, 0)[0] is None


@given(st.lists(st.tuples(st.integers(0, 14 * DAY_MS), st.integers(1, 3 * DAY_MS)), max_size=5))
def test_the_hours_of_a_week_add_up_to_the_time_stayed(spans):
    held = [Staying(0, MONDAY_MS + since, MONDAY_MS + since + length) for since, length in spans]
    hours = hours_of_week(held, 3_700_000)
    assert sum(hours.values()) == pytest.approx(sum(length for _, length in spans) / 1_000)
    assert all(0 <= hour < 24 for _, hour in hours)
