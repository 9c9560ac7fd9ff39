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
from matching.dating_profile import profile, wide
from matching.decisions import Decisions, deal
from matching.effects import CrossedEffects, likeness_of, sameness_of
from matching.features import ENCODINGS, check_blind, encode, out_of_fold
from matching.metrics import auc, calibration_error, ndcg
from matching.rank import blank_cold, fit
from matching.reciprocal import harmonic
from matching.speed_dating import INTERESTS, PREFERENCES, SELF_RATINGS, Evenings

FOLDS, INNER_FOLDS = 5, 10
PAST = 0.6
LIST = 5
EFFECTS_SHARE = 0.9
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
            "field": sameness_of(evenings.answers["field_cd"]),
        }
        self._profile = profile(evenings)
        self._wide, self._penalty = wide(evenings)
        self._effects = CrossedEffects(evenings.answers["gender"].astype(np.int64), likeness)
        self._seed = seed
        self._checked = False

    def cold(self, decisions: Decisions) -> Floats:
        """Return what profiles alone say, learned from other cohorts."""
        chosen = cold_logits(self._profile, decisions)
        return (chosen + cold_logits(self._wide, decisions, self._penalty)) / 2

    def update(self, decisions: Decisions, cold: Floats) -> Floats:
        """Return `cold` corrected by the decisions that are known."""
        return self._effects.logits(decisions, cold)

    def predict(self, decisions: Decisions) -> Said:
        """Return what is said of every row; rows to ask about have no label."""
        known = decisions.known
        folds = deal(decisions.pair, INNER_FOLDS, self._seed)
        if not self._checked:
            check_blind(lambda asked: out_of_fold(encode, asked, folds), decisions, folds)
            self._checked = True
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
    return _pairs_kept(Predictor(evenings, seed), evenings.decisions, None, seed)


def _pairs_kept(
    predictor: Predictor, decisions: Decisions, within: Booleans | None, seed: int
) -> dict[str, Any]:
    """Protocol A of the rows `within` (all), the others known."""
    sheet = Sheet.blank(decisions)
    folds = deal(decisions.pair, FOLDS, seed)
    for fold in range(FOLDS):
        asked = folds == fold if within is None else (folds == fold) & within
        sheet.write(asked, predictor.predict(_known_but(decisions, asked)), fold)
    return sheet.figures()


def later_kept(evenings: Evenings, seed: int) -> dict[str, Any]:
    """Run protocol B."""
    decisions = evenings.decisions
    return _later_kept(Predictor(evenings, seed), decisions, np.ones(len(decisions), dtype=np.bool_))


def _later_kept(predictor: Predictor, decisions: Decisions, within: Booleans) -> dict[str, Any]:
    rounds = np.zeros(int(decisions.cohort.max()) + 1)
    np.maximum.at(rounds, decisions.cohort, decisions.moment)
    asked = (decisions.moment > PAST * rounds[decisions.cohort]) & within
    sheet = Sheet.blank(decisions)
    sheet.write(asked, predictor.predict(_known_but(decisions, asked)), 0)
    return sheet.figures()


def _known_but(decisions: Decisions, asked: Booleans) -> Decisions:
    return decisions.seen_at(decisions.known & ~asked)


def evenings_kept(evenings: Evenings, seed: int) -> dict[str, Any]:
    """Run protocol C: five folds of whole evenings."""
    decisions = evenings.decisions
    predictor, sheet = Predictor(evenings, seed), Sheet.blank(decisions)
    folds = deal(decisions.cohort, FOLDS, seed)
    for fold in np.unique(folds):
        sheet.write(folds == fold, predictor.predict(decisions.seen_at(folds != fold)), int(fold))
    return sheet.figures()


def named_evenings(evenings: Evenings, test: list[int], train: list[int] | None, seed: int) -> dict[str, Any]:
    """Run protocol C with these evenings kept; train on those named, without names on all others.

    Beside it, of the same evenings: `A` and `B`, the training evenings known whole; and `online`, the
    evenings as they pass, each round asked with the rounds before it known.
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
    there = decisions.seen_at(asked | trained)
    return {
        **sheet.figures(),
        "A": _pairs_kept(predictor, there, asked, seed),
        "B": _later_kept(predictor, there, asked),
        "online": _online(predictor, decisions, asked, trained),
    }


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
