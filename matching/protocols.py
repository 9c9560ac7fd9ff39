"""How matching is judged on evenings: three splits, the model and its baseline in the same run (ML-13).

A: five folds of unordered pairs. B: of each evening the first 60 % of rounds are past, the last 40 % are
asked. C: whole evenings are kept, nobody in them has decided anything: the cold path. Whoever predicts gets
the decisions with the asked labels gone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from matching.arrays import Booleans, Floats, Integers, sigmoid
from matching.cold import cold_logits
from matching.decisions import Decisions, deal
from matching.effects import CrossedEffects, likeness_of
from matching.features import ENCODINGS, encode, out_of_fold
from matching.metrics import auc, calibration_error, ndcg
from matching.rank import blank_cold, fit
from matching.reciprocal import harmonic
from matching.speed_dating import INTERESTS, PREFERENCES, SELF_RATINGS, Evenings, profile

FOLDS, INNER_FOLDS = 5, 10
PAST = 0.6
LIST = 5
EFFECTS_SHARE = 0.7
"""Of the crossed effects in the blend of log-odds; trees and regression share the rest."""

Said = tuple[Floats, Floats]
"""Log-odds of the model and of popularity + selectivity, a value a row."""


class Predictor:
    """The model and the baseline, over one set of evenings."""

    def __init__(self, evenings: Evenings, seed: int) -> None:
        life = ("go_out", "date", "age", "exphappy", "attr3_1", "clubbing", "sports", "tv")
        whole = (*INTERESTS, "go_out", "date", "age", "exphappy", *PREFERENCES, *SELF_RATINGS)
        likeness = {
            "self": likeness_of(evenings.table(*SELF_RATINGS)),
            "whole": likeness_of(evenings.table(*whole)),
            "life": likeness_of(evenings.table(*life)),
        }
        self._profile = profile(evenings)
        self._effects = CrossedEffects(evenings.answers["gender"].astype(np.int64), likeness)
        self._seed = seed

    def cold(self, decisions: Decisions) -> Floats:
        """Return what profiles alone say, learned from other cohorts."""
        return cold_logits(self._profile, decisions)

    def update(self, decisions: Decisions, cold: Floats) -> Floats:
        """Return `cold` corrected by the decisions that are known."""
        return self._effects.logits(decisions, cold)

    def predict(self, decisions: Decisions) -> Said:
        """Return what is said of every row; rows to ask about have no label."""
        known = decisions.known
        folds = deal(decisions.pair, INNER_FOLDS, self._seed)
        encoded = out_of_fold(encode, decisions, folds)
        baseline = encoded[:, 0]
        given = np.bincount(decisions.rater[known], minlength=decisions.people)[decisions.rater]
        received = np.bincount(decisions.ratee[known], minlength=decisions.people)[decisions.ratee]
        features = np.column_stack([encoded, self._profile])
        history = np.arange(features.shape[1]) < len(ENCODINGS)
        model = fit(features[known], decisions.label[known], history, self._seed)
        ranked = model.logits(
            blank_cold(features, history, given.astype(np.float64), received.astype(np.float64))
        )
        said = EFFECTS_SHARE * self.update(decisions, self.cold(decisions)) + (1 - EFFECTS_SHARE) * ranked
        return said, baseline


@dataclass
class Sheet:
    """Answers collected over the folds of a protocol."""

    decisions: Decisions
    model: Floats
    baseline: Floats
    lists: Integers

    @classmethod
    def blank(cls, decisions: Decisions) -> "Sheet":
        empty = np.full(len(decisions), np.nan)
        return cls(decisions, empty, empty.copy(), np.full(len(decisions), -1, dtype=np.int64))

    def write(self, asked: Booleans, said: Said, fold: int) -> None:
        self.model[asked], self.baseline[asked] = said[0][asked], said[1][asked]
        self.lists[asked] = fold * self.decisions.people + self.decisions.rater[asked]

    def figures(self) -> dict[str, Any]:
        return {**self._of(self.model), "baseline": self._of(self.baseline)}

    def _of(self, logits: Floats) -> dict[str, Any]:
        asked = self.lists >= 0
        if np.isnan(logits[asked]).any():
            raise ArithmeticError("a score is nan: some feature was made of a label that was not there")
        label, reverse = self.decisions.label, self.decisions.reverse
        said = sigmoid(logits)
        once = asked & (self.decisions.pair == np.arange(len(label)))
        return {
            "decision_auc": auc(label[asked], said[asked]),
            "match_auc": auc((label * label[reverse])[once], harmonic(said, said[reverse])[once]),
            "ndcg5": ndcg(self.lists[asked], label[asked], logits[asked], LIST),
            "ece": calibration_error(label[asked], said[asked]),
        }


def pairs_kept(evenings: Evenings, seed: int) -> dict[str, Any]:
    """Run protocol A."""
    decisions = evenings.decisions
    predictor, sheet = Predictor(evenings, seed), Sheet.blank(decisions)
    folds = deal(decisions.pair, FOLDS, seed)
    for fold in range(FOLDS):
        sheet.write(folds == fold, predictor.predict(decisions.seen_at(folds != fold)), fold)
    return sheet.figures()


def later_kept(evenings: Evenings, seed: int) -> dict[str, Any]:
    """Run protocol B."""
    decisions = evenings.decisions
    rounds = np.zeros(int(decisions.cohort.max()) + 1)
    np.maximum.at(rounds, decisions.cohort, decisions.moment)
    past = decisions.moment <= PAST * rounds[decisions.cohort]
    sheet = Sheet.blank(decisions)
    sheet.write(~past, Predictor(evenings, seed).predict(decisions.seen_at(past)), 0)
    return sheet.figures()


def evenings_kept(evenings: Evenings, seed: int) -> dict[str, Any]:
    """Run protocol C: five folds of whole evenings."""
    decisions = evenings.decisions
    predictor, sheet = Predictor(evenings, seed), Sheet.blank(decisions)
    folds = deal(decisions.cohort, FOLDS, seed)
    for fold in range(FOLDS):
        sheet.write(folds == fold, predictor.predict(decisions.seen_at(folds != fold)), fold)
    return sheet.figures()


def named_evenings(evenings: Evenings, test: list[int], train: list[int] | None, seed: int) -> dict[str, Any]:
    """Run protocol C with these evenings kept; train on those named, without names on all others.

    Beside it `online`: the same evenings as they pass, each round asked with the rounds before it known.
    """
    decisions = evenings.decisions
    present = set(np.unique(decisions.cohort).tolist())
    if missing := sorted((set(test) | set(train or [])) - present):
        raise ValueError(f"the file holds no evening {missing}")
    if both := sorted(set(test) & set(train or [])):
        raise ValueError(f"evenings {both} are to be trained on and kept")
    asked = np.isin(decisions.cohort, test)
    trained = ~asked if train is None else np.isin(decisions.cohort, train)
    predictor, sheet = Predictor(evenings, seed), Sheet.blank(decisions)
    sheet.write(asked, predictor.predict(decisions.seen_at(trained)), 0)
    return {**sheet.figures(), "online": _online(predictor, decisions, asked, trained)}


def _online(predictor: Predictor, decisions: Decisions, asked: Booleans, trained: Booleans) -> dict[str, Any]:
    """Ask each round of the kept evenings, the rounds before it known; crossed effects only, nothing is
    refitted.
    """
    sheet = Sheet.blank(decisions)
    cold = predictor.cold(decisions.seen_at(trained))
    for moment in np.unique(decisions.moment[asked]):
        seen = asked & (decisions.moment < moment)
        now = decisions.seen_at(seen)
        sheet.write(asked & (decisions.moment == moment), (predictor.update(now, cold), encode(now)[:, 0]), 0)
    return sheet.figures()
