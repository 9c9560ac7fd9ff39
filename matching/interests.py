"""The interest map: tags that go together, as groups with places on a plane (MATCH-7)."""

from matching import boosting  # noqa: F401 - it hides scikit-learn while it is read

# isort: split
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from sklearn.cluster import KMeans

from matching.answers import InterestGroup, InterestMap
from matching.arrays import Floats
from matching.embedding import tag_matrix
from matching.svd import leading_vectors

FACTORS = 16
MOST_GROUPS, MOST_TAGS_TOLD = 40, 12


def interest_map(
    tags: npt.NDArray[np.int32],
    uses: npt.NDArray[np.int64],
    words: list[str],
    shown: npt.NDArray[np.int64],
    *,
    k: int,
    seed: int = 0,
) -> InterestMap:
    """Return the groups of tags of the people in `shown`.

    `tags` is people × numbers of tags, 0 pads; `words` what the numbers stand for. A tag that fewer than `k`
    of them have is not looked at, so that it moves nothing either; sizes are cut to multiples of `k`.
    """
    rows, numbers = tag_matrix(tags[shown], _counts(tags[shown], len(uses), k))
    has = csr_array((np.ones_like(rows.data), rows.indices, rows.indptr), shape=rows.shape)
    held = np.asarray(has.sum(axis=0)).ravel()
    if not len(numbers):
        return InterestMap(k, [])
    vectors = _tag_vectors(rows, seed)
    count = max(1, min(MOST_GROUPS, round(np.sqrt(len(numbers) / 2))))
    group = KMeans(count, n_init=3, random_state=seed).fit_predict(vectors)
    places = _places(np.stack([vectors[group == one].mean(axis=0) for one in np.unique(group)]))
    found = []
    for place, one in zip(places.tolist(), np.unique(group).tolist(), strict=True):
        inside = np.flatnonzero(group == one)
        people = int(np.count_nonzero(has[:, inside].sum(axis=1)))
        order = inside[np.argsort(-held[inside], kind="stable")][:MOST_TAGS_TOLD]
        told = [(words[numbers[at]], int(held[at]) // k * k) for at in order.tolist()]
        found.append(InterestGroup(people // k * k, told, round(place[0], 3), round(place[1], 3)))
    return InterestMap(k, sorted(found, key=lambda each: (-each.people, each.tags)))


def _counts(tags: npt.NDArray[np.int32], numbers: int, k: int) -> npt.NDArray[np.int64]:
    counts = np.bincount(tags.ravel(), minlength=numbers).astype(np.int64)
    counts[0] = 0
    counts[counts < k] = 0
    return counts


def _tag_vectors(rows: csr_array, seed: int) -> Floats:
    """Return unit vectors of tags: who has them together lies together (latent semantic analysis)."""
    factors = min(FACTORS, min(rows.shape) - 1)
    if factors < 1:
        return np.ones((rows.shape[1], 1))
    _, strength, right = leading_vectors(rows, factors, rounds=3, seed=seed)
    vectors: Floats = np.asarray(right.T * strength, dtype=np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors


def _places(centres: Floats) -> Floats:
    """Return the two main axes of the centres, within [-1, 1]."""
    away = centres - centres.mean(axis=0)
    _, _, axes = np.linalg.svd(away, full_matrices=False)
    flat = np.zeros((len(centres), 2))
    found = away @ axes[:2].T
    flat[:, : found.shape[1]] = found
    return flat / max(float(np.abs(flat).max()), 1e-12)
