"""What an experiment has found so far: whether its split is sound, then each variant against the control, in
figures that hold however often one looks (ML-7).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from matching.arrays import Floats, Integers
from matching.experiment import (
    SRM_ALARM,
    always_valid_interval,
    always_valid_p,
    clustered,
    cuped,
    sample_ratio_p,
)

FEWEST_UNITS = 10
"""Of a side: fewer have no variance to speak of."""


@dataclass(frozen=True)
class Outcome:
    """One figure: a value a person, and what the same was before."""

    value: Floats
    before: Floats
    per: Floats | None = None
    """What it is a share of, a value a person (views, messages); None: people."""


@dataclass(frozen=True)
class Trial:
    """Who was exposed to what."""

    units: Sequence[str]
    """Of each person, what was assigned as one."""
    variants: Sequence[str]
    """Of each person."""
    shares: Mapping[str, float]
    """The first is the control."""


def report(
    trial: Trial, outcomes: Mapping[str, Outcome], *, effect: float, alpha: float = 0.05
) -> dict[str, Any]:
    """Return the split and, if that is sound, each variant less the control.

    `effect` is how large a difference is thought possible, as a share of the figure's mean over everybody.
    A sample ratio mismatch withholds everything else: whoever is missing may be missing for the variant.
    """
    counts = Counter(dict(set(zip(trial.units, trial.variants, strict=True))).values())
    mixed = len(set(zip(trial.units, trial.variants, strict=True))) - len(set(trial.units))
    units = {variant: counts.get(variant, 0) for variant in trial.shares}
    p = sample_ratio_p(units, trial.shares) if trial.units else 1.0
    split = {
        "units": units, "people": dict(Counter(trial.variants)), "p": p, "alarm": p < SRM_ALARM,
        "units_on_both_sides": mixed,
    }  # fmt: skip
    if split["alarm"] or mixed:
        return {
            "split": split,
            "refused": "the split is not the one that was asked for: nothing is concluded",
        }
    control, *others = trial.shares
    found = {
        name: {
            other: compared(trial, outcome, control, other, effect=effect, alpha=alpha) for other in others
        }
        for name, outcome in outcomes.items()
    }
    return {"split": split, "control": control, "outcomes": found}


def compared(
    trial: Trial, outcome: Outcome, control: str, other: str, *, effect: float, alpha: float
) -> dict[str, Any]:
    """Return one figure of one variant against the control."""
    variants = np.array(trial.variants, dtype=object)
    rows = (variants == control) | (variants == other)
    treated = (variants[rows] == other).astype(np.int64)
    _, cluster = np.unique(np.array(trial.units, dtype=object)[rows].astype(str), return_inverse=True)
    value = outcome.value[rows]
    per = None if outcome.per is None else outcome.per[rows]
    total = float(value.sum() if per is None else per.sum())
    sides = [len(np.unique(cluster[treated == side])) for side in (0, 1)]
    counts = {"units": dict(zip((control, other), sides, strict=True))}
    if min(sides) < FEWEST_UNITS or not total or any(not _amount(per, treated == s) for s in (0, 1)):
        return {**counts, "too_few": True}
    mean = float(value.sum()) / (len(value) if per is None else total)
    plain = clustered(value, cluster, treated, per)
    best = plain if per is not None else clustered(_adjusted(outcome, rows, cluster), cluster, treated)
    if not best.standard_error > 0 or not mean:
        return {**counts, "too_few": True}
    scale = effect * abs(mean)
    low, high = always_valid_interval(best, scale, alpha)
    return {
        **counts,
        "mean": mean,
        "difference": best.value,
        "standard_error": best.standard_error,
        "without_cuped": {"difference": plain.value, "standard_error": plain.standard_error},
        "p": always_valid_p(best.value, best.standard_error**2, scale),
        "interval": [low, high],
        "relative": best.value / mean,
    }


def _amount(per: Floats | None, side: Any) -> float:
    """What a side's mean is divided by."""
    return float(side.sum() if per is None else per[side].sum())


def _adjusted(outcome: Outcome, rows: Any, cluster: Integers) -> Floats:
    """Return outcomes less what people, and their units, did before."""
    before = outcome.before[rows]
    alone = cuped(outcome.value[rows], before)
    sizes = np.bincount(cluster)
    if sizes.max(initial=1) == 1:
        return alone
    # What a whole unit was like is what varies between units: the second covariate.
    return cuped(alone, (np.bincount(cluster, weights=before) / sizes)[cluster])


def least_p(now: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the least p of each comparison over all looks: what stands once found, stands."""
    least: dict[str, dict[str, float]] = {}
    for each in (*earlier, now):
        for name, by_variant in each.get("outcomes", {}).items():
            for other, said in by_variant.items():
                if "p" in said and isfinite(said["p"]):
                    known = least.setdefault(name, {})
                    known[other] = min(known.get(other, 1.0), said["p"])
    return least
