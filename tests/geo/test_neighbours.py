"""Who is near, in batches, against every pair measured one by one."""

import h3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.coordinates import LatLng, normalise
from geo.distance import distance_m, distances_m
from geo.neighbours import NUMPY, Neighbours, fastest
from geo.reach import DISKS

KERNELS = [pytest.param(NUMPY, id="numpy")]
if fastest() is not NUMPY:
    KERNELS.append(pytest.param(fastest(), id="numba"))
both = pytest.mark.parametrize("kernels", KERNELS)

NEAR = st.tuples(st.floats(-1, 1), st.floats(-1, 1))
RADII = st.one_of(st.floats(1, 6_500), st.sampled_from([disk.reach_m for disk in DISKS]))
PLACES = [*[h3.cell_to_latlng(cell) for cell in h3.get_pentagons(9)], (90.0, 0.0), (-90.0, 0.0), (0.0, 180.0),
          (-16.8, -180.0), (6.4541, 3.3947), (52.52, 13.405), (79.999, 15.0), (-80.0, 60.0)]  # fmt: skip


def crowd(at, offsets, radius_m):
    """Positions up to some two radii around one."""
    span_deg = 1.5 * radius_m / 111_000
    lats = np.clip([at.lat + north * span_deg for north, _ in offsets], -90.0, 90.0)
    shrink = np.maximum(np.cos(np.radians(lats)), 1e-3)
    lons = at.lon + np.array([east for _, east in offsets]) * span_deg / shrink
    moved = [normalise(*each) for each in zip(lats.tolist(), lons.tolist(), strict=True)]
    return np.array([each.lat for each in moved]), np.array([each.lon for each in moved])


def index_of(lats, lons, radius_m, kernels):
    index = Neighbours(lats.size, radius_m, kernels)
    index.update(np.arange(lats.size), lats, lons)
    return index


def pairs_of(found, rows):
    who = np.repeat(np.asarray(rows), np.diff(found.offsets))
    return sorted(zip(who.tolist(), found.rows.tolist(), strict=True))


def one_by_one(lats, lons, rows, radius_m, present=None):
    """Every pair, by `distance_m`."""
    people = range(lats.size) if present is None else sorted(present)
    return [
        (one, other)
        for one in sorted(rows)
        for other in people
        if other != one and distance_m(lats[one], lons[one], lats[other], lons[other]) <= radius_m
    ]


@both
@settings(max_examples=150)
@given(at=st.from_type(LatLng), offsets=st.lists(NEAR, min_size=1, max_size=25), radius_m=RADII)
def test_those_within_are_those_that_every_pair_measured_finds(kernels, at, offsets, radius_m):
    lats, lons = crowd(at, offsets, radius_m)
    rows = np.arange(lats.size)
    found = index_of(lats, lons, radius_m, kernels).within(rows, radius_m)
    assert pairs_of(found, rows) == one_by_one(lats, lons, rows, radius_m)
    who = np.repeat(rows, np.diff(found.offsets))
    expected = distances_m(lats[who], lons[who], lats[found.rows], lons[found.rows])
    assert found.metres == pytest.approx(expected, abs=0.01)
    assert found.metres.max(initial=0.0) <= radius_m


@both
@settings(max_examples=60)
@given(st.data())
def test_an_index_that_lived_answers_as_a_new_one(kernels, data):
    """Steps, jumps, leaving and coming back: cells that are kept change nothing."""
    radius_m = data.draw(st.sampled_from([60.0, 134.9, 200.0, 349.0, 900.0, 2_400.0]))
    at = data.draw(st.from_type(LatLng))
    lats, lons = crowd(at, data.draw(st.lists(NEAR, min_size=4, max_size=14)), radius_m)
    index, present = index_of(lats, lons, radius_m, kernels), set(range(lats.size))
    for _ in range(data.draw(st.integers(1, 4))):
        rows = data.draw(st.lists(st.integers(0, lats.size - 1), unique=True, min_size=1))
        if data.draw(st.integers(0, 3)) == 0:
            index.remove(np.array(rows))
            present -= set(rows)
            continue
        share = data.draw(st.sampled_from([0.02, 0.3, 2.0]))
        new = crowd(at, data.draw(st.lists(NEAR, min_size=len(rows), max_size=len(rows))), radius_m * share)
        lats[rows], lons[rows] = new
        index.update(np.array(rows), *new)
        present |= set(rows)
    asked = sorted(present)
    assert len(index) == len(asked)
    found = index.within(np.array(asked, dtype=int), radius_m)
    assert pairs_of(found, asked) == one_by_one(lats, lons, asked, radius_m, present)


@both
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("radius_m", [130.0, 200.0, 1_400.0, 6_000.0])
def test_nobody_is_missed_by_walkers_where_cells_are_small_or_the_map_ends(kernels, place, radius_m):
    rng = np.random.default_rng(3)
    lats, lons = crowd(normalise(*place), rng.uniform(-1, 1, (60, 2)).tolist(), 2.0 * radius_m)
    rows = np.arange(lats.size)
    index = index_of(lats, lons, radius_m, kernels)
    for _ in range(4):
        lats = np.clip(lats + rng.normal(0, 0.15, lats.size) * radius_m / 111_000, -90.0, 90.0)
        index.update(rows, lats, lons)
        brute = [np.flatnonzero(distances_m(lats[row], lons[row], lats, lons) <= radius_m) for row in rows]
        expected = [(row, other) for row in rows.tolist() for other in brute[row].tolist() if other != row]
        assert pairs_of(index.within(rows, radius_m), rows) == expected


@both
@settings(max_examples=60)
@given(
    st.from_type(LatLng), st.lists(NEAR, min_size=2, max_size=20), RADII, st.randoms(use_true_random=False)
)
def test_near_is_symmetric_blind_to_whole_turns_and_to_the_order_of_updates(
    kernels, at, offsets, radius_m, random
):
    lats, lons = crowd(at, offsets, radius_m)
    rows = list(range(lats.size))
    pairs = pairs_of(index_of(lats, lons, radius_m, kernels).within(np.array(rows), radius_m), rows)
    assert pairs == sorted((other, one) for one, other in pairs)
    turned = lons + np.array([random.choice((-360.0, 0.0, 360.0)) for _ in rows])
    index = Neighbours(lats.size, radius_m, kernels)
    random.shuffle(rows)
    for part in (rows[::2], rows[1::2]):
        index.update(np.array(part, dtype=int), lats[part], turned[part])
    again = {
        (one, other): distance_m(lats[one], turned[one], lats[other], turned[other])
        for one, other in set(pairs) ^ set(pairs_of(index.within(np.array(rows), radius_m), rows))
    }
    # A turn rounds the longitude: a pair exactly on the rim may change sides, nobody else.
    assert all(abs(metres - radius_m) < 1e-5 for metres in again.values())


@both
@settings(max_examples=100)
@given(st.from_type(LatLng), NEAR, st.floats(1, 5_000))
def test_the_rim_is_within_and_the_next_number_below_is_not(kernels, at, offset, metres):
    lats, lons = crowd(at, [(0.0, 0.0), offset], metres)
    rim_m = distance_m(lats[0], lons[0], lats[1], lons[1])
    if not 0.1 < rim_m < 6_000:
        return
    index = index_of(lats, lons, 6_500.0, kernels)
    assert index.within(np.array([0]), rim_m).rows.tolist() == [1]
    assert index.within(np.array([0]), float(np.nextafter(rim_m, 0))).rows.tolist() == []


@settings(max_examples=80)
@given(
    st.from_type(LatLng),
    st.lists(NEAR, max_size=20),
    st.lists(st.from_type(LatLng), max_size=20),
    st.integers(0, 12),
)
def test_the_nearest_are_those_of_brute_force_however_far(at, offsets, anywhere, count):
    lats, lons = crowd(at, [(0.0, 0.0), *offsets], 800.0)
    lats = np.concatenate([lats, [each.lat for each in anywhere]])
    lons = np.concatenate([lons, [each.lon for each in anywhere]])
    others, metres = index_of(lats, lons, 200.0, NUMPY).nearest(0, count)
    brute = distances_m(lats[0], lons[0], lats[1:], lons[1:])
    order = np.lexsort([np.arange(brute.size), brute])[:count]
    assert others.tolist() == (order + 1).tolist()
    assert metres.tolist() == brute[order].tolist()


@both
def test_a_crowd_in_one_place_is_found_whole(kernels):
    """Two thousand in a square: more pairs than are looked at in one go."""
    rng = np.random.default_rng(4)
    lats, lons = 6.4541 + rng.normal(0, 1e-4, 2_000), 3.3947 + rng.normal(0, 1e-4, 2_000)
    found = index_of(lats, lons, 200.0, kernels).within(np.arange(2_000), 200.0)
    assert np.diff(found.offsets).tolist() == [1_999] * 2_000


def test_a_hundred_thousand_of_a_metro_take_at_most_64_bytes_each():
    rng = np.random.default_rng(5)
    lats, lons = 52.52 + rng.uniform(-0.18, 0.18, 100_000), 13.4 + rng.uniform(-0.295, 0.295, 100_000)
    assert index_of(lats, lons, 200.0, NUMPY).nbytes / 100_000 <= 64


def test_what_cannot_be_asked_is_refused():
    index = Neighbours(4, 200.0)
    index.update(np.array([1]), np.array([52.0]), np.array([13.0]))
    assert index.within(np.array([], dtype=int), 100.0).offsets.tolist() == [0]
    index.remove(np.array([2]))
    for radius_m in (0.0, float("nan"), 200.1):
        with pytest.raises(ValueError, match="radius_m"):
            index.within(np.array([1]), radius_m)
    with pytest.raises(ValueError, match="no position"):
        index.within(np.array([1, 2]), 100.0)
    with pytest.raises(ValueError, match="no position"):
        index.nearest(2, 1)
    with pytest.raises(ValueError, match="radius_m"):
        Neighbours(4, 6_501.0)
    assert index.nearest(1, 5)[0].tolist() == []
