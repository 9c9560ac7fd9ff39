"""Places for everybody who takes part, from who went where (MATCH-13)."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from matching.arrays import Floats, Integers
from matching.places import BATCH, GraphFilter
from matching.places import recommend as places_for

LIST = 10
RANK = 64
LEAST_VISITED = 3
"""A place that fewer people have been to is not recommended: it would tell of them."""


def places(visits: csr_array, seed: int, count: int = LIST) -> Iterator[tuple[Integers, Integers, Floats]]:
    """Yield persons, their places (−1: none) and scores relative to the best, some persons at a time, for all
    who have been anywhere.
    """
    crowd = np.asarray((visits > 0).sum(axis=0)).ravel()
    known = np.flatnonzero(crowd >= LEAST_VISITED)
    kept = csr_array(visits[:, known])
    people = np.flatnonzero(np.diff(kept.indptr))
    if len(known) < 2 or not len(people):
        return
    model = GraphFilter.fit(kept, seed, rank=max(1, min(RANK, *kept.shape) - 1))
    for start in range(0, len(people), BATCH):
        persons = people[start : start + BATCH].astype(np.int64)
        best = places_for(model, kept, persons, min(count, len(known)))
        scores = np.take_along_axis(model.scores(persons), np.maximum(best, 0), axis=1).astype(np.float64)
        top = np.maximum(scores.max(axis=1, keepdims=True), 1e-9)
        yield persons, np.where(best >= 0, known[best], -1), np.clip(scores / top, 0.0, 1.0)
