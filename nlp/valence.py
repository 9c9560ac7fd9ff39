"""How well sentiment is told in degrees: Pearson's r with the mean rating of people, on VADER's ground truth.

files    rows of id, a tab, the mean rating in [-4, 4], a tab, the text. They come in the source distribution
         of vaderSentiment (MIT): `pip download --no-deps --no-binary :all: vaderSentiment`, unpack it, and
         in it additional_resources/hutto_ICWSM_2014.tar.gz: tweets_GroundTruth.txt is the one of the target.
methods  vader   the compound score as it is; nothing is trained
         ridge   ridge regression on the packaged MiniLM's vectors and on what VADER found: its four figures,
                 the sum under the compound, that sum by the share of loaded words, its size
         kernel  support vector regression, radial basis, on the same columns
protocol k-fold cross-validation over the rows of a file, dealt by the seed (10 folds); in each fold what is
         kept is predicted by a model fitted on the others, columns scaled by the others too, the ridge's
         strength by leave-one-out within them. The kernel's settings are the same everywhere: C 3, gamma
         .0005, epsilon .2. r is of all rows' kept predictions; each file by itself.
figures  pearson_r of --method (kernel), baseline.vader, and every method under `methods`
seed     deals the folds.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.svm import SVR

from nlp.encoder import packaged
from nlp.lexical import VADER_FEATURES
from nlp.wording import analyser

Floats = npt.NDArray[np.float64]

METHODS = ("kernel", "ridge", "vader")
STRENGTHS = np.geomspace(1, 10_000, 13)
VADER_WEIGHT = 6.0
"""How much longer VADER's scaled columns are than one of a vector's: there are eight of them, and 384."""
MOST_SUM = 12.0
FEWEST_ROWS = 20


def read(path: Path) -> tuple[list[str], Floats, str]:
    """Return texts, ratings and the file's SHA-256; ValueError if a row is not of the form above."""
    content = path.read_bytes()
    texts, ratings = [], []
    for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), 1):
        if not line.strip():
            continue
        row = line.rstrip("\r").split("\t", 2)
        try:
            ratings.append(float(row[1]))
            texts.append(row[2])
        except (IndexError, ValueError) as wrong:
            raise ValueError(f"{path.name}, line {number}: expected id, tab, rating, tab, text") from wrong
    if len(texts) < FEWEST_ROWS:
        raise ValueError(f"{path.name}: {len(texts)} rows are too few")
    return texts, np.array(ratings), hashlib.sha256(content).hexdigest()


def by_vader(texts: Sequence[str]) -> Floats:
    """Return what VADER finds, (texts, columns): the compound first."""
    scores = [analyser().polarity_scores(text) for text in texts]
    figures = np.array([[one[name] for name in ("compound", *VADER_FEATURES[:3])] for one in scores])
    compound = np.clip(figures[:, 0], -0.9999, 0.9999)
    # Undone: compound = s / sqrt(s² + 15), where s is the sum of the words' valences.
    total = np.clip(compound * np.sqrt(15 / (1 - compound**2)), -MOST_SUM, MOST_SUM)
    loaded = 1 - figures[:, 2]
    return np.column_stack([figures, total, total * loaded, np.tanh(total / 3), np.abs(total)])


def predicted(vectors: Floats, vader: Floats, ratings: Floats, split: KFold, method: str) -> Floats:
    """Return each row's prediction by a model that has not seen it."""
    if method == "vader":
        return vader[:, 0]
    kept = np.zeros(len(ratings))
    for known, asked in split.split(vectors):
        mean, spread = vader[known].mean(axis=0), vader[known].std(axis=0) + 1e-9
        of_vectors = vectors / vectors[known].std(axis=0).mean()
        columns = np.hstack([of_vectors, VADER_WEIGHT * (vader - mean) / spread])
        model = RidgeCV(STRENGTHS) if method == "ridge" else SVR(C=3.0, gamma=0.0005, epsilon=0.2)
        kept[asked] = model.fit(columns[known], ratings[known]).predict(columns[asked])
    return kept


def evaluate(paths: Sequence[Path], seed: int, folds: int, method: str) -> dict[str, Any]:
    """Return r of every method for each file; at top level those of the first."""
    found: dict[str, Any] = {}
    split = KFold(folds, shuffle=True, random_state=seed)
    for path in paths:
        texts, ratings, digest = read(path)
        vectors, vader = packaged().pooled(texts).astype(np.float64), by_vader(texts)
        r = {
            name: float(np.corrcoef(predicted(vectors, vader, ratings, split, name), ratings)[0, 1])
            for name in METHODS
        }
        found[path.name] = {"rows": len(texts), "sha256": digest, "pearson_r": r[method], "methods": r}
    first = found[paths[0].name]
    return {
        "pearson_r": first["pearson_r"],
        "baseline": {"vader": first["methods"]["vader"]},
        "method": method,
        "folds": folds,
        "seed": seed,
        "files": found,
    }
