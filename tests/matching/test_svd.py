"""Leading singular vectors are scikit-learn's, and a process that scores does not read scikit-learn."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.utils.extmath import randomized_svd

from matching.svd import leading_vectors

PROGRAM = """
import sys, numpy
from matching import embedding, rank, trained
heavy = {"sklearn", "scipy.stats", "pandas", "polars", "pyarrow", "joblib"} & set(sys.modules)
rank.fit(numpy.eye(60), numpy.arange(60) % 2, numpy.zeros(60, bool), 1)
import matching.interests
print(heavy, "sklearn" in sys.modules)
"""


@pytest.mark.parametrize("rounds", [2, 3])
@pytest.mark.parametrize("shape", [(300, 80), (80, 300)])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_vectors_are_those_of_scikit_learn(rounds, shape, kind):
    chance = np.random.default_rng(4)
    values = np.where(chance.random(shape) < 0.1, chance.normal(size=shape), 0)
    matrix = csr_array(values.astype(kind))
    ours = leading_vectors(matrix, 8, rounds=rounds, seed=5)
    theirs = randomized_svd(matrix, 8, n_iter=rounds, random_state=5)
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_an_api_process_reads_no_scipy():
    program = "import sys, serve_app.app; print({'scipy', 'pandas', 'polars'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert said.stdout.strip() == "set()", said.stderr


def test_whoever_scores_and_searches_reads_no_scikit_learn_and_may_still_read_it_later():
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert said.stdout.strip() == "set() True", said.stderr
