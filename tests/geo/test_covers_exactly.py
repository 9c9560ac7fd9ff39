"""Covers, against arithmetic in whole fractions: on edges and corners nothing is a matter of rounding."""

import math

import numpy as np
import shapely
from exact import covers_exactly
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely.geometry import shape as shapely_shape

from geo.fences import FenceIndex
from geo.geojson import parse_shape

# Corners and positions lie on one grid, so that positions on edges and at corners abound.
GRID = 64
NEAR = st.tuples(st.integers(-12, 12), st.integers(-12, 12))
WHERE = st.sampled_from(
    [(0, 0), (217, 413), (-179 * GRID, 5 * GRID), (13 * GRID, 79 * GRID), (7, -84 * GRID)]
)


@st.composite
def polygons(draw):
    """One or two polygons with three to eight corners around their middles, some with a hole."""
    found = []
    for shift in range(draw(st.integers(1, 2))):
        corners = draw(st.lists(NEAR.filter(any), min_size=3, max_size=8, unique=True))
        corners = sorted({math.atan2(y, x): (x, y) for x, y in corners}.items())
        ring = [(x + 26 * shift, y) for _, (x, y) in corners]
        assume(len(ring) >= 3)
        rings = [[*ring, ring[0]]]
        if draw(st.booleans()):
            hole = [((x - 26 * shift) / 2 + 26 * shift, y / 2) for x, y in ring]
            rings.append([*hole, hole[0]])
        found.append(rings)
    west, south = draw(WHERE)
    placed = [[[[(x + west) / GRID, (y + south) / GRID] for x, y in ring] for ring in each] for each in found]
    assume(shapely.is_valid(shapely_shape({"type": "MultiPolygon", "coordinates": placed})))
    return placed, west, south


@settings(max_examples=300)
@given(polygons(), st.lists(st.tuples(st.integers(-14, 40), st.integers(-14, 14)), min_size=1, max_size=30))
def test_covers_is_what_exact_arithmetic_says(drawn, at):
    shape, west, south = drawn
    lons = np.array([(x + west) / GRID for x, _ in at])
    lats = np.array([(y + south) / GRID for _, y in at])
    fence = parse_shape({"type": "MultiPolygon", "coordinates": shape})
    expected = [
        covers_exactly(shape, lon, lat) for lon, lat in zip(lons.tolist(), lats.tolist(), strict=True)
    ]
    assert fence.covers_each(lats, lons).tolist() == expected
    positions, fences = FenceIndex([("a", fence)]).hits(lats, lons)
    assert positions.tolist() == np.flatnonzero(expected).tolist()
    assert not fences.any()
