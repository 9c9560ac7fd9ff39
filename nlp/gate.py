"""Whether a head is to serve instead of the one that does (ML-5), and its card."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nlp import figures
from nlp.figures import Array, Said
from nlp.labelled import Labelled
from nlp.models import Head
from nlp.training import logits_of

DRAWS = 1_000
CALIBRATION_DRAWS = 200
WORST_EXCESS = 0.05
"""Of the calibration error over what a calibrated head would show on as many texts by chance."""


def verdict(head: Head, champion: Head | None, judging: Labelled, seed: int) -> dict[str, Any]:
    """Return whether to promote, objections, and the gain of macro-F1 with its bootstrap standard error.

    Without a champion it has to beat the baseline, which always says the commonest label.
    """
    probabilities = head.probabilities(logits_of(head, judging))
    chosen = figures.said(probabilities, head.cuts)
    objections: list[str] = []
    if champion is None:
        other = np.zeros_like(chosen)
        other[:, int(judging.targets.sum(axis=0).argmax())] = True
    elif champion.labels != head.labels:
        said = "the champion has other labels: they can't be compared"
        return {"promote": False, "objections": [said]}
    else:
        other = figures.said(champion.probabilities(logits_of(champion, judging)), champion.cuts)
    gain, error = difference(judging, chosen, other, seed)
    if gain <= error:
        objections.append(
            f"macro-F1 is better by {gain:.4f}, not by more than one standard error ({error:.4f})"
        )
    ece = figures.calibration_error(judging.targets, probabilities, several=head.several)
    chance = by_chance(probabilities, seed, several=head.several)
    if ece > chance + WORST_EXCESS:
        objections.append(f"calibration error {ece:.3f}; of a calibrated head it would be about {chance:.3f}")
    return {"promote": not objections, "objections": objections, "gain": gain, "standard_error": error}


def by_chance(probabilities: Array, seed: int, *, several: bool) -> float:
    """Return the mean calibration error if labels fell just as the probabilities say."""
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(CALIBRATION_DRAWS):
        if several:
            drawn = chance.random(probabilities.shape) < probabilities
        else:
            reached = probabilities.cumsum(axis=1) >= chance.random((len(probabilities), 1))
            drawn = np.zeros(probabilities.shape, np.bool_)
            drawn[np.arange(len(drawn)), reached.argmax(axis=1)] = True
        found.append(figures.calibration_error(drawn.astype(np.float32), probabilities, several=several))
    return float(np.mean(found))


def difference(judging: Labelled, one: Said, other: Said, seed: int) -> tuple[float, float]:
    """Return macro-F1 of `one` less that of `other`, and its standard error: texts drawn anew, both judged on
    the same draw (Efron 1979).
    """
    chance = np.random.default_rng(seed)
    count = len(judging)

    def gain(rows: Any) -> float:
        targets = judging.targets[rows]
        found = figures.f1_by_label(targets, one[rows]) - figures.f1_by_label(targets, other[rows])
        return float(found.mean())

    drawn = [gain(chance.integers(0, count, count)) for _ in range(DRAWS)]
    return gain(slice(None)), float(np.std(drawn, ddof=1))


def card(head: Head, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the head is for and not, what it is made of, and its figures on what it was judged on."""
    return {
        "for": "the mood of a room over time, holding a message for its own sender's room by the room's rule",
        "not_for": "judging a person, matching, anything outside of the rooms that opted in, other languages",
        **head.card,
        "judged": dict(metrics),
        "limits": [
            "English tweets; chats differ, and irony is mostly missed",
            "it has as many feelings as its labels: where none fits it should abstain, and does not always",
        ],
    }
