"""Where fences are: covers, distances, sizes, boxes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from shapely.geometry import Point
from shapely.geometry import shape as shapely_shape

from geo.coordinates import LatLng, normalise
from geo.distance import distance_m
from geo.geojson import parse_shape

GEODESIC = Geod(ellps="WGS84")
DOUGHNUT = {
    "type": "Polygon",
    "coordinates": [
        [[3.39, 6.45], [3.41, 6.45], [3.41, 6.47], [3.39, 6.47], [3.39, 6.45]],
        [[3.395, 6.455], [3.395, 6.465], [3.405, 6.465], [3.405, 6.455], [3.395, 6.455]],
    ],
}
# 20 km long, 11 m wide, aslant.
THIN = {
    "type": "Polygon",
    "coordinates": [[[13.3, 52.5], [13.5, 52.6], [13.5, 52.6001], [13.3, 52.5001], [13.3, 52.5]]],
}


def circle(lat, lon, radius_m):
    return parse_shape({"type": "Point", "coordinates": [lon, lat], "radius_m": radius_m})


def square(lat, lon, half_deg):
    west, east, south, north = lon - half_deg, lon + half_deg, lat - half_deg, lat + half_deg
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def test_edges_and_corners_are_covered_and_a_hole_is_not():
    shape = parse_shape(DOUGHNUT)
    assert shape.covers(6.45, 3.39)
    assert shape.covers(6.45, 3.4)
    assert shape.covers(6.455, 3.4)
    assert not shape.covers(6.46, 3.4)
    assert shape.distance_outside_m(6.46, 3.4) == pytest.approx(distance_m(6.46, 3.4, 6.46, 3.405), rel=1e-3)
    assert shape.distance_outside_m(6.452, 3.4) == 0


@settings(max_examples=300)
@given(st.sampled_from([DOUGHNUT, THIN]), st.floats(-0.1, 1.1), st.floats(-0.1, 1.1))
def test_covers_is_what_shapely_says(geometry, along, up):
    slow = shapely_shape(geometry)
    west, south, east, north = slow.bounds
    lon, lat = west + (east - west) * along, south + (north - south) * up
    assert parse_shape(geometry).covers(lat, lon) == slow.covers(Point(lon, lat))


@settings(max_examples=200)
@given(st.from_type(LatLng), st.floats(5, 100_000), st.floats(0, 360), st.floats(0, 3))
def test_a_circle_covers_what_is_within_its_radius_and_its_boxes_hold_it(centre, radius_m, azimuth, radii):
    shape = circle(centre.lat, centre.lon, radius_m)
    lon, lat, _ = GEODESIC.fwd(centre.lon, centre.lat, azimuth, radius_m * radii)
    at = normalise(lat, lon)
    off_m = radius_m * (radii - 1)
    # Near a pole a position in degrees is told to the nanometre, and a radius compared beyond that is noise.
    tolerance_m = 0.02 + radius_m * 2e-5
    if abs(off_m) > tolerance_m:
        assert shape.covers(at.lat, at.lon) == (radii <= 1)
    assert shape.distance_outside_m(at.lat, at.lon) == pytest.approx(max(0, off_m), abs=tolerance_m)
    if shape.covers(at.lat, at.lon):
        assert any(w <= at.lon <= e and s <= at.lat <= n for w, s, e, n in shape.boxes())
    assert shape.radius_m == pytest.approx(radius_m)


def test_the_date_line_belongs_to_a_fence_that_touches_it_from_either_side():
    west_side = parse_shape(square(0, 179.5, 0.5))
    east_side = parse_shape(square(0, -179.5, 0.5))
    for lon in (180, -180):
        assert west_side.covers(0, lon)
        assert east_side.covers(0, lon)
    assert not west_side.covers(0, -179.99)


def test_a_pole_is_one_place_with_every_longitude():
    cap = parse_shape(
        {"type": "Polygon", "coordinates": [[[10, 89], [20, 89], [20, 90], [10, 90], [10, 89]]]}
    )
    assert cap.covers(90, -170)
    assert not cap.covers(89.5, -170)
    assert circle(90, 0, 1_000).covers(89.995, 123)
    assert not circle(90, 0, 1_000).covers(89.98, 123)


@settings(max_examples=300)
@given(
    st.sampled_from(
        [(6.4541, 3.3947), (52.52, 13.405), (-16.8, 180.0), (79.0, 20.0), (85.0, 20.0), (-89.5, 60.0)]
    ),
    st.floats(0.001, 0.05),
    st.floats(-3, 3),
    st.floats(-3, 3),
)
def test_the_distance_to_an_edge_is_that_to_a_dense_walk_along_it(centre, half_deg, up, along):
    lat0, lon0 = centre
    shape = parse_shape(square(lat0, lon0, half_deg))
    at = normalise(lat0 + half_deg * up, lon0 + half_deg * along)
    ends = np.linspace(-half_deg, half_deg, 201)
    walk = [(lat0 + side, lon0 + end) for side in (-half_deg, half_deg) for end in ends]
    walk += [(lat0 + end, lon0 + side) for side in (-half_deg, half_deg) for end in ends]
    expected = min(distance_m(at.lat, at.lon, lat, lon) for lat, lon in walk)
    assert shape.boundary_distance_m(at.lat, at.lon) == pytest.approx(expected, rel=2e-3, abs=half_deg * 600)


def test_a_ring_around_the_pole_is_as_far_as_its_parallel():
    arctic = parse_shape({"type": "Polygon", "coordinates": [[[0, 80], [120, 80], [-120, 80], [0, 80]]]})
    for lon in (0, 60, -60, 179):
        expected = GEODESIC.inv(lon, 79.5, lon, 80)[2]
        assert arctic.distance_outside_m(79.5, lon) == pytest.approx(expected, rel=1e-3)
        inside = GEODESIC.inv(lon, 88, lon, 80)[2]
        assert arctic.boundary_distance_m(88, lon) == pytest.approx(inside, rel=2e-3)


@settings(max_examples=100)
@given(st.floats(-80, 80), st.floats(-179, 179), st.floats(0.0005, 0.9))
def test_an_area_is_the_ellipsoids(lat, lon, half_deg):
    shape = parse_shape(square(lat, lon, half_deg))
    dense = np.linspace(-half_deg, half_deg, 50)
    # Geodesics leave the parallels, so the oracle walks along them in small steps.
    lons = [*(lon + dense), *(lon - dense)]
    lats = [*([lat - half_deg] * 50), *([lat + half_deg] * 50)]
    expected = abs(GEODESIC.polygon_area_perimeter(lons, lats)[0])
    assert shape.area_m2 == pytest.approx(expected, rel=1e-4)
    assert shape.radius_m == pytest.approx(math.sqrt(expected / math.pi), rel=1e-4)


def test_a_thin_fence_is_thin():
    shape = parse_shape(THIN)
    assert shape.covers(52.55005, 13.4)
    assert not shape.covers(52.5502, 13.4)
    assert shape.distance_outside_m(52.5502, 13.4) == pytest.approx(8.6, abs=0.5)
    assert shape.radius_m == pytest.approx(219.1, abs=0.5)


def test_overlapping_polygons_are_their_union():
    one, two = square(0, 0, 1)["coordinates"], square(0, 1, 1)["coordinates"]
    shape = parse_shape({"type": "MultiPolygon", "coordinates": [one, two]})
    assert shape.covers(0, 0.5)
    assert shape.covers(0, -0.5)
    assert shape.covers(0, 1.5)


def test_neighbouring_polygons_have_no_edge_between_them():
    one, two = square(0, 0, 1)["coordinates"], square(0, 2, 1)["coordinates"]
    shape = parse_shape({"type": "MultiPolygon", "coordinates": [one, two]})
    assert shape.boundary_distance_m(0, 1) == pytest.approx(distance_m(0, 1, 1, 1), rel=1e-6)


def test_the_whole_world_has_no_edge():
    world = parse_shape(
        {"type": "Polygon", "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]}
    )
    assert world.boundary_distance_m(52, 13) == math.inf
