"""How good scores are: order, calibration, lists, and intervals of differences."""

import numpy as np

from matching.arrays import Floats, Integers


def auc(labels: Floats, scores: Floats) -> float:
    """Return the chance that a positive stands above a negative, ties half; nan without both kinds."""
    positive = labels > 0.5
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = mean_ranks(scores)
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def mean_ranks(values: Floats) -> Floats:
    """Return the rank of each value from 1, equal ones the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    found: Floats = (np.cumsum(count) - (count - 1) / 2)[place]
    return found


def ndcg(lists: Integers, labels: Floats, scores: Floats, k: int) -> float:
    """Return nDCG@k, the mean over lists; of equal scores what a random order of them gives on average
    (McSherry and Najork 2008), so that the order of rows tells nothing.

    `lists[r]` names the list of row r. Lists without a positive or without a negative are left out: every
    order of them is the best. Gain 1 for a positive, discount 1/log2(1 + place) (Järvelin and Kekäläinen
    2002).
    """
    order = np.lexsort([-scores, lists])
    begins = np.diff(lists[order], prepend=lists[order][:1] - 1) != 0
    starts = np.flatnonzero(begins)
    differs = np.r_[True, scores[order][1:] != scores[order][:-1]][: len(order)]
    tied = np.cumsum(begins | differs) - 1
    shared = (np.bincount(tied, weights=labels[order]) / np.bincount(tied))[tied] if len(order) else labels
    discounts = 1 / np.log2(np.arange(2, k + 2))
    found = []
    for gains in np.split(shared, starts[1:]):
        if 0 < gains.sum() < len(gains):
            best = discounts[: min(k, round(gains.sum()))].sum()
            found.append(float(gains[:k] @ discounts[: len(gains[:k])]) / float(best))
    return float(np.mean(found)) if found else float("nan")


def calibration_error(labels: Floats, probabilities: Floats, bins: int = 10) -> float:
    """Return the expected calibration error: mean gap of said and seen, in equal bins (Guo 2017)."""
    place = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, weights=labels - probabilities, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def gini(amounts: Floats) -> float:
    """Return the Gini coefficient of what each one got: 0 all the same, towards 1 one has all; 0 of
    nothing.
    """
    total = float(amounts.sum())
    if not total:
        return 0.0
    ordered, count = np.sort(amounts), len(amounts)
    return float((2 * np.arange(1, count + 1) - count - 1) @ ordered / (count * total))


def interval(differences: Floats, seed: int, draws: int = 10_000, level: float = 0.95) -> tuple[float, float]:
    """Return a percentile bootstrap interval of the mean of paired differences (Efron 1979)."""
    chance = np.random.default_rng(seed)
    means = differences[chance.integers(0, len(differences), (draws, len(differences)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
