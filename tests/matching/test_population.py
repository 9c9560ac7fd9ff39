"""Hard limits on arrays: of every pair what `candidates.fit` says of it, in any world (MATCH-6, MATCH-8)."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from matching import shortlist, sources
from matching.candidates import Wishes, fit
from matching.live import GENDERS as LIVE_GENDERS
from matching.live import People, Profile, yyyymmdd
from matching.population import Population, never_shown
from matching.tally import RATES

COUNT = 24
GENDERS = (0, 1, 2, 4)


def a_population(seed):
    """Few values of everything, so that limits meet; some are nowhere, some are seen by nobody."""
    chance = np.random.default_rng(seed)
    age = chance.integers(18, 30, COUNT).astype(float)
    one, other = chance.integers(0, COUNT, (2, 20))
    lat = np.where(chance.random(COUNT) < 0.2, np.nan, chance.choice([52.50, 52.52, 52.60], COUNT))
    blocked, matched = (one[:5], other[:5]), (one[5:8], other[5:8])
    decided = one[8:], other[8:], chance.random(12) < 0.5
    return Population(
        is_active=chance.random(COUNT) < 0.85,
        is_listed=chance.random(COUNT) < 0.85,
        age=age,
        age_from=age - chance.integers(0, 8, COUNT),
        age_to=age + chance.integers(0, 8, COUNT),
        gender=chance.choice(GENDERS, COUNT).astype(np.uint64),
        seeks=chance.integers(0, 8, COUNT).astype(np.uint64),
        goals=chance.integers(0, 4, COUNT).astype(np.uint64),
        within_m=chance.choice([2_000.0, 5_000.0, np.inf], COUNT),
        lat=lat,
        lon=np.where(np.isnan(lat), np.nan, 13.4),
        blur_m=np.full(COUNT, 500.0),
        is_seen=chance.random(COUNT) < 0.8,
        never=never_shown(COUNT, blocked=blocked, matched=matched, decided=decided),
    ), (blocked, matched, decided)


def wishes(people, one):
    goals = frozenset(str(bit) for bit in range(2) if int(people.goals[one]) >> bit & 1)
    reach = people.within_m[one]
    return Wishes(
        int(people.age[one]),
        goals,
        int(people.age_from[one]),
        int(people.age_to[one]),
        None if np.isinf(reach) else float(reach),
        bool(people.is_active[one]),
    )


def seeks(people, one, other):
    wanted, is_one = int(people.seeks[one]), int(people.gender[other])
    return wanted == 0 or bool(wanted & is_one)


def may_be_shown(people, world, one, other):
    """By the rules of one pair, one after the other."""
    blocked, matched, decided = world
    both = {frozenset(pair) for each in (blocked, matched) for pair in zip(*each, strict=True)}
    given = {(rater, ratee) for rater, ratee, _ in zip(*decided, strict=True)}
    passed = {(ratee, rater) for rater, ratee, likes in zip(*decided, strict=True) if not likes}
    metres = np.inf
    if people.is_seen[other] and not np.isnan(people.lat[[one, other]]).any():
        metres = abs(people.lat[one] - people.lat[other]) * 111_195 * 1.006 + 1_000
    return (
        one != other
        and people.is_listed[other]
        and fit(wishes(people, one), wishes(people, other), metres)
        and seeks(people, one, other)
        and seeks(people, other, one)
        and frozenset((one, other)) not in both
        and (one, other) not in given | passed
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1_000_000))
def test_arrays_say_what_the_rules_of_one_pair_say(seed):
    people, world = a_population(seed)
    everybody = np.arange(COUNT)
    found = people.may_show(everybody[:, None], everybody[None, :])
    for one in range(COUNT):
        for other in range(COUNT):
            assert found[one, other] == may_be_shown(people, world, one, other)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1_000_000))
def test_arrays_say_what_the_matchers_table_says(seed):
    """Live and batch show the same people, but for who has passed on the viewer: only a batch leaves them out
    (docs/decisions/0264).
    """
    people, (blocked, matched, decided) = a_population(seed)
    table = People()
    today = date(2026, 11, 26)
    for row in range(COUNT):
        table.put(
            Profile(
                user=str(row),
                status="active" if people.is_active[row] else "paused",
                birth_date=date(today.year - int(people.age[row]), 1, 1),
                is_listed=bool(people.is_listed[row]),
                gender={1: "woman", 2: "man", 4: "other"}.get(int(people.gender[row])),
                seeks=[name for name, bit in LIVE_GENDERS.items() if int(people.seeks[row]) & bit],
                goals=[str(bit) for bit in range(2) if int(people.goals[row]) >> bit & 1],
                age_from=int(people.age_from[row]),
                age_to=int(people.age_to[row]),
                within_m=None if np.isinf(people.within_m[row]) else int(people.within_m[row]),
            )
        )
    for pairs, holds in (
        (matched, {"blocked": False, "matched": True}),
        (blocked, {"blocked": True, "matched": False}),
    ):
        for one, other in zip(*pairs, strict=True):
            if one != other:
                table.relate(str(min(one, other)), str(max(one, other)), **holds)
    for rater, ratee, likes in zip(*decided, strict=True):
        if rater != ratee:
            table.decide(str(rater), str(ratee), bool(likes))
    everybody = np.arange(COUNT)
    found = people.may_show(everybody[:, None], everybody[None, :])
    for viewer in range(COUNT):
        apart_m = people.most_m(np.full(COUNT, viewer), everybody)
        shown = table.is_shown[everybody] & table.fits(viewer, everybody, apart_m, yyyymmdd(today))
        shown[list(table.decided(viewer))] = False
        last = {int(rater): likes for rater, ratee, likes in zip(*decided, strict=True) if ratee == viewer}
        shown[[rater for rater, likes in last.items() if not likes and rater != viewer]] = False
        assert np.array_equal(found[viewer], shown)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1_000_000))
def test_candidates_are_only_who_may_be_shown_and_everybody_has_what_there_is(seed):
    people, world = a_population(seed)
    chance = np.random.default_rng(seed)
    rates = chance.random((COUNT, len(RATES)))
    tags = csr_array((chance.random((COUNT, 6)) < 0.4).astype(np.float32))
    contacts = csr_array((COUNT, COUNT), dtype=np.float32)
    found = shortlist.shortlist(
        people,
        sources.sources(rates, tags, world[2], world[1], contacts, seed=0),
        np.arange(COUNT),
        chance,
    )
    pairs = list(zip(found.viewer.tolist(), found.shown.tolist(), strict=True))
    right = {
        (one, other)
        for one in range(COUNT)
        for other in range(COUNT)
        if may_be_shown(people, world, one, other)
    }
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == right  # fewer people than places


def test_bounds_are_above_the_true_distances():
    people, _ = a_population(3)
    there = np.flatnonzero(~np.isnan(people.lat) & people.is_seen)
    one, other = np.repeat(there, len(there)), np.tile(there, len(there))
    apart_m = np.abs(people.lat[one] - people.lat[other]) * 111_195
    assert (people.most_m(one, other) >= apart_m + 1_000).all()


def test_contacts_are_those_who_were_there_at_once():
    visits = (
        np.array([0, 1, 2, 3]),
        np.array([7, 7, 7, 8]),
        np.array([0.0, 50.0, 200.0, 0.0]),
        np.array([100.0, 150.0, 300.0, 300.0]),
    )
    found = sources.contacts_of(4, visits, now_s=50.0 + 7 * 86_400).toarray()
    assert found[0, 1] == found[1, 0] == pytest.approx(0.5)
    found[0, 1] = found[1, 0] = 0
    assert not found.any()


def test_whom_the_matches_of_a_match_matched():
    """As candidates.matches_of_matches: m1 – f1 – m2 – f3."""
    found = sources.matches_of_matches(6, np.array([0, 2, 2]), np.array([1, 1, 3])).toarray()
    assert found[0, 3] == found[3, 0] == 1
    assert not found[0, [1, 2, 4, 5]].any()
