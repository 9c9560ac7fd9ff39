"""People as vectors whose inner product says who may suit whom, and a search among them (MATCH-7).

A vector has two learned parts, by whom somebody likes and by who likes them (the leading singular vectors of
decisions less what both rates say), and one of interests, for those who have not decided yet. Searched for is
[tastes, charms, interests], found is [charms, tastes, interests]: both directions count.
"""

from dataclasses import dataclass

# First: xgboost would take the C++ library that usearch brings for its own.
from matching import boosting  # noqa: F401

# isort: split
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from usearch.index import Index

from matching.arrays import Booleans, Floats
from matching.sources import FACTORS, collaborative
from matching.svd import leading_vectors
from matching.tastes import Rows

Singles = npt.NDArray[np.float32]

INTEREST_FACTORS = 24
INTEREST_WEIGHT = 0.3
"""Interests predict little beside decisions (docs/decisions/0220), so they only break ties."""
MOST_WORDS = 4_000
"""Tags that are embedded, the most used."""
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 64, 200
_BATCH = 2_000


@dataclass(frozen=True)
class Material:
    """A copy of what vectors are made of, so that a thread may take its time; rows as in the table."""

    shown: Rows
    """Who may be found."""
    tags: npt.NDArray[np.int32]
    """People × numbers of tags, 0 pads."""
    uses: npt.NDArray[np.int64]
    """By number of a tag, how many have it."""
    rater: Rows
    ratee: Rows
    likes: Booleans
    gives: Floats
    """By row, the rate of likes given, and received, both shrunk."""
    receives: Floats


class Neighbours:
    """Vectors of one moment, and the search among them. Rows that came later are not in it."""

    def __init__(self, material: Material, seed: int = 0) -> None:
        count = len(material.gives)
        tastes, charms = collaborative(
            (material.rater, material.ratee, material.likes), material.gives, material.receives, seed=seed
        )
        interests = interest_vectors(material.tags, material.uses, seed)
        self.people = count
        self.decisions = len(material.rater)
        self._searched = np.hstack([tastes, charms, interests]).astype(np.float16)
        self._index = Index(
            ndim=2 * FACTORS + INTEREST_FACTORS,
            metric="ip",
            dtype="f16",
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            expansion_search=EXPANSION_SEARCH,
        )
        found = np.hstack([charms, tastes, interests])
        for start in range(0, len(material.shown), _BATCH):
            rows = material.shown[start : start + _BATCH]
            self._index.add(rows.astype(np.uint64), found[rows].astype(np.float16), threads=1)

    def __len__(self) -> int:
        return len(self._index)

    def near(self, viewer: int, count: int) -> Rows:
        """Return up to `count` rows, the likeliest first; nobody for who is not in it or has no vector."""
        if viewer >= self.people or not len(self._index) or not self._searched[viewer].any():
            return np.zeros(0, np.int64)
        found = self._index.search(self._searched[viewer], min(count, len(self._index)), threads=1)
        return np.asarray(found.keys, np.int64)

    def remove(self, row: int) -> None:
        """Forget a person's vectors (ML-11)."""
        if row < self.people:
            self._searched[row] = 0
            if row in self._index:
                self._index.remove(row)


def interest_vectors(tags: npt.NDArray[np.int32], uses: npt.NDArray[np.int64], seed: int) -> Singles:
    """Return people × INTEREST_FACTORS: inner products are about the cosines of weighted tags."""
    rows, words = tag_matrix(tags, uses)
    found: Singles = np.zeros((len(tags), INTEREST_FACTORS), np.float32)
    factors = min(INTEREST_FACTORS, *rows.shape)
    if words.size:
        left, strength, _ = leading_vectors(rows, factors, rounds=2, seed=seed)
        found[:, :factors] = np.sqrt(INTEREST_WEIGHT) * left * strength
    return found


def tag_matrix(
    tags: npt.NDArray[np.int32], uses: npt.NDArray[np.int64]
) -> tuple[csr_array, npt.NDArray[np.int64]]:
    """Return people × words, weighted by inverse frequency, each person's row of length 1; and the numbers of
    the words, the MOST_WORDS most used.
    """
    words = np.flatnonzero(uses > 0)
    words = np.sort(words[np.argsort(-uses[words], kind="stable")[:MOST_WORDS]])
    column = np.full(len(uses), -1, np.int64)
    column[words] = np.arange(len(words))
    row, place = np.nonzero(tags)
    at = column[tags[row, place]]
    row, at = row[at >= 0], at[at >= 0]
    weight = np.log1p(len(tags) / np.maximum(uses[words], 1))[at]
    length = np.sqrt(np.bincount(row, weights=weight**2, minlength=len(tags)))
    values = (weight / np.maximum(length[row], 1e-12)).astype(np.float32)
    return csr_array((values, (row, at)), shape=(len(tags), len(words))), words
