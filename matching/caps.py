"""Deferred acceptance on lists: `exposure` and `pick` for as many people as there are (MATCH-9, MATCH-10).

The dense form holds a number for every pair; here a viewer has a short list, and memory is that of the lists.
Proposals are made in rounds, all free places at once: with strict preferences the outcome does not hang on
the order of proposals (McVitie and Wilson 1971), so it is the dense form's.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from matching.arrays import Booleans, Floats, Integers
from matching.exposure import Exposure
from matching.metrics import gini
from matching.reciprocal import both


@dataclass(frozen=True)
class Lists:
    """Who could be shown to whom: an edge a row, a viewer's together and best first."""

    first: Integers
    """Viewers + 1: viewer v's edges are first[v] … first[v + 1]."""
    shown: Integers
    """Edges: who would be shown."""
    liking: Floats
    """Edges: how the shown ranks the viewer, higher first; ties go to the lower viewer."""

    @classmethod
    def of(cls, viewers: int, viewer: Integers, shown: Integers, rank_by: Floats, liking: Floats) -> Self:
        """Sort edges into lists: by viewer, then `rank_by` from the highest, ties to the lower shown."""
        order = np.lexsort((shown, -rank_by, viewer))
        first = np.concatenate([[0], np.cumsum(np.bincount(viewer, minlength=viewers))])
        return cls(first.astype(np.int64), shown[order].astype(np.int64), liking[order].astype(np.float64))

    @property
    def viewer(self) -> Integers:
        """Return edges: whose list it stands on."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


def capped(lists: Lists, slots: int, cap: int) -> Booleans:
    """Return which edges are shown: as `exposure.capped_lists`, no viewer has more than `slots`, no shown
    more than `cap`. O(edges log edges) at most; a round costs what it proposes.
    """
    people = int(max(len(lists.first) - 1, lists.shown.max(initial=-1) + 1))
    viewer, end = lists.viewer, lists.first[1:]
    place = lists.first[:-1].copy()
    free = np.full(len(place), slots, dtype=np.int64)
    kept = np.full((people, max(cap, 0)), -1, dtype=np.int64)
    # Edges held by each shown; full, the worst is last.
    waiting = np.flatnonzero((place < end) & (free > 0)) if cap > 0 else np.empty(0, dtype=np.int64)
    while len(waiting):
        count = np.minimum(free[waiting], end[waiting] - place[waiting])
        asked = np.repeat(place[waiting], count) + _within(count)
        place[waiting] += count
        free[waiting] -= count
        hopeless = _is_worse(asked, kept[lists.shown[asked], -1], lists.liking, viewer)
        losers = [asked[hopeless]]
        asked = asked[~hopeless]
        receivers = np.unique(lists.shown[asked])
        held = kept[receivers].ravel()
        there = np.concatenate([asked, held[held >= 0]])
        order = np.lexsort((viewer[there], -lists.liking[there], lists.shown[there]))
        there = there[order]
        sizes = np.unique(lists.shown[there], return_counts=True)[1]
        rank = _within(sizes)
        losers.append(there[rank >= cap])
        kept[receivers] = -1
        stays = rank < cap
        kept[lists.shown[there[stays]], rank[stays]] = there[stays]
        lost = np.concatenate(losers)
        np.add.at(free, viewer[lost], 1)
        again = np.unique(viewer[lost])
        waiting = again[place[again] < end[again]]
    shown = np.zeros(len(lists.shown), dtype=np.bool_)
    shown[kept[kept >= 0]] = True
    return shown


def _within(counts: Integers) -> Integers:
    """Return 0 … count−1 for each count, one after the other."""
    starts = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(starts, counts)


def _is_worse(edges: Integers, worst: Integers, liking: Floats, viewer: Integers) -> Booleans:
    """Return which edges the shown would not take; `worst` is the last that they hold, −1: there is room."""
    theirs, ours = liking[worst], liking[edges]
    lower = (ours < theirs) | ((ours == theirs) & (viewer[edges] > viewer[worst]))
    return np.asarray((worst >= 0) & lower, dtype=np.bool_)


def top(lists: Lists, slots: int) -> Booleans:
    """Return which edges are shown by the viewers' order alone: what the caps are measured against."""
    return _within(np.diff(lists.first)) < slots


def blocking(lists: Lists, shown: Booleans, slots: int, cap: int) -> Integers:
    """Return the edges whose two people would both rather have them than what is shown; none means stable."""
    viewer, edges = lists.viewer, np.arange(len(lists.shown))
    people = int(max(len(lists.first) - 1, lists.shown.max(initial=-1) + 1))
    has = np.bincount(viewer[shown], minlength=people)
    last = np.full(people, -1)
    np.maximum.at(last, viewer[shown], edges[shown])
    wants = (has[viewer] < slots) | (edges < last[viewer])
    seen_by = np.bincount(lists.shown[shown], minlength=people)
    worst = np.full(people, -1)
    held = edges[shown]
    order = np.lexsort((-viewer[held], lists.liking[held], lists.shown[held]))
    receivers, at = np.unique(lists.shown[held[order]], return_index=True)
    worst[receivers] = held[order][at]
    wanted = (seen_by[lists.shown] < cap) | ~_is_worse(edges, worst[lists.shown], lists.liking, viewer)
    return edges[wants & wanted & ~shown] if cap > 0 and slots > 0 else np.empty(0, dtype=np.int64)


def picks(viewer: Integers, shown: Integers, scores: Floats) -> tuple[Integers, Lists, Booleans]:
    """Return each person's one partner (−1: nobody), by Gale and Shapley, with what `blocking` needs.

    Edges are the people's lists, `scores` the pair's, the same both ways; an edge counts where its reverse is
    on the other's list. Everybody proposes and everybody is proposed to, so that nobody needs a side. As both
    rank by the pair's score (ties by the pair), the stable outcome is one and is mutual: the best pair that
    is left is each other's first, whichever of them asks (Rodrigues-Neto 2007).
    """
    people = int(max(viewer.max(initial=-1), shown.max(initial=-1))) + 1
    there, back = viewer * people + shown, shown * people + viewer
    mutual = np.isin(there, back)
    viewer, shown, scores = viewer[mutual], shown[mutual], scores[mutual]
    pair = np.minimum(viewer, shown) * people + np.maximum(viewer, shown)
    # The two directions may differ in the last bit: the pair's score is the lower.
    pairs, which = np.unique(pair, return_inverse=True)
    least = np.full(len(pairs), np.inf)
    np.minimum.at(least, which, scores)
    place = np.empty(len(pairs))
    place[np.lexsort((-pairs, least))] = np.arange(len(pairs))
    lists = Lists.of(people, viewer, shown, place[which], place[which])
    taken = capped(lists, 1, 1)
    partner = np.full(people, -1, dtype=np.int64)
    partner[lists.viewer[taken]] = lists.shown[taken]
    return partner, lists, taken


def worth(shown: Integers, forward: Floats, backward: Floats, people: int, attention: int) -> Exposure:
    """Return what lists are worth, as `exposure.worth`: an entry an edge that is shown, with p(viewer→shown)
    and p(shown→viewer).
    """
    expected = both(forward, backward)
    order = np.lexsort((-expected, shown))
    counts = np.bincount(shown, minlength=people)
    rank = _within(counts)
    answered = expected[order][rank < attention]
    return Exposure(float(answered.sum()), float(expected.sum()), gini(counts.astype(np.float64)))
