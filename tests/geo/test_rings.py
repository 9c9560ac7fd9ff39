"""The cells around a cell, against every cell there is."""

import h3
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.cells import cell_of
from geo.coordinates import LatLng
from geo.distance import distance_m
from geo.privacy import coarse
from geo.proximity import RADIUS_MAX_M
from geo.rings import rings_around


@settings(max_examples=25)
@given(st.from_type(LatLng), st.sampled_from([5, 7, 8]))
def test_all_cells_within_reach_are_there_once_in_order_of_their_distance(at, res):
    middle = coarse(cell_of(at.lat, at.lon, res))
    table = rings_around(middle.cell)
    found = [cell for ring in table.rings for cell in ring.cells]
    expected = {
        cell
        for each in (5, 6, 7, 8)
        for cell in h3.grid_disk(h3.latlng_to_cell(middle.lat, middle.lon, each), {8: 14, 7: 6}.get(each, 3))
        if round(distance_m(middle.lat, middle.lon, *h3.cell_to_latlng(cell)), 3) <= RADIUS_MAX_M
    }
    assert set(found) == expected == table.distance_m.keys()
    assert len(found) == len(set(found))
    distances = [ring.distance_m for ring in table.rings]
    assert distances == sorted(set(distances))
    assert all(table.distance_m[cell] == ring.distance_m for ring in table.rings for cell in ring.cells)
