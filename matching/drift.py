"""Whether today still looks like what a model was trained on (ML-10)."""

from dataclasses import dataclass

import numpy as np

from matching.arrays import Floats
from matching.metrics import calibration_error

PSI_ALARM = 0.25
"""Below 0.1 nothing moved, above 0.25 much did: the usual reading (Siddiqi 2006)."""
SHARE_FLOOR = 1e-4


@dataclass(frozen=True)
class Reference:
    """A feature as it was in training: quantile edges, the share of each bin, and of what was missing."""

    edges: Floats
    shares: Floats
    """One more than bins: the last is nan."""

    @classmethod
    def of(cls, values: Floats, bins: int = 10) -> "Reference":
        there = values[~np.isnan(values)]
        edges = (
            np.unique(np.quantile(there, np.linspace(0, 1, bins + 1)[1:-1])) if len(there) else np.empty(0)
        )
        return cls(edges, _shares(values, edges))


def population_stability(reference: Reference, values: Floats) -> float:
    """Return Σ (now − then) · ln(now / then) over the bins: 0 the same, symmetric, never negative."""
    then = np.maximum(reference.shares, SHARE_FLOOR)
    now = np.maximum(_shares(values, reference.edges), SHARE_FLOOR)
    return float(((now - then) * np.log(now / then)).sum())


def _shares(values: Floats, edges: Floats) -> Floats:
    missing = np.isnan(values)
    counts = np.bincount(np.searchsorted(edges, values[~missing], side="right"), minlength=len(edges) + 1)
    return np.append(counts, missing.sum()) / max(len(values), 1)


@dataclass(frozen=True)
class Health:
    """One look at a serving model."""

    moved: tuple[str, ...]
    """Features beyond PSI_ALARM."""
    ece: float
    coverage: float
    """Share of the people asked for who got any list."""

    def alarms(self, ece_limit: float = 0.05, coverage_limit: float = 0.95) -> list[str]:
        """Return what somebody should look at; empty is well."""
        said = [f"{name} moved" for name in self.moved]
        if self.ece > ece_limit:
            said.append(f"calibration error {self.ece:.3f}")
        if self.coverage < coverage_limit:
            said.append(f"coverage {self.coverage:.3f}")
        return said


def look(
    references: dict[str, Reference],
    features: dict[str, Floats],
    *,
    labels: Floats,
    probabilities: Floats,
    asked: int,
    served: int,
) -> Health:
    """Return the health of a model from what it saw and said lately; nobody asked is full coverage."""
    moved = tuple(
        name
        for name, reference in references.items()
        if population_stability(reference, features[name]) > PSI_ALARM
    )
    ece = calibration_error(labels, probabilities) if len(labels) else 0.0
    return Health(moved, ece, served / asked if asked else 1.0)
