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
CHANCE = 3.5
"""Standard errors that a gap of two groups may have by chance: the worst of some sixty pairs is looked at."""


@dataclass(frozen=True)
class GroupFigures:
    rows: int
    base_rate: float
    mean_score: float
    auc: float
    ece: float
    shown_rate: float
    """Share of the group's rows above the threshold."""
    chance_ece: float = 0.0
    """What chance alone makes of `ece` on so many rows, at most."""
    bias_error: float = 0.0
    """Standard errors, of `bias` and of `auc`."""
    auc_error: float = 0.0

    @property
    def bias(self) -> float:
        """Return what the group is promised beyond what it gets: mean score − base rate."""
        return self.mean_score - self.base_rate


@dataclass(frozen=True)
class AuditLimits:
    """Each holds where chance does not explain more: small groups are noisy."""

    ece: float = 0.1
    bias: float = 0.08
    """Largest gap between the biases of two groups."""
    auc_gap: float = 0.1
    overall_ece: float = 0.03
    """Of all rows (MATCH-2)."""


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
            chance_ece=chance_ece(probabilities[inside]),
            bias_error=float(
                np.sqrt((probabilities[inside] * (1 - probabilities[inside])).mean() / inside.sum())
            ),
            auc_error=_auc_error(labels[inside], probabilities[inside]),
        )
        for name, inside in groups.items()
        if inside.sum() >= SMALLEST_GROUP
    }


def objections(figures: Mapping[str, GroupFigures], limits: AuditLimits) -> list[str]:
    """Return why the audit says no; empty is yes. Groups are compared with those of the same dimension, which
    stands before the colon of a name: `ratee age: 25-34`.
    """
    said = [
        f"{name}: ece {one.ece:.3f} > {limits.ece}"
        for name, one in figures.items()
        if one.ece > max(limits.ece, one.chance_ece)
    ]
    for dimension in sorted({_dimension(name) for name in figures}):
        said += _compared({k: v for k, v in figures.items() if _dimension(k) == dimension}, limits)
    return said


def _dimension(name: str) -> str:
    return name.rpartition(": ")[0]


def _compared(figures: Mapping[str, GroupFigures], limits: AuditLimits) -> list[str]:
    said = []
    low = min(figures, key=lambda name: figures[name].bias)
    high = max(figures, key=lambda name: figures[name].bias)
    gap = figures[high].bias - figures[low].bias
    error = float(np.hypot(figures[high].bias_error, figures[low].bias_error))
    if gap > max(limits.bias, CHANCE * error):
        said.append(f"{high} is promised {gap:.3f} more than {low}, given what they get")
    known = {name: one for name, one in figures.items() if not np.isnan(one.auc)}
    if known:
        worst = min(known, key=lambda name: known[name].auc)
        best = max(known, key=lambda name: known[name].auc)
        gap = known[best].auc - known[worst].auc
        error = float(np.hypot(known[best].auc_error, known[worst].auc_error))
        if gap > max(limits.auc_gap, CHANCE * error):
            said.append(f"auc differs by {gap:.3f} between {best} and {worst}")
    return said


def chance_ece(probabilities: Floats, draws: int = 400) -> float:
    """Return the calibration error that labels drawn from these very probabilities exceed once in 200 times:
    some ten groups are looked at, and a good model should seldom be refused for one of them.
    """
    drawn = np.random.default_rng(len(probabilities)).random((draws, len(probabilities))) < probabilities
    return float(np.quantile([calibration_error(labels * 1.0, probabilities) for labels in drawn], 0.995))


def _auc_error(labels: Floats, scores: Floats) -> float:
    """Return the standard error of an AUC (Hanley and McNeil 1982)."""
    found, yes, no = auc(labels, scores), float(labels.sum()), float((1 - labels).sum())
    if np.isnan(found):
        return 0.0
    one, two = found / (2 - found), 2 * found**2 / (1 + found)
    spread = found * (1 - found) + (yes - 1) * (one - found**2) + (no - 1) * (two - found**2)
    return float(np.sqrt(max(spread, 0.0) / (yes * no)))


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
    limits = limits or AuditLimits()
    said = objections(by_group(labels, challenger, groups), limits)
    ece = calibration_error(labels, challenger)
    if ece > max(limits.overall_ece, chance_ece(challenger)):
        said.insert(0, f"ece {ece:.3f} > {limits.overall_ece}")
    if not gain > error:
        said.insert(0, f"auc better by {gain:.4f}, standard error {error:.4f}: not beyond one")
    return Verdict(not said, gain, error, tuple(said))
