"""Cells and regions, against H3 itself and sampled positions."""

import h3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from geo.cells import (
    _SEARCH_CELL_REACH_M,
    _SEARCH_RES,
    _SEARCH_RING_STEP_M,
    boundary_of,
    cell_of,
    centre_of,
    contains,
    edge_m,
    is_cell,
    parent_of,
    region_of,
    regions_within,
    resolution_of,
)
from geo.coordinates import LatLng, normalise
from geo.distance import distance_m

GEODESIC = Geod(ellps="WGS84")


@settings(max_examples=200)
@given(st.from_type(LatLng), st.integers(0, 9), st.integers(0, 9))
def test_a_coarse_cell_is_a_function_of_the_finer_one(at, res, other):
    coarse, fine = sorted((res, other))
    assert parent_of(cell_of(at.lat, at.lon, fine), coarse) == cell_of(at.lat, at.lon, coarse)
    assert cell_of(at.lat, at.lon, 9) == h3.latlng_to_cell(at.lat, at.lon, 9)
    assert region_of(at.lat, at.lon) == h3.cell_to_parent(h3.latlng_to_cell(at.lat, at.lon, 9), 5)


@given(st.from_type(LatLng), st.integers(0, 9))
def test_a_cells_centre_lies_in_it_by_either_way(at, res):
    cell = cell_of(at.lat, at.lon, res)
    centre = centre_of(cell)
    assert contains(cell, centre)
    assert cell_of(centre.lat, centre.lon, res) == cell


@settings(max_examples=300)
@given(
    st.from_type(LatLng),
    st.floats(0, 6_500),
    st.lists(st.tuples(st.floats(0, 360), st.floats(0, 1)), max_size=30),
)
def test_no_region_within_the_radius_is_missed(at, radius_m, elsewhere):
    regions = regions_within(at.lat, at.lon, radius_m)
    split = {region for region in regions if int(region, 16) % 2}
    with_children = regions_within(at.lat, at.lon, radius_m, split)
    # The rim finds what the inside would.
    for azimuth, share in [*elsewhere, *((degrees, 1.0) for degrees in range(0, 360, 15))]:
        lon, lat, _ = GEODESIC.fwd(at.lon, at.lat, azimuth, radius_m * share)
        near = normalise(lat, lon)
        assert region_of(near.lat, near.lon) in regions
        assert region_of(near.lat, near.lon, split) in with_children
    assert not split & with_children


@settings(max_examples=100)
@given(st.from_type(LatLng), st.floats(100, 5_000))
def test_regions_beyond_the_slack_are_left_out(at, radius_m):
    for region in regions_within(at.lat, at.lon, radius_m):
        nearest = min(
            distance_m(at.lat, at.lon, *h3.cell_to_latlng(child)) for child in h3.cell_to_children(region, 7)
        )
        assert region == region_of(at.lat, at.lon) or nearest <= radius_m + _SEARCH_CELL_REACH_M


def test_a_position_in_the_middle_of_its_region_needs_no_other():
    centre = centre_of(region_of(52.52, 13.405))
    assert regions_within(centre.lat, centre.lon, 2_000) == {region_of(centre.lat, centre.lon)}


def test_the_search_constants_hold_worldwide():
    rng = np.random.default_rng(7)
    lats = np.degrees(np.arcsin(rng.uniform(-1, 1, 4_000)))
    lons = rng.uniform(-180, 180, 4_000)
    # Small cells are near the pentagons, large ones far from them.
    around = [h3.cell_to_latlng(cell) for cell in h3.get_pentagons(_SEARCH_RES)]
    near = [(lat + dlat, lon + dlon) for lat, lon in around for dlat, dlon in rng.normal(0, 0.05, (100, 2))]
    for lat, lon in [*zip(lats.tolist(), lons.tolist(), strict=True), *near]:
        cell = cell_of(lat, lon, _SEARCH_RES)
        centre = h3.cell_to_latlng(cell)
        assert distance_m(lat, lon, *centre) < _SEARCH_CELL_REACH_M * 0.96
        # Rings lie at least sqrt(3)/2 of the spacing of neighbours apart.
        spacing = min(distance_m(*centre, *h3.cell_to_latlng(n)) for n in h3.grid_ring(cell, 1))
        assert spacing * 3**0.5 / 2 > _SEARCH_RING_STEP_M


@pytest.mark.parametrize("radius_m", [-1.0, float("nan"), 20_001.0])
def test_a_radius_out_of_range_is_refused(radius_m):
    with pytest.raises(ValueError, match="radius_m"):
        regions_within(0, 0, radius_m)


def test_a_pentagon_has_five_neighbours_and_all_are_found():
    pentagon = h3.get_pentagons(5)[0]
    lat, lon = h3.cell_to_latlng(pentagon)
    assert regions_within(lat, lon, 12_000) == set(h3.grid_disk(pentagon, 1))


@pytest.mark.parametrize("text", ["", "x", "8a", "ffffffffffffffff", "115283473fffffff", "🌍", "0" * 1_000])
def test_what_names_no_cell_is_none(text):
    assert not is_cell(text)


def test_a_cell_has_a_resolution_and_corners():
    cell = cell_of(6.4541, 3.3947, 8)
    assert is_cell(cell)
    assert resolution_of(cell) == 8
    corners = boundary_of(cell)
    assert len(corners) == 6
    assert edge_m(8) == pytest.approx(531.4, abs=0.1)
