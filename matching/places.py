"""Which places (or activities) a person will like, from who went where (MATCH-13).

Two models of implicit feedback, both from a sparse person × place matrix alone:

- `GraphFilter` (`graph-filter`): nothing is trained. Low-pass filters of the place-place graph (GF-CF:
  Shen et al., CIKM 2021), then one sharpening step against its blur (BSPM: Choi et al., SIGIR 2023).
- `Factors` (`als`): alternating least squares (Hu, Koren and Volinsky, ICDM 2008).

Beside them, to compare with: `implicit`, the same least squares by the package of that name (extra `bench`).

The evaluation takes train and test files, a line a user: its number, then its places. The split that
LightGCN and its successors report on is Gowalla's check-ins (SNAP). Figures are means over the users of the
test file: Recall@20 and nDCG@20 with the places of train left out of the lists. What is set was chosen on a
tenth of train.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits

from matching.svd import leading_vectors

METHODS = ("graph-filter", "als", "implicit")
LIST = 20
BATCH = 512
THREADS = 2
DIGITS = 9
"""Of a user's or a place's number: they count rows and columns."""

Scores = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GraphFilter:
    """Scores by filtering a person's visits over the graph of places that share visitors."""

    smooth: csr_array
    """R̃ = Du^-½ R Di^-½, persons × places; R̃ᵀR̃ is the low-pass filter."""
    visits: csr_array
    into: Scores
    """Di^-½ V: visits to the leading RANK spectral components."""
    out: Scores
    """Vᵀ Di^½, sharpened."""
    blend: float
    sharpen: float

    @classmethod
    def fit(
        cls, visits: csr_array, seed: int, rank: int = 320, blend: float = 0.3, sharpen: float = 1.0
    ) -> "GraphFilter":
        """`visits` is persons × places of ones; `blend` weighs the ideal pass, `sharpen` is the step's
        length.
        """
        of_person = np.maximum(np.asarray(visits.sum(axis=1)).ravel(), 1)
        of_place = np.maximum(np.asarray(visits.sum(axis=0)).ravel(), 1)
        smooth = _scaled(visits, of_person**-0.5, of_place**-0.5)
        _, _, right = leading_vectors(smooth, rank, rounds=3, seed=seed)
        out = (right * of_place**0.5).astype(np.float32)
        blurred = ((smooth @ out.T).T @ smooth).astype(np.float32)
        into = (right.T * of_place[:, None] ** -0.5).astype(np.float32)
        return cls(smooth, visits, into, out - np.float32(sharpen) * blurred, blend, sharpen)

    def scores(self, persons: Rows) -> Scores:
        """Return persons × places; higher is likelier."""
        visits = self.visits[persons]
        near = (visits @ self.smooth.T).toarray()
        blurred = near @ self.smooth
        if self.sharpen:
            near -= np.float32(self.sharpen) * (self.smooth @ blurred.T).T
            blurred = near @ self.smooth
        ideal = (visits @ self.into) @ self.out
        return np.asarray(blurred + np.float32(self.blend) * ideal, dtype=np.float32)


def _scaled(matrix: csr_array, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> csr_array:
    coordinates = matrix.tocoo()
    data = (coordinates.data * rows[coordinates.row] * columns[coordinates.col]).astype(np.float32)
    return csr_array((data, (coordinates.row, coordinates.col)), shape=matrix.shape)


@dataclass(frozen=True)
class Factors:
    """Persons and places as vectors; a score is their product."""

    persons: Scores
    places: Scores

    @classmethod
    def fit(
        cls,
        visits: csr_array,
        *,
        seed: int,
        width: int = 64,
        sweeps: int = 8,
        weight: float = 20.0,
        ridge: float = 0.05,
    ) -> "Factors":
        """Alternate ridge solutions: a visit counts 1 + weight, what was not visited 1; `ridge` per known
        visit.
        """
        chance = np.random.default_rng(seed)
        places = chance.normal(0, 0.1, (visits.shape[1], width)).astype(np.float32)
        persons = np.zeros((visits.shape[0], width), dtype=np.float32)
        for _ in range(sweeps):
            persons = _solved(visits, places, weight, ridge)
            places = _solved(visits.T.tocsr(), persons, weight, ridge)
        return cls(persons, places)

    def scores(self, persons: Rows) -> Scores:
        """Return persons × places; higher is likelier."""
        return np.asarray(self.persons[persons] @ self.places.T, dtype=np.float32)


def _solved(visits: csr_array, others: Scores, weight: float, ridge: float) -> Scores:
    """Return the vectors that fit `visits` best, the others held: normal equations, one a row."""
    width = others.shape[1]
    everywhere = others.T @ others
    found = np.zeros((visits.shape[0], width), dtype=np.float32)
    for row in np.flatnonzero(np.diff(visits.indptr)):
        seen = others[visits.indices[visits.indptr[row] : visits.indptr[row + 1]]]
        system = everywhere + np.float32(weight) * (seen.T @ seen)
        system[np.diag_indices(width)] += np.float32(ridge * len(seen) + 1e-3)
        found[row] = np.linalg.solve(system, np.float32(1 + weight) * seen.sum(axis=0))
    return found


Model = GraphFilter | Factors


def recommend(model: Model, visits: csr_array, persons: Rows, count: int) -> Rows:
    """Return persons × count: the best places not visited yet, best first; −1 where there are none left."""
    scores = model.scores(persons)
    counts = np.diff(visits.indptr)[persons]
    scores[np.repeat(np.arange(len(persons)), counts), visits[persons].indices] = -np.inf
    count = min(count, scores.shape[1])
    best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    return np.where(np.isfinite(np.take_along_axis(scores, best, axis=1)), best, -1).astype(np.int64)


def read(path: Path, shape: tuple[int, int] | None = None) -> csr_array:
    """Read a line a user: its number, then its places; persons × places of ones. ValueError names a line that
    is none.
    """
    lines = list(_numbered(path))
    persons = np.repeat([line[0] for line in lines], [len(line) - 1 for line in lines])
    places = np.concatenate([line[1:] for line in lines]) if lines else np.zeros(0, dtype=np.int64)
    if not len(places):
        raise ValueError(
            f"{path.name} says of nobody where they went: a line is a user's number, then places'"
        )
    size = shape or (int(persons.max()) + 1, int(places.max()) + 1)
    visits = csr_array((np.ones(len(persons), dtype=np.float32), (persons, places)), shape=size)
    visits.sum_duplicates()
    visits.data[:] = 1
    return visits


def _numbered(path: Path) -> Iterator[npt.NDArray[np.int64]]:
    for place, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not all(word.isdecimal() and len(word) <= DIGITS for word in words):
            raise ValueError(f"{path.name}, line {place}: expected whole numbers, a user's and then places'")
        if words:
            yield np.array(words, dtype=np.int64)


def evaluate(train_path: Path, test_path: Path, method: str, seed: int) -> dict[str, object]:
    """Return recall20 and ndcg20 of one method, means over the users of the test file."""
    shapes = [read(path).shape for path in (train_path, test_path)]
    shape = (max(rows for rows, _ in shapes), max(columns for _, columns in shapes))
    train, test = read(train_path, shape), read(test_path, shape)
    model = _fitted(train, method, seed)
    users = np.flatnonzero(np.diff(test.indptr))

    def of_batch(batch: Rows) -> tuple[list[float], list[float]]:
        best = recommend(model, train, batch, LIST)
        return list_figures(best, [test.indices[test.indptr[user] : test.indptr[user + 1]] for user in batch])

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(of_batch, _batches(users)))
    recall = np.concatenate([one[0] for one in found])
    gains = np.concatenate([one[1] for one in found])
    return {
        "method": method,
        "users": len(users),
        "recall20": float(recall.mean()),
        "ndcg20": float(gains.mean()),
    }


def _fitted(visits: csr_array, method: str, seed: int) -> Model:
    if method == "graph-filter":
        return GraphFilter.fit(visits, seed)
    return Factors.fit(visits, seed=seed) if method == "als" else by_implicit(visits, seed=seed)


def by_implicit(
    visits: csr_array,
    *,
    seed: int,
    width: int = 64,
    sweeps: int = 15,
    weight: float = 20.0,
    ridge: float = 10.0,
) -> Factors:
    """Return factors by the package `implicit`; ValueError says what to install where it is not."""
    try:
        from implicit.als import AlternatingLeastSquares  # noqa: PLC0415 - of the extra `bench` alone
    except ImportError:
        raise ValueError(
            "method implicit needs the package of that name: pip install 'hereabouts[bench]'"
        ) from None
    with threadpool_limits(1, "blas"):  # it has threads of its own, and two kinds are in each other's way
        model = AlternatingLeastSquares(
            factors=width, alpha=weight, iterations=sweeps, regularization=ridge, random_state=seed,
            num_threads=THREADS, use_gpu=False,
        )  # fmt: skip
        model.fit(csr_matrix(visits), show_progress=False)
    return Factors(np.asarray(model.user_factors), np.asarray(model.item_factors))


def _batches(users: Rows) -> Iterator[Rows]:
    for start in range(0, len(users), BATCH):
        yield users[start : start + BATCH]


def list_figures(best: Rows, wanted: list[npt.NDArray[np.int32]]) -> tuple[list[float], list[float]]:
    """Return recall and nDCG of each list against what was wanted (not empty), as LightGCN counts them."""
    discounts = 1 / np.log2(np.arange(2, best.shape[1] + 2))
    recalls, gains = [], []
    for listed, right in zip(best, wanted, strict=True):
        hits = np.isin(listed, right)
        recalls.append(float(hits.sum() / len(right)))
        gains.append(float(hits @ discounts / discounts[: len(right)].sum()))
    return recalls, gains
