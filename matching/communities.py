"""Who influences whom: people in groups that an experiment treats as one (ML-7)."""

import numpy as np
from scipy.sparse import coo_array

from matching.arrays import Integers

ROUNDS = 10
MOST = 500
"""People in one community: with few large ones an experiment learns nothing."""


def communities(people: int, pairs: Integers, seed: int, most: int = MOST) -> Integers:
    """Return each person's community, by label propagation over the graph of `pairs` (pairs × 2).

    Everybody takes the label that most of their neighbours have, in a random order, until none changes or for
    ROUNDS (Raghavan, Albert and Kumara 2007); a label that `most` people have takes in nobody more. Who knows
    nobody is alone.
    """
    labels = np.arange(people, dtype=np.int64)
    if not len(pairs):
        return labels
    both = np.vstack([pairs, pairs[:, ::-1]])
    graph = coo_array((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(people, people)).tocsr()
    sizes = np.ones(people, dtype=np.int64)
    chance = np.random.default_rng(seed)
    known = np.flatnonzero(np.diff(graph.indptr))
    for _ in range(ROUNDS):
        changed = 0
        for person in chance.permutation(known):
            around = labels[graph.indices[graph.indptr[person] : graph.indptr[person + 1]]]
            kinds, counts = np.unique(around, return_counts=True)
            room = (sizes[kinds] < most) | (kinds == labels[person])
            if not room.any():
                continue
            kinds, counts = kinds[room], counts[room]
            leading = kinds[counts == counts.max()]
            if labels[person] in leading:
                continue
            sizes[labels[person]] -= 1
            labels[person] = leading[0]
            sizes[leading[0]] += 1
            changed += 1
        if not changed:
            break
    return labels
