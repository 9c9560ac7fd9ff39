"""What the Matcher answers: plain values that cross processes."""

import msgspec

BASELINE = "baseline"
"""The model version before there is a champion: popularity and selectivity of the tallies."""
NO_SCORE = -1.0
"""In place of a pair's score where there is none: somebody unknown, or hard limits part the two (MATCH-6)."""


class Scores(msgspec.Struct, frozen=True):
    """Pair scores in [0, 1] or NO_SCORE, a list per ask in its order; all by one model (MATCH-17)."""

    model: str
    scores: list[list[float]]


class Row(msgspec.Struct, frozen=True, gc=False):
    """One recommended person. `forward` is the chance that the viewer likes them, `backward` that they like
    the viewer, `score` the harmonic mean of both (MATCH-1). `why`: (feature, what it truly added to the
    log-odds of `forward`), the largest first, only what the viewer may know (MATCH-15).
    """

    user: str
    score: float
    forward: float
    backward: float
    source: str
    why: list[tuple[str, float]]


class Recommended(msgspec.Struct, frozen=True):
    """Best first, all by one model version."""

    model: str
    rows: list[Row]


class InterestGroup(msgspec.Struct, frozen=True):
    """Tags that go together. `people` have at least one of them; `tags` with how many have each, most first.
    `x`, `y` in [-1, 1] place the group on the map: what is near has people in common.
    """

    people: int
    tags: list[tuple[str, int]]
    x: float
    y: float


class InterestMap(msgspec.Struct, frozen=True):
    """Groups of at least `k` people, of tags that at least `k` people have (k-anonymity); largest first."""

    k: int
    groups: list[InterestGroup]
