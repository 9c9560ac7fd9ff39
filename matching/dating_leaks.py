"""What a sheet of answers cannot honestly hold: guards against outcomes written into the evenings' columns.

Answers were given at sign-up, so each is one value a person, on the scale it was asked on, and says only a
little about how the evening went. Whatever passes those bounds stops the run with a LeakError that names it.

What is caught: an answer that changes from date to date; values off their scale; an answer whose
correlation, or explained share by its values, with how often its person was chosen or chose (beside the
others of that side of the evening) is past LIMIT or past chance; many answers that together tell it; an
order that tells outcomes; evenings and sides that the dates contradict. What cannot be caught: a copy so
noisy that it stays within what honest answers reach (a correlation of .35, of .28 the strongest honest one
among one sex), and any leak that repeats an honest answer's pattern.
"""

from collections.abc import Mapping

import numpy as np

from matching.arrays import Floats, Integers
from matching.decisions import Decisions, LeakError
from matching.metrics import auc, mean_ranks

LIMIT = 0.35
"""Correlation of one answer with its person's outcome; the strongest honest one has .21 (one sex: .28)."""
BEYOND_CHANCE = 6.0
"""Standard errors (1/√people) that a correlation must pass as well: of few people it says little."""
TOGETHER = 0.5
"""Correlation of all answers together, learned from other evenings; honest ones reach .22."""
ENOUGH_PEOPLE = 30
MOST_KINDS = 21
"""Up to so many different values an answer is also looked at as a category: all of a scale from 0 to 20."""
RIDGE = 50.0
ORDER_TELLS = 0.04
"""How far from one half the AUC of the order within one person's dates may be; honest: .017."""


def check_sides(decisions: Decisions, side: Floats) -> None:
    """Raise LeakError unless a person is in one evening and every date has one person of each side."""
    cohorts = np.full(decisions.people, -1, dtype=np.int64)
    cohorts[decisions.rater] = decisions.cohort
    if (cohorts[decisions.rater] != decisions.cohort).any():
        raise LeakError("wave: one person is in two evenings")
    ours, theirs = side[decisions.rater], side[decisions.ratee]
    if (ours == theirs).any():
        raise LeakError("gender: two of one side have a date")


def check_scales(answers: Mapping[str, Floats], scales: Mapping[str, tuple[float, float]]) -> None:
    """Raise LeakError if an answer is not a whole number within its scale."""
    for name, (low, high) in scales.items():
        values = answers[name][~np.isnan(answers[name])]
        if (values < low).any() or (values > high).any() or (values % 1 != 0).any():
            raise LeakError(f"{name} holds values that are no answers: {low:g} to {high:g}, whole")


def check_order(decisions: Decisions, order: Floats) -> None:
    """Raise LeakError if the place in the evening all but states the outcome of a date."""
    label, found, weight = decisions.label, 0.0, 0
    for side in (decisions.rater, decisions.ratee):
        # Of everybody's own dates: as if each person's median date were at the same time.
        place = np.zeros(len(label))
        for person in np.unique(side):
            rows = np.flatnonzero(side == person)
            place[rows] = mean_ranks(order[rows]) / (len(rows) + 1)
        found = max(found, abs(auc(label, place) - 0.5))
        weight = len(label)
    if found > ORDER_TELLS + BEYOND_CHANCE / np.sqrt(12 * max(weight, 1) / 4):
        raise LeakError("order all but states the outcome of a date")


def check_plausible(decisions: Decisions, answers: Mapping[str, Floats], side: Integers) -> None:
    """Raise LeakError if an answer, or all of them, tell more of a person's outcome than answers can.

    `side` numbers the sides of all evenings, a value a person: outcomes are looked at beside one's own side.
    """
    for received, by in ((True, decisions.ratee), (False, decisions.rater)):
        outcome, count = _outcome(decisions, by, side)
        said = "was chosen" if received else "chose"
        for name, values in answers.items():
            there = ~np.isnan(values) & (count > 0)
            if (people := int(there.sum())) < ENOUGH_PEOPLE or np.ptp(values[there]) == 0:
                continue
            told = told_by(values[there], outcome[there])
            if told > max(LIMIT, BEYOND_CHANCE / np.sqrt(people)):
                raise LeakError(f"{name} all but states how often its person {said} ({told:.2f})")
        told = _together(decisions, np.column_stack(list(answers.values())), outcome, count)
        if told > max(TOGETHER, BEYOND_CHANCE / np.sqrt(len(outcome))):
            raise LeakError(f"the answers together all but state how often their person {said} ({told:.2f})")


def told_by(values: Floats, outcome: Floats) -> float:
    """Return what an answer tells of an outcome, as a correlation: linear, by rank, or by category.

    By category it is the root of the share explained, less what as many categories explain by chance.
    """
    people = len(values)
    told = abs(float(np.corrcoef(values, outcome)[0, 1]))
    told = max(told, abs(float(np.corrcoef(mean_ranks(values), outcome)[0, 1])))
    kinds, place = np.unique(values, return_inverse=True)
    if 2 < len(kinds) <= min(MOST_KINDS, people // 4):
        count = np.bincount(place)
        means = np.bincount(place, weights=outcome) / count
        between = float(count @ (means - outcome.mean()) ** 2)
        within = float(((outcome - means[place]) ** 2).sum())
        chance = 1 - (1 - between / (between + within)) * (people - 1) / (people - len(kinds))
        told = max(told, float(np.sqrt(max(chance, 0.0))))
    return told


def _outcome(decisions: Decisions, by: Integers, side: Integers) -> tuple[Floats, Integers]:
    """Return each person's share of yes less the mean of their side, and how many decisions it is of."""
    count = np.bincount(by, minlength=decisions.people)
    rate = np.bincount(by, weights=decisions.label, minlength=decisions.people) / np.maximum(count, 1)
    total = np.bincount(side, weights=count * 1.0)
    mean = np.bincount(side, weights=rate * count) / np.maximum(total, 1)
    return rate - mean[side], count


def _together(decisions: Decisions, table: Floats, outcome: Floats, count: Integers) -> float:
    """Return the correlation of outcomes with a ridge regression on all answers, learned from the other
    evenings.
    """
    cohort = np.zeros(decisions.people, dtype=np.int64)
    cohort[decisions.rater] = decisions.cohort
    folds = cohort % 5 if len(np.unique(cohort)) > 5 else cohort
    spread = np.nanstd(table, axis=0)
    scaled = np.nan_to_num((table - np.nanmean(table, axis=0)) / np.where(spread > 0, spread, 1.0))
    said = np.zeros(len(outcome))
    for fold in np.unique(folds):
        others = (folds != fold) & (count > 0)
        if others.sum() < ENOUGH_PEOPLE:
            return 0.0
        known = scaled[others]
        gram = known.T @ known + RIDGE * np.eye(table.shape[1])
        said[folds == fold] = scaled[folds == fold] @ np.linalg.solve(gram, known.T @ outcome[others])
    rows = count > 0
    if np.ptp(said[rows]) == 0 or np.ptp(outcome[rows]) == 0:
        return 0.0
    return float(np.corrcoef(said[rows], outcome[rows])[0, 1])
