"""How far two people's values agree: their own questions, and Schwartz's values (MATCH-11)."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import sqrt

import numpy as np

from matching.arrays import Floats

POINTS = (0, 1, 10, 50, 250)
"""Irrelevant, a little, somewhat, very, mandatory: the scale of OkCupid."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One person's answer to a question, which answers are welcome from others, and how much it matters."""

    given: int
    welcome: AbstractSet[int]
    importance: int
    """An index into POINTS."""


Answers = Mapping[str, Answer]
"""By question."""


def satisfaction(asker: Answers, other: Answers) -> float:
    """Return the points that the other earns of those possible, over the questions of both; 1 if none
    matter.
    """
    common = asker.keys() & other.keys()
    possible = sum(POINTS[asker[question].importance] for question in common)
    earned = sum(
        POINTS[asker[question].importance]
        for question in common
        if other[question].given in asker[question].welcome
    )
    return earned / possible if possible else 1.0


def agreement(one: Answers, other: Answers) -> float:
    """Return √(sA · sB) − 1/|S|, within [0, 1]: what can be said at least, S the questions that both
    answered.
    """
    common = len(one.keys() & other.keys())
    if not common:
        return 0.0
    return max(0.0, sqrt(satisfaction(one, other) * satisfaction(other, one)) - 1 / common)


def ipsatise(ratings: Floats) -> Floats:
    """Return each person's ratings (people × items) less that person's mean: priorities, not a way with
    scales.

    Schwartz 1992: who rates all values high has no other priorities than who rates all low.
    """
    return np.asarray(ratings - ratings.mean(axis=-1, keepdims=True), dtype=np.float64)


def value_vectors(ratings: Floats, value_of: tuple[int, ...]) -> Floats:
    """Return people × values: means of the ipsatised items of each value; `value_of` names each item's
    value, 0…k−1.
    """
    kinds = np.asarray(value_of)
    centred = ipsatise(ratings)
    return np.column_stack([centred[:, kinds == kind].mean(axis=1) for kind in range(int(kinds.max()) + 1)])


def value_likeness(one: Floats, other: Floats) -> float:
    """Return the cosine of two value vectors, in [−1, 1]; 0 if either has no priorities."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.clip(one @ other / length, -1, 1)) if length > 1e-12 else 0.0
