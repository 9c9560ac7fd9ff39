"""From labelled texts to a calibrated head: what the command and the job share (NLP-3, NLP-9)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nlp import figures, frozen
from nlp.encoder import TOKENS_READ, Encoder, MissingExtraError, packaged
from nlp.extra import missing, wait_asleep
from nlp.figures import Array
from nlp.labelled import Labelled
from nlp.models import Head, readable

METHODS = ("auto", "fine-tune", "frozen")
RISK = 0.1
"""Of what a head answers at most this share is wrong on the validation texts; else it abstains."""
FEWEST_TEXTS = 8
CHECKPOINT = "checkpoint.pt"
CHECKPOINT_OF_REFIT = "checkpoint-of-refit.pt"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What a training does beside its data."""

    seed: int = 0
    method: str = "auto"
    risk: float = RISK
    folder: Path | None = None
    """Where a fine-tuning keeps its checkpoint; a killed one goes on from it."""
    threads: int = 1
    refit: bool = False
    """Whether, once all is chosen on the validation texts, the head is trained anew on these too: then they
    judge nothing any more.
    """
    harmful: tuple[str, ...] = ()
    """Labels that a room's policy takes for harm (nlp/verdicts.py); none: by their names."""


@dataclass(frozen=True)
class Fitted:
    """An encoder and the linear layer on it."""

    encoder: Encoder
    layer: frozen.Linear
    share: float
    """How much the words weigh beside it."""
    about: dict[str, Any]


def train(name: str, train: Labelled, val: Labelled, settings: Settings, progress: Progress) -> Head:
    """Return a head trained on `train`, calibrated and thresholded on `val`; with `settings.refit` then
    trained anew on both, with what was chosen.
    """
    _check(train, val)
    if strange := set(settings.harmful) - set(train.labels):
        raise ValueError(f"harmful: {', '.join(sorted(strange))}; labels are {', '.join(train.labels)}")
    method = chosen_method(settings.method)
    settings = replace(settings, method=method)
    progress(
        f"{name}: {len(train)} texts to train on, {len(val)} to choose on, {method}, seed {settings.seed}"
    )
    head, about = _fitted(name, train, val, settings, progress)
    head, figures_on_val = calibrated(head, val, settings.risk)
    card = {
        "task": name,
        "method": method,
        "seed": settings.seed,
        "language": "English; abstains from what does not look it",
        "tokens_read": TOKENS_READ,
        "train": {"texts": len(train), "labels": train.counts(), "sha256": train.sha256},
        "val": {"texts": len(val), "labels": val.counts(), "sha256": val.sha256, **figures_on_val},
        "training": about,
        "refit": None,
    }
    if settings.refit:
        progress(f"macro-F1 {figures_on_val['macro_f1']:.4f} on validation texts; now once more with these")
        last, card["refit"] = _fitted(name, train.joined(val), None, settings, progress)
        head = replace(last, temperature=head.temperature, threshold=head.threshold, cuts=head.cuts)
    if settings.harmful:
        card["harmful"] = settings.harmful
    return replace(head, card=card)


def _fitted(
    name: str, train: Labelled, val: Labelled | None, settings: Settings, progress: Progress
) -> tuple[Head, dict[str, Any]]:
    """Return a head that is not calibrated yet, and what is to be said of its training."""
    if settings.method == "fine-tune":
        wait_asleep()
        from nlp.finetune import fine_tuned  # noqa: PLC0415 - needs the extra

        fitted = fine_tuned(train, val, settings, progress)
    else:
        fitted = _frozen(train, settings)
    progress("words: tf-idf and VADER")
    lexical = frozen.lexical(train, settings.seed)
    head = Head(
        name,
        train.labels,
        fitted.encoder,
        fitted.layer.weights,
        fitted.layer.bias,
        lexical=lexical,
        lexical_share=fitted.share,
        several=train.several,
    )
    return head, fitted.about


def forget(folder: Path) -> None:
    """Remove the checkpoints of a training that is written."""
    for name in (CHECKPOINT, CHECKPOINT_OF_REFIT):
        (folder / name).unlink(missing_ok=True)


def chosen_method(method: str) -> str:
    """Return `fine-tune` or `frozen`; `auto` is fine-tune where torch is installed."""
    if method not in METHODS:
        raise ValueError(f"no method {method}: {', '.join(METHODS)}")
    lacking = missing()
    if method == "fine-tune" and lacking:
        raise MissingExtraError(lacking)
    if method == "auto":
        return "frozen" if lacking else "fine-tune"
    return method


def _check(train: Labelled, val: Labelled) -> None:
    if train.labels != val.labels:
        raise ValueError(f"labels to train on {train.labels} and to choose on {val.labels} differ")
    if len(train.labels) < 2:
        raise ValueError(f"one label only ({train.labels[0]}): nothing to tell apart")
    if len(train) < FEWEST_TEXTS or len(val) < FEWEST_TEXTS:
        raise ValueError(
            f"{len(train)} texts to train on and {len(val)} to choose on: {FEWEST_TEXTS} is least"
        )
    if few := [label for label, count in train.counts().items() if count < 2]:
        raise ValueError(f"fewer than two texts to train on have the label {', '.join(few)}")


def _frozen(train: Labelled, settings: Settings) -> Fitted:
    encoder = packaged(settings.threads)
    layer = frozen.dense(encoder.pooled(train.texts), train, settings.seed)
    return Fitted(encoder, layer, frozen.LEXICAL_SHARE, {"encoder": "packaged MiniLM, int8, not trained"})


def calibrated(head: Head, val: Labelled, risk: float) -> tuple[Head, dict[str, Any]]:
    """Return the head with its temperature and threshold (or cuts) chosen on `val`, and its figures there."""
    logits = logits_of(head, val)
    head = replace(head, temperature=figures.temperature(val.targets, logits, several=head.several))
    probabilities = head.probabilities(logits)
    if head.several:
        head = replace(head, cuts=figures.cuts(val.targets, probabilities))
        abstention: dict[str, Any] = {"rule": "no label reaches its cut"}
    else:
        lowest, error, coverage = figures.threshold(val.targets, probabilities, risk)
        head = replace(head, threshold=lowest)
        abstention = {"rule": "confidence", "risk": risk, "error_on_val": error, "coverage_on_val": coverage}
    chosen = figures.said(probabilities, head.cuts)
    found = figures.summary(head.labels, val.targets, probabilities, chosen)
    return head, {**found, "abstention": abstention}


def logits_of(head: Head, data: Labelled) -> Array:
    """Return the head's logits of every text, also of what it would abstain from."""
    return head.logits(head.encoder.pooled(data.texts), data.texts)


def evaluated(head: Head, data: Labelled) -> dict[str, Any]:
    """Return figures over all texts, the head made to answer each, and beside them of what it answers."""
    probabilities = head.probabilities(logits_of(head, data))
    chosen = figures.said(probabilities, head.cuts)
    unread = np.array([not readable(text) for text in data.texts])
    unsure = np.array([head.unsure(row) for row in probabilities]) | unread
    answered = np.flatnonzero(~unsure)
    of_answered: dict[str, Any] = {"coverage": len(answered) / len(data)}
    if len(answered):
        of_answered |= figures.summary(
            head.labels, data.targets[answered], probabilities[answered], chosen[answered]
        )
    return {
        "texts": len(data),
        **figures.summary(head.labels, data.targets, probabilities, chosen),
        "abstained": {"unsure": int((unsure & ~unread).sum()), "not_english": int(unread.sum())},
        "answered": of_answered,
    }
