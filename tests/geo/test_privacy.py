"""What others may see."""

import itertools
import statistics

import h3
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.cells import cell_of, edge_m, parent_of, resolution_of
from geo.coordinates import LatLng, normalise
from geo.distance import distance_m, distances_m, metres_per_degree
from geo.privacy import (
    Audience,
    Precision,
    Relation,
    Shown,
    Visibility,
    audience_admits,
    coarse,
    coarsen_to_k,
    metres_outside,
    snap,
    stick,
    strangers_resolution,
    view,
)
from geo.proximity import nearest

HERE = LatLng(52.52, 13.405)
EVERYONE_R8 = Visibility(Audience.EVERYONE, Precision.R8)
STRANGER = Relation()
MATCH = Relation(matched=True)
RESOLUTIONS = {"exact": 9, "r9": 9, "r8": 8, "r7": 7, "city": 5}
VISIBILITIES = st.builds(Visibility, st.sampled_from(Audience), st.sampled_from(Precision))
RELATIONS = st.builds(Relation, *[st.booleans()] * 4)


def alone(_cell):
    return 1


def seen(shown, visibility, relation, k=1, active_users_in=alone):
    return view(shown, visibility, relation, k=k, active_users_in=active_users_in)


@given(st.from_type(LatLng), st.sampled_from(Precision))
def test_a_snapped_position_is_a_cell_and_its_centre_and_nothing_else(at, precision):
    shown = snap(at.lat, at.lon, precision)
    if precision is Precision.HIDDEN:
        assert shown is None
        return
    assert resolution_of(shown.cell) == RESOLUTIONS[precision]
    assert (shown.lat, shown.lon) == h3.cell_to_latlng(shown.cell)
    assert set(msgspec.to_builtins(shown)) == {"cell", "lat", "lon"}


@settings(max_examples=500)
@given(st.from_type(LatLng), VISIBILITIES, RELATIONS, st.integers(1, 20), st.integers(1, 20))
def test_nobody_sees_more_than_their_relation_and_the_setting_allow(at, visibility, relation, k, active):
    shown = cell_of(at.lat, at.lon, 9)
    answer = seen(shown, visibility, relation, k, lambda _cell: active)
    if relation.is_self:
        assert answer == coarse(shown)
        return
    if relation.blocked or visibility.precision is Precision.HIDDEN or visibility.audience is Audience.NOBODY:
        assert answer is None
    if answer is None:
        return
    assert audience_admits(visibility.audience, relation)
    assert answer == coarse(parent_of(shown, resolution_of(answer.cell)))
    assert resolution_of(answer.cell) <= RESOLUTIONS[visibility.precision]
    if not relation.matched:
        assert resolution_of(answer.cell) <= 8
        assert active >= k


@pytest.mark.parametrize(
    ("audience", "stranger", "group", "match"),
    [
        ("nobody", False, False, False),
        ("matches", False, False, True),
        ("group", False, True, True),
        ("everyone", True, True, True),
    ],
)
def test_each_audience_includes_the_ones_before_it(audience, stranger, group, match):
    for relation, allowed in (
        (STRANGER, stranger),
        (Relation(shares_group=True), group),
        (MATCH, match),
    ):
        visibility = Visibility(Audience(audience), Precision.R8)
        assert (seen(cell_of(52.52, 13.405, 8), visibility, relation) is not None) == allowed


def test_a_stranger_asking_for_exact_gets_res_8_and_a_match_res_9():
    shown = cell_of(HERE.lat, HERE.lon, 9)
    exact = Visibility(Audience.EVERYONE, Precision.EXACT)
    assert resolution_of(seen(shown, exact, STRANGER).cell) == 8
    assert resolution_of(seen(shown, exact, Relation(shares_group=True)).cell) == 8
    assert resolution_of(seen(shown, exact, MATCH).cell) == 9


def test_what_strangers_can_query_is_never_finer_than_res_8():
    found = [strangers_resolution(precision) for precision in Precision]
    assert found == [8, 8, 8, 7, 5, None]


def test_a_coarser_index_never_becomes_finer():
    city = cell_of(HERE.lat, HERE.lon, 5)
    assert seen(city, EVERYONE_R8, MATCH) == coarse(city)


def test_a_person_is_shown_in_the_first_ancestor_with_k_active_people_or_not_at_all():
    r8 = cell_of(HERE.lat, HERE.lon, 8)
    for holds_k, expected in ((8, 8), (7, 7), (6, 6), (5, None), (0, None)):
        counts = {parent_of(r8, res): (5 if res <= holds_k else 4) for res in range(9)}
        found = coarsen_to_k(r8, counts.__getitem__, 5)
        assert found == (None if expected is None else parent_of(r8, expected))
    city = parent_of(r8, 5)
    assert coarsen_to_k(city, lambda _cell: 5, 5) == city
    assert coarsen_to_k(city, lambda _cell: 4, 5) is None


def test_anonymity_is_for_strangers_matches_see_the_setting():
    r8 = cell_of(HERE.lat, HERE.lon, 8)
    assert seen(r8, EVERYONE_R8, STRANGER, k=5) is None
    assert seen(r8, EVERYONE_R8, MATCH, k=5) == coarse(r8)


def outwards(cell, edges):
    """A position this many edges beyond the middle of one side of a cell."""
    lat, lon = h3.cell_to_latlng(cell)
    (lat_1, lon_1), (lat_2, lon_2) = h3.cell_to_boundary(cell)[:2]
    side = ((lat_1 + lat_2) / 2, (lon_1 + lon_2) / 2)
    reach_m = distance_m(lat, lon, *side)
    share = (reach_m + edges * edge_m(resolution_of(cell))) / reach_m
    return LatLng(lat + (side[0] - lat) * share, lon + (side[1] - lon) * share)


def test_the_shown_cell_changes_after_60_s_more_than_a_quarter_edge_outside():
    cell = cell_of(HERE.lat, HERE.lon, 8)
    away = outwards(cell, 0.5)
    shown = stick(None, HERE, 8, 0)
    assert shown == Shown(cell)
    shown = stick(shown, away, 8, 1_000)
    assert shown == Shown(cell, 1_000)
    shown = stick(shown, away, 8, 60_999)
    assert shown.cell == cell
    shown = stick(shown, away, 8, 61_000)
    assert shown == Shown(cell_of(away.lat, away.lon, 8))
    assert shown.cell != cell


def test_walking_along_an_edge_or_coming_back_shows_one_cell_for_ever():
    cell = cell_of(HERE.lat, HERE.lon, 8)
    shown = Shown(cell)
    for t_s, edges in enumerate(itertools.islice(itertools.cycle([-0.2, 0.2]), 300)):
        shown = stick(shown, outwards(cell, edges), 8, t_s * 1_000)
        assert shown == Shown(cell)
    shown = stick(shown, outwards(cell, 0.5), 8, 400_000)
    shown = stick(shown, HERE, 8, 430_000)
    assert shown == Shown(cell)
    assert stick(shown, outwards(cell, 0.5), 8, 470_000) == Shown(cell, 470_000)


def test_another_resolution_is_shown_at_once():
    assert stick(Shown(cell_of(0, 0, 8)), HERE, 7, 0) == Shown(cell_of(HERE.lat, HERE.lon, 7))


@settings(max_examples=200)
@given(st.from_type(LatLng), st.integers(5, 9))
def test_who_is_more_than_a_quarter_edge_outside_is_in_another_cell(at, res):
    cell = cell_of(at.lat, at.lon, res)
    # By hierarchy one may be a little outside the drawn cell; never as far as the threshold.
    assert metres_outside(cell, at) <= 0.25 * edge_m(res)


@settings(max_examples=100)
@given(st.from_type(LatLng), st.floats(0.05, 3))
def test_the_distance_outside_a_cell_is_the_nearest_corner_of_a_dense_boundary(at, edges):
    cell = cell_of(at.lat, at.lon, 8)
    away = normalise(max(-90.0, min(90.0, at.lat + edges * 0.01)), at.lon)
    corners = h3.cell_to_boundary(cell)
    if h3.latlng_to_cell(away.lat, away.lon, 8) == cell:
        assert metres_outside(cell, away) == 0
    elif abs(at.lat) < 85:
        dense = []
        for (lat_1, lon_1), (lat_2, lon_2) in itertools.pairwise([*corners, corners[0]]):
            turn = (lon_2 - lon_1 + 180) % 360 - 180
            dense += [(lat_1 + (lat_2 - lat_1) * s, lon_1 + turn * s) for s in np.linspace(0, 1, 200)]
        expected = min(distance_m(away.lat, away.lon, lat, lon) for lat, lon in dense)
        assert metres_outside(cell, away) == pytest.approx(expected, rel=1e-3, abs=3)


@pytest.mark.parametrize("at", [HERE, LatLng(6.4541, 3.3947), LatLng(-36.85, 174.76)])
def test_spoofed_queries_from_all_around_find_the_cells_centre_at_best(at):
    """Multilateration: where all band edges that a hundred spoofed viewers see can meet."""
    lat_m, lon_m = metres_per_degree(at.lat)
    rng = np.random.default_rng(3)
    north_m, east_m = (axis.ravel() for axis in np.meshgrid(*[np.arange(-1_500, 1_500, 50.0)] * 2))
    errors, bounds = [], []
    for _ in range(30):
        victim = LatLng(at.lat + rng.uniform(-2e3, 2e3) / lat_m, at.lon + rng.uniform(-2e3, 2e3) / lon_m)
        shown = snap(victim.lat, victim.lon, Precision.R8)
        guess_lats, guess_lons = victim.lat + north_m / lat_m, victim.lon + east_m / lon_m
        possible = np.ones(guess_lats.size, dtype=bool)
        for dy, dx in rng.uniform(-3_000, 3_000, (100, 2)):
            viewer = snap(victim.lat + dy / lat_m, victim.lon + dx / lon_m, Precision.R8)
            found = nearest(viewer, ["v"], np.array([shown.lat]), np.array([shown.lon]), radius_m=5_000)
            from_m, to_m = {"<1": (0, 1e3), "<2": (1e3, 2e3), "<5": (2e3, 5e3), "<10": (5e3, 1e4)}[
                found[0].band
            ]
            metres = distances_m(viewer.lat, viewer.lon, guess_lats, guess_lons)
            possible &= (metres >= from_m - 50) & (metres < to_m + 50)
        guess = guess_lats[possible].mean(), guess_lons[possible].mean()
        errors.append(distance_m(victim.lat, victim.lon, *guess))
        bounds.append(distance_m(victim.lat, victim.lon, shown.lat, shown.lon))
    assert statistics.median(errors) >= 0.9 * statistics.mean(bounds)
    assert statistics.median(errors) >= 0.5 * edge_m(8)


def test_averaging_the_cells_of_a_person_at_rest_on_an_edge_tells_one_cell_only():
    home = outwards(cell_of(HERE.lat, HERE.lon, 8), 0.0)
    lat_m, lon_m = metres_per_degree(home.lat)
    rng = np.random.default_rng(5)
    shown, cells, naive = None, set(), set()
    for number, (north_m, east_m) in enumerate(rng.normal(0, 30, (2_000, 2))):
        at = LatLng(home.lat + north_m / lat_m, home.lon + east_m / lon_m)
        shown = stick(shown, at, 8, number * 10_000)
        cells.add(shown.cell)
        naive.add(cell_of(at.lat, at.lon, 8))
    assert len(cells) == 1
    assert len(naive) > 1
