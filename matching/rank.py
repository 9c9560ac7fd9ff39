"""A directed, calibrated model p(i→j): boosted trees and a logistic regression, blended (MATCH-2)."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from matching.arrays import Booleans, Floats, sigmoid
from matching.boosting import xgboost
from matching.cold import moments, scaled, standardise
from matching.tally import WARM_FROM

TREES: dict[str, Any] = {
    "objective": "binary:logistic",
    "eta": 0.04,
    "max_depth": 3,
    "subsample": 0.6,
    "colsample_bytree": 0.3,
    "min_child_weight": 20,
    "reg_lambda": 10,
}
ROUNDS = 180
HISTORY_PENALTY, PROFILE_PENALTY = 2.0, 150.0
DROPOUT = 0.1
HELD_FOR_CALIBRATION, PLATT_PENALTY = 0.2, 10.0
NEWTON_STEPS = 12


@dataclass(frozen=True)
class DirectedModel:
    """A fitted model; both halves give log-odds, and their mean is the model's."""

    booster: xgboost.Booster
    coefficients: Floats
    among: Floats
    """Two rows with the moments that `standardise` takes."""
    slope: float = 1.0
    intercept: float = 0.0
    """Of the last step, Platt's calibration, learned on rows that the halves had not seen (MATCH-2)."""

    def tree_logits(self, features: Floats) -> Floats:
        # In place: of few rows a DMatrix costs more than the trees.
        raw = self.booster.inplace_predict(features, predict_type="margin")
        return np.asarray(raw, dtype=np.float64)

    def linear_logits(self, features: Floats) -> Floats:
        found: Floats = self.standardised(features) @ self.coefficients[1:] + self.coefficients[0]
        return found

    def standardised(self, features: Floats) -> Floats:
        """Return what the regression takes: within ±3, nothing known as 0."""
        return scaled(features, *self._moments)

    @cached_property
    def _moments(self) -> tuple[Floats, Floats]:
        return moments(self.among)

    def logits(self, features: Floats) -> Floats:
        """Return log-odds (rows); nan in the history columns is a cold pair."""
        blended = (self.tree_logits(features) + self.linear_logits(features)) / 2
        return self.intercept + self.slope * blended

    def probabilities(self, features: Floats) -> Floats:
        return sigmoid(self.logits(features))


@dataclass(frozen=True)
class Settings:
    """What a search may change of the trees (ML-4); the defaults were chosen on speed dating."""

    eta: float = TREES["eta"]
    max_depth: int = TREES["max_depth"]
    subsample: float = TREES["subsample"]
    colsample_bytree: float = TREES["colsample_bytree"]
    min_child_weight: float = TREES["min_child_weight"]
    reg_lambda: float = TREES["reg_lambda"]
    rounds: int = ROUNDS

    def trees(self, seed: int, threads: int) -> dict[str, object]:
        """Return what xgboost is told."""
        given = {**TREES, **asdict(self), "seed": seed, "nthread": threads}
        del given["rounds"]
        return given


DEFAULT = Settings()


def fit(
    features: Floats,
    labels: Floats,
    history: Booleans,
    seed: int,
    threads: int = 1,
    *,
    settings: Settings = DEFAULT,
    held: Booleans | None = None,
    grown: tuple[xgboost.Booster, xgboost.Booster] | None = None,
) -> DirectedModel:
    """Fit to rows of features (rows by columns) and labels (0, 1).

    `history` marks the columns that come from earlier decisions, encoded out-of-fold or strictly past. In a
    share of the rows (DROPOUT) they are blanked, so that the model has met people without any (MATCH-5).
    `held` are the rows that calibrate, by default drawn; where rows have an order in time, the last: what
    is known of people grows, and with it how much their rates say. `grown` are the trees, where they were
    trained elsewhere: those that have not seen the held rows, and those of all.
    """
    chance = np.random.default_rng(seed)
    if held is None:
        held = chance.random(len(features)) < HELD_FOR_CALIBRATION
    trees = settings.trees(seed, threads)
    of_first, of_all = (None, None) if grown is None else grown
    first = _fit(features[~held], labels[~held], history, chance, trees, settings.rounds, of_first)
    intercept, slope = platt(first.logits(features[held]), labels[held])
    final = _fit(features, labels, history, chance, trees, settings.rounds, of_all)
    return replace(final, slope=slope, intercept=intercept)


def _fit(  # noqa: PLR0917 - private
    features: Floats,
    labels: Floats,
    history: Booleans,
    chance: np.random.Generator,
    trees: dict[str, object],
    rounds: int,
    booster: xgboost.Booster | None,
) -> DirectedModel:
    trained = features.copy()
    blank = chance.random(len(features)) < DROPOUT
    trained[np.ix_(blank, history)] = np.nan
    if booster is None:
        booster = xgboost.train(trees, xgboost.DMatrix(trained, label=labels), rounds)
    among = _moments(features)
    penalty = np.r_[1e-6, np.where(history, HISTORY_PENALTY, PROFILE_PENALTY)]
    return DirectedModel(booster, logistic(_with_one(standardise(trained, among)), labels, penalty), among)


def blank_cold(features: Floats, history: Booleans, given: Floats, received: Floats) -> Floats:
    """Return features whose history is nan where rater or ratee is cold: fewer than WARM_FROM decisions."""
    blanked = features.copy()
    blanked[np.ix_((given < WARM_FROM) | (received < WARM_FROM), history)] = np.nan
    return blanked


def platt(logits: Floats, labels: Floats) -> tuple[float, float]:
    """Return intercept and slope that calibrate log-odds (Platt 1999), drawn towards 0 and 1 where rows are
    few.
    """
    design = _with_one(logits[:, None])
    found = logistic(design, labels, np.full(2, PLATT_PENALTY), np.array([0.0, 1.0]))
    return float(found[0]), float(found[1])


def logistic(design: Floats, labels: Floats, penalty: Floats, prior: Floats | None = None) -> Floats:
    """Return ridge logistic coefficients by Newton's method.

    The penalty, per column and in units of the log-likelihood, draws to `prior` (zeros).
    """
    centre = np.zeros(design.shape[1]) if prior is None else prior
    coefficients = centre.astype(np.float64)
    for _ in range(NEWTON_STEPS):
        said = sigmoid(design @ coefficients)
        curved = design * (said * (1 - said))[:, None]
        gradient = design.T @ (labels - said) - penalty * (coefficients - centre)
        step = np.linalg.solve(curved.T @ design + np.diag(penalty), gradient)
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-6:
            break
    return coefficients


def _with_one(features: Floats) -> Floats:
    return np.column_stack([np.ones(len(features)), features])


def _moments(features: Floats) -> Floats:
    there = ~np.isnan(features)
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, features, 0).sum(axis=0) / count
    spread = np.sqrt((np.where(there, features - mean, 0) ** 2).sum(axis=0) / count)
    return np.stack([mean - spread, mean + spread])
