"""The live table: fed in any batches it is the same table; what models are told of its rows (ML-1, ML-12)."""

import random
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matching import artefact, explain, index, rank
from matching.artefact import PeopleModel
from matching.candidates import matches_of_matches
from matching.live import People, Profile
from matching.pair_features import FEATURES, HISTORY, Person, pair_features, profiles
from matching.tally import PRIOR, Tally
from matching.telling import Telling
from matching.trained import TOLD, Trained, features, rates_of
from matching.two_stage import Baseline, Wish, recommend

TODAY = 20261126
NAMES = [f"p{number}" for number in range(6)]
TAGS = ["chess", "jazz", "climbing", "bread"]
names = st.sampled_from(NAMES)
said = st.fixed_dictionaries(
    {
        "answer": st.integers(0, 3),
        "accepts": st.lists(st.integers(0, 3), max_size=3),
        "weight": st.sampled_from((0, 1, 10, 50, 250)),
    }
)
profile = st.builds(
    Profile,
    user=names,
    status=st.sampled_from(["active", "active", "paused"]),
    birth_date=st.dates(date(1960, 1, 1), date(2006, 1, 1)),
    is_listed=st.booleans(),
    gender=st.sampled_from([None, "woman", "man", "other"]),
    seeks=st.lists(st.sampled_from(["woman", "man", "other"]), max_size=2),
    goals=st.lists(st.sampled_from(["friends", "dates", "tennis"]), max_size=2),
    age_from=st.integers(18, 40),
    age_to=st.integers(41, 90),
    within_m=st.none() | st.integers(100, 10_000),
    interests=st.lists(st.sampled_from(TAGS), max_size=4),
    answers=st.dictionaries(st.sampled_from(TAGS), said, max_size=3),
    values_21=st.none() | st.lists(st.integers(1, 6), min_size=10, max_size=10),
)
pairs = st.tuples(names, names).filter(lambda pair: pair[0] < pair[1])
change = (
    st.tuples(st.just("put"), profile)
    | st.tuples(st.just("decide"), st.tuples(names, names, st.booleans()).filter(lambda d: d[0] != d[1]))
    | st.tuples(st.just("relate"), st.tuples(pairs, st.booleans(), st.booleans()))
    | st.tuples(st.just("count"), st.tuples(names, st.tuples(*[st.integers(0, 9)] * 5)))
    | st.tuples(st.just("remove"), names)
)  # fmt: skip


def feed(table, changes):
    for what, told in changes:
        match what:
            case "put":
                table.put(told)
            case "relate":
                table.relate(*told[0], blocked=told[1], matched=told[2])
            case "remove":
                table.remove(told)
            case _:
                getattr(table, what)(*told)


def described(table):
    """Everything that the table says of everybody, by name."""
    name = dict(enumerate(table.ids))
    interests = table.tastes.interests
    found = {}
    for user, row in table.row_of.items():
        others = {
            what: {name[other] for other in getattr(table, what).get(row, ())}
            for what in ("blocked", "matched")
        }
        tags = interests.of(row)
        found[user] = (
            [getattr(table, column)[row].tolist() for column in ("born", "is_shown", "gender", "seeks")],
            [getattr(table, column)[row].tolist() for column in ("age_from", "age_to", "within_m", "tally")],
            sorted(interests.vocabulary.words[tag] for tag in tags),
            sorted(table.tastes.goals.vocabulary.words[tag] for tag in table.tastes.goals.of(row)),
            [(name[pair >> 1], pair & 1) for pair in table.given[row] or () if name[pair >> 1]],
            [(name[pair >> 1], pair & 1) for pair in table.received[row] or () if name[pair >> 1]],
            others,
            {name[other] for other in table.decided(row).tolist()} - {""},
            all(row in interests.holders(tag, 99) for tag in tags),
            repr(table.tastes.values[row].tolist()),
        )
    return found


@given(st.lists(change, max_size=40))
def test_a_table_that_was_fed_bit_by_bit_is_the_table_of_what_is_true(changes):
    fed = People()
    feed(fed, changes)
    # What is true in the end, all at once: each person's last words, after their last removal.
    alive, last, between, decisions = {}, {}, {}, []
    for what, told in changes:
        if what == "put":
            alive[told.user] = told
            last.setdefault(told.user, (0,) * 5)
        elif what == "remove":
            alive.pop(told, None)
            last.pop(told, None)
            decisions = [each for each in decisions if told not in each[:2]]
            between = {pair: each for pair, each in between.items() if told not in pair}
        elif what == "count" and told[0] in alive:
            last[told[0]] = told[1]
        elif what == "decide" and told[0] in alive and told[1] in alive:
            decisions.append(told)
        elif what == "relate" and alive.keys() >= set(told[0]):
            between[told[0]] = told[1:]
    whole = People()
    for user in sorted(alive):
        whole.put(alive[user])
        whole.count(user, last[user])
    whole.decide_all(
        whole.rows(one for one, _, _ in decisions),
        whole.rows(other for _, other, _ in decisions),
        np.array([likes for _, _, likes in decisions], bool),
    )
    for (low, high), (blocked, matched) in between.items():
        whole.relate(low, high, blocked=blocked, matched=matched)
    assert described(fed) == described(whole)
    uses, words = fed.tastes.interests.vocabulary.uses, fed.tastes.interests.vocabulary.words
    assert sum(uses) == sum(len(set(each.interests)) for each in alive.values())
    assert {word for word, count in zip(words, uses, strict=True) if count} == {
        tag for each in alive.values() for tag in each.interests
    }, "a word that nobody uses any more is forgotten"


@settings(max_examples=40)
@given(st.lists(profile, min_size=3, max_size=6, unique_by=lambda one: one.user), st.data())
def test_serving_features_are_those_of_training(people, data):
    """Row by row the same numbers as the one definition gives for the same people (ML-1)."""
    table = People()
    tallies = []
    for one in people:
        tally = Tally()
        for _ in range(data.draw(st.integers(0, 7))):
            tally.gave(data.draw(st.booleans()))
            tally.got(data.draw(st.booleans()), 0.4)
        table.put(one)
        table.count(
            one.user, (tally.given, tally.given_yes, tally.received, tally.received_yes, tally.surprise)
        )
        tallies.append(tally)
    stated = profiles(
        [
            Person(
                age=float(table.ages(np.array([row]), TODAY)[0]),
                interests=one.interests,
                goals=one.goals,
                answers=one.answers,
                values=one.values_21,
            )
            for row, one in enumerate(people)
        ]
    )
    rates = np.array([tally.features(PRIOR) for tally in tallies])
    assert rates_of(table.tally[: len(people)], PRIOR) == pytest.approx(rates)
    others = np.arange(1, len(people))
    me = np.zeros_like(others)
    expected = pair_features(rates[me], rates[others], stated.take(me), stated.take(others))
    assert features(table, 0, others, TODAY, PRIOR) == pytest.approx(expected, nan_ok=True)


def test_walks_over_matches_find_what_the_definition_finds():
    table, chance = People(), np.random.default_rng(3)
    for number in range(20):
        table.put(Profile(user=f"u{number:02d}", birth_date=date(1990, 1, 1)))
    pairs = {tuple(sorted(pair)) for pair in chance.integers(0, 20, (24, 2)).tolist() if pair[0] != pair[1]}
    for one, other in pairs:
        table.relate(f"u{one:02d}", f"u{other:02d}", blocked=False, matched=True)
    some = 0
    for row in range(20):
        found = [
            other
            for other in index.matches_of_matches(table, row).tolist()
            if other not in table.matched.get(row, ())
        ]
        assert set(found) == set(matches_of_matches(row, table.matched))
        some += len(found)
    assert some


@pytest.fixture(scope="module")
def model():
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(600, len(FEATURES)))
    shared = rows[:, FEATURES.index("shared_interests")]
    labels = (shared + rows[:, 0] + chance.normal(size=600) > 0).astype(float)
    fitted = rank.fit(rows, labels, HISTORY, seed=1)
    return PeopleModel(fitted, FEATURES, PRIOR, artefact.references_of(FEATURES, rows))


def crowd(count):
    table = People()
    for number in range(count):
        table.put(
            Profile(
                user=f"u{number}",
                birth_date=date(1990, 1, 1),
                interests=TAGS[: number % 4],
                goals=["dates"][: number % 2],
            )
        )
        table.count(f"u{number}", (10, 5, 10, number % 10, 0.1))
    return table


def test_both_directions_come_from_one_definition_and_one_batch(model):
    table, trained = crowd(30), Trained("people-1", model)
    forth = trained.score(table, 3, np.arange(4, 20), TODAY)
    for row, backward in zip(range(4, 20), forth.backward, strict=True):
        assert trained.score(table, row, np.array([3]), TODAY).forward[0] == pytest.approx(backward)


def test_reasons_are_true_parts_and_tell_nothing_of_the_other_person(model):
    table = crowd(30)
    rows = np.arange(4, 20)
    forward = features(table, 3, rows, TODAY, PRIOR)
    parts = explain.contributions(model.model, model.inputs(forward))
    told = Trained("people-1", model).why(forward)
    assert parts.sum(axis=1) == pytest.approx(model.model.logits(model.inputs(forward)))
    assert any(told)
    for part, reasons in zip(parts, told, strict=True):
        assert {name for name, _ in reasons} <= TOLD
        for name, added in reasons:
            assert added == pytest.approx(part[FEATURES.index(name)], abs=0.0006)
        assert [abs(added) for _, added in reasons] == sorted((abs(a) for _, a in reasons), reverse=True)
    forward[:, [FEATURES.index(name) for name in TOLD]] = np.nan
    assert not any(Trained("people-1", model).why(forward)), (
        "that something is not known is no reason to tell"
    )
    private = ("received", "given", "rate", "residual", "age", "league", "popularity", "gender")
    assert not [name for name in TOLD if any(word in name for word in private)]


def test_sources_take_turns_and_the_newest_fill_what_is_left():
    table = crowd(40)
    answer, rows = recommend(
        table,
        Baseline(),
        Wish("u0", [("u5", 10.0), ("u6", 10.0)], 20, TODAY, 0.0),
        {"interests": lambda row: [7, 8, 5], "matches": lambda row: []},  # noqa: ARG005
        Telling(random.Random(1)),
    )
    source = {row.user: row.source for row in answer.rows}
    assert (source["u5"], source["u7"], source["u8"], source["u39"]) == (
        "near",
        "interests",
        "interests",
        "new",
    )
    assert len(rows) == 39
    assert [row.score for row in answer.rows] == sorted((row.score for row in answer.rows), reverse=True)
