"""Experiments: who gets what, whether the split is sound, and what may be concluded when (ML-7)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import erfc, exp, log, sqrt

import numpy as np

from matching.arrays import Floats, Integers

SRM_ALARM = 1e-3


def assign(salt: str, unit: str, shares: Mapping[str, float]) -> str:
    """Return the variant of a unit: a salted SHA-256 as a point in [0, 1), cut by the shares in their order.

    The same salt and unit give the same variant everywhere; another salt is another, independent experiment.
    A match has two people: pass the cluster (cell or graph community) of a person as the unit, not the
    person.
    """
    point = int.from_bytes(hashlib.sha256(f"{salt}\0{unit}".encode()).digest()[:8], "big") / 2**64
    total, reached = sum(shares.values()), 0.0
    for variant, share in shares.items():
        reached += share / total
        if point < reached:
            return variant
    return list(shares)[-1]


def sample_ratio_p(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Return the p-value of the χ² test that units came as the shares say; below SRM_ALARM nothing else
    counts.
    """
    total, whole = sum(counts.values()), sum(shares.values())
    expected = {variant: total * share / whole for variant, share in shares.items()}
    statistic = sum((counts.get(variant, 0) - amount) ** 2 / amount for variant, amount in expected.items())
    # An Api process only assigns: it does without scipy's 50 MB.
    from scipy.special import chdtrc  # noqa: PLC0415

    return float(chdtrc(len(shares) - 1, statistic))


def cuped(outcome: Floats, before: Floats) -> Floats:
    """Return outcomes less what the time before already told (Deng et al. 2013): same mean, variance × (1 −
    ρ²).

    Theta is pooled over all variants, so that it favours none.
    """
    centred = before - before.mean()
    variance = float(centred @ centred)
    theta = float(centred @ (outcome - outcome.mean())) / variance if variance > 0 else 0.0
    return np.asarray(outcome - theta * centred, dtype=np.float64)


@dataclass(frozen=True)
class Difference:
    """Treatment less control, and the standard error of that."""

    value: float
    standard_error: float

    @property
    def p(self) -> float:
        """Return the two-sided p-value, valid if looked at once, at a time fixed beforehand."""
        return erfc(abs(self.value) / self.standard_error / sqrt(2))


def difference(control: Floats, treated: Floats) -> Difference:
    """Return the difference of means of independent units (Welch)."""
    error = sqrt(control.var(ddof=1) / len(control) + treated.var(ddof=1) / len(treated))
    return Difference(float(treated.mean() - control.mean()), error)


def ratio(numerator: Floats, denominator: Floats) -> tuple[float, float]:
    """Return Σn/Σd over units and its variance by the delta method (Deng, Knoblich and Lu 2018).

    For rates per message or per view where people are what was randomised.
    """
    count, down = len(numerator), float(denominator.mean())
    value = float(numerator.mean()) / down
    linear = (numerator - value * denominator) / down
    return value, float(linear.var(ddof=1) / count)


def clustered(outcome: Floats, cluster: Integers, treated: Integers, per: Floats | None = None) -> Difference:
    """Return the difference of means per person, or per unit of `per`, if whole clusters were assigned.

    Each cluster is one unit: a ratio of its sum and its size, so people who influence each other are not
    counted as independent. `treated` is 0 or 1 per row, the same within a cluster.
    """
    kinds, place = np.unique(cluster, return_inverse=True)
    sums = np.bincount(place, weights=outcome)
    people = np.bincount(place).astype(np.float64)
    side = np.bincount(place, weights=treated.astype(np.float64)) / people
    sizes = people if per is None else np.bincount(place, weights=per)
    if not np.isin(side, (0.0, 1.0)).all():
        raise ValueError(f"a cluster of {len(kinds)} is on both sides")
    control, control_variance = ratio(sums[side == 0], sizes[side == 0])
    changed, variance = ratio(sums[side == 1], sizes[side == 1])
    return Difference(changed - control, sqrt(control_variance + variance))


def always_valid_p(value: float, variance: float, scale: float) -> float:
    """Return the p-value of one look that holds at every look: 1 / the mixture likelihood ratio (Johari et
    al. 2022).

    `variance` is that of the difference at this look, `scale` the standard deviation of effects thought
    possible beforehand. Over looks take the least so far; under no effect it is ever below α with
    probability at most α.
    """
    mixed = variance + scale**2
    evidence = 0.5 * log(variance / mixed) + value**2 * scale**2 / (2 * variance * mixed)
    return exp(-evidence) if evidence > 0 else 1.0


def always_valid_interval(found: Difference, scale: float, alpha: float = 0.05) -> tuple[float, float]:
    """Return the effects that `always_valid_p` does not reject at this look."""
    variance = found.standard_error**2
    mixed = variance + scale**2
    half = sqrt(2 * variance * mixed / scale**2 * (log(1 / alpha) + 0.5 * log(mixed / variance)))
    return found.value - half, found.value + half
