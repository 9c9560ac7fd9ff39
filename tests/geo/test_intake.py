"""A batch of fixes on arrays is what it is one by one (GEO-1, 2, 3, 5, 21, 27)."""

import math
import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.cells import cell_of, edge_m
from geo.coordinates import LatLng
from geo.distance import metres_per_degree
from geo.fixes import Fix, admit
from geo.intake import (
    ACCURACY,
    COORDINATES,
    DUPLICATE,
    FIXES,
    JUMP,
    LIVE,
    OUTCOMES,
    STALE,
    fix_of,
    rows_of,
    take_in,
)
from geo.privacy import Shown, metres_outside, stick
from geo.table import BYTES_A_ROW, Location, PositionTable, disc_of

NOW_MS = 1_760_000_000_000
TTL_MS = 900_000
PEOPLE = 4


class One:
    """One person as `geo.fixes` and `geo.privacy` judge them, fix by fix: the oracle."""

    def __init__(self, resolution):
        self.resolution, self.last, self.held, self.shown = resolution, None, None, None
        self.accepted, self.outcomes = [], []

    def take(self, fix):
        admission = admit(fix, self.last, self.held, NOW_MS)
        self.last, self.held = admission.last, admission.held
        self.outcomes.append((admission.verdict, admission.reason))
        self.accepted += admission.accepted
        if admission.accepted and NOW_MS - self.last.t_ms <= TTL_MS:
            self.shown = stick(
                self.shown, LatLng(self.last.lat, self.last.lon), self.resolution, self.last.t_ms
            )


def plain(fix):
    """As the table keeps it: without speed and heading, the accuracy in 32 bits."""
    return fix and (fix.lat, fix.lon, float(np.float32(fix.acc_m)), fix.t_ms, fix.seq)


def run(fixes, batches):
    """The fixes as (person, fix), cut into so many batches; returns the table and what each person got."""
    table = PositionTable(1)
    rows = [table.take() for _ in range(PEOPLE)]
    for person, row in enumerate(rows):
        table.resolutions[row] = 6 + person % 4
    accepted, outcomes = [[] for _ in rows], [[] for _ in rows]
    for part in np.array_split(np.arange(len(fixes)), batches):
        people = [fixes[index][0] for index in part]
        given_ = rows_of(tuple(fixes[index][1] for index in part))
        taken = take_in(table, np.array([rows[p] for p in people], dtype=np.intp), given_, NOW_MS, TTL_MS)
        for person, outcome in zip(people, taken.outcomes.tolist(), strict=True):
            outcomes[person].append(OUTCOMES[outcome])
        for by, row in zip(taken.accepted_by.tolist(), taken.accepted, strict=True):
            accepted[people[by]].append(fix_of(row))
    return table, rows, accepted, outcomes


@st.composite
def walks(draw):
    """A few people's walks, mixed: steps of metres to hundreds of kilometres, times that go back, repeats,
    fixes that are none.
    """
    start = [draw(st.from_type(LatLng)) for _ in range(PEOPLE)]
    t_ms = [NOW_MS - draw(st.sampled_from([1_000_000, 300_000, 0])) for _ in range(PEOPLE)]
    fixes = []
    for number in range(draw(st.integers(1, 40))):
        person = draw(st.integers(0, PEOPLE - 1))
        step_deg = draw(st.sampled_from([0.0, 1e-4, 3e-3, 0.02, 3.0]))
        lat = start[person].lat + step_deg * draw(st.floats(-1, 1))
        lon = start[person].lon + step_deg * draw(st.floats(-1, 1)) + draw(st.sampled_from([0.0, 360.0]))
        start[person] = LatLng(max(-90.0, min(90.0, lat)), lon)
        t_ms[person] += draw(st.sampled_from([1_000, 20_000, 70_000, 0, -5_000]))
        acc_m = draw(st.sampled_from([5.0, 5.0, 5.0, 80.5, 0.0, math.nan]))
        seq = number if draw(st.integers(0, 9)) else max(0, number - 1)
        lat = draw(st.sampled_from([start[person].lat] * 9 + [91.0]))
        fixes.append((person, Fix(lat, start[person].lon, acc_m, t_ms[person], seq)))
    return fixes


@settings(max_examples=150)
@given(walks(), st.integers(1, 6), st.randoms(use_true_random=False))
def test_a_batch_is_what_its_fixes_are_one_by_one_in_any_order_of_people(fixes, batches, chance):
    oracle = [One(6 + person % 4) for person in range(PEOPLE)]
    for person, fix in fixes:
        oracle[person].take(fix)
    queues = [[each for each in fixes if each[0] == person] for person in range(PEOPLE)]
    mixed = [queues[person].pop(0) for person in chance.sample([p for p, _ in fixes], len(fixes))]
    for order in (fixes, mixed):
        table, rows, accepted, outcomes = run(order, batches)
        for person, row in enumerate(rows):
            one = oracle[person]
            assert outcomes[person] == one.outcomes
            assert accepted[person] == one.accepted
            assert plain(table.last(row)) == plain(one.last)
            assert table.held.get(row) == one.held
            assert table.shown(row) == one.shown


def test_a_whole_turn_of_longitude_changes_nothing():
    chance = random.Random(1)
    fixes = [
        (p, Fix(10.0 + p, 179.999 + chance.uniform(-0.001, 0.001), 5.0, NOW_MS + t, t))
        for t in range(20) for p in range(PEOPLE)
    ]  # fmt: skip
    turned = [
        (p, Fix(f.lat, f.lon + 360.0 * (i % 3 - 1), f.acc_m, f.t_ms, f.seq)) for i, (p, f) in enumerate(fixes)
    ]
    table, rows, accepted, _ = run(fixes, 3)
    other, _, others, _ = run(turned, 3)
    for person, row in enumerate(rows):
        assert table.last(row).lon == pytest.approx(other.last(row).lon, abs=1e-9)
        assert [f.seq for f in accepted[person]] == [f.seq for f in others[person]]


def test_each_outcome_has_its_number():
    fixes = [Fix(0.0, 0.0, 5.0, NOW_MS, 1), Fix(0.0, 0.0, 5.0, NOW_MS, 1), Fix(0.0, 0.0, 5.0, NOW_MS - 9, 2)]
    fixes += [
        Fix(9.0, 0.0, 5.0, NOW_MS + 9, 3),
        Fix(0.0, 0.0, 0.0, NOW_MS, 4),
        Fix(91.0, 0.0, 5.0, NOW_MS, 5),
    ]
    table = PositionTable()
    taken = take_in(table, np.zeros(6, dtype=np.intp) + table.take(), rows_of(tuple(fixes)), NOW_MS, TTL_MS)
    assert taken.outcomes.tolist() == [LIVE, DUPLICATE, STALE, JUMP, ACCURACY, COORDINATES]


def test_a_row_costs_at_most_64_bytes():
    table = PositionTable()
    assert table.bytes_a_row <= BYTES_A_ROW
    for _ in range(1_000):
        table.take()
    columns = [value for value in vars(table).values() if isinstance(value, np.ndarray)]
    assert sum(column.nbytes for column in columns) <= BYTES_A_ROW * columns[0].size
    assert len(columns) == 13


def test_a_row_is_used_again_and_remembers_nothing():
    table = PositionTable(1)
    location, other = Location(), Location()
    location.attach(table)
    other.attach(table)
    location.last, location.held = Fix(1.0, 2.0, 3.0, 4, 5), Fix(6.0, 7.0, 8.0, 9, 10)
    location.shown = Shown(cell_of(1.0, 2.0, 8), 3)
    row = location.row
    location.detach()
    assert (location.last, location.held) == (Fix(1.0, 2.0, 3.0, 4, 5), Fix(6.0, 7.0, 8.0, 9, 10))
    assert location.shown == Shown(cell_of(1.0, 2.0, 8), 3)
    assert table.take() == row
    assert (table.last(row), table.held.get(row), table.shown(row)) == (None, None, None)
    assert len(table) == 2


def test_a_location_travels_by_value():
    table, location = PositionTable(), Location()
    location.attach(table)
    location.last = Fix(1.0, 2.0, 3.0, NOW_MS, 5)
    location.shown = Shown(cell_of(1.0, 2.0, 8), NOW_MS - 2_000)
    arrived = pickle.loads(pickle.dumps(location))
    assert (arrived.table, arrived.last, arrived.shown) == (None, location.last, location.shown)


@settings(max_examples=60)
@given(st.from_type(LatLng), st.integers(5, 9), st.floats(0, 2 * math.pi), st.floats(0, 3))
def test_the_discs_are_on_the_safe_side(at, resolution, bearing, share):
    """Within the first radius nobody is a quarter of an edge outside, beyond the second everybody is."""
    cell = cell_of(at.lat, at.lon, resolution)
    lat, lon, keep_m, leave_m = disc_of(cell)
    if abs(lat) > 79:
        return  # there the table takes the way of one
    slack_m = 0.25 * edge_m(resolution)
    lat_m, lon_m = metres_per_degree(lat)
    for metres, is_inside in ((keep_m * min(share, 1.0), True), (leave_m * max(share, 1.0), False)):
        there = LatLng(lat + metres * math.cos(bearing) / lat_m, lon + metres * math.sin(bearing) / lon_m)
        there = LatLng(there.lat, (there.lon + 180) % 360 - 180)
        assert (metres_outside(cell, there) <= slack_m) == is_inside


def test_a_batch_of_nothing_is_nothing():
    taken = take_in(PositionTable(), np.empty(0, dtype=np.intp), np.empty(0, dtype=FIXES), NOW_MS, TTL_MS)
    assert taken.accepted.size == taken.outcomes.size == 0
