"""Who is near, against brute force."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.coordinates import LatLng, normalise
from geo.distance import distance_m
from geo.privacy import Precision, snap
from geo.proximity import MapView, band_of, changes_to, nearest

OFFSETS = st.lists(st.tuples(st.floats(-0.08, 0.08), st.floats(-0.08, 0.08)), max_size=80)
KEYS = st.text("abc", min_size=1, max_size=2)
ROWS = st.dictionaries(KEYS, st.integers(0, 2))


def around(at, offsets):
    """Snapped positions near one: cells are shared, so distances tie."""
    there = [normalise(max(-90.0, min(90.0, at.lat + dlat)), at.lon + dlon) for dlat, dlon in offsets]
    return [snap(each.lat, each.lon, Precision.R8) for each in there]


def listed(viewer, people, **limits):
    keys = sorted(people)
    lats, lons = np.array([people[key].lat for key in keys]), np.array([people[key].lon for key in keys])
    return [(keys[found.index], found.band) for found in nearest(viewer, keys, lats, lons, **limits)]


@settings(max_examples=200)
@given(st.from_type(LatLng), OFFSETS, st.floats(100, 5_000), st.integers(1, 50))
def test_the_nearest_are_those_that_brute_force_finds(at, offsets, radius_m, limit):
    viewer = snap(at.lat, at.lon, Precision.R8)
    people = {f"u{index:02}": shown for index, shown in enumerate(around(at, offsets))}
    brute = sorted(
        (round(distance_m(viewer.lat, viewer.lon, shown.lat, shown.lon), 3), key)
        for key, shown in people.items()
    )
    expected = [(key, band_of(metres)) for metres, key in brute if metres <= radius_m][:limit]
    assert listed(viewer, people, radius_m=radius_m, limit=limit) == expected


@settings(max_examples=50)
@given(st.from_type(LatLng), OFFSETS, st.randoms(use_true_random=False))
def test_the_order_of_the_arrays_changes_nothing(at, offsets, random):
    viewer = snap(at.lat, at.lon, Precision.R8)
    shown = around(at, offsets)
    keys = [f"u{index:02}" for index in range(len(shown))]
    answers = set()
    for _ in range(2):
        pairs = list(zip(keys, shown, strict=True))
        random.shuffle(pairs)
        lats, lons = np.array([p.lat for _, p in pairs]), np.array([p.lon for _, p in pairs])
        names = [key for key, _ in pairs]
        answers.add(tuple(names[found.index] for found in nearest(viewer, names, lats, lons, radius_m=5_000)))
    assert len(answers) == 1


@settings(max_examples=50)
@given(st.from_type(LatLng), st.floats(-0.05, 0.05), st.floats(-0.05, 0.05))
def test_near_is_symmetric(at, dlat, dlon):
    here, there = around(at, [(0.0, 0.0), (dlat, dlon)])
    assert listed(here, {"x": there}, radius_m=3_000) == listed(there, {"x": here}, radius_m=3_000)


def test_at_most_fifty_of_a_crowd_in_one_cell_and_always_the_same():
    cell = snap(6.4541, 3.3947, Precision.R8)
    people = {f"u{number:03}": cell for number in range(200)}
    assert listed(cell, people, radius_m=100) == [(f"u{number:03}", "<1") for number in range(50)]


@pytest.mark.parametrize(
    ("metres", "band"),
    [(0, "<1"), (999.9, "<1"), (1_000, "<2"), (2_000, "<5"), (4_999, "<5"), (5_000, "<10"), (9_999, "<10")],
)
def test_bands_are_half_open(metres, band):
    assert band_of(metres) == band


def test_out_of_range_questions_are_refused():
    here = snap(0, 0, Precision.R8)
    nobody = np.array([])
    for limits in ({"radius_m": 5_001.0}, {"radius_m": 0.0}, {"radius_m": 9.0, "limit": 51}):
        with pytest.raises(ValueError, match="must lie in"):
            nearest(here, [], nobody, nobody, **limits)
    with pytest.raises(ValueError, match="10 km"):
        band_of(10_000)
    assert nearest(here, [], nobody, nobody, radius_m=5_000) == []


def applied(rows, changes):
    """What a client holds after it applied rows as they come over the wire."""
    held = dict(rows)
    for key, sign, *rest in json.loads(json.dumps(changes)):
        if sign == "-":
            del held[key]
        else:
            assert (sign == "~") == (key in held)
            held[key] = tuple(rest)
    return held


@settings(max_examples=200)
@given(st.lists(ROWS, max_size=6))
def test_a_client_that_applies_every_delta_holds_the_state(maps):
    view, held = MapView(), {}
    for current in maps:
        before = view
        view, changes = changes_to(view, current)
        held = applied(held, changes)
        assert {key: data for key, (data, _) in held.items()} == current
        assert held == {key: (data, version) for key, data, version in view.state()}
        assert view.version == before.version + bool(changes)
        assert bool(changes) == ({key: data for key, data, _ in before.state()} != current)


def test_rows_say_added_changed_and_gone():
    view, changes = changes_to(MapView(), {"a": 1, "b": 1})
    assert changes == [("a", "+", 1, 1), ("b", "+", 1, 1)]
    view, changes = changes_to(view, {"b": 2, "c": 3})
    assert changes == [("a", "-"), ("b", "~", 2, 2), ("c", "+", 3, 2)]
    assert changes_to(view, {"c": 3, "b": 2}) == (view, [])
