"""Cells in batches, against H3 one by one and brute force."""

import h3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.cells import cell_of, centre_of, edge_m, parent_of
from geo.coordinates import LatLng
from geo.distance import distance_m
from geo.grid import (
    CIRCUMRADIUS_MAX_EDGES,
    RING_STEP_MIN_EDGES,
    CellIds,
    cell_texts,
    cells_from_texts,
    cells_of,
    centres_of,
    parents_of,
    surroundings,
)
from geo.reach import demanding_cells

POSITIONS = st.lists(st.from_type(LatLng), max_size=20)


def arrays(positions):
    return np.array([at.lat for at in positions]), np.array([at.lon for at in positions])


@settings(max_examples=100)
@given(POSITIONS, st.integers(0, 9))
def test_a_batch_of_cells_is_the_cells_one_by_one(positions, res):
    fine = cells_of(*arrays(positions), 9)
    assert cell_texts(fine) == [cell_of(at.lat, at.lon, 9) for at in positions]
    coarse = parents_of(fine, res)
    assert cell_texts(coarse) == [cell_of(at.lat, at.lon, res) for at in positions]
    assert cells_from_texts(cell_texts(coarse)).tolist() == coarse.tolist()
    assert list(zip(*centres_of(fine), strict=True)) == [h3.cell_to_latlng(c) for c in cell_texts(fine)]


@given(st.lists(st.lists(st.from_type(LatLng), max_size=8), max_size=5))
def test_a_cell_keeps_its_number_and_no_other_has_it(batches):
    ids, seen = CellIds(), {}
    for batch in batches:
        cells = cells_of(*arrays(batch), 8)
        known = [seen.get(cell, -1) for cell in cells.tolist()]
        assert ids.find(cells).tolist() == known
        numbers = ids.number(cells)
        for cell, number in zip(cells.tolist(), numbers.tolist(), strict=True):
            assert seen.setdefault(cell, number) == number
        assert ids.cells[numbers].tolist() == cells.tolist()
    assert sorted(seen.values()) == list(range(len(ids)))


@settings(max_examples=60)
@given(st.from_type(LatLng), st.integers(5, 9), st.sampled_from([(5, 9_000.0), (6, 9_000.0), (7, 6_000.0),
       (8, 5_000.0), (8, 800.0), (9, 1_000.0), (9, 0.0)]))  # fmt: skip
def test_surroundings_are_what_brute_force_finds(at, of_res, asked):
    res, radius_m = asked
    cell = cell_of(at.lat, at.lon, of_res)
    middle = centre_of(cell)
    brute = []
    # Twice as far as H3's average edge asks for.
    for text in h3.grid_disk(
        h3.latlng_to_cell(middle.lat, middle.lon, res), int(2 * radius_m / edge_m(res)) + 3
    ):
        metres = round(distance_m(middle.lat, middle.lon, *h3.cell_to_latlng(text)), 3)
        if metres <= radius_m:
            brute.append((metres, text))
    found = surroundings(cell, radius_m, res)
    assert list(zip(found.metres.tolist(), cell_texts(found.cells), strict=True)) == sorted(brute)


def test_surroundings_hold_at_the_pentagons():
    for pentagon in h3.get_pentagons(8):
        lat, lon = h3.cell_to_latlng(pentagon)
        # Five neighbours, each 760 m away or less; the ring after them begins at 1,150 m.
        assert set(cell_texts(surroundings(pentagon, 900.0, 8).cells)) == set(h3.grid_disk(pentagon, 1))
        assert surroundings(pentagon, 900.0, 8).cells[0] == int(pentagon, 16)
        assert surroundings(parent_of(cell_of(lat, lon, 9), 6), 3_000.0, 8).cells.size > 20


@pytest.mark.parametrize("radius_m", [-1.0, float("nan"), 10_001.0])
def test_surroundings_of_a_radius_out_of_range_are_refused(radius_m):
    with pytest.raises(ValueError, match="radius_m"):
        surroundings(cell_of(0, 0, 8), radius_m, 8)


@pytest.mark.parametrize("res", range(5, 10))
def test_the_constants_of_cells_and_rings_hold_worldwide(res):
    for cell in demanding_cells(res, 60, np.random.default_rng(res))[::9]:
        text = format(cell, "x")
        centre = h3.cell_to_latlng(text)
        corners = [distance_m(*centre, *corner) for corner in h3.cell_to_boundary(text)]
        assert max(corners) <= CIRCUMRADIUS_MAX_EDGES * edge_m(res)
        for ring in (1, 2, 5):
            outer = set(h3.grid_disk(text, ring)) - set(h3.grid_disk(text, ring - 1))
            nearest_m = min(distance_m(*centre, *h3.cell_to_latlng(each)) for each in outer)
            assert nearest_m >= ring * RING_STEP_MIN_EDGES * edge_m(res)
