"""Crossed effects: how choosy each rater is and how liked each ratee, with what resembles what (MATCH-2,
MATCH-3).

A Gaussian process on the log-odds of each cohort's decisions (Rasmussen and Williams 2006, ch. 3, Laplace's
approximation). Its kernel is a sum of reasons why two decisions agree: the same rater, the same ratee, a
ratee like the other, a rater like the other, choosy people being popular, somebody like those who chose me.
What has no decisions yet gets the mean that is passed in: the cold model's log-odds (MATCH-5).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky

from matching.arrays import Floats, Integers, sigmoid
from matching.decisions import Decisions

Rows = Integers
Likeness = Mapping[str, Floats]
"""Person × person likenesses in [0, 1], positive semidefinite, by name: `self`, `whole`, `life`, `field`."""


@dataclass(frozen=True)
class Variances:
    """What each reason explains, in squared log-odds."""

    cohort: float = 0.15
    direction: float = 0.1
    """The side that asks: direction[rater] is a label of the two sides of a cohort."""
    rater: float = 2.0
    ratee: float = 1.2
    exchange: float = -0.4
    """Covariance of how a person gives and how the same person is received: the popular are choosier."""
    drift: float = 0.15
    """A rater's mood, forgotten over about `DRIFT_ROUNDS`."""
    form: float = 0.5
    """A ratee's, the same."""
    pair: float = 0.6
    """What the two decisions of one pair share: known pairs then say less of each person."""
    ratee_self: float = 0.4
    ratee_whole: float = 0.25
    ratee_field: float = 0.3
    rater_life: float = 0.3
    rater_field: float = 0.1
    fields: float = 0.1
    """People of one field judge people of one field alike."""
    admirers: float = 0.3
    """The rater likes whoever resembles those who said yes to the rater."""


DRIFT_ROUNDS = 5.0
STEPS = 30
TOLERANCE = 1e-4


@dataclass(frozen=True)
class CrossedEffects:
    """The model: `logits` of all rows, from the labels that are known."""

    direction: Integers
    """Per person."""
    likeness: Likeness
    variances: Variances = Variances()

    def logits(self, decisions: Decisions, mean: Floats) -> Floats:
        """Return the log-odds of every row; `mean` is the log-odds before any decision. O(n³) a cohort."""
        found = mean.astype(np.float64, copy=True)
        known = decisions.known
        for cohort in np.unique(decisions.cohort):
            rows = np.flatnonzero(decisions.cohort == cohort)
            seen = rows[known[rows]]
            if len(seen):
                weights = posterior(self.kernel(decisions, seen, seen), decisions.label[seen], mean[seen])
                found[rows] += self.kernel(decisions, rows, seen) @ weights
        return found

    def kernel(self, decisions: Decisions, rows: Rows, others: Rows) -> Floats:
        """Return the prior covariance of two sets of one cohort's rows."""
        v, like = self.variances, self.likeness
        i, j = decisions.rater[rows][:, None], decisions.ratee[rows][:, None]
        a, b = decisions.rater[others], decisions.ratee[others]
        same_rater, same_ratee = i == a, j == b
        rounds = np.abs(decisions.moment[rows][:, None] - decisions.moment[others])
        near = np.exp(-rounds / DRIFT_ROUNDS)
        same_side = self.direction[i] == self.direction[a]
        judges, judged = like["field"][i, a], like["field"][j, b]
        total = v.cohort + v.direction * same_side + v.fields * judges * judged
        total = total + same_ratee * (
            v.ratee + v.form * near + v.rater_life * like["life"][i, a] + v.rater_field * judges
        )
        total = total + same_rater * (
            v.rater
            + v.drift * near
            + v.ratee_self * like["self"][j, b]
            + v.ratee_whole * like["whole"][j, b]
            + v.ratee_field * judged
        )
        back, forth = i == b, j == a
        total = total + v.pair * (same_rater & same_ratee | back & forth)
        total = total + back * (v.exchange + v.admirers * like["whole"][j, a])
        return np.asarray(total + forth * (v.exchange + v.admirers * like["whole"][i, b]), dtype=np.float64)


def posterior(kernel: Floats, labels: Floats, mean: Floats) -> Floats:
    """Return w with E f(x) = mean(x) + k(x, ·) w at the mode, by Newton's method (algorithm 3.1 of the
    source).
    """
    latent, weights = np.zeros(len(labels)), np.zeros(len(labels))
    for _ in range(STEPS):
        said = sigmoid(latent + mean)
        curve = np.maximum(said * (1 - said), 1e-6)
        root = np.sqrt(curve)
        lower = cholesky(np.eye(len(labels)) + root[:, None] * kernel * root, lower=True, check_finite=False)
        target = curve * latent + (labels - said)
        step = target - root * cho_solve((lower, True), root * (kernel @ target), check_finite=False)
        moved = kernel @ step
        change = float(np.abs(moved - latent).max())
        latent, weights = moved, step
        if change < TOLERANCE:
            break
    return np.asarray(weights, dtype=np.float64)


def likeness_of(profile: Floats) -> Floats:
    """Return exp(−d²/2) of all pairs of people, d² the mean squared difference of standardised answers.

    `profile` is people × answers; a missing answer counts as the mean.
    """
    centred = profile - np.nanmean(profile, axis=0)
    spread = np.nanstd(profile, axis=0)
    scaled = np.nan_to_num(centred / np.where(spread > 0, spread, 1.0))
    squared = (scaled**2).mean(axis=1)
    distances = squared[:, None] + squared - 2 * (scaled @ scaled.T) / scaled.shape[1]
    return np.asarray(np.exp(-np.maximum(distances, 0) / 2), dtype=np.float64)


def sameness_of(kinds: Floats) -> Floats:
    """Return 1 for two people of one kind, else 0; without an answer one is only like oneself."""
    return np.asarray((kinds[:, None] == kinds) | np.eye(len(kinds), dtype=np.bool_), dtype=np.float64)
