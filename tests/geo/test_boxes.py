"""Which boxes hold which positions, against every box asked."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geo import boxes
from geo.boxes import BoxIndex

# Coordinates on a coarse grid, so that edges and corners are hit, and of any size.
LATS = st.one_of(st.sampled_from([-90.0, 0.0, 90.0]), st.integers(-90 * 8, 90 * 8).map(lambda n: n / 8))
LONS = st.one_of(st.sampled_from([-180.0, 0.0, 180.0]), st.integers(-180 * 8, 180 * 8).map(lambda n: n / 8))
SIZES = st.one_of(st.floats(0, 1e-3), st.floats(0, 1), st.sampled_from([0.0, 0.125, 360.0]))


@st.composite
def drawn(draw):
    west, south = draw(LONS), draw(LATS)
    return west, south, min(180.0, west + draw(SIZES)), min(90.0, south + draw(SIZES))


def brute(table, lats, lons):
    west, south, east, north = table.T[:, None, :]
    lat, lon = lats[:, None], lons[:, None]
    holds = (west <= lon) & (lon <= east) & (south <= lat) & (lat <= north)
    return list(zip(*(each.tolist() for each in np.nonzero(holds)), strict=True))


def answers(table, lats, lons):
    return sorted(zip(*(each.tolist() for each in BoxIndex(table).holding(lats, lons)), strict=True))


@settings(max_examples=200)
@given(st.lists(drawn(), max_size=30), st.lists(st.tuples(LATS, LONS), max_size=20))
def test_the_boxes_found_are_those_of_brute_force(table, at):
    table = np.array(table, dtype=float).reshape(-1, 4)
    # Their corners too: none may be lost to rounding.
    lats = np.concatenate([[lat for lat, _ in at], table[:, 1], table[:, 3]])
    lons = np.concatenate([[lon for _, lon in at], table[:, 0], table[:, 2]])
    assert answers(table, lats, lons) == brute(table, lats, lons)


def test_fences_of_a_town_in_every_size_and_a_crowd_that_is_divided(monkeypatch):
    rng = np.random.default_rng(6)
    lows = rng.uniform((3.3, 6.4), (3.5, 6.6), (600, 2))
    table = np.hstack([lows, lows + 10 ** rng.uniform(-6, 1, (600, 1)) * rng.uniform(0.2, 1, (600, 2))])
    lats, lons = rng.uniform(6.4, 6.6, 500), rng.uniform(3.3, 3.5, 500)
    expected = brute(table, lats, lons)
    assert answers(table, lats, lons) == expected
    monkeypatch.setattr(boxes, "_CANDIDATES_MAX", 100)
    assert answers(table, lats, lons) == expected
