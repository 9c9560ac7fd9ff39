"""Before anybody has decided: log-odds from profiles alone, learned from other cohorts (MATCH-5)."""

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from matching.arrays import Floats
from matching.decisions import Decisions

NOISE, OF_RATER, OF_RATEE, OF_COHORT = 0.2, 0.03, 0.03, 0.01
"""Variances of a decision (as 0 or 1) in the mixed model: what is left, rater, ratee, cohort."""
RIDGE = 1000.0
SLOPE = 4.0
"""Log-odds per probability at one half."""


def standardise(features: Floats, among: Floats | None = None) -> Floats:
    """Return (features − mean) / deviation, within ±3, nothing known as 0; moments of `among` (default:
    all).
    """
    return scaled(features, *moments(features if among is None else among))


def moments(among: Floats) -> tuple[Floats, Floats]:
    """Return each column's mean and deviation, of what is known; 1 where nothing deviates."""
    there = ~np.isnan(among)
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, among, 0).sum(axis=0) / count
    spread = np.sqrt((np.where(there, among - mean, 0) ** 2).sum(axis=0) / count)
    return mean, np.where(spread > 1e-9, spread, 1.0)


def scaled(features: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Return (features − mean) / deviation, within ±3, nothing known as 0."""
    return np.asarray(np.nan_to_num(np.clip((features - mean) / deviation, -3, 3)), dtype=np.float64)


def cold_logits(profile: Floats, decisions: Decisions, penalty: Floats | float = RIDGE) -> Floats:
    """Return log-odds of every row from a linear mixed model, fitted to the known rows of the *other*
    cohorts.

    So no row sees its own cohort's labels, and the figure means the same for a new cohort. Rater, ratee and
    cohort are random effects (generalised least squares): a hundred decisions of ten people are ten people's.
    `penalty` is one for all features, or one each.
    """
    known = decisions.known
    design = np.column_stack([np.ones(len(profile)), standardise(profile)])
    cohorts = np.unique(decisions.cohort)
    width = design.shape[1]
    grams, sides = np.zeros((len(cohorts), width, width)), np.zeros((len(cohorts), width))
    for place, cohort in enumerate(cohorts):
        rows = np.flatnonzero(known & (decisions.cohort == cohort))
        if len(rows):
            white = _whitened(decisions, rows, np.column_stack([design[rows], decisions.label[rows]]))
            grams[place], sides[place] = white[:, :-1].T @ white[:, :-1], white[:, :-1].T @ white[:, -1]
    prior = np.diag(np.r_[1e-6, np.broadcast_to(penalty, width - 1)])
    said = np.zeros(len(profile))
    for place, cohort in enumerate(cohorts):
        rows = decisions.cohort == cohort
        # Added up anew: a total less its own part would keep that part's labels in the rounding.
        others = np.arange(len(cohorts)) != place
        gram = grams[others].sum(axis=0)
        if len(cohorts) > 1 and gram[0, 0] > 0:
            said[rows] = design[rows] @ np.linalg.solve(gram + prior, sides[others].sum(axis=0))
        else:
            said[rows] = decisions.label[known].mean() if known.any() else 0.5
    return (said - 0.5) * SLOPE


def _whitened(
    decisions: Decisions, rows: np.ndarray[tuple[int], np.dtype[np.int64]], columns: Floats
) -> Floats:
    rater, ratee = decisions.rater[rows], decisions.ratee[rows]
    covariance = OF_COHORT + OF_RATER * (rater[:, None] == rater) + OF_RATEE * (ratee[:, None] == ratee)
    lower = cholesky(covariance + NOISE * np.eye(len(rows)), lower=True, check_finite=False)
    return np.asarray(solve_triangular(lower, columns, lower=True, check_finite=False), dtype=np.float64)
