"""Fences of H3 cells."""

import h3
import numpy as np
import pytest

from geo.distance import distance_m
from geo.fences import FenceIndex
from geo.geojson import ShapeError, parse_shape
from geo.shapes import Area

BERLIN = h3.latlng_to_cell(52.52, 13.405, 9)
AROUND = {
    "berlin": h3.grid_disk(BERLIN, 3),
    "coarse": h3.grid_disk(h3.latlng_to_cell(70.0, 25.0, 5), 1),
    "date line": h3.grid_disk(h3.latlng_to_cell(-16.8, 179.999, 7), 2),
    "pentagon": h3.grid_disk(h3.get_pentagons(7)[3], 1),
    "pole": h3.grid_disk(h3.latlng_to_cell(89.999, 0.0, 6), 2),
    "mixed": [h3.cell_to_parent(BERLIN, 7), *h3.grid_disk(h3.latlng_to_cell(52.55, 13.405, 9), 1)],
    "apart": [BERLIN, h3.latlng_to_cell(6.45, 3.39, 8)],
}


@pytest.mark.parametrize("name", AROUND)
def test_a_set_covers_the_positions_whose_cell_is_in_it(name):
    cells = AROUND[name]
    shape = parse_shape({"type": "H3", "cells": cells})
    assert parse_shape(shape.geometry).geometry == shape.geometry
    chance = np.random.default_rng(4)
    lats, lons = [], []
    for cell in cells[-12:]:
        corners = np.array(h3.cell_to_boundary(cell))
        lat, lon = h3.cell_to_latlng(cell)
        spread = 3.0 * np.abs(corners[:, 0] - lat).max()
        some = np.clip(lat + chance.uniform(-spread, spread, 60), -90, 90)
        wide = spread / max(np.cos(np.radians(lat)), 1e-3)
        lats += [*some, *corners[:, 0]]
        lons += [*(lon + chance.uniform(-wide, wide, 60)), *corners[:, 1]]
    lats = np.array(lats)
    lons = (np.array(lons) + 180.0) % 360.0 - 180.0
    resolutions = {h3.get_resolution(cell) for cell in cells}
    expected = [
        any(h3.latlng_to_cell(lat, lon, res) in cells for res in resolutions)
        for lat, lon in zip(lats, lons, strict=True)
    ]
    assert 0.05 < np.mean(expected) < 0.95
    assert shape.covers_each(lats, lons).tolist() == expected
    positions, _ = FenceIndex([("a", shape)]).hits(lats, lons)
    assert positions.tolist() == np.flatnonzero(expected).tolist()


def test_a_set_measures_as_its_outline_does():
    shape = parse_shape({"type": "H3", "cells": AROUND["berlin"]})
    assert isinstance(shape, Area)
    assert len(shape.parts) == 1
    assert shape.area_m2 == pytest.approx(
        sum(h3.cell_area(cell, "m^2") for cell in AROUND["berlin"]), rel=0.005
    )
    lat, lon = h3.cell_to_latlng(BERLIN)
    ring = [h3.cell_to_latlng(cell) for cell in h3.grid_ring(BERLIN, 4)]
    nearest_m = min(distance_m(lat, lon, *there) for there in ring)
    # To the edge of the third ring: half a step less than to the nearest middle of the fourth.
    assert shape.boundary_distance_m(lat, lon) == pytest.approx(nearest_m * 3.5 / 4, rel=0.06)


@pytest.mark.parametrize(
    "cells",
    [
        None,
        [],
        "8",
        ["nonsense"],
        [7],
        [h3.latlng_to_cell(0, 0, 4)],
        [h3.latlng_to_cell(0, 0, 13)],
        [BERLIN] * 10_001,
    ],
)
def test_what_is_no_set_of_cells_is_refused(cells):
    with pytest.raises(ShapeError):
        parse_shape({"type": "H3", "cells": cells})
