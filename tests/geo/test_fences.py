"""The index of fences, against asking every fence."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.coordinates import LatLng, normalise
from geo.fences import FenceIndex
from geo.geojson import parse_shape


@st.composite
def shapes_near(draw, at):
    """A fence of any kind within a few hundred metres to some tens of kilometres of a place."""
    lat = max(-90.0, min(90.0, at.lat + draw(st.floats(-0.05, 0.05))))
    lon = at.lon + draw(st.floats(-0.05, 0.05))
    size = draw(st.sampled_from([0.001, 0.02, 0.2]))
    kind = draw(st.sampled_from(["circle", "box", "thin", "doughnut", "many"]))
    if kind == "circle":
        return parse_shape({"type": "Point", "coordinates": [lon, lat], "radius_m": size * 111_000})
    rings = [box(lat, lon, size, size)]
    if kind == "thin":
        rings = [box(lat, lon, size, size / 500)]
    if kind == "doughnut":
        rings.append(box(lat, lon, size / 2, size / 2))
    if kind == "many":
        parts = [[box(lat, lon + number * size * 3, size, size)] for number in range(12)]
        return parse_shape({"type": "MultiPolygon", "coordinates": parts})
    return parse_shape({"type": "Polygon", "coordinates": rings})


def box(lat, lon, half_lat, half_lon):
    south, north = max(-90.0, min(lat - half_lat, 89.9)), min(90.0, max(lat + half_lat, -89.9))
    west, east = lon - half_lon, lon + half_lon
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


@st.composite
def towns(draw):
    """Fences and positions near one place."""
    at = draw(st.from_type(LatLng))
    shapes = draw(st.lists(shapes_near(at), min_size=1, max_size=12))
    offsets = draw(st.lists(st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)), max_size=20))
    near = [normalise(max(-90.0, min(90.0, at.lat + dlat)), at.lon + dlon) for dlat, dlon in offsets]
    # Corners and edges too, as they were drawn.
    drawn = [corner for shape in shapes for west, south, east, north in shape.boxes() for corner in
             ((south, west), (north, east), ((south + north) / 2, west))]  # fmt: skip
    return shapes, [*near, at, *(normalise(lat, lon) for lat, lon in drawn)]


@settings(max_examples=300)
@given(towns())
def test_hits_are_those_of_asking_every_fence_about_every_position(town):
    shapes, positions = town
    index = FenceIndex((f"f{number}", shape) for number, shape in enumerate(shapes))
    lats, lons = np.array([at.lat for at in positions]), np.array([at.lon for at in positions])
    hits = [pair.tolist() for pair in index.hits(lats, lons)]
    expected = [
        (number, fence)
        for number, at in enumerate(positions)
        for fence, shape in enumerate(shapes)
        if shape.covers(at.lat, at.lon)
    ]
    assert list(zip(*hits, strict=True)) == expected


def test_an_index_names_its_fences():
    shape = parse_shape({"type": "Point", "coordinates": [3.3947, 6.4541], "radius_m": 100})
    index = FenceIndex([("a", shape)])
    assert (len(index), index.ids, index.shapes) == (1, ("a",), (shape,))
    assert index.shape_of("a") is shape
    assert index.shape_of("b") is None


def test_without_fences_or_positions_nothing_is_hit():
    nobody = np.array([])
    shape = parse_shape({"type": "Point", "coordinates": [0, 0], "radius_m": 100})
    for index in (FenceIndex([]), FenceIndex([("a", shape)])):
        assert [pair.tolist() for pair in index.hits(nobody, nobody)] == [[], []]
    assert [pair.tolist() for pair in FenceIndex([]).hits(np.array([0.0]), np.array([0.0]))] == [[], []]


def test_every_longitude_at_a_pole_hits_a_fence_that_reaches_it():
    wedge = parse_shape({"type": "Polygon", "coordinates": [box(89.0, 15.0, 1.0, 5.0)]})
    index = FenceIndex([("wedge", wedge)])
    positions, _ = index.hits(np.array([90.0, 90.0, 89.5]), np.array([-170.0, 15.0, -170.0]))
    assert positions.tolist() == [0, 1]
