"""Distances, against pyproj's geodesics."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from geo.coordinates import LatLng, normalise
from geo.distance import distance_m, distances_m, metres_per_degree

GEODESIC = Geod(ellps="WGS84")


@settings(max_examples=400)
@given(st.from_type(LatLng), st.floats(0, 360), st.floats(0, 5_000))
def test_within_5_km_the_local_ellipsoid_is_a_centimetre_from_the_geodesic(start, azimuth, metres):
    lon, lat, _ = GEODESIC.fwd(start.lon, start.lat, azimuth, metres)
    end = normalise(lat, lon)
    assert distance_m(start.lat, start.lon, end.lat, end.lon) == pytest.approx(metres, abs=0.01)


@settings(max_examples=200)
@given(st.from_type(LatLng), st.from_type(LatLng))
def test_far_and_polar_distances_are_the_geodesic(start, end):
    expected = GEODESIC.inv(start.lon, start.lat, end.lon, end.lat)[2]
    assert distance_m(start.lat, start.lon, end.lat, end.lon) == pytest.approx(expected, rel=2e-5, abs=0.01)


@settings(max_examples=100)
@given(st.from_type(LatLng), st.lists(st.from_type(LatLng), max_size=20))
def test_a_batch_is_the_scalar_one_by_one(start, ends):
    lats, lons = np.array([end.lat for end in ends]), np.array([end.lon for end in ends])
    batch = distances_m(start.lat, start.lon, lats, lons)
    single = [distance_m(start.lat, start.lon, end.lat, end.lon) for end in ends]
    assert batch.tolist() == pytest.approx(single, rel=1e-12, abs=1e-6)


@settings(max_examples=100)
@given(st.from_type(LatLng), st.from_type(LatLng), st.sampled_from([-720.0, -360.0, 360.0]))
def test_distance_is_symmetric_and_blind_to_whole_turns(start, end, turn):
    there = distance_m(start.lat, start.lon, end.lat, end.lon)
    back = distance_m(end.lat, end.lon, start.lat, start.lon + turn)
    assert back == pytest.approx(there, rel=1e-9, abs=1e-5)


def test_across_the_date_line_is_a_step():
    assert distance_m(-16.8, 179.999, -16.8, -179.999) == pytest.approx(213.1, abs=0.1)


def test_a_position_is_nowhere_else_than_itself():
    assert distance_m(89.9, 10, 89.9, 10) == pytest.approx(0, abs=1e-9)
    assert distance_m(6.4541, 3.3947, 6.4541, 3.3947) == 0


@pytest.mark.parametrize("lat", [0, 45, -60, 89])
def test_a_degree_is_as_long_as_the_ellipsoid_says(lat):
    lat_m, lon_m = metres_per_degree(lat)
    half = 0.0005
    assert lat_m == pytest.approx(GEODESIC.inv(0, lat - half, 0, lat + half)[2] / (2 * half), rel=1e-7)
    assert lon_m == pytest.approx(GEODESIC.inv(-half, lat, half, lat)[2] / (2 * half), rel=1e-7)
    assert math.isfinite(lon_m)
