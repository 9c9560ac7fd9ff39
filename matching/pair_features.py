"""What a model is told of a directed pair: one definition for training, serving and tests (ML-1, MATCH-16).

Columns in, columns out, a row a pair, in the order of FEATURES. Three parts: RATES of both sides from
decisions strictly before (`features.strictly_past` over a log, `tally.Tally` live), what these make
together, and what the two profiles have in common. Nothing sensitive is among them, and nothing that can
change with the decision: distance is a filter and a source, not a feature, since where people were when they
decided is not kept (docs/decisions/0235).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from matching.arrays import Booleans, Floats, Integers, logit, sigmoid
from matching.tally import RATES, WARM_FROM
from matching.values import value_vectors

_OF_RATES = (*(f"rater_{name}" for name in RATES), *(f"ratee_{name}" for name in RATES))
_OF_BOTH_RATES = ("popularity_and_selectivity", "league")
_OF_PROFILES = (
    "rater_age",
    "ratee_age",
    "age_gap",
    "age_distance",
    "shared_interests",
    "interests_jaccard",
    "shared_goals",
    "value_alignment",
    "value_likeness",
)
FEATURES = (*_OF_RATES, *_OF_BOTH_RATES, *_OF_PROFILES)
"""The columns, in order. Ages in years, the gap that of the ratee less the rater; nan is not known."""
SCHEMA = 1
"""To be raised with every change of FEATURES or of what one of them means: a model knows its own."""
HISTORY: Booleans = np.arange(len(FEATURES)) < len(_OF_RATES) + len(_OF_BOTH_RATES)
"""Which of them come from earlier decisions, and are blank where one side is cold (MATCH-5)."""

_OTHER = {"rater": "ratee", "ratee": "rater"}
_TURNED = [
    FEATURES.index("_".join([_OTHER.get(side, side), *rest]))
    for side, *rest in (name.split("_") for name in FEATURES)
]
"""Where each column stands when the two sides change places."""

PVQ_21 = (0, 4, 9, 3, 5, 1, 6, 9, 7, 2, 0, 8, 3, 5, 1, 6, 4, 8, 9, 7, 2)
"""Which of ten values each item of the 21-item questionnaire asks about (Schwartz 2003, as in the European
Social Survey), in the order of their circle: self-direction, stimulation, hedonism, achievement, power,
security, conformity, tradition, benevolence, universalism.
"""
VALUES = 10
LAST_ANSWER = 62
"""Answers are numbered from 0 to this, so that those welcome fit one integer."""
_NOTHING = 0
_MOST_COMPARED = 30_000_000
Unsigned = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Profiles:
    """What is known of people before anybody decides, a row each; tags as numbers, 0 pads."""

    age: Floats
    """Years; nan is not known."""
    interests: Integers
    goals: Integers
    questions: Integers
    given: Integers
    """The answer to each question."""
    welcome: Unsigned
    """Bit n: answer n is welcome from others."""
    points: Floats
    """What the question is worth to them."""
    values: Floats
    """People × VALUES, ipsatised; nan is not known."""

    def __len__(self) -> int:
        return len(self.age)

    def take(self, rows: Integers) -> Self:
        """Return some rows, in that order."""
        return replace(self, **{each.name: getattr(self, each.name)[rows] for each in fields(self)})


@dataclass(frozen=True, slots=True)
class Person:
    """One row of Profiles as people state it (the table `preferences`)."""

    age: float = float("nan")
    interests: Sequence[str] = ()
    goals: Sequence[str] = ()
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Question → {"answer": 0…LAST_ANSWER, "accepts": [those], "weight": points} (MATCH-11)."""
    values: Sequence[float] | None = None
    """10 values, or the 21 items of the questionnaire (PVQ_21)."""


NOBODY = Person()
"""Of whom nothing is known."""


def profiles(people: Sequence[Person]) -> Profiles:
    """Return the columns of people, in their order."""
    asked = [sorted(one.answers.items()) for one in people]
    return Profiles(
        np.array([one.age for one in people], dtype=np.float64),
        _padded([[number(tag) for tag in sorted(set(one.interests))] for one in people]),
        _padded([[number(tag) for tag in sorted(set(one.goals))] for one in people]),
        _padded([[number(question) for question, _ in each] for each in asked]),
        _padded([[int(said["answer"]) for _, said in each] for each in asked]),
        _padded(
            [[sum(1 << int(n) for n in set(said["accepts"])) for _, said in each] for each in asked]
        ).view(np.uint64),
        _padded([[int(said["weight"]) for _, said in each] for each in asked]).astype(np.float64),
        np.array([_ten_values(one.values) for one in people], dtype=np.float64).reshape(-1, VALUES),
    )


def number(tag: str) -> int:
    """Return what stands for a tag or a question everywhere and always: 63 bits of its BLAKE2, never 0."""
    return (int.from_bytes(blake2b(tag.encode(), digest_size=8).digest()) >> 1) or 1


def pair_features(rater_rates: Floats, ratee_rates: Floats, rater: Profiles, ratee: Profiles) -> Floats:
    """Return rows × FEATURES. Rates are rows × RATES, as they stood before each pair's decision."""
    # Comparing takes rows × tags × tags.
    tags = (
        (rater.interests, ratee.interests),
        (rater.goals, ratee.goals),
        (rater.questions, ratee.questions),
    )
    chunk = max(1, _MOST_COMPARED // max(one.shape[1] * other.shape[1] for one, other in tags))
    if len(rater_rates) > chunk:
        cuts = [np.arange(at, min(at + chunk, len(rater_rates))) for at in range(0, len(rater_rates), chunk)]
        return np.vstack(
            [
                pair_features(rater_rates[rows], ratee_rates[rows], rater.take(rows), ratee.take(rows))
                for rows in cuts
            ]
        )
    received, given = RATES.index("received_rate"), RATES.index("give_rate")
    popular, choosy = logit(ratee_rates[:, received]), logit(rater_rates[:, given])
    gap = ratee.age - rater.age
    shared = _shared(rater.interests, ratee.interests)
    either = _count(rater.interests) + _count(ratee.interests) - shared
    columns = (
        popular + choosy,
        popular - logit(rater_rates[:, received]),
        rater.age,
        ratee.age,
        gap,
        np.abs(gap),
        shared,
        shared / np.maximum(either, 1),
        _shared(rater.goals, ratee.goals),
        alignment(rater, ratee),
        _likeness(rater.values, ratee.values),
    )
    return np.hstack([rater_rates, ratee_rates, np.column_stack(columns)])


def turned(features: Floats) -> Floats:
    """Return the features of the same pairs the other way round: who was asked decides."""
    found = features[:, _TURNED].copy()
    gap = FEATURES.index("age_gap")
    found[:, gap] = -features[:, gap]
    received, given = RATES.index("received_rate"), len(RATES) + RATES.index("give_rate")
    popular, choosy = logit(features[:, received]), logit(features[:, given])
    found[:, FEATURES.index("popularity_and_selectivity")] = popular + choosy
    found[:, FEATURES.index("league")] = popular - logit(features[:, len(RATES) + received])
    return found


def alignment(one: Profiles, other: Profiles) -> Floats:
    """Return `values.agreement` of each row's two people; 0 where they answered no question in common."""
    same = (one.questions[:, :, None] == other.questions[:, None, :]) & (one.questions != 0)[:, :, None]
    common = same.sum(axis=(1, 2))
    worth = (_satisfaction(one, other, same), _satisfaction(other, one, same.transpose(0, 2, 1)))
    least = np.sqrt(worth[0] * worth[1]) - 1 / np.maximum(common, 1)
    return np.where(common > 0, np.maximum(least, 0.0), 0.0)


def is_cold(features: Floats) -> Booleans:
    """Return whose pair has a side with too few decisions: the profile speaks alone then (MATCH-5)."""
    given, received = FEATURES.index("rater_given"), FEATURES.index("ratee_received")
    return np.asarray(np.minimum(features[:, given], features[:, received]) < WARM_FROM)


def blanked(features: Floats) -> Floats:
    """Return features with the history of cold pairs as nan: how models are trained and asked."""
    found = features.copy()
    found[np.ix_(is_cold(features), HISTORY)] = np.nan
    return found


def baseline(features: Floats) -> Floats:
    """Return p(i→j) by popularity and selectivity alone: what every model has to beat."""
    return sigmoid(features[:, FEATURES.index("popularity_and_selectivity")])


def _satisfaction(asker: Profiles, other: Profiles, same: Booleans) -> Floats:
    answer = np.uint64(1) << other.given.astype(np.uint64)
    liked = same & ((asker.welcome[:, :, None] & answer[:, None, :]) != 0)
    possible = (asker.points * same.any(axis=2)).sum(axis=1)
    earned = (asker.points * liked.any(axis=2)).sum(axis=1)
    return np.asarray(np.where(possible > 0, earned / np.maximum(possible, 1), 1.0), dtype=np.float64)


def _shared(one: Integers, other: Integers) -> Floats:
    same = (one[:, :, None] == other[:, None, :]) & (one != _NOTHING)[:, :, None]
    return np.asarray(same.sum(axis=(1, 2)), dtype=np.float64)


def _count(tags: Integers) -> Floats:
    return np.asarray((tags != _NOTHING).sum(axis=1), dtype=np.float64)


def _likeness(one: Floats, other: Floats) -> Floats:
    """Return the cosines of value vectors; nan where either's is not known."""
    length = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    found = (one * other).sum(axis=1) / np.where(length > 1e-12, length, 1.0)
    return np.asarray(np.clip(found, -1, 1), dtype=np.float64)


def _ten_values(ratings: Sequence[float] | None) -> Floats:
    if ratings is None:
        return np.full(VALUES, np.nan)
    given = np.asarray(ratings, dtype=np.float64)[None]
    kinds = PVQ_21 if given.shape[1] == len(PVQ_21) else tuple(range(VALUES))
    return np.asarray(value_vectors(given, kinds)[0], dtype=np.float64)


def _padded(rows: Sequence[Sequence[int]]) -> Integers:
    """Return a rectangle of them, 0 where a row is short; at least one column."""
    found = np.zeros((len(rows), max((len(row) for row in rows), default=0) or 1), dtype=np.int64)
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return found
