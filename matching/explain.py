"""Why a score is what it is: what each feature truly added (MATCH-15)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from matching.arrays import Floats
from matching.boosting import xgboost
from matching.rank import DirectedModel
from matching.shapley import TreeTables


@dataclass(frozen=True, slots=True)
class Reason:
    """One feature's part in a score, in log-odds."""

    feature: str
    value: float
    contribution: float


def contributions(model: DirectedModel, features: Floats) -> Floats:
    """Return rows × (features + 1), the last the constant; a row's sum is the model's log-odds of it.

    Trees by their Shapley values (Lundberg, Erion and Lee 2018), the regression by coefficient × standardised
    value; halves as in the blend.
    """
    matrix = xgboost.DMatrix(features, nthread=1)  # of few rows more threads are slower
    of_trees = np.asarray(model.booster.predict(matrix, pred_contribs=True), dtype=np.float64)
    constant = np.full((len(features), 1), model.coefficients[0])
    of_line = np.hstack([model.standardised(features) * model.coefficients[1:], constant])
    parts: Floats = np.asarray(model.slope * (of_trees + of_line) / 2, dtype=np.float64)
    parts[:, -1] += model.intercept
    return parts


class Explainer:
    """What some columns add, quickly: `contributions` of these."""

    def __init__(self, model: DirectedModel, columns: Sequence[int]) -> None:
        self._model = model
        self._columns = list(columns)
        self._tables = TreeTables.of(model.booster, columns)
        """None: the trees are deeper than what training makes unless it is told to."""

    def added(self, features: Floats) -> Floats:
        """Return rows × columns, in log-odds."""
        model, columns = self._model, self._columns
        if self._tables is None:
            return contributions(model, features)[:, columns]
        of_line = model.standardised(features)[:, columns] * model.coefficients[1:][columns]
        return np.asarray(model.slope * (self._tables.added(features) + of_line) / 2, dtype=np.float64)


def reasons(names: Sequence[str], features: Floats, parts: Floats, count: int) -> list[Reason]:
    """Return one row's `count` largest contributions either way, largest first; ties by place."""
    order = np.argsort(-np.abs(parts[: len(names)]), kind="stable")[:count]
    return [Reason(names[place], float(features[place]), float(parts[place])) for place in order.tolist()]
