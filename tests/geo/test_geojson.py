"""What people draw, and what becomes of it."""

import contextlib
import json
import math

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.geojson import REPAIRED_VERTICES_MAX, VERTICES_MAX, ShapeError, parse_feature, parse_shape

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def round_ring(vertices, radius=1.0, step=1):
    """A regular ring; with a step, a star whose edges all cross."""
    corners = [2 * math.pi * index * step / (vertices - 1) for index in range(vertices - 1)]
    ring = [[radius * math.cos(angle), radius * math.sin(angle)] for angle in corners]
    return [*ring, ring[0]]


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        (None, "object"),
        ([], "object"),
        ({}, "Polygon"),
        ({"type": "LineString", "coordinates": SQUARE}, "Polygon"),
        ({"type": "GeometryCollection", "geometries": []}, "Polygon"),
        ({"type": "Polygon"}, "ring"),
        ({"type": "Polygon", "coordinates": []}, "ring"),
        ({"type": "Polygon", "coordinates": "x"}, "ring"),
        ({"type": "Polygon", "coordinates": [SQUARE[0]]}, "ring"),
        ({"type": "MultiPolygon", "coordinates": []}, "polygons"),
        ({"type": "MultiPolygon", "coordinates": 3}, "polygons"),
        ({"type": "MultiPolygon", "coordinates": [SQUARE]}, "ring"),
        (polygon(SQUARE[:-1]), "end where it begins"),
        (polygon([[0, 0], [1, 0], [0, 0]]), "four"),
        (polygon([[0, 0], [1, 0], [1], [0, 0]]), "position"),
        (polygon([[0, 0], [1, 0], [1, "1"], [0, 0]]), "finite"),
        (polygon([[0, 0], [1, 0], [1, True], [0, 0]]), "finite"),
        (polygon([[0, 0], [1, 0], [1, math.nan], [0, 0]]), "finite"),
        (polygon([[0, 0], [1, 0], [math.inf, 1], [0, 0]]), "finite"),
        (polygon([[0, 0], [1, 0], [10**400, 1], [0, 0]]), "finite"),
        (polygon([[0, 0], [1, 0], [1, 90.1], [0, 0]]), "degrees"),
        (polygon([[0, 0], [1, 0], [361, 1], [0, 0]]), "degrees"),
        (polygon([[0, 0], [1, 1], [2, 2], [0, 0]]), "no area"),
        (polygon([[0, 0], [0, 0], [0, 0], [0, 0]]), "no area"),
        (polygon(round_ring(VERTICES_MAX + 1)), "at most 10000"),
        (polygon(round_ring(9_998, step=4_000)), "not valid"),
        ({"type": "Point", "coordinates": [0, 0]}, "radius_m"),
        ({"type": "Point", "coordinates": [0, 0], "radius_m": 0}, "radius_m"),
        ({"type": "Point", "coordinates": [0, 0], "radius_m": math.nan}, "radius_m"),
        ({"type": "Point", "coordinates": [0, 0], "radius_m": 100_001}, "radius_m"),
        ({"type": "Point", "coordinates": [0, 91], "radius_m": 10}, "degrees"),
        ({"type": "Point", "coordinates": None, "radius_m": 10}, "position"),
    ],
)
def test_what_is_no_fence_is_refused_with_the_reason(geometry, words):
    with pytest.raises(ShapeError, match=words):
        parse_shape(geometry)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.sampled_from(["Polygon", "Point", "MultiPolygon"]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["type", "coordinates", "radius_m", "geometry", "properties"]), inner
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300)
@given(JSON, st.sampled_from(["Polygon", "MultiPolygon", "Point"]))
def test_no_json_does_anything_but_parse_or_raise_shape_error(anything, kind):
    for geometry in (anything, {"type": kind, "coordinates": anything, "radius_m": anything}):
        for parse in (
            parse_shape,
            lambda g: parse_feature({"type": "Feature", "geometry": g}),
            parse_feature,
        ):
            with contextlib.suppress(ShapeError):
                parse(geometry)


@pytest.mark.parametrize(
    "geometry",
    [
        polygon(SQUARE, [[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.6], [0.4, 0.4]]),
        {
            "type": "MultiPolygon",
            "coordinates": [[SQUARE], [[[5, 5, 80.5], [6, 5, 80], [6, 6, 80], [5, 5, 80.5]]]],
        },
        {"type": "Point", "coordinates": [3.3947, 6.4541], "radius_m": 250},
    ],
)
def test_the_geometry_that_is_stored_parses_to_the_same_shape(geometry):
    shape = parse_shape(geometry)
    again = parse_shape(json.loads(json.dumps(shape.geometry)))
    assert shape.geometry == geometry
    assert (again.boxes(), again.area_m2) == (shape.boxes(), shape.area_m2)


def test_a_feature_carries_properties_and_a_circle_its_radius_among_them():
    shape, properties = parse_feature(
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [3.3947, 6.4541]},
            "properties": {"name": "Market", "radius_m": 100},
        }
    )
    assert properties == {"name": "Market", "radius_m": 100}
    assert shape.geometry["radius_m"] == 100
    assert parse_feature({"type": "Feature", "geometry": polygon(SQUARE), "properties": None})[1] == {}


@pytest.mark.parametrize(
    "feature",
    [
        None,
        [],
        {"type": "Polygon"},
        {"type": "Feature"},
        {"type": "Feature", "geometry": polygon(SQUARE), "properties": [1]},
    ],
)
def test_what_is_no_feature_is_refused(feature):
    with pytest.raises(ShapeError):
        parse_feature(feature)


def test_a_bow_tie_becomes_its_two_triangles():
    shape = parse_shape(polygon([[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]))
    assert shape.covers(0.5, 0.9)
    assert shape.covers(0.5, 0.1)
    assert not shape.covers(0.9, 0.5)


def test_a_star_is_repaired_as_long_as_that_is_cheap():
    assert parse_shape(polygon(round_ring(REPAIRED_VERTICES_MAX, step=49))).covers(0, 0)


def test_ten_thousand_vertices_are_allowed():
    shape = parse_shape(polygon(round_ring(VERTICES_MAX)))
    assert shape.covers(0.7, 0.7)
    assert not shape.covers(0.8, 0.8)


@pytest.mark.parametrize(
    "ring",
    [
        [[179, -1], [-179, -1], [-179, 1], [179, 1], [179, -1]],
        [[179, -1], [181, -1], [181, 1], [179, 1], [179, -1]],
        [[-181, -1], [-179, -1], [-179, 1], [-181, 1], [-181, -1]],
        [[-179, 1], [179, 1], [179, -1], [-179, -1], [-179, 1]],
    ],
)
def test_a_ring_over_the_date_line_is_cut_there_however_it_is_written(ring):
    shape = parse_shape(polygon(ring))
    assert sorted(shapely.bounds(shape.parts).tolist()) == [[-180, -1, -179, 1], [179, -1, 180, 1]]
    for lon in (179.5, 180, -180, -179.5, 180.5, -179, 179):
        assert shape.covers(0.5, lon)
    for lon in (0, 178.9, -178.9, 90):
        assert not shape.covers(0.5, lon)


def test_a_hole_over_the_date_line_stays_a_hole():
    outer = [[178, -2], [-178, -2], [-178, 2], [178, 2], [178, -2]]
    for hole in (
        [[-179.5, -1], [179.5, -1], [179.5, 1], [-179.5, 1], [-179.5, -1]],
        [[-179.5, -1], [-179, -1], [-179, 1], [-179.5, 1], [-179.5, -1]],
        [[179.5, -1], [179, -1], [179, 1], [179.5, 1], [179.5, -1]],
    ):
        shape = parse_shape(polygon(outer, hole))
        middle = sum((lon + 360) % 360 for lon, _ in hole[:4]) / 4
        assert not shape.covers(0, middle)
        assert shape.covers(1.5, middle)
        assert shape.covers(0, 178.2)
        assert shape.covers(0, -178.2)


def test_a_ring_round_the_earth_encloses_its_pole():
    arctic = parse_shape(polygon([[0, 80], [90, 80], [180, 80], [-90, 80], [0, 80]]))
    antarctic = parse_shape(polygon([[0, -80], [-120, -80], [120, -80], [0, -80]]))
    for lon in (0, 45, 180, -135):
        assert arctic.covers(85, lon)
        assert arctic.covers(90, lon)
        assert not arctic.covers(79.9, lon)
        assert not arctic.covers(-85, lon)
        assert antarctic.covers(-90, lon)
        assert not antarctic.covers(90, lon)
    drawn_flat = parse_shape(polygon([[-180, 80], [180, 80], [180, 90], [-180, 90], [-180, 80]]))
    assert drawn_flat.area_m2 == pytest.approx(arctic.area_m2)


def test_a_box_of_the_whole_world_is_one():
    world = parse_shape(polygon([[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]))
    assert world.area_m2 == pytest.approx(510.0656e12, rel=1e-6)
    assert world.covers(52, 13)


def test_a_ring_that_winds_twice_is_refused():
    twice = [[lon, 80] for lon in (0, 90, 180, -90, 0, 90, 180, -90, 0)]
    with pytest.raises(ShapeError, match="round the Earth"):
        parse_shape(polygon(twice))
