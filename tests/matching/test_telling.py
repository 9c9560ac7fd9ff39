"""What asking the recommender again and again tells of what others decide: nothing (docs/decisions/0264)."""

import random
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matching import artefact, rank
from matching.artefact import PeopleModel
from matching.live import People, Profile
from matching.pair_features import FEATURES, HISTORY, blanked
from matching.tally import PRIOR, Tally
from matching.telling import NOTICED, PAIRS_EACH, RECEIVED_STEP, RENEW_S, Telling
from matching.trained import Trained
from matching.two_stage import Baseline, Wish, recommend

TODAY = 20261126
TAGS = ["chess", "jazz", "climbing", "bread"]
TOWN = [f"p{number}" for number in range(12)]
VIEWER, WATCHED, OTHER = "p0", "p1", "p2"


@pytest.fixture(scope="module")
def trained():
    chance = np.random.default_rng(5)
    rows = chance.normal(size=(800, len(FEATURES)))
    for name in ("rater_given", "ratee_received"):
        rows[:, FEATURES.index(name)] = chance.integers(0, 12, 800)
    mixed = rows[:, FEATURES.index("shared_interests")] * rows[:, FEATURES.index("ratee_give_rate")]
    labels = (mixed + rows[:, 0] + chance.normal(size=800) > 0).astype(float)
    fitted = rank.fit(blanked(rows), labels, HISTORY, seed=1)
    return Trained("people-1", PeopleModel(fitted, FEATURES, PRIOR, artefact.references_of(FEATURES, rows)))


class Town:
    """A table, what decisions make of it, and a viewer who asks and asks."""

    def __init__(self, model, pairs=None):
        self.people, self.model = People(), model
        self.telling = Telling(random.Random(7), **({} if pairs is None else {"pairs": pairs}))
        self.tallies = {user: Tally(8, 4, 8, 4) for user in TOWN}  # warm, so that rates count (MATCH-5)
        for number, user in enumerate(TOWN):
            tags = TAGS[: number % 4]
            self.people.put(Profile(user=user, birth_date=date(1990, 1, 1), interests=tags))
            self.people.count(user, (8, 4, 8, 4, 0.0))

    def decides(self, rater, ratee, likes):
        gave, got = self.tallies[rater], self.tallies[ratee]
        got.got(likes, gave.give_rate(PRIOR))
        gave.gave(likes)
        self.people.decide(rater, ratee, likes)
        for user, each in ((rater, gave), (ratee, got)):
            tally = (each.given, each.given_yes, each.received, each.received_yes, each.surprise)
            self.people.count(user, tally)

    def looks(self, now_s, viewer=VIEWER):
        wish = Wish(viewer, [], len(TOWN), TODAY, now_s)
        answer, _ = recommend(self.people, self.model, wish, {}, self.telling)
        return [(row.user, row.score, row.source, row.why) for row in answer.rows]

    def true(self, user):
        rows = self.people.rows([user])
        return self.model.score(self.people, self.people.row_of[VIEWER], rows, TODAY).pair[0]


def a_past(town, seed):
    dice = random.Random(seed)
    for _ in range(60):
        town.decides(*dice.sample(TOWN[1:], 2), dice.random() < 0.5)


asks = st.lists(st.tuples(st.floats(0, RENEW_S), st.sampled_from([None, None, *TOWN[3:]]), st.booleans()),
                min_size=1, max_size=8)  # fmt: skip


@pytest.mark.parametrize("kind", ["baseline", "trained"])
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), before=asks, after=asks)
def test_nobody_who_watches_can_tell_that_they_were_passed_on(kind, trained, seed, before, after):
    """In one world somebody passes on the viewer, in the other on somebody else: all that the viewer is told,
    at whatever times they ask and whatever they decide meanwhile, is the same to the last digit."""
    told = []
    for passed_on in (VIEWER, OTHER):
        town = Town(Baseline() if kind == "baseline" else trained)
        a_past(town, seed)
        now_s, transcript = 0.0, [town.looks(0.0)]

        def watch(looks, town=town, transcript=transcript, start_s=0.0):
            now_s = start_s
            for wait_s, decided, likes in looks:
                now_s += wait_s
                if decided is not None:
                    town.decides(VIEWER, decided, likes)
                transcript.append(town.looks(now_s))
            return now_s

        now_s = watch(before)
        town.decides(WATCHED, passed_on, False)
        watch(after, start_s=now_s)
        told.append(transcript)
    # Of the other one, whom the second world's pass is about, the score may tell when its time has come.
    one, two = ([[row for row in look if row[0] != OTHER] for look in each] for each in told)
    assert one == two
    assert any(row[0] == WATCHED for row in one[-1])


def test_what_was_told_stays_until_a_time_that_nobody_knows_and_changes_only_if_it_is_noticed(trained):
    town = Town(trained)
    a_past(town, 3)
    first = town.looks(0.0)
    for _ in range(3 * RECEIVED_STEP):
        for user in TOWN[4:]:
            town.decides(WATCHED, user, False)
            town.decides(user, VIEWER, True)
    assert town.looks(0.49 * RENEW_S) == first
    later = {user: score for user, score, *_ in town.looks(1.51 * RENEW_S)}
    for user, score, *_ in first:
        change = later[user] - score
        assert change == 0 or abs(change) >= NOTICED - 1e-9
        if change:
            assert later[user] == pytest.approx(town.true(user), abs=0.0051)
    assert any(later[user] != score for user, score, *_ in first)


def test_the_times_at_which_scores_are_looked_at_anew_differ():
    times = set()
    for seed in range(20):
        told = Telling(random.Random(seed))
        told.counts((0, "m"), (0.0,) * 5, 0.0)
        told.tells((0, "m"), np.arange(1), np.array([0.1]), 0.0)
        at_s = next(
            at for at in np.arange(0.0, 2 * RENEW_S, 10.0)
            if told.tells((0, "m"), np.arange(1), np.array([0.9]), float(at))[0] == 0.9
        )  # fmt: skip
        times.add(float(at_s))
    assert min(times) >= 0.5 * RENEW_S
    assert max(times) <= 1.5 * RENEW_S + 10
    assert len(times) > 10


def test_ones_own_decision_counts_at_once():
    town = Town(Baseline())
    first = {user: score for user, score, *_ in town.looks(0.0)}
    for user in TOWN[6:]:
        town.decides(VIEWER, user, True)
    now = {user: score for user, score, *_ in town.looks(1.0)}
    assert all(score > first[user] + NOTICED for user, score in now.items())
    assert set(now) == set(TOWN[1:6])


def test_reasons_are_told_with_the_score_that_they_are_of(trained):
    town = Town(trained)
    a_past(town, 5)
    first = town.looks(0.0)
    assert any(why for *_, why in first)
    for _ in range(20):
        town.decides(WATCHED, OTHER, False)
    assert town.looks(1.0) == first
    told = {user: (score, why) for user, score, _, why in town.looks(2 * RENEW_S)}
    for user, score, _, why in first:
        if told[user][0] == score:
            assert told[user][1] == why


def test_what_is_remembered_has_a_bound_and_who_asked_longest_ago_is_forgotten():
    town = Town(Baseline(), pairs=3 * (len(TOWN) - 1))
    first = town.looks(0.0)
    for user in (OTHER, *[f"p{number}" for number in (3, 4, 5)]):
        town.looks(0.0, viewer=user)
        assert len(town.telling) <= 3 * (len(TOWN) - 1)
    for user in TOWN[4:]:
        town.decides(WATCHED, user, False)
    assert town.looks(1.0) != first
    told = Telling(random.Random(1))
    for start in range(0, 3 * PAIRS_EACH, 200):
        told.counts((0, "m"), (0.0,) * 5, 0.0)
        told.tells((0, "m"), np.arange(start, start + 200), np.full(200, 0.5), 0.0)
    assert len(told) == PAIRS_EACH


def test_nothing_is_kept_of_who_was_erased(trained):
    town = Town(trained)
    for user in TOWN:
        town.looks(0.0, viewer=user)
    row = town.people.remove(WATCHED)
    town.telling.forgets(row)
    assert len(town.telling) == (len(TOWN) - 1) * (len(TOWN) - 2)
    assert all(row != viewer and row not in told.rows for (viewer, _), told in town.telling._of.items())
    assert WATCHED not in [user for user, *_ in town.looks(0.0)]
