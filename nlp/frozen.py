"""Heads on the packaged encoder as it is: logistic regressions on its vectors and on words.

No torch; a minute for thousands of texts.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from nlp.encoder import Vectors
from nlp.labelled import Labelled
from nlp.lexical import Lexical, Logits, terms, vader

DENSE_STRENGTH = 0.003
LEXICAL_STRENGTH = 3.0
"""Inverse regularisation. These, the share below and the terms by 4-fold cross-validation on TweetEval's
training and validation texts (docs/decisions/0250).
"""
LEXICAL_SHARE = 0.5
SEEN_IN_TEXTS = 2
"""In fewer texts a term is not kept."""


@dataclass(frozen=True)
class Linear:
    """weights (features, labels) and bias (labels,)."""

    weights: Logits
    bias: Logits


def dense(vectors: Vectors, data: Labelled, seed: int) -> Linear:
    """Return a logistic regression on pooled vectors; their standardisation is folded into the weights."""
    mean, spread = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
    fitted = _fit((vectors - mean) / spread, data, DENSE_STRENGTH, seed)
    weights = fitted.weights / spread[:, None]
    return Linear(weights.astype(np.float32), (fitted.bias - mean @ weights).astype(np.float32))


def lexical(data: Labelled, seed: int) -> Lexical:
    """Return a logistic regression on tf-idf of terms and VADER's figures."""
    table = TfidfVectorizer(analyzer=terms, min_df=min(SEEN_IN_TEXTS, len(data)), sublinear_tf=True)
    counted = table.fit_transform(data.texts)
    features = hstack([counted, csr_matrix(np.stack([vader(text) for text in data.texts]))]).tocsr()
    fitted = _fit(features, data, LEXICAL_STRENGTH, seed)
    places = {
        str(term): int(row) for term, row in sorted(table.vocabulary_.items(), key=lambda item: item[1])
    }
    return Lexical(places, table.idf_.astype(np.float32), fitted.weights, fitted.bias)


def _by_row(vocabulary: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(vocabulary.items(), key=lambda item: item[1])


def _fit(
    features: npt.NDArray[np.float32] | csr_matrix, data: Labelled, strength: float, seed: int
) -> Linear:
    def model() -> LogisticRegression:
        return LogisticRegression(C=strength, class_weight="balanced", max_iter=1_000, random_state=seed)

    if data.several:
        each = [model().fit(features, data.targets[:, column] > 0.5) for column in range(len(data.labels))]
        weights = np.stack([one.coef_[0] for one in each], axis=1)
        return Linear(weights.astype(np.float32), np.array([one.intercept_[0] for one in each], np.float32))
    fitted = model().fit(features, data.single)
    weights, bias = fitted.coef_.T, fitted.intercept_
    if len(data.labels) == 2:  # scikit-learn keeps one column for two labels
        weights, bias = np.hstack([-weights / 2, weights / 2]), np.array([-bias[0] / 2, bias[0] / 2])
    return Linear(weights.astype(np.float32), bias.astype(np.float32))
