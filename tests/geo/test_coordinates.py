"""What is a position, and what is not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.coordinates import CoordinatesError, LatLng, normalise


@pytest.mark.parametrize(
    ("lat", "lon"),
    [(math.nan, 0), (0, math.nan), (math.inf, 0), (0, -math.inf), (90.000001, 0), (-91, 0)],
)
def test_nan_infinity_and_latitudes_beyond_a_pole_are_no_position(lat, lon):
    with pytest.raises(CoordinatesError):
        normalise(lat, lon)


@pytest.mark.parametrize(
    ("lon", "same"),
    [(180, -180), (-180, -180), (190, -170), (-190, 170), (360, 0), (540, -180), (-540, -180)],
)
def test_longitudes_come_back_into_the_half_open_turn(lon, same):
    assert normalise(0, lon).lon == same


@given(st.integers(-180 * 1024, 180 * 1024 - 1), st.integers(-50, 50))
def test_whole_turns_change_nothing(lon_1024ths, turns):
    lon = lon_1024ths / 1024
    assert normalise(0, lon + 360 * turns) == LatLng(0, lon)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_longitude_is_normalised_once_and_for_all(lon):
    once = normalise(0, lon).lon
    assert -180 <= once < 180
    assert normalise(0, once).lon == once
