"""Groups and rooms for everybody: who would all get on, and which invitations suit (MATCH-12)."""

from dataclasses import dataclass

import numpy as np

from matching.arrays import Floats, Integers
from matching.batch import World, probabilities
from matching.groups import GroupLimits, form
from matching.reciprocal import harmonic

BLOCK = 150
"""Neighbours among whom groups are formed: it costs the square."""
LIMITS = GroupLimits(size_from=3, size_to=6, within_m=5_000.0, floor=0.15)


@dataclass(frozen=True)
class Proposed:
    """A group that does not exist yet. `scores` are each member's mean pair score with the others."""

    members: Integers
    scores: Floats


def proposed(world: World, people: Integers, limits: GroupLimits = LIMITS) -> list[Proposed]:
    """Return disjoint groups among these people, best first. Any two members may be shown to each other, both
    ways: each is within the other's limits, and nothing stands between them (MATCH-6, MATCH-8).
    """
    scores, apart_m = pair_scores(world, people)
    people_free = world.population.is_active[people] & world.population.is_listed[people]
    found = []
    for group in form(scores, apart_m, people_free, limits):
        among = scores[np.ix_(group, group)].copy()
        np.fill_diagonal(among, 0.0)
        found.append(Proposed(people[group], among.sum(axis=1) / (len(group) - 1)))
    return found


def pair_scores(world: World, people: Integers) -> tuple[Floats, Floats]:
    """Return persons × persons: scores, −inf where the two may not be shown to each other, and how far apart
    they are at the most, metres (inf: not known).
    """
    may = world.population.may_show(people[:, None], people[None, :])
    one, other = np.nonzero(np.triu(may & may.T, 1))
    pair = harmonic(
        probabilities(world, people[one], people[other]), probabilities(world, people[other], people[one])
    )
    scores = np.full(may.shape, -np.inf)
    scores[one, other] = scores[other, one] = pair
    apart_m = np.full(may.shape, np.inf)
    metres = world.population.most_m(people[one], people[other])
    apart_m[one, other] = apart_m[other, one] = np.where(np.isnan(metres), np.inf, metres)
    return scores, apart_m


def suits(world: World, person: int, members: Integers, least: int) -> float:
    """Return the mean pair score of somebody with those of a room whom they may be shown to and see; nan
    where there are fewer than `least`.
    """
    mine = np.full(len(members), person)
    may = world.population.may_show(mine, members) & world.population.may_show(members, mine)
    mine, theirs = mine[may], members[may]
    if len(theirs) < least:
        return float("nan")
    pair = harmonic(probabilities(world, mine, theirs), probabilities(world, theirs, mine))
    return float(pair.mean())
