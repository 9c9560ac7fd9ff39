"""The array types of this package, and the logistic function with its inverse."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


def sigmoid(logits: Floats) -> Floats:
    """Return probabilities; no overflow at either end."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), dtype=np.float64)


def logit(probabilities: Floats) -> Floats:
    """Return log-odds; probabilities lie strictly between 0 and 1."""
    return np.asarray(np.log(probabilities) - np.log1p(-probabilities), dtype=np.float64)


def best(values: Floats, count: int) -> Integers:
    """Return where the `count` highest values stand, the highest first; ties by place."""
    if len(values) <= count:
        return np.argsort(-values, kind="stable")
    least = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > least)
    tied = np.flatnonzero(values == least)[: count - len(above)]
    places = np.sort(np.concatenate([above, tied]))
    return places[np.argsort(-values[places], kind="stable")]
