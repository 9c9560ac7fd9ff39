"""How well a head reads: F1 by label, calibration, what abstaining buys."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

Array = npt.NDArray[np.float32]
Said = npt.NDArray[np.bool_]

CALIBRATION_BINS = 10


def f1_by_label(targets: Array, said: Said) -> npt.NDArray[np.float64]:
    """Return F1 of each label, 0 where neither said nor true; rows by labels, one or zero."""
    true = targets > 0.5
    hits = (true & said).sum(axis=0)
    total = true.sum(axis=0) + said.sum(axis=0)
    return np.asarray(np.divide(2 * hits, total, out=np.zeros(len(hits)), where=total > 0), np.float64)


def said(probabilities: Array, cuts: Sequence[float] = ()) -> Said:
    """Return which labels are said: the likeliest one, or with `cuts` each that reaches its own."""
    if cuts:
        return np.asarray(probabilities >= np.array(cuts, np.float32))
    found = np.zeros(probabilities.shape, np.bool_)
    found[np.arange(len(found)), probabilities.argmax(axis=1)] = True
    return found


def calibration_error(targets: Array, probabilities: Array, *, several: bool = False) -> float:
    """Return the expected calibration error of the likeliest label (Guo et al. 2017), ten equal bins; with
    `several` of every label by itself.
    """
    if several:
        confidence, right = probabilities.ravel(), (targets > 0.5).ravel()
    else:
        best = probabilities.argmax(axis=1)
        rows = np.arange(len(best))
        confidence, right = probabilities[rows, best], targets[rows, best] > 0.5
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence.astype(np.float64), minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def log_loss(targets: Array, logits: Array, temperature: float, *, several: bool = False) -> float:
    """Return the mean negative log-likelihood of the labels at this temperature, in nats."""
    scaled = logits.astype(np.float64) / temperature
    if several:
        return float((np.logaddexp(0, scaled) - targets * scaled).mean())
    scaled -= scaled.max(axis=1, keepdims=True)
    shares = targets / np.maximum(targets.sum(axis=1, keepdims=True), 1)
    return float((np.log(np.exp(scaled).sum(axis=1)) - (shares * scaled).sum(axis=1)).mean())


def temperature(targets: Array, logits: Array, *, several: bool = False) -> float:
    """Return the temperature of least log-loss on held-out texts, within [0.2, 5] (Guo et al. 2017)."""
    found = minimize_scalar(
        lambda power: log_loss(targets, logits, float(np.exp(power)), several=several),
        bounds=(np.log(0.2), np.log(5)),
        method="bounded",
    )
    return float(np.exp(found.x))


def threshold(targets: Array, probabilities: Array, risk: float) -> tuple[float, float, float]:
    """Return the lowest confidence from which answers are wrong at most at the share `risk`, and the
    error and coverage it had on these texts (selective classification, El-Yaniv and Wiener 2010).

    If no threshold keeps to `risk` for a tenth of the texts or more, that of the least error is taken.
    """
    best = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(best)), best]
    wrong = targets[np.arange(len(best)), best] < 0.5
    order = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    first = max(1, len(order) // 10) - 1
    held = np.flatnonzero(errors[first:] <= risk) + first
    last = int(held[-1]) if len(held) else int(errors[first:].argmin()) + first
    answered = last + 1
    lowest = 0.0 if answered == len(order) else float(confidence[order[last]])
    return lowest, float(errors[last]), answered / len(order)


def cuts(targets: Array, probabilities: Array) -> tuple[float, ...]:
    """Return for each label the probability from which saying it has the best F1 on these texts."""
    found = []
    for column in range(targets.shape[1]):
        tried = np.linspace(0.05, 0.95, 37)
        scores = [f1_by_label(targets[:, [column]], probabilities[:, [column]] >= cut)[0] for cut in tried]
        found.append(float(tried[int(np.argmax(scores))]))
    return tuple(found)


def summary(labels: Sequence[str], targets: Array, probabilities: Array, chosen: Said) -> dict[str, Any]:
    """Return macro-F1, F1 by label, accuracy (all labels of a text right) and calibration."""
    several = bool((targets.sum(axis=1) != 1).any())
    by_label = f1_by_label(targets, chosen)
    return {
        "macro_f1": float(by_label.mean()),
        "f1": dict(zip(labels, by_label.tolist(), strict=True)),
        "accuracy": float((chosen == (targets > 0.5)).all(axis=1).mean()),
        "ece": calibration_error(targets, probabilities, several=several),
    }
