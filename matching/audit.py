"""How a model does for whom, and whether it may be promoted (MATCH-16, ML-5).

Sensitive attributes are never features; they come in here, after the scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from matching.arrays import Booleans, Floats
from matching.metrics import auc, calibration_error

SMALLEST_GROUP = 50
"""Rows; of fewer nothing is concluded."""


@dataclass(frozen=True)
class GroupFigures:
    rows: int
    base_rate: float
    mean_score: float
    auc: float
    ece: float
    shown_rate: float
    """Share of the group's rows above the threshold."""

    @property
    def bias(self) -> float:
        """Return what the group is promised beyond what it gets: mean score − base rate."""
        return self.mean_score - self.base_rate


@dataclass(frozen=True)
class AuditLimits:
    ece: float = 0.1
    bias: float = 0.08
    """Largest gap between the biases of two groups."""
    auc_gap: float = 0.1


def by_group(
    labels: Floats, probabilities: Floats, groups: Mapping[str, Booleans], threshold: float = 0.5
) -> dict[str, GroupFigures]:
    """Return figures of every group of at least SMALLEST_GROUP rows; groups may overlap."""
    return {
        name: GroupFigures(
            rows=int(inside.sum()),
            base_rate=float(labels[inside].mean()),
            mean_score=float(probabilities[inside].mean()),
            auc=auc(labels[inside], probabilities[inside]),
            ece=calibration_error(labels[inside], probabilities[inside]),
            shown_rate=float((probabilities[inside] >= threshold).mean()),
        )
        for name, inside in groups.items()
        if inside.sum() >= SMALLEST_GROUP
    }


def objections(figures: Mapping[str, GroupFigures], limits: AuditLimits) -> list[str]:
    """Return why the audit says no; empty is yes."""
    said = [
        f"{name}: ece {one.ece:.3f} > {limits.ece}" for name, one in figures.items() if one.ece > limits.ece
    ]
    if len(figures) > 1:
        biases = {name: one.bias for name, one in figures.items()}
        low, high = min(biases, key=lambda name: biases[name]), max(biases, key=lambda name: biases[name])
        if biases[high] - biases[low] > limits.bias:
            said.append(
                f"{high} is promised {biases[high] - biases[low]:.3f} more than {low}, given what they get"
            )
        known = {name: one.auc for name, one in figures.items() if not np.isnan(one.auc)}
        if known and max(known.values()) - min(known.values()) > limits.auc_gap:
            said.append(f"auc differs by {max(known.values()) - min(known.values()):.3f} between groups")
    return said


@dataclass(frozen=True)
class Verdict:
    promote: bool
    gain: float
    """AUC of the challenger less that of the champion, on rows later than either was trained on."""
    standard_error: float
    objections: tuple[str, ...]


def gate(
    labels: Floats,
    champion: Floats,
    challenger: Floats,
    groups: Mapping[str, Booleans],
    *,
    seed: int,
    limits: AuditLimits | None = None,
    draws: int = 200,
) -> Verdict:
    """Return whether a challenger replaces the champion: more than one bootstrap standard error, and no
    objection.
    """
    chance, rows = np.random.default_rng(seed), len(labels)
    gains = []
    for _ in range(draws):
        drawn = chance.integers(0, rows, rows)
        gains.append(auc(labels[drawn], challenger[drawn]) - auc(labels[drawn], champion[drawn]))
    gain = auc(labels, challenger) - auc(labels, champion)
    error = float(np.nanstd(gains, ddof=1))
    said = tuple(objections(by_group(labels, challenger, groups), limits or AuditLimits()))
    return Verdict(bool(gain > error and not said), gain, error, said)
