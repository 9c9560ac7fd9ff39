"""Small groups of people who would all get on (MATCH-12): a seed, then greedily whoever fits all best."""

from dataclasses import dataclass

import numpy as np

from matching.arrays import Booleans, Floats


@dataclass(frozen=True)
class GroupLimits:
    """What every group keeps to."""

    size_from: int
    size_to: int
    within_m: float
    """Between any two members."""
    floor: float
    """Every member's mean score with the others is at least this: nobody is there for the others' sake."""


def form(scores: Floats, distances_m: Floats, available: Booleans, limits: GroupLimits) -> list[list[int]]:
    """Return disjoint groups, best first; who fits nowhere is in none.

    `scores` and `distances_m` are persons × persons and symmetric (both ways' probabilities fused, MATCH-1);
    −inf is never together (blocked). Greedy: from the best free pair, whoever adds most to the mean score of
    all pairs while every member stays above the floor. O(n²) a group.
    """
    free = available.copy()
    near = (distances_m <= limits.within_m) & np.isfinite(scores)
    np.fill_diagonal(near, False)
    groups = []
    seeds = np.argsort(-np.where(np.triu(near, 1), scores, -np.inf), axis=None, kind="stable")
    for seed in seeds[: int(np.triu(near, 1).sum())]:
        one, other = divmod(int(seed), len(scores))
        if free[one] and free[other]:
            group = _grow([one, other], scores, near, free, limits)
            if len(group) >= limits.size_from and lowest(group, scores) >= limits.floor:
                free[group] = False
                groups.append(sorted(group))
    return groups


def _grow(group: list[int], scores: Floats, near: Booleans, free: Booleans, limits: GroupLimits) -> list[int]:
    while len(group) < limits.size_to:
        fits = free & near[group].all(axis=0)
        fits[group] = False
        candidates = np.flatnonzero(fits)
        gains = scores[group][:, candidates].mean(axis=0)
        for candidate in candidates[np.argsort(-gains, kind="stable")]:
            if lowest([*group, int(candidate)], scores) >= limits.floor:
                group = [*group, int(candidate)]
                break
        else:
            return group
    return group


def lowest(group: list[int], scores: Floats) -> float:
    """Return the least mean score with the others that a member of the group (two or more) has."""
    among = scores[np.ix_(group, group)].copy()
    np.fill_diagonal(among, 0.0)
    return float(among.sum(axis=1).min() / (len(group) - 1))
