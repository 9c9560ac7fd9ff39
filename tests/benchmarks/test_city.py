"""The synthetic city: the same by the same seed, true to its stated chances, and lists by the model do more
for its people than popularity does (MATCH-9, ML-9).
"""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import city_truth, city_world
from benchmarks.city import City
from benchmarks.city_history import matches
from matching import batch
from matching.metrics import auc

SLOTS, CAP, ATTENTION = 12, 15, 8


@pytest.fixture(scope="module")
def town():
    return City.made(2_000, seed=3)


@pytest.fixture(scope="module")
def world(town):
    model = city_world.trained(town.people, town.history, seed=0)
    return city_world.world(town.people, town.history, model, seed=0)


@pytest.fixture(scope="module")
def edges(world):
    return batch.Edges.together(list(batch.scored(world, batch.by_place(world.population), seed=0)))


def test_the_same_seed_is_the_same_city(town):
    again, other = City.made(2_000, seed=3), City.made(2_000, seed=4)
    assert again.figures() == town.figures() != other.figures()
    assert np.array_equal(again.history.decided.ratee, town.history.decided.ratee)
    assert np.array_equal(again.history.visits.place, town.history.visits.place)


def test_likes_come_as_often_as_the_truth_says(town):
    """In each tenth of p, within 3.5 standard errors."""
    decided = town.history.decided
    for tenth in range(10):
        inside = (decided.chance * 10).astype(int).clip(max=9) == tenth
        spread = np.sqrt((decided.chance[inside] * (1 - decided.chance[inside])).sum())
        assert abs(decided.likes[inside].sum() - decided.chance[inside].sum()) < 3.5 * spread


def test_the_history_shows_nobody_who_may_not_be_shown_and_nobody_twice(town):
    decided, people = town.history.decided, town.people
    either = city_truth.eligible(people, decided.rater, decided.ratee)
    either |= city_truth.eligible(people, decided.ratee, decided.rater)  # they answer a like
    assert either.all()
    assert len(np.unique(decided.rater * len(people) + decided.ratee)) == len(decided)
    assert np.all(np.diff(decided.at_s) >= 0)


def test_who_cares_more_writes_more(town):
    chats, people = town.history.chats, town.people
    care = city_truth.likes(people, chats.one, chats.other) * city_truth.likes(people, chats.other, chats.one)
    rank = np.argsort(np.argsort(care)), np.argsort(np.argsort(chats.messages))
    assert np.corrcoef(*rank)[0, 1] > 0.3


def test_shown_are_only_those_who_may_be_and_the_model_knows_something(town, edges):
    people, decided = town.people, town.history.decided
    assert city_truth.eligible(people, edges.viewer, edges.shown).all()
    keys = edges.viewer * len(people) + edges.shown
    assert not np.isin(keys, decided.rater * len(people) + decided.ratee).any()
    for one, other in (town.history.blocked, matches(decided, len(people))[:2]):
        assert not np.isin(keys, one * len(people) + other).any()
        assert not np.isin(keys, other * len(people) + one).any()
    happens = np.random.default_rng(0).random(len(edges)) < city_truth.likes(
        people, edges.viewer, edges.shown
    )
    assert auc(happens.astype(float), edges.forward) > 0.62


def test_capped_lists_by_the_model_do_better_than_popularity(town, world, edges):
    """By the truth: more matches a place, more of them answered, shown to more people."""
    people, count = town.people, len(town.people)

    def worth(shown):
        return city_truth.outcome(people, shown.viewer, shown.shown, ATTENTION)

    capped = batch.show(edges, count, SLOTS, CAP)
    received = world.rates[:, 0]
    popular = worth(
        batch.show_best(
            replace(edges, forward=received[edges.shown], backward=received[edges.shown]), count, SLOTS
        )
    )
    best = worth(batch.show_best(edges, count, SLOTS))
    ours = worth(capped.edges)
    assert not capped.unstable
    assert np.bincount(capped.edges.shown).max() <= CAP
    assert np.bincount(capped.edges.viewer).max() <= SLOTS
    assert best.lists.matches / best.slots > 1.05 * popular.lists.matches / popular.slots
    assert ours.lists.effective_matches > 1.2 * popular.lists.effective_matches
    assert ours.lists.effective_matches > best.lists.effective_matches
    assert ours.lists.gini < best.lists.gini < popular.lists.gini


def test_the_pick_of_the_day_is_mutual_and_stable(edges):
    picked = batch.pick(edges)
    assert not picked.unstable
    assert len(np.unique(picked.edges.viewer)) == len(picked.edges)
    partner = dict(zip(picked.edges.viewer.tolist(), picked.edges.shown.tolist(), strict=True))
    assert all(partner[other] == one for one, other in partner.items())
    assert len(partner) > 800
