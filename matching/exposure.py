"""Who is shown to whom when attention is scarce: deferred acceptance with caps (MATCH-9).

Lists by score alone show everybody the same few, who cannot answer. Here each viewer has `slots` places,
each shown person at most `cap` viewers, and keeps those viewers whom they like best: capacity on both sides,
so the outcome is pairwise stable for these preferences (Roth 1984; for exposure: ECDA, arXiv 2602.19689).
"""

from dataclasses import dataclass
from heapq import heappush, heappushpop

import numpy as np

from matching.arrays import Booleans, Floats
from matching.metrics import gini
from matching.reciprocal import both, harmonic

SMALL = 1e-12


def capped_lists(viewer_scores: Floats, shown_scores: Floats, slots: int, cap: int) -> Booleans:
    """Return viewers × shown: who is shown to whom.

    `viewer_scores[v, s]` is how the viewer ranks the shown, `shown_scores[v, s]` how the shown ranks the
    viewer; −inf in either is never. Ties go to the lower index. No viewer has more than `slots`, no shown
    more than `cap`.
    """
    order = np.argsort(-viewer_scores, axis=1, kind="stable")
    allowed = np.isfinite(viewer_scores) & np.isfinite(shown_scores)
    kept: list[list[tuple[float, int]]] = [[] for _ in range(viewer_scores.shape[1])]
    place, free = [0] * len(viewer_scores), [slots] * len(viewer_scores)
    waiting = list(range(len(viewer_scores)))
    while waiting and cap > 0:
        viewer = waiting.pop()
        while free[viewer] and place[viewer] < order.shape[1]:
            shown = int(order[viewer, place[viewer]])
            place[viewer] += 1
            if not allowed[viewer, shown]:
                continue
            entry = (float(shown_scores[viewer, shown]), -viewer)
            free[viewer] -= 1
            if len(kept[shown]) < cap:
                heappush(kept[shown], entry)
            else:
                loser = -heappushpop(kept[shown], entry)[1]
                free[loser] += 1
                if loser != viewer:
                    waiting.append(loser)
    exposed = np.zeros(viewer_scores.shape, dtype=np.bool_)
    for shown, entries in enumerate(kept):
        exposed[[-viewer for _, viewer in entries], shown] = True
    return exposed


def top_lists(scores: Floats, slots: int) -> Booleans:
    """Return viewers × shown by score alone, what the caps are measured against; ties go to the lower
    index.
    """
    exposed = np.zeros(scores.shape, dtype=np.bool_)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :slots]
    np.put_along_axis(exposed, best, True, axis=1)
    return exposed & np.isfinite(scores)


@dataclass(frozen=True)
class Exposure:
    """What a set of lists is worth."""

    effective_matches: float
    """Expected matches, each receiver answering at most `attention` viewers, the likeliest ones."""
    matches: float
    """Expected matches if everybody answered everybody."""
    gini: float
    """Of how often each one is shown: 0 all the same."""


def worth(exposed: Booleans, forward: Floats, backward: Floats, attention: int) -> Exposure:
    """Return what lists are worth under calibrated p(viewer→shown) and p(shown→viewer)."""
    expected = np.where(exposed, both(forward, backward), 0.0)
    answered = -np.sort(-expected, axis=0)[:attention]
    shown = exposed.sum(axis=0).astype(np.float64)
    return Exposure(float(answered.sum()), float(expected.sum()), gini(shown))


def reciprocal_lists(forward: Floats, backward: Floats, slots: int, cap: int) -> Booleans:
    """Return capped lists in which both sides rank by the harmonic mean of the two probabilities."""
    fused = np.where((forward > SMALL) & (backward > SMALL), harmonic(forward, backward), -np.inf)
    return capped_lists(fused, fused, slots, cap)
