"""Recorded traces of real people and cars through what the engine does with a fix (GEO-3, 15, 19, 21).

admit → stick → stays → fences, as the person's actor has them, without the engine around it.
"""

import itertools
from collections import Counter

import numpy as np
import pytest
from recorded import read_recorded

from geo.coordinates import LatLng
from geo.crossings import Event, follow, rules_of
from geo.distance import distance_m
from geo.fences import FenceIndex
from geo.fixes import Fix, Verdict, admit
from geo.geojson import parse_shape
from geo.privacy import metres_outside, stick
from geo.stays import stays_of

ACCURACY_M = 5.0


def admitted(points):
    """The accepted fixes of a trace, and the reasons for the others."""
    last = held = None
    accepted, reasons = [], Counter()
    for point in points:
        fix = Fix(point.lat, point.lon, point.acc_m or ACCURACY_M, point.t_ms, point.t_ms)
        admission = admit(fix, last, held, point.t_ms)
        last, held = admission.last, admission.held
        accepted += admission.accepted
        if admission.verdict is not Verdict.LIVE:
            reasons[str(admission.reason)] += 1
    return accepted, reasons


def stays(fixes):
    return stays_of([(fix.t_ms, fix.lat, fix.lon, fix.acc_m) for fix in fixes])


def minutes(fixes):
    """(minutes after the start, minutes long) of each stay."""
    return [
        (round((stay.since_ms - fixes[0].t_ms) / 60_000, 1), round(stay.length_ms / 60_000, 1))
        for stay in stays(fixes)
    ]


def test_a_run_of_21_km_at_1_hz_has_no_stop(recorded):
    points = read_recorded(recorded / "kent-run.gpx")
    fixes, reasons = admitted(points)
    assert len(points) == len(fixes) == 7_745
    assert not reasons
    assert stays(fixes) == []


@pytest.mark.parametrize(
    ("name", "known"),
    [("two-stays.gpx", [(7.6, 19.4), (40.9, 90.0)]), ("short-stay.gpx", [(1.9, 7.0)])],
)
def test_the_known_stays_are_found_and_no_others(recorded, name, known):
    """Known by reading the file: when the last fix on the way there was, and the last one there."""
    fixes, _ = admitted(read_recorded(recorded / name))
    found = minutes(fixes)
    assert len(found) == len(known)
    for (since, length), (known_since, known_length) in zip(found, known, strict=True):
        assert abs(since - known_since) <= 1.5
        assert abs(length - known_length) <= 1.5


def test_rests_of_a_hike_are_within_100_m_and_all_of_300_s(recorded):
    fixes, _ = admitted(read_recorded(recorded / "hike.gpx"))
    found = stays(fixes)
    assert len(found) >= 5
    for stay in found:
        inside = [fix for fix in fixes if stay.since_ms <= fix.t_ms <= stay.last_ms]
        apart = [distance_m(stay.lat, stay.lon, fix.lat, fix.lon) <= 100 for fix in inside]
        assert not any(not one and not other for one, other in itertools.pairwise(apart))
        assert stay.length_ms >= 300_000
    assert all(later.since_ms >= sooner.last_ms for sooner, later in itertools.pairwise(found))


def test_a_jump_of_92_m_a_second_is_held_and_nothing_else(recorded):
    points = read_recorded(recorded / "jump.gpx")
    speeds = [
        distance_m(one.lat, one.lon, other.lat, other.lon) / (other.t_ms - one.t_ms) * 1_000
        for one, other in itertools.pairwise(points)
    ]
    assert 91 < max(speeds) < 93
    fixes, reasons = admitted(points)
    assert reasons == {"jump": 1}
    assert len(fixes) == len(points) - 1


DIRTY = ["some-times.gpx", "no-span.gpx", "fractions.gpx", "hours-apart.gpx", "no-times.gpx", "jump.gpx"]
CARS = ["car-1.csv", "car-2.csv", "car-3.csv"]
ALL = [*DIRTY, *CARS, "hike.gpx", "two-stays.gpx", "short-stay.gpx"]


@pytest.mark.parametrize("name", ALL)
def test_whatever_a_file_tells_of_times_its_fixes_rise_and_are_judged(recorded, name):
    points = read_recorded(recorded / name)
    assert points
    assert all(later.t_ms > sooner.t_ms for sooner, later in itertools.pairwise(points))
    fixes, reasons = admitted(points)
    assert len(fixes) + sum(reasons.values()) >= len(points)
    assert set(reasons) <= {"jump"}
    assert all(later.t_ms > sooner.t_ms for sooner, later in itertools.pairwise(fixes))
    assert all(stay.length_ms >= 300_000 for stay in stays(fixes))


@pytest.mark.parametrize("name", CARS)
def test_a_car_without_times_goes_at_a_walk_and_stops_nowhere(recorded, name):
    points = read_recorded(recorded / name)
    assert (len(points) > 500, points[0].t_ms) == (True, 0)
    fixes, reasons = admitted(points)
    assert len(fixes) == len(points)
    assert not reasons
    assert stays(fixes) == []


@pytest.mark.parametrize("name", ["kent-run.gpx", "hike.gpx", "two-stays.gpx", "car-1.csv"])
def test_the_cell_that_strangers_see_stays_behind_the_walker_for_a_minute_at_most(recorded, name):
    fixes, _ = admitted(read_recorded(recorded / name))
    shown, cells = None, []
    since_ms = None
    for fix in fixes:
        before = shown
        shown = stick(shown, LatLng(fix.lat, fix.lon), 8, fix.t_ms)
        cells.append(shown.cell)
        far = metres_outside(shown.cell, LatLng(fix.lat, fix.lon)) > 0.25 * 531.4
        since_ms = (since_ms or fix.t_ms) if far else None
        assert since_ms is None or fix.t_ms - since_ms < 60_000
        if before is not None and before.cell != shown.cell:
            assert before.outside_since_ms is not None
    assert len({*cells}) < len(fixes) / 3


@pytest.mark.parametrize("name", ["kent-run.gpx", "two-stays.gpx", "jump.gpx", "car-2.csv"])
def test_fences_on_the_way_are_entered_and_left_in_turn_and_the_same_again(recorded, name):
    fixes, _ = admitted(read_recorded(recorded / name))
    marks = [fixes[len(fixes) * share // 4] for share in (1, 2, 3)]
    circles = [
        parse_shape({"type": "Point", "coordinates": [mark.lon, mark.lat], "radius_m": 150}) for mark in marks
    ]
    shapes = {f"f{n}": circle for n, circle in enumerate(circles)}
    index = FenceIndex(shapes.items())
    rules = {name: rules_of(shape) for name, shape in shapes.items()}
    hits = [set() for _ in fixes]
    found = index.hits(np.array([fix.lat for fix in fixes]), np.array([fix.lon for fix in fixes]))
    for position, fence in zip(*found, strict=True):
        hits[position].add(index.ids[fence])

    def walked():
        standings, told = {}, []
        for number, fix in enumerate(fixes):
            standings, crossings = follow(standings, fix, hits[number], index, rules, first_ever=number == 0)
            told += crossings
        return told

    told = walked()
    assert told == walked()
    assert len({fence for fence, _ in told}) >= 2
    for fence in shapes:
        own = [crossing for of, crossing in told if of == fence and crossing.event is not Event.DWELL]
        assert all(crossing.event in (Event.ENTER, Event.INSIDE) for crossing in own[::2])
        assert all(crossing.event is Event.EXIT for crossing in own[1::2])
        for entry, leaving in zip(own[::2], own[1::2], strict=False):
            assert leaving.entered_at_ms == entry.at_ms < leaving.at_ms
            assert leaving.dwell_s == (leaving.at_ms - entry.at_ms) / 1_000
