"""Whom to look at besides those nearby: sources of candidates over the live table (MATCH-7).

Three of them walk what the table holds: who liked whom I liked (collaborative), matches of matches, shared
interests. The fourth searches vectors that are made anew in the background (embedding.py). All name more
people than are needed, since the hard limits take some out.
"""

from array import array
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from matching.arrays import Floats, Integers, best
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

WINDOW = 4 * STEP
"""Of so many newest decisions of each, likes are looked for."""

_NOBODY: Rows = np.zeros(0, np.int64)
_NOTHING: "Numbers" = array("i")
Step = Callable[[Rows], tuple[Rows, Integers]]
"""From rows to whom they lead, one row's behind the other's, and how many each leads to."""


def collaborative(people: People, viewer: int) -> Rows:
    """Return whom those like who like the same people as the viewer, by how many ways."""

    def likes(rows: Rows) -> tuple[Rows, Integers]:
        return _liked(people.given, rows)

    def likers(rows: Rows) -> tuple[Rows, Integers]:
        return _liked(people.received, rows)

    return _walk(viewer, (likes, likers, likes))


def matches_of_matches(people: People, viewer: int) -> Rows:
    """Return who matched with those who matched with the same people: as `candidates.matches_of_matches`, but
    bounded.
    """

    def matches(rows: Rows) -> tuple[Rows, Integers]:
        found = [list(people.matched.get(row, ()))[-STEP:] for row in rows.tolist()]
        return np.array(list(chain.from_iterable(found)), np.int64), np.fromiter(map(len, found), np.int64)

    return _walk(viewer, (matches, matches, matches))


def shared_interests(people: People, viewer: int) -> Rows:
    """Return who has interests in common with the viewer; rare ones count more (inverse frequency)."""
    interests = people.tastes.interests
    uses = interests.vocabulary.uses
    mine = sorted(interests.of(viewer), key=lambda tag: (uses[tag], tag))[:SEARCHED_TAGS]
    found = [interests.holders(tag, HOLDERS) for tag in mine]
    if not found:
        return _NOBODY
    weight = np.repeat([1 / np.log1p(uses[tag]) for tag in mine], [len(rows) for rows in found])
    rows, at = np.unique(np.concatenate(found), return_inverse=True)
    return _best(rows, np.bincount(at, weights=weight).astype(np.float64))


def _walk(viewer: int, steps: tuple[Step, ...]) -> Rows:
    rows: Rows = np.array([viewer])
    ways: Floats = np.ones(1)
    for step in steps:
        reached, counts = step(rows)
        if not len(reached):
            return _NOBODY
        rows, at = np.unique(reached, return_inverse=True)
        ways = np.bincount(at, weights=np.repeat(ways, counts)).astype(np.float64)
        rows, ways = rows[rows != viewer], ways[rows != viewer]
        if step is not steps[-1] and len(rows) > CIRCLE:
            kept = best(ways, CIRCLE)
            rows, ways = rows[kept], ways[kept]
    return _best(rows, ways)


def _best(rows: Rows, weight: Floats) -> Rows:
    found: Rows = rows[best(weight, MOST)]
    return found


def _liked(decisions: "Sequence[Numbers | None]", rows: Rows) -> tuple[Rows, Integers]:
    """Return the newest STEP likes of each row, in their order, and how many each has."""
    parts = [(decisions[row] or _NOTHING)[-WINDOW:] for row in rows.tolist()]
    pairs = np.frombuffer(b"".join(parts), np.int32)
    owner = np.repeat(np.arange(len(rows)), np.fromiter(map(len, parts), np.int64))
    likes = np.flatnonzero(pairs & 1)
    owner = owner[likes]
    counts = np.bincount(owner, minlength=len(rows))
    newest = np.cumsum(counts)[owner] - np.arange(len(owner)) <= STEP
    return (pairs[likes[newest]] >> 1).astype(np.int64), np.minimum(counts, STEP)
