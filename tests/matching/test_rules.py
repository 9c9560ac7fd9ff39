"""Who may meet whom, and matchings that hold: candidates, the daily pick, exposure, groups, values."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matching.candidates import Standing, Wishes, fit, gather, matches_of_matches
from matching.exposure import capped_lists, reciprocal_lists, top_lists, worth
from matching.groups import GroupLimits, form, lowest
from matching.metrics import gini
from matching.pick import blocking_pairs, shortlists, stable_pairs
from matching.values import POINTS, Answer, agreement, ipsatise, satisfaction, value_likeness, value_vectors

WISHES = st.builds(
    Wishes,
    age=st.integers(18, 60),
    goals=st.frozensets(st.sampled_from(["friends", "date", "sport"])),
    age_from=st.integers(18, 40),
    age_to=st.integers(30, 80),
    within_m=st.none() | st.floats(100, 10_000),
    is_active=st.booleans(),
    is_paused=st.booleans(),
)


@given(WISHES, WISHES, st.floats(0, 12_000))
def test_hard_filters_are_two_way(one, other, distance_m):
    found = fit(one, other, distance_m)
    assert found == fit(other, one, distance_m)
    if found:
        assert one.age_from <= other.age <= one.age_to
        assert other.within_m is None or distance_m <= other.within_m
        assert one.is_active
        assert not other.is_paused


PEOPLE = st.sampled_from("abcdefgh")


@given(
    st.dictionaries(st.sampled_from(["disk", "ann", "collaborative"]), st.lists(PEOPLE)),
    st.frozensets(PEOPLE),
    st.frozensets(PEOPLE),
    st.integers(0, 6),
)
def test_candidates_are_never_oneself_blocked_or_decided(sources, blocked, decided, limit):
    found = gather(Standing("a", blocked, decided), sources, limit)
    named = {person for listed in sources.values() for person in listed}
    allowed = named - blocked - decided - {"a"}
    assert found.keys() <= allowed
    assert len(found) == min(limit, len(allowed))
    assert all(person in sources[source] for person, source in found.items())


def test_no_source_crowds_out_another():
    found = gather(Standing("a"), {"disk": ["b", "c", "d"], "ann": ["e", "f"]}, 4)
    assert found == {"b": "disk", "e": "ann", "c": "disk", "f": "ann"}


def test_matches_of_matches_are_counted_by_ways():
    matches = {"m1": {"f1", "f2"}, "f1": {"m1", "m2"}, "f2": {"m1", "m2"}, "m2": {"f1", "f2", "f3"}}
    assert matches_of_matches("m1", matches) == ["f3"]
    assert matches_of_matches("nobody", matches) == []


@st.composite
def lists(draw):
    men, women = "abcde"[: draw(st.integers(1, 4))], "vwxyz"[: draw(st.integers(1, 4))]

    def side(own, others):
        return {one: draw(st.permutations(others))[: draw(st.integers(0, len(others)))] for one in own}

    return side(men, women), side(women, men)


@settings(max_examples=200)
@given(lists())
def test_the_daily_pick_is_stable_and_the_best_stable_one_for_who_proposes(both):
    proposers, receivers = both
    pairs = stable_pairs(proposers, receivers)
    assert not blocking_pairs(pairs, proposers, receivers)
    assert len(set(pairs.values())) == len(pairs)
    for other in every_matching(proposers, receivers):
        if not blocking_pairs(other, proposers, receivers):
            assert other.keys() == pairs.keys()
            for proposer, receiver in other.items():
                listed = list(proposers[proposer])
                assert listed.index(pairs[proposer]) <= listed.index(receiver)


def every_matching(proposers, receivers):
    choices = list(receivers)
    for count in range(min(len(proposers), len(choices)) + 1):
        for chosen in combinations(proposers, count):
            for partners in permutations(choices, count):
                pairs = dict(zip(chosen, partners, strict=True))
                if all(r in proposers[p] and p in receivers[r] for p, r in pairs.items()):
                    yield pairs


def test_an_unstable_pairing_is_found_out():
    proposers, receivers = {"a": "xy", "b": "xy"}, {"x": "ab", "y": "ab"}
    assert blocking_pairs({"a": "y", "b": "x"}, proposers, receivers) == [("a", "x")]


def test_shortlists_are_the_best_by_score():
    assert shortlists({"a": {"x": 0.1, "y": 0.9, "z": 0.9}}, 2) == {"a": ["y", "z"]}


@settings(max_examples=100)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 4))
def test_capped_lists_keep_both_limits_and_no_pair_would_rather(seed, slots, cap):
    chance = np.random.default_rng(seed)
    viewer, shown = chance.random((7, 6)), chance.random((7, 6))
    viewer[chance.random((7, 6)) < 0.2] = -np.inf
    exposed = capped_lists(viewer, shown, slots, cap)
    assert exposed.sum(axis=1).max() <= slots
    assert exposed.sum(axis=0).max() <= cap
    assert not exposed[np.isinf(viewer)].any()
    for v in range(7):
        for s in np.flatnonzero(~exposed[v] & np.isfinite(viewer[v])):
            wants = exposed[v].sum() < slots or viewer[v, s] > viewer[v][exposed[v]].min()
            wanted = exposed[:, s].sum() < cap or (cap > 0 and shown[v, s] > shown[:, s][exposed[:, s]].min())
            assert not (wants and wanted)


@given(st.integers(0, 1_000))
def test_capped_lists_do_not_hang_on_the_order_of_viewers(seed):
    """Strict preferences have one viewer-optimal stable outcome."""
    chance = np.random.default_rng(seed)
    viewer, shown = chance.random((6, 5)), chance.random((6, 5))
    order = chance.permutation(6)
    assert np.array_equal(
        capped_lists(viewer, shown, 2, 2)[order], capped_lists(viewer[order], shown[order], 2, 2)
    )


def test_caps_spread_exposure_and_lead_to_more_effective_matches():
    chance = np.random.default_rng(0)
    beauty = chance.normal(0, 1.5, 60)
    forward = 1 / (1 + np.exp(-(beauty[None, :] + chance.normal(0, 0.5, (60, 60)))))
    backward = 1 / (1 + np.exp(-(beauty[:, None] + chance.normal(0, 0.5, (60, 60)))))
    naive = worth(top_lists(forward, 5), forward, backward, attention=5)
    capped = worth(reciprocal_lists(forward, backward, 5, 5), forward, backward, attention=5)
    assert capped.effective_matches > naive.effective_matches
    assert capped.gini < naive.gini
    assert naive.gini == pytest.approx(gini(top_lists(forward, 5).sum(axis=0).astype(float)))


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.floats(0, 0.6))
def test_groups_are_disjoint_near_and_nobody_is_below_the_floor(seed, floor):
    chance = np.random.default_rng(seed)
    scores, distances = chance.random((12, 12)), chance.random((12, 12)) * 2_000
    scores, distances = (scores + scores.T) / 2, (distances + distances.T) / 2
    blocked = chance.integers(0, 12, 2)
    scores[blocked[0], blocked[1]] = scores[blocked[1], blocked[0]] = -np.inf
    available = chance.random(12) < 0.8
    limits = GroupLimits(3, 5, 1_500.0, floor)
    groups = form(scores, distances, available, limits)
    members = [member for group in groups for member in group]
    assert len(members) == len(set(members))
    assert available[members].all()
    for group in groups:
        assert 3 <= len(group) <= 5
        assert all(distances[one, other] <= 1_500 for one, other in combinations(group, 2))
        assert all(np.isfinite(scores[one, other]) for one, other in combinations(group, 2))
        for member in group:
            assert np.mean([scores[member, other] for other in group if other != member]) >= floor - 1e-12
        assert lowest(group, scores) >= floor


def test_two_clear_circles_become_two_groups():
    scores = np.full((6, 6), 0.1)
    scores[:3, :3] = scores[3:, 3:] = 0.9
    limits = GroupLimits(3, 6, 100.0, 0.5)
    assert form(scores, np.zeros((6, 6)), np.ones(6, dtype=bool), limits) == [[0, 1, 2], [3, 4, 5]]


def answers(chance, count):
    return {
        f"q{number}": Answer(
            int(chance.integers(3)), frozenset(chance.integers(0, 3, 2).tolist()), int(chance.integers(5))
        )
        for number in chance.permutation(10)[:count]
    }


@given(st.integers(0, 500), st.integers(0, 10), st.integers(0, 10))
def test_agreement_is_symmetric_within_bounds_and_unsure_with_few_questions(seed, mine, theirs):
    chance = np.random.default_rng(seed)
    one, other = answers(chance, mine), answers(chance, theirs)
    found = agreement(one, other)
    assert found == pytest.approx(agreement(other, one))
    common = len(one.keys() & other.keys())
    assert 0 <= found <= (1 - 1 / common if common else 0)


def test_satisfaction_is_points_earned_of_points_possible():
    asker = {"a": Answer(0, {0}, 4), "b": Answer(0, {1}, 2), "c": Answer(0, {1}, 0)}
    other = {"a": Answer(0, {0}, 0), "b": Answer(0, {0}, 0), "c": Answer(0, {0}, 0)}
    assert satisfaction(asker, other) == pytest.approx(POINTS[4] / (POINTS[4] + POINTS[2]))
    assert satisfaction(other, asker) == 1
    assert agreement(asker, other) == pytest.approx((250 / 260) ** 0.5 - 1 / 3)


@given(st.integers(0, 500), st.floats(-5, 5), st.floats(0.1, 4))
def test_value_priorities_do_not_hang_on_how_one_uses_the_scale(seed, shift, stretch):
    ratings = np.random.default_rng(seed).normal(0, 1, (2, 20))
    moved = ratings.copy()
    moved[1] = ratings[1] * stretch + shift
    kinds = tuple(number % 10 for number in range(20))
    one, other = value_vectors(ratings, kinds), value_vectors(moved, kinds)
    assert ipsatise(moved).mean(axis=1) == pytest.approx([0, 0], abs=1e-9)
    assert value_likeness(one[0], one[1]) == pytest.approx(value_likeness(other[0], other[1]), abs=1e-6)
    assert value_likeness(one[0], one[0]) == pytest.approx(1)
    assert value_likeness(np.zeros(10), one[0]) == 0
