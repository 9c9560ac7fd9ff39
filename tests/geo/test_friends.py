"""Matches near (GEO-10): the circles decide exactly what comparing all pairs at each step would."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.distance import distance_m
from geo.friends import R_IN_M, R_OUT_M, Friends

CENTRES = {
    "Berlin": (52.52, 13.405),
    "Fiji": (-16.5, 179.9995),
    "Longyearbyen": (78.22, 15.65),
    "0": (0.0, 0.0),
}


class Brute:
    """All edges, measured at each step."""

    def __init__(self, edges):
        self.edges = {tuple(sorted(edge)) for edge in edges}
        self.inside = set()
        self.at = {}

    def step(self):
        entered, left = [], []
        for one, other in sorted(self.edges):
            if one not in self.at or other not in self.at:
                continue
            metres = distance_m(*self.at[one], *self.at[other])
            if (one, other) in self.inside and metres > R_OUT_M:
                self.inside.discard((one, other))
                left.append((one, other))
            elif (one, other) not in self.inside and metres <= R_IN_M:
                self.inside.add((one, other))
                entered.append((one, other))
        return entered, left


def walkers(chance, people, centre, spread_m):
    lat, lon = centre
    east = 111_320 * math.cos(math.radians(lat))
    at = {}
    for person in range(people):
        north_m, east_m = chance.uniform(-spread_m, spread_m), chance.uniform(-spread_m, spread_m)
        at[person] = (lat + north_m / 111_320, lon + east_m / east)
    return at, east


def wrapped(lon):
    return (lon + 180.0) % 360.0 - 180.0


def pairs(rows):
    return [tuple(row) for row in rows.tolist()]


def place(friends, at, remote=False):
    rows = np.array(sorted(at), dtype=np.int32)
    lats, lons = (np.array([at[row][axis] for row in rows.tolist()]) for axis in (0, 1))
    return friends.move(rows, lats, lons, remote=remote)


@pytest.mark.parametrize("centre", list(CENTRES))
@given(seed=st.integers(0, 10**6), spread_m=st.sampled_from([300, 900, 4_000]))
@settings(max_examples=12, deadline=None)
def test_circles_decide_what_comparing_all_pairs_does(centre, seed, spread_m):
    chance = random.Random(seed)
    people = 14
    edges = {(a, b) for a in range(people) for b in range(a + 1, people) if chance.random() < 0.6}
    brute, friends = Brute(edges), Friends(4)
    for one, other in edges:
        friends.link(one, other, inside=False)
    at, east = walkers(chance, people, CENTRES[centre], spread_m)
    crossings = 0
    for step in range(60):
        moving = [p for p in at if chance.random() < 0.5] if step else list(at)
        stride_m = chance.choice([2, 20, 150])
        for person in moving:
            lat, lon = at[person]
            bearing = chance.uniform(0, 2 * math.pi)
            at[person] = (
                lat + stride_m * math.cos(bearing) / 111_320,
                wrapped(lon + stride_m * math.sin(bearing) / east),
            )
            brute.at[person] = at[person]
        if not moving:
            continue
        found = place(friends, {person: at[person] for person in moving})
        entered, left = brute.step()
        assert (pairs(found.entered), pairs(found.left)) == (entered, left)
        crossings += len(entered) + len(left)
    for one, other in edges:
        assert (
            friends.is_inside(one, other) == ((one, other) in brute.inside) == friends.is_inside(other, one)
        )


def test_there_are_crossings_to_decide():
    """The property above would hold of nothing as well."""
    friends = Friends()
    friends.link(0, 1, inside=False)
    place(friends, {0: (52.52, 13.405), 1: (52.53, 13.405)})
    found = place(friends, {1: (52.5217, 13.405)})
    assert (pairs(found.entered), pairs(found.left)) == ([(0, 1)], [])
    found = place(friends, {1: (52.5221, 13.405)})
    assert (pairs(found.entered), pairs(found.left)) == ([], []), "within 250 m they stay near"
    found = place(friends, {0: (52.5190, 13.405)})
    assert (pairs(found.entered), pairs(found.left)) == ([], [(0, 1)])


def test_far_friends_cost_nothing_until_one_has_come_half_the_way():
    friends = Friends()
    friends.link(0, 1, inside=False)
    place(friends, {0: (52.52, 13.405), 1: (52.70, 13.405)})
    margin_m = distance_m(52.52, 13.405, 52.70, 13.405) - R_IN_M
    assert friends.free_m[:2].sum() == pytest.approx(margin_m, rel=1e-3)
    looked = []
    friends.look = looked.append  # type: ignore[method-assign]
    for step in range(100):
        place(friends, {0: (52.52 + step * 0.0008, 13.405)})
    assert looked == []


@given(seed=st.integers(0, 10**6), spread_m=st.sampled_from([400, 1_500]))
@settings(max_examples=25, deadline=None)
def test_a_remote_half_tells_only_what_is_needed_and_all_of_that(seed, spread_m):
    """Rows 0-4 are here, 5-9 elsewhere: theirs are told where they leave their circles, or when asked for."""
    chance = random.Random(seed)
    edges = [(a, b) for a in range(5) for b in range(5, 10)]
    brute, friends = Brute(edges), Friends()
    for edge in edges:
        friends.link(*edge, inside=False)
    at, east = walkers(chance, 10, CENTRES["Berlin"], spread_m)
    anchors, told = {}, 0
    for step in range(80):
        stride_m = chance.choice([2, 15, 60])
        for person in at:
            lat, lon = at[person]
            bearing = chance.uniform(0, 2 * math.pi)
            at[person] = (
                lat + stride_m * math.cos(bearing) / 111_320,
                lon + stride_m * math.sin(bearing) / east,
            )
        brute.at = dict(at)
        found = [place(friends, {p: at[p] for p in range(5)})]
        leaving = [
            p for p in range(5, 10)
            if step == 0 or friends.free_m[p] < 0 or distance_m(*anchors[p], *at[p]) > friends.free_m[p]
        ]  # fmt: skip
        wanted = {int(row) for row in found[0].recalled} | set(leaving)
        while wanted:
            told += len(wanted)
            anchors |= {p: at[p] for p in wanted}
            found.append(place(friends, {p: at[p] for p in wanted}, remote=True))
            wanted = {int(row) for row in found[-1].recalled}
        entered, left = brute.step()
        assert sorted(e for each in found for e in pairs(each.entered)) == entered
        assert sorted(e for each in found for e in pairs(each.left)) == left
    assert told < 5 * 80


def test_edges_come_and_go():
    friends = Friends(2)
    for other in range(1, 40):
        friends.link(0, other, inside=other % 2 == 0)
        friends.link(0, other, inside=False)
    assert sorted(friends.known_by(0)) == list(range(1, 40))
    assert [friends.is_inside(other, 0) for other in (2, 3)] == [True, False]
    for other in range(1, 38):
        friends.unlink(other, 0)
    assert sorted(friends.known_by(0)) == [38, 39]
    assert friends.known_by(5) == []
    assert friends.is_inside(0, 38)


def test_somebody_who_is_nowhere_neither_enters_nor_leaves():
    friends = Friends()
    friends.link(0, 1, inside=False)
    assert pairs(place(friends, {0: (52.52, 13.405)}).entered) == []
    assert pairs(place(friends, {1: (52.52, 13.405)}).entered) == [(0, 1)]
    friends.forget(1)
    assert not friends.is_placed(1)
    assert pairs(place(friends, {0: (53.52, 13.405)}).left) == []
    assert pairs(place(friends, {1: (52.52, 13.405)}).left) == [(0, 1)]


def test_whoever_has_parted_enters_again():
    friends = Friends()
    friends.link(0, 1, inside=False)
    place(friends, {0: (52.52, 13.405), 1: (52.52, 13.405)})
    friends.part(1)
    assert not friends.is_inside(0, 1)
    assert not friends.is_inside(1, 0)
    assert pairs(place(friends, {1: (52.52, 13.405)}).entered) == [(0, 1)]
