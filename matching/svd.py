"""The leading singular vectors of a sparse matrix by random projections (Halko, Martinsson and Tropp 2011).

scikit-learn's `randomized_svd`, number for number: the library itself takes 75 MB and seconds to load, in
every process that searches vectors (docs/decisions/0261).
"""

import numpy as np
import numpy.typing as npt
from scipy.linalg import lu, qr, svd
from scipy.sparse import csr_array

Reals = npt.NDArray[np.floating]

OVERSAMPLES = 10
_PLAIN_ROUNDS = 2
"""With more of them, what is projected has to be kept apart between."""


def leading_vectors(matrix: csr_array, factors: int, *, rounds: int, seed: int) -> tuple[Reals, Reals, Reals]:
    """Return left vectors (rows × factors), singular values, and right vectors (factors × columns), the
    strongest first; each left vector's largest entry is positive. More `rounds` are more exact.
    """
    is_wide = matrix.shape[0] < matrix.shape[1]
    tall = matrix.T if is_wide else matrix
    chance = np.random.RandomState(seed)
    basis: Reals = chance.normal(size=(tall.shape[1], factors + OVERSAMPLES))
    if tall.dtype == np.float32:
        basis = basis.astype(np.float32)
    for _ in range(rounds):
        for side in (tall, tall.T):
            basis = side @ basis
            if rounds > _PLAIN_ROUNDS:
                basis, _ = lu(basis, permute_l=True, check_finite=False)
    basis, _ = qr(tall @ basis, mode="economic", check_finite=False)
    turned, strength, right = svd(basis.T @ tall, full_matrices=False)
    left = basis @ turned
    if is_wide:
        left, right = right.T, left.T
    largest = np.abs(left).argmax(axis=0)
    signs = np.sign(left[largest, np.arange(left.shape[1])])
    return (left * signs)[:, :factors], strength[:factors], (right * signs[:, None])[:factors]
