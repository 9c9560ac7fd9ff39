"""What is true in the synthetic city: who may be shown to whom, who likes whom, what lists would lead to."""

from dataclasses import dataclass

import numpy as np

from benchmarks.city_people import Booleans, Floats, Integers, People
from matching import caps
from matching.arrays import sigmoid
from matching.exposure import Exposure

EQUATIONS = """
logit p(i→j) = −1.4 + 1.1 a_j − 0.9 s_i + 0.9 w_i·l_j/√6 + 0.5 min(shared, 4)
               − 0.5 ln(1 + d / 2 km) − 0.08 max(gap − 3, 0)

  a_j  attractiveness, N(0, 1)            s_i  selectivity, N(0, 1)
  l_j  what j is, N(0, I₆)                w_i  what i looks for, 0.6 l_i + 0.8 N(0, I₆)
  shared  common tags of interest         d    between homes            gap  of ages, years
"""


@dataclass(frozen=True)
class Outcome:
    """What a set of lists leads to, expected under the truth."""

    slots: int
    """Places filled over all lists."""
    likes: float
    """Of what is shown, by who sees it."""
    lists: Exposure

    def row(self) -> dict[str, float]:
        """For a result file: rates are per filled place."""
        slots = max(self.slots, 1)
        return {
            "slots": self.slots,
            "likes_per_slot": round(self.likes / slots, 5),
            "matches_per_slot": round(self.lists.matches / slots, 5),
            "effective_matches_per_slot": round(self.lists.effective_matches / slots, 5),
            "effective_matches": round(self.lists.effective_matches, 1),
            "gini": round(self.lists.gini, 4),
        }


def distance_m(people: People, one: Integers, other: Integers) -> Floats:
    """Between homes."""
    return np.hypot(people.east_m[one] - people.east_m[other], people.north_m[one] - people.north_m[other])


def eligible(people: People, one: Integers, other: Integers) -> Booleans:
    """Whether each is what the other asks for, both take part, and the other is listed (MATCH-6)."""
    metres = distance_m(people, one, other)
    found: Booleans = np.asarray((one != other) & people.is_listed[other], dtype=np.bool_)
    for asker, asked in ((one, other), (other, one)):
        age = people.age[asked]
        found &= (people.age_from[asker] <= age) & (age <= people.age_to[asker])
        found &= people.seeks[asker, people.gender[asked]]
        found &= (people.within_m[asker] == 0) | (metres <= people.within_m[asker])
        found &= ~people.is_paused[asker]
    any_goal: Booleans = np.asarray(~people.goals.any(axis=1), dtype=np.bool_)
    shares = (people.goals[one] & people.goals[other]).any(axis=1)
    return np.asarray(found & (any_goal[one] | any_goal[other] | shares), dtype=np.bool_)


def likes(people: People, rater: Integers, ratee: Integers) -> Floats:
    """p(i→j) of pairs."""
    taste = np.einsum("rt,rt->r", people.wants[rater], people.is_like[ratee]) / np.sqrt(people.wants.shape[1])
    shared = (people.interests[rater] & people.interests[ratee]).sum(axis=1)
    gap = np.abs(people.age[rater] - people.age[ratee])
    return sigmoid(
        -1.4
        + 1.1 * people.attractiveness[ratee]
        - 0.9 * people.selectivity[rater]
        + 0.9 * taste
        + 0.5 * np.minimum(shared, 4)
        - 0.5 * np.log1p(distance_m(people, rater, ratee) / 2_000)
        - 0.08 * np.maximum(gap - 3, 0)
    )


def outcome(people: People, viewer: Integers, shown: Integers, attention: int) -> Outcome:
    """What happens if these are shown: each viewer looks at all, each shown answers at most `attention` of
    those who saw them, the likeliest matches first.
    """
    forward, backward = likes(people, viewer, shown), likes(people, shown, viewer)
    lists = caps.worth(shown, forward, backward, len(people), attention)
    return Outcome(len(shown), float(forward.sum()), lists)
