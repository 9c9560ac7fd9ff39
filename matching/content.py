"""Which interest to suggest to somebody: ways of choosing one are the arms of a bandit (ML-8). Pure.

An arm is a way of choosing from the interest map, not a tag: there are few of them, they stay when the map is
made anew, and what one learns of them holds for everybody.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from matching.answers import InterestGroup, InterestMap
from matching.arrays import Floats
from matching.bandit import Thompson

ARMS = ("popular", "close", "rare", "far")
"""What most people have; what most have, and what fewest have, of those who share most interests with the
person; what most have of the largest group that the person has nothing of.
"""
FLOOR = 0.05
"""The least chance of an arm that has something to show. With .01 what does badly is shown so seldom that
nothing can be said of it: in some hundred choices its one success, if there is one, weighs a hundred.
"""
CONTEXT = ("one", "interests", "of_closest", "people")
"""What LinUCB is told: 1, how many interests the person has (of 10), how much of their closest group they
have, and how many people the map has (log10, of 6).
"""


def choices(found: InterestMap, mine: AbstractSet[str]) -> dict[str, str]:
    """Return arm → tag, in the order of ARMS, of those that have one: never one that is the person's."""
    tags = [tag for group in found.groups for tag in group.tags if tag[0] not in mine]
    closest = _closest(found, mine)
    near = [tag for tag in closest.tags if tag[0] not in mine] if closest else []
    strange = next((group for group in found.groups if not mine & {tag for tag, _ in group.tags}), None)
    chosen = {
        "popular": max(tags, key=_by_people, default=None),
        "close": max(near, key=_by_people, default=None),
        "rare": min(near, key=lambda tag: (tag[1], tag[0]), default=None),
        "far": max(strange.tags, key=_by_people, default=None) if strange and mine else None,
    }
    return {arm: tag[0] for arm, tag in chosen.items() if tag is not None}


def context_of(found: InterestMap, mine: AbstractSet[str]) -> list[float]:
    """Return the values of CONTEXT, each within [0, 1] or about."""
    closest = _closest(found, mine)
    had = len(mine & {tag for tag, _ in closest.tags}) / len(closest.tags) if closest else 0.0
    people = sum(group.people for group in found.groups)
    return [1.0, min(len(mine), 10) / 10, had, float(np.log10(1 + people)) / 6]


def propensities(
    tallies: Mapping[str, tuple[int, int]], arms: Sequence[str], chance: np.random.Generator
) -> dict[str, float]:
    """Return each arm's chance to be shown now (Thompson sampling), FLOOR at least; sums to 1. `tallies` are
    (taken up, not).
    """
    bandit = Thompson(len(arms), FLOOR)
    for place, arm in enumerate(arms):
        taken, left = tallies.get(arm, (0, 0))
        bandit.successes[place] += taken
        bandit.failures[place] += left
    return dict(zip(arms, bandit.propensities(chance).tolist(), strict=True))


def _closest(found: InterestMap, mine: AbstractSet[str]) -> InterestGroup | None:
    """The group of which the person has most; None where they have nothing of any."""
    shared = [(len(mine & {tag for tag, _ in group.tags}), group) for group in found.groups]
    return max(shared, key=lambda each: each[0], default=(0, None))[1] if any(n for n, _ in shared) else None


def _by_people(tag: tuple[str, int]) -> tuple[int, str]:
    return tag[1], tag[0]


def matrix(rows: Sequence[Mapping[str, float]]) -> Floats:
    """Return rows × ARMS of chances, 0 where an arm had nothing to show."""
    return np.array([[row.get(arm, 0.0) for arm in ARMS] for row in rows], dtype=np.float64)
