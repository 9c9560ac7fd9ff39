"""Lists for many people: the sparse form says what the dense one says, and is stable by itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matching import caps, exposure, pick
from matching.reciprocal import harmonic


@st.composite
def worlds(draw):
    """Scores with many ties, and pairs that are not possible."""
    viewers, shown = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    chance = np.random.default_rng(draw(st.integers(0, 100_000)))
    levels = draw(st.sampled_from([2, 4, 1_000]))
    one, other = (chance.integers(0, levels, (viewers, shown)) / levels for _ in range(2))
    never = chance.random((viewers, shown)) < draw(st.sampled_from([0.0, 0.3, 0.8]))
    return np.where(never, -np.inf, one), other


def sparse(viewer_scores, shown_scores):
    viewer, shown = np.nonzero(np.isfinite(viewer_scores))
    return caps.Lists.of(
        len(viewer_scores), viewer, shown, viewer_scores[viewer, shown], shown_scores[viewer, shown]
    )


def dense(lists, shown, shape):
    found = np.zeros(shape, dtype=bool)
    found[lists.viewer[shown], lists.shown[shown]] = True
    return found


@settings(max_examples=300)
@given(worlds(), st.integers(0, 4), st.integers(0, 4))
def test_sparse_lists_are_the_dense_ones(world, slots, cap):
    lists = sparse(*world)
    shown = caps.capped(lists, slots, cap)
    assert np.array_equal(dense(lists, shown, world[0].shape), exposure.capped_lists(*world, slots, cap))
    assert not len(caps.blocking(lists, shown, slots, cap))
    top = caps.top(lists, slots)
    assert np.array_equal(dense(lists, top, world[0].shape), exposure.top_lists(world[0], slots))


@settings(max_examples=200)
@given(worlds(), st.integers(1, 3), st.integers(1, 3), st.integers(0, 10_000))
def test_what_is_not_stable_is_found_out(world, slots, cap, seed):
    """Taking one away leaves a place that both would fill."""
    lists = sparse(*world)
    shown = caps.capped(lists, slots, cap)
    if not shown.any():
        return
    gone = np.random.default_rng(seed).choice(np.flatnonzero(shown))
    shown[gone] = False
    assert gone in caps.blocking(lists, shown, slots, cap)


@settings(max_examples=200)
@given(worlds(), st.integers(1, 3))
def test_worth_is_the_dense_ones(world, attention):
    lists = sparse(*world)
    shown = caps.top(lists, 3)
    forward, backward = world[1], np.sqrt(world[1])
    at = lists.viewer[shown], lists.shown[shown]
    found = caps.worth(lists.shown[shown], forward[at], backward[at], world[0].shape[1], attention)
    right = exposure.worth(dense(lists, shown, world[0].shape), forward, backward, attention)
    assert found.effective_matches == pytest.approx(right.effective_matches)
    assert found.matches == pytest.approx(right.matches)
    assert found.gini == pytest.approx(right.gini)


@settings(max_examples=300)
@given(st.integers(2, 10), st.integers(0, 100_000), st.booleans())
def test_picks_are_mutual_and_stable_and_what_gale_and_shapley_find(people, seed, two_sided):
    chance = np.random.default_rng(seed)
    one_way = chance.integers(1, 4, (people, people)) / 4
    scores = harmonic(one_way, one_way.T)
    listed = chance.random((people, people)) < 0.6
    np.fill_diagonal(listed, False)
    side = np.arange(people) % 2 == 0
    if two_sided:
        listed &= side[:, None] != side[None, :]
    viewer, shown = np.nonzero(listed)
    partner, lists, taken = caps.picks(viewer, shown, scores[viewer, shown])
    assert not len(caps.blocking(lists, taken, 1, 1))
    partner = np.append(partner, np.full(people - len(partner), -1))
    for person in np.flatnonzero(partner >= 0):
        assert partner[partner[person]] == person
        assert listed[person, partner[person]]
        assert listed[partner[person], person]
    if two_sided:
        both = listed & listed.T
        order = {
            str(person): [
                str(other)
                for other in sorted(
                    np.flatnonzero(both[person]),
                    key=lambda other: (-scores[person, other], min(person, other), max(person, other)),
                )
            ]
            for person in range(people)
        }
        proposers = {str(one): order[str(one)] for one in np.flatnonzero(side)}
        receivers = {str(one): order[str(one)] for one in np.flatnonzero(~side)}
        pairs = pick.stable_pairs(proposers, receivers)
        assert pairs == {str(one): str(partner[one]) for one in np.flatnonzero(side) if partner[one] >= 0}


def test_nobody_to_show():
    nothing = np.empty(0, dtype=np.int64)
    lists = caps.Lists.of(3, nothing, nothing, np.empty(0), np.empty(0))
    assert not len(caps.capped(lists, 2, 2))
    assert not len(caps.blocking(lists, np.empty(0, dtype=bool), 2, 2))
