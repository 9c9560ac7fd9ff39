"""How a model of people does on decisions later than those it was trained on, for whom, and whether it may
serve (ML-5, ML-10, MATCH-16).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from matching.arrays import Booleans, Floats
from matching.artefact import PeopleModel
from matching.audit import AuditLimits, Verdict, by_group, gate
from matching.dataset import LABEL
from matching.drift import PSI_ALARM, population_stability
from matching.metrics import auc, calibration_error, ndcg
from matching.pair_features import FEATURES, baseline

FEWEST_ROWS = 200
"""Later decisions without which nothing is promoted: of fewer one learns nothing."""
AGE_BANDS = (18, 25, 35, 45, 60, 151)


@dataclass(frozen=True)
class Judged:
    """Decisions to judge on."""

    features: Floats
    """Rows × FEATURES."""
    labels: Floats
    lists: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Whose list a row belongs to: the rater's."""
    groups: Mapping[str, Booleans]

    @classmethod
    def of(cls, rows: pl.DataFrame) -> "Judged":
        """Return rows of a dataset as arrays."""
        return cls(
            matrix(rows),
            rows[LABEL].to_numpy().astype(np.float64),
            rows["rater"].rank("dense").to_numpy().astype(np.int64),
            groups_of(rows),
        )

    def __len__(self) -> int:
        return len(self.labels)


def matrix(rows: pl.DataFrame) -> Floats:
    """Return rows × FEATURES of a dataset."""
    return rows.select(FEATURES).to_numpy().astype(np.float64)


def groups_of(rows: pl.DataFrame) -> dict[str, Booleans]:
    """Return who is looked at apart: either side by gender and by age."""
    found: dict[str, Booleans] = {}
    for side in ("rater", "ratee"):
        for gender in sorted(set(rows[f"{side}_gender"].drop_nulls())):
            found[f"{side} gender: {gender}"] = (
                (rows[f"{side}_gender"] == gender).fill_null(value=False).to_numpy()
            )
        age = rows[f"{side}_age"].to_numpy()
        for low, high in pairwise(AGE_BANDS):
            found[f"{side} age: {low}-{high - 1}"] = (age >= low) & (age < high)
    return found


def figures(judged: Judged, probabilities: Floats) -> dict[str, Any]:
    """Return how good scores are, in all and by group; nan is None."""
    labels = judged.labels
    clipped = np.clip(probabilities, 1e-6, 1 - 1e-6)
    loss = -(labels * np.log(clipped) + (1 - labels) * np.log1p(-clipped)).mean() if len(labels) else np.nan
    return {
        "rows": len(labels),
        "base_rate": _number(labels.mean() if len(labels) else np.nan),
        "auc": _number(auc(labels, probabilities)),
        "ndcg5": _number(ndcg(judged.lists, labels, probabilities, 5) if len(labels) else np.nan),
        "ece": _number(calibration_error(labels, probabilities) if len(labels) else np.nan),
        "log_loss": _number(loss),
        "groups": {
            name: {key: _number(value) for key, value in asdict(one).items()}
            | {"bias": _number(one.bias), "rows": one.rows}
            for name, one in by_group(labels, probabilities, judged.groups).items()
        },
    }


def verdict(
    judged: Judged,
    champion: PeopleModel | None,
    challenger: PeopleModel,
    seed: int,
    limits: AuditLimits | None = None,
) -> Verdict:
    """Return whether the challenger may serve in the place of the champion (None: the baseline)."""
    if len(judged) < FEWEST_ROWS:
        few = f"{len(judged)} decisions later than those that either was trained on; {FEWEST_ROWS} are needed"
        return Verdict(promote=False, gain=0.0, standard_error=0.0, objections=(few,))
    return gate(
        judged.labels,
        said_by(champion, judged.features),
        challenger.probabilities(judged.features),
        judged.groups,
        seed=seed,
        limits=limits,
    )


def said_by(model: PeopleModel | None, features: Floats) -> Floats:
    """Return p(i→j) by a model, or by the baseline where there is none."""
    return baseline(features) if model is None else model.probabilities(features)


def drift(model: PeopleModel, features: Floats) -> dict[str, Any]:
    """Return each feature's population stability index against training, and those that moved (ML-10)."""
    inputs = model.inputs(features)
    index = {
        name: round(population_stability(model.references[name], inputs[:, place]), 4)
        for place, name in enumerate(model.names)
        if name in model.references
    }
    return {"psi": index, "moved": [name for name, value in index.items() if value > PSI_ALARM]}


def as_json(one: Verdict) -> dict[str, Any]:
    """Return a verdict as the registry keeps it."""
    return {**asdict(one), "objections": list(one.objections)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)
