"""Whom to look at besides those nearby: sources of candidates over the live table (MATCH-7).

Three of them walk what the table holds: who liked whom I liked (collaborative), matches of matches, shared
interests. The fourth searches vectors that are made anew in the background (embedding.py). All name more
people than are needed, since the hard limits take some out.
"""

from collections.abc import Callable

import numpy as np

from matching.arrays import Floats
from matching.live import People
from matching.tastes import Numbers, Rows

MOST = 400
"""People that one source names."""
STEP = 16
"""At each step of a walk so many of each are walked on from, the newest."""
CIRCLE = 128
"""So many people in the midst of a walk, those with most ways."""
HOLDERS = 400
"""Of each shared tag so many are looked at, the newest."""
SEARCHED_TAGS = 12
"""The viewer's rarest."""

_NOBODY: Rows = np.zeros(0, np.int64)
Step = Callable[[int], Rows]


def collaborative(people: People, viewer: int) -> Rows:
    """Return whom those like who like the same people as the viewer, by how many ways."""

    def likes(row: int) -> Rows:
        return _liked(people.given[row])

    def likers(row: int) -> Rows:
        return _liked(people.received[row])

    return _walk(viewer, (likes, likers, likes))


def matches_of_matches(people: People, viewer: int) -> Rows:
    """Return who matched with those who matched with the same people: as `candidates.matches_of_matches`, but
    bounded.
    """

    def matches(row: int) -> Rows:
        found = people.matched.get(row)
        return np.fromiter(found, np.int64)[-STEP:] if found else _NOBODY

    return _walk(viewer, (matches, matches, matches))


def shared_interests(people: People, viewer: int) -> Rows:
    """Return who has interests in common with the viewer; rare ones count more (inverse frequency)."""
    interests = people.tastes.interests
    uses = interests.vocabulary.uses
    mine = sorted(interests.of(viewer), key=lambda tag: (uses[tag], tag))[:SEARCHED_TAGS]
    found = [interests.holders(tag, HOLDERS) for tag in mine]
    if not found:
        return _NOBODY
    weight = [np.full(len(rows), 1 / np.log1p(uses[tag])) for tag, rows in zip(mine, found, strict=True)]
    rows, at = np.unique(np.concatenate(found), return_inverse=True)
    return _best(rows, np.asarray(np.bincount(at, weights=np.concatenate(weight)), dtype=np.float64))


def _walk(viewer: int, steps: tuple[Step, ...]) -> Rows:
    rows: Rows = np.array([viewer])
    ways: Floats = np.ones(1)
    for step in steps:
        reached = [step(row) for row in rows.tolist()]
        if not any(map(len, reached)):
            return _NOBODY
        weight = np.repeat(ways, [len(each) for each in reached])
        rows, at = np.unique(np.concatenate(reached), return_inverse=True)
        ways = np.asarray(np.bincount(at, weights=weight), dtype=np.float64)
        rows, ways = rows[rows != viewer], ways[rows != viewer]
        if step is not steps[-1] and len(rows) > CIRCLE:
            kept = np.argsort(-ways, kind="stable")[:CIRCLE]
            rows, ways = rows[kept], ways[kept]
    return _best(rows, ways)


def _best(rows: Rows, weight: Floats) -> Rows:
    best: Rows = rows[np.argsort(-weight, kind="stable")[:MOST]]
    return best


def _liked(pairs: "Numbers | None") -> Rows:
    if pairs is None:
        return _NOBODY
    found = np.array(pairs[-4 * STEP :], np.int64)
    liked: Rows = found[(found & 1) == 1] >> 1
    return liked[-STEP:]
