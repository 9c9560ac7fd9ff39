"""One definition of a pair's features, and the model that takes them (ML-1, ML-5, MATCH-16)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matching import artefact, rank
from matching.artefact import ArtefactError, PeopleModel
from matching.pair_features import (
    FEATURES,
    HISTORY,
    NOBODY,
    SCHEMA,
    Person,
    baseline,
    blanked,
    pair_features,
    profiles,
)
from matching.tally import PRIOR, RATES, Tally
from matching.values import POINTS, Answer, agreement

TAGS = ["chess", "jazz", "climbing", "bread", "rivers"]
people = st.builds(
    Person,
    age=st.floats(18, 90),
    interests=st.lists(st.sampled_from(TAGS)),
    goals=st.lists(st.sampled_from(["friends", "dates"])),
    answers=st.dictionaries(
        st.sampled_from(TAGS),
        st.fixed_dictionaries(
            {
                "answer": st.integers(0, 62),
                "accepts": st.lists(st.integers(0, 62), max_size=5),
                "weight": st.sampled_from(POINTS),
            }
        ),
    ),
)


def column(features, name):
    return features[:, FEATURES.index(name)]


def rates(count, tally=None):
    return np.tile((tally or Tally()).features(PRIOR), (count, 1))


def answers(person):
    return {
        question: Answer(said["answer"], set(said["accepts"]), POINTS.index(said["weight"]))
        for question, said in person.answers.items()
    }


@given(st.lists(st.tuples(people, people), min_size=1, max_size=5))
def test_columns_say_what_the_definitions_of_sets_and_values_say(pairs):
    raters, ratees = profiles([one for one, _ in pairs]), profiles([other for _, other in pairs])
    made = pair_features(rates(len(pairs)), rates(len(pairs)), raters, ratees)
    for row, (one, other) in enumerate(pairs):
        shared = set(one.interests) & set(other.interests)
        either = set(one.interests) | set(other.interests)
        assert column(made, "shared_interests")[row] == len(shared)
        assert column(made, "interests_jaccard")[row] == len(shared) / max(len(either), 1)
        assert column(made, "shared_goals")[row] == len(set(one.goals) & set(other.goals))
        assert column(made, "age_gap")[row] == other.age - one.age
        assert column(made, "value_alignment")[row] == pytest.approx(agreement(answers(one), answers(other)))


def test_rates_stand_as_they_are_given_and_make_the_baseline():
    liked, choosy = Tally(), Tally()
    for _ in range(8):
        liked.got(True, 0.5)
        choosy.gave(False)
    nobody = profiles([NOBODY])
    made = pair_features(rates(1, choosy), rates(1, liked), nobody, nobody)
    assert made[0, : len(RATES)].tolist() == list(choosy.features(PRIOR))
    assert made[0, len(RATES) : 2 * len(RATES)].tolist() == list(liked.features(PRIOR))
    even = pair_features(rates(1, liked), rates(1, liked), nobody, nobody)
    assert baseline(made)[0] < baseline(even)[0]
    assert np.isnan(column(made, "age_gap")[0])


def test_a_side_with_few_decisions_leaves_the_profile_alone():
    warm = Tally(given=5, received=5)
    cold = Tally(given=9, received=4)
    two = profiles([Person(age=30), Person(age=40)])
    made = pair_features(rates(2, warm), np.vstack([rates(1, warm), rates(1, cold)]), two, two)
    assert not np.isnan(blanked(made)[0, :-1]).any()
    assert np.isnan(blanked(made)[1, HISTORY]).all()
    assert column(blanked(made), "rater_age").tolist() == [30, 40]


def test_the_questionnaires_21_items_are_ten_values():
    high = [4, 6, 6, 4, 4, 4, 4, 6, 4, 4, 4, 4, 4, 4, 4, 4, 6, 4, 6, 4, 4]  # power and universalism
    ten = [4, 4, 4, 4, 6, 4, 4, 4, 4, 6]
    one, other, against = (
        profiles([Person(values=high)]),
        profiles([Person(values=ten)]),
        Person(values=[8 - value for value in ten]),
    )
    likeness = column(pair_features(rates(1), rates(1), one, other), "value_likeness")[0]
    assert likeness > 0.95
    opposed = column(pair_features(rates(1), rates(1), other, profiles([against])), "value_likeness")[0]
    assert opposed == pytest.approx(-1)


@pytest.fixture(scope="module")
def trained():
    chance = np.random.default_rng(1)
    features = chance.random((400, len(FEATURES)))
    features[:, [FEATURES.index("rater_given"), FEATURES.index("ratee_received")]] = 9
    labels = (features[:, 0] > 0.5) * 1.0
    model = rank.fit(features, labels, HISTORY, seed=1)
    return PeopleModel(model, FEATURES, PRIOR, artefact.references_of(FEATURES, features)), features


def test_a_model_comes_back_from_its_bytes_and_gives_the_same_ones(trained):
    model, features = trained
    stored = artefact.write(model)
    again = artefact.read(stored)
    assert np.array_equal(again.probabilities(features), model.probabilities(features))
    assert artefact.write(again) == stored
    assert again.references["rater_give_rate"].shares.tolist() == pytest.approx([0.1] * 10 + [0])
    assert again.reasons(features[:1], 3)[0][0].feature == "rater_received_rate"


@pytest.mark.parametrize(
    ("stored", "said"),
    [(b"nothing", "no model"), (None, f"makes {SCHEMA}")],
)
def test_other_bytes_and_other_features_are_refused(trained, stored, said):
    model, _ = trained
    if stored is None:
        stored = artefact.write(PeopleModel(model.model, model.names, PRIOR, {}, SCHEMA + 1))
    with pytest.raises(ArtefactError, match=said):
        artefact.read(stored)


def test_nothing_sensitive_is_a_feature():
    assert not {"gender", "seeks", "race", "religion"} & {
        word for name in FEATURES for word in name.split("_")
    }
