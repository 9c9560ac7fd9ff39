"""Positions in space, against PROJ's own conversion and geodesics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from geo.coordinates import LatLng
from geo.earth import cartesian, plane_at, surface_m

GEODESIC = Geod(ellps="WGS84")
TO_SPACE = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)


@settings(max_examples=200)
@given(st.lists(st.from_type(LatLng), max_size=10))
def test_space_is_projs_to_the_micrometre(positions):
    lats, lons = np.array([at.lat for at in positions]), np.array([at.lon for at in positions])
    expected = TO_SPACE.transform(lons, lats, np.zeros(lats.size))
    for ours, theirs in zip(cartesian(lats, lons), expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)


@settings(max_examples=300)
@given(st.from_type(LatLng), st.floats(0, 360), st.floats(0, 20_000))
def test_a_straight_line_with_its_curvature_is_the_geodesic(start, azimuth, metres):
    lon, lat, _ = GEODESIC.fwd(start.lon, start.lat, azimuth, metres)
    xs, ys, zs = cartesian(np.array([start.lat, lat]), np.array([start.lon, lon]))
    straight = np.sqrt(np.diff(xs) ** 2 + np.diff(ys) ** 2 + np.diff(zs) ** 2)
    assert surface_m(straight)[0] == pytest.approx(metres, abs=1e-3)
    # Without it 20 km would be 8 mm short.
    assert straight[0] <= metres + 1e-6


@given(st.from_type(LatLng), st.floats(0, 360), st.floats(0, 5_000))
def test_the_plane_at_a_position_has_east_and_north(at, azimuth, metres):
    lon, lat, _ = GEODESIC.fwd(at.lon, at.lat, azimuth, metres)
    east, north = plane_at(at.lat, at.lon, *cartesian(np.array([lat]), np.array([lon])))[0]
    assert east == pytest.approx(metres * np.sin(np.radians(azimuth)), abs=0.01)
    assert north == pytest.approx(metres * np.cos(np.radians(azimuth)), abs=0.01)
