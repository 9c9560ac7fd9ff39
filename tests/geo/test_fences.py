"""The index of fences, against asking every fence."""

import subprocess
import sys
from pathlib import Path

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


@settings(max_examples=120)
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
    assert (len(index), index.ids) == (1, ("a",))
    assert index.shape_of("a") is shape
    assert index.shape_of("b") is None


def test_an_index_that_changed_is_as_one_made_anew():
    """GEO-13: base, changes and marks together, whatever came and went, also past the point of rebuilding."""
    chance = np.random.default_rng(3)
    lats, lons = chance.uniform(52.4, 52.6, 400), chance.uniform(13.2, 13.6, 400)

    def drawn(number):
        lat, lon = chance.uniform(52.4, 52.6), chance.uniform(13.2, 13.6)
        if number % 2:
            return parse_shape({"type": "Point", "coordinates": [lon, lat], "radius_m": 1_500})
        return parse_shape({"type": "Polygon", "coordinates": [box(lat, lon, 0.01, 0.02)]})

    stands = {f"f{number}": drawn(number) for number in range(300)}
    index = first = FenceIndex(stands.items())
    rebuilt = 0
    for turn in range(40):
        gone = list(stands)[turn::50]
        came = {f"n{turn}-{number}": drawn(number) for number in range(8)} | {"f299": drawn(turn)}
        before = index
        index = index.changed(came.items(), gone)
        rebuilt += index._base is not before._base
        for fence_id in gone:
            del stands[fence_id]
        stands |= came
        anew = FenceIndex(stands.items())
        told = {(p, index.ids[f]) for p, f in zip(*map(list, index.hits(lats, lons)), strict=True)}
        assert told == {(p, anew.ids[f]) for p, f in zip(*map(list, anew.hits(lats, lons)), strict=True)}
        assert len(index) == len(stands)
        assert all(index.shape_of(fence_id) is shape for fence_id, shape in stands.items())
        assert all(index.shape_of(fence_id) is None for fence_id in gone if fence_id not in came)
    assert 0 < rebuilt < 10
    assert len(first) == 300


def test_pairs_that_are_not_admitted_are_never_tested():
    """GEO-14: the audience comes before the exact test."""
    shape = parse_shape({"type": "Point", "coordinates": [3.3947, 6.4541], "radius_m": 100})
    index = FenceIndex([("a", shape)]).changed([("b", shape)], [])
    lats, lons = np.full(3, 6.4541), np.full(3, 3.3947)
    asked = []

    def admits(positions, fences):
        asked.extend(zip(positions.tolist(), fences.tolist(), strict=True))
        return positions != fences

    positions, fences = index.hits(lats, lons, admits)
    assert sorted(asked) == [(p, f) for p in range(3) for f in range(2)]
    assert list(zip(positions, fences, strict=True)) == [(0, 1), (1, 0), (2, 0), (2, 1)]


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


def test_a_fence_takes_less_than_two_kilobytes(tmp_path):
    """GEO-26: what a process grows by with 20,000 circles and polygons that have all been asked for."""
    script = tmp_path / "weigh.py"
    script.write_text(
        """
import gc, sys, numpy as np
from geo.fences import FenceIndex
from geo.geojson import parse_shape

def held():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def drawn(number):
    lat, lon = 40 + (number // 200) * 0.01, 10 + (number % 200) * 0.01
    if number % 2:
        shape = parse_shape({"type": "Point", "coordinates": [lon, lat], "radius_m": 100})
    else:
        ring = [[lon + 0.004 * np.cos(a), lat + 0.004 * np.sin(a)] for a in np.linspace(0, 6, 8)]
        shape = parse_shape({"type": "Polygon", "coordinates": [[*ring, ring[0]]]})
    shape.geometry = {}
    return f"{number:036d}", shape

def ask(index, count):
    at = np.arange(count)
    return index.hits(40 + (at // 200) * 0.01, 10 + (at % 200) * 0.01)

ask(FenceIndex(drawn(number) for number in range(500)), 500)
before = held()
index = FenceIndex(drawn(number) for number in range(20_000))
assert len(ask(index, 20_000)[0]) == 20_000
print((held() - before) / 20_000)
"""
    )
    root = Path(__file__).parents[2]
    told = subprocess.run(
        [sys.executable, script],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert float(told.stdout) < 2_000
