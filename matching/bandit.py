"""Choosing content while learning, with the odds of every choice kept (ML-8)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from matching.arrays import Floats, Integers

PROPENSITY_DRAWS = 2_000
FLOOR = 0.01
"""Every arm keeps at least this chance unless told otherwise: replay divides by it."""


@dataclass(frozen=True, slots=True)
class Choice:
    arm: int
    propensity: float
    """The chance that this arm had: what is logged."""


@dataclass
class Thompson:
    """Bernoulli arms by Beta posteriors (Thompson 1933), mixed with a little chance."""

    arms: int
    floor: float = FLOOR
    """The least chance of an arm."""
    successes: Floats = field(init=False)
    failures: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.successes, self.failures = np.ones(self.arms), np.ones(self.arms)

    def propensities(self, chance: np.random.Generator) -> Floats:
        """Return the chance of each arm to be chosen now, counted over draws, each at least `floor`; sums
        to 1.
        """
        drawn = chance.beta(self.successes, self.failures, (PROPENSITY_DRAWS, self.arms)).argmax(axis=1)
        shares = np.bincount(drawn, minlength=self.arms) / PROPENSITY_DRAWS
        return np.asarray(self.floor + (1 - self.floor * self.arms) * shares, dtype=np.float64)

    def choose(self, chance: np.random.Generator) -> Choice:
        """Return an arm, drawn by exactly the propensities that are logged."""
        propensities = self.propensities(chance)
        arm = int(chance.choice(self.arms, p=propensities))
        return Choice(arm, float(propensities[arm]))

    def learn(self, arm: int, reward: float) -> None:
        """Take a reward within [0, 1]."""
        self.successes[arm] += reward
        self.failures[arm] += 1 - reward


@dataclass
class LinUcb:
    """Arms with a linear reward in the context, the most hopeful one first (Li et al. 2010, disjoint)."""

    arms: int
    width: int
    alpha: float = 1.0
    inverse: Floats = field(init=False)
    """Arms × width × width."""
    sums: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.inverse = np.tile(np.eye(self.width), (self.arms, 1, 1))
        self.sums = np.zeros((self.arms, self.width))

    def bounds(self, context: Floats) -> Floats:
        """Return each arm's estimate and its uncertainty's upper end."""
        estimates = np.einsum("aij,aj,i->a", self.inverse, self.sums, context)
        spread = np.sqrt(np.einsum("i,aij,j->a", context, self.inverse, context))
        return np.asarray(estimates + self.alpha * spread, dtype=np.float64)

    def choose(self, context: Floats, chance: np.random.Generator) -> Choice:
        """Return the best arm, or with FLOOR for each any other: without chance nothing can be replayed."""
        propensities = np.full(self.arms, FLOOR)
        propensities[int(self.bounds(context).argmax())] += 1 - FLOOR * self.arms
        arm = int(chance.choice(self.arms, p=propensities))
        return Choice(arm, float(propensities[arm]))

    def learn(self, arm: int, context: Floats, reward: float) -> None:
        """O(width²): the inverse follows by Sherman and Morrison's formula."""
        moved = self.inverse[arm] @ context
        self.inverse[arm] -= np.outer(moved, moved) / (1 + context @ moved)
        self.sums[arm] += reward * context


def inverse_propensity(rewards: Floats, propensities: Floats, chosen: Floats) -> tuple[float, float]:
    """Return what a policy would have earned a choice, from logs, and the standard error (Horvitz and
    Thompson).

    `chosen` is the chance that the asked policy gives to the logged arm. Unbiased if no logged chance was 0.
    """
    values = rewards * chosen / propensities
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def doubly_robust(
    rewards: Floats, propensities: Floats, arms: Integers, policy: Floats, expected: Floats
) -> tuple[float, float]:
    """Return the same with a model's `expected` rewards (rows × arms) for the variance (Dudík et al. 2011).

    `policy` is the asked policy's chance of each arm (rows × arms). Right if either the chances or the model
    are.
    """
    rows = np.arange(len(arms))
    modelled = (policy * expected).sum(axis=1)
    values = modelled + policy[rows, arms] / propensities * (rewards - expected[rows, arms])
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def regret(means: Sequence[float], pulls: Integers) -> float:
    """Return what was missed against always taking the best arm, for arms of known means."""
    return float(max(means) * len(pulls) - np.asarray(means)[pulls].sum())
