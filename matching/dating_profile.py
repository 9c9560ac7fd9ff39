"""What the model reads of two people before their date: features of answers alone, no label in them."""

import numpy as np

from matching.arrays import Floats, Integers
from matching.cold import standardise
from matching.speed_dating import INTERESTS, PREFERENCES, SELF_RATINGS, Evenings

OF_RATER = (
    "gender",
    "age",
    "exphappy",
    "expnum",
    "attr1_1",
    "shar1_1",
    "attr3_1",
    "intel3_1",
    "go_out",
    "date",
)
OF_RATEE = (
    *("go_out", "date", "attr1_1", "shar1_1", "sinc1_1", "clubbing", "attr3_1", "fun3_1", "tv", "exercise"),
    *("sports", "age", "exphappy"),
)
BESIDE_OTHERS = ("attr3_1", "age", "go_out", "attr1_1", "shar1_1", "clubbing")
"""Of the ratee, against the others of that side in the evening: one is chosen from who is there."""
OF_PAIR = (
    *(
        "same_field",
        "same_career",
        "interests",
        "interest_gap",
        "preference_gap",
        "wish_met",
        "wish_met_attr",
    ),
    *("older", "age_gap", "far_older", "older_directed", "go_out_gap", "first_date", "date_number"),
)
PROFILE = (
    *(f"rater_{name}" for name in OF_RATER),
    *(f"ratee_{name}" for name in OF_RATEE),
    *(f"ratee_{name}_beside_others" for name in BESIDE_OTHERS),
    *OF_PAIR,
)


def profile(evenings: Evenings) -> Floats:
    """Return PROFILE of every row (rows by features): known before the date, no label in it."""
    i, j, answers = evenings.decisions.rater, evenings.decisions.ratee, evenings.answers
    side = evenings.sides
    columns = [
        *(answers[name][i] for name in OF_RATER),
        *(answers[name][j] for name in OF_RATEE),
        *(_beside(answers[name], side)[j] for name in BESIDE_OTHERS),
        *_of_pair(evenings, i, j).values(),
    ]
    return np.column_stack(columns)


WIDE_OF_PERSON = (
    "age",
    "goal",
    "date",
    "go_out",
    "exphappy",
    "expnum",
    *INTERESTS,
    *PREFERENCES,
    *SELF_RATINGS,
)
RATER, RATER_BY_GENDER, RATEE, BESIDE, OF_BOTH, GENDER = 6_000.0, 15_000.0, 8_000.0, 15_000.0, 8_000.0, 700.0
"""Penalties of `wide`: 1 / variance of a coefficient of that kind, by marginal likelihood on 18 evenings."""


def wide(evenings: Evenings) -> tuple[Floats, Floats]:
    """Return every answer in every role (rows by features) and a penalty for each; known before the date.

    An answer of the rater, the same by the rater's gender, of the ratee, and of either beside the others of
    that side in the evening. Nothing is chosen here: what a kind of role is worth is in its penalty.
    """
    i, j, answers = evenings.decisions.rater, evenings.decisions.ratee, evenings.answers
    people = standardise(evenings.table(*WIDE_OF_PERSON))
    beside = standardise(np.column_stack([_beside(values, evenings.sides) for values in people.T]))
    gender = answers["gender"][i] * 2 - 1
    pair = np.column_stack(list(_of_pair(evenings, i, j).values()))
    blocks = [
        (people[i], RATER),
        (people[i] * gender[:, None], RATER_BY_GENDER),
        (people[j], RATEE),
        (beside[i], BESIDE),
        (beside[j], BESIDE),
        (pair, OF_BOTH),
        (gender[:, None], GENDER),
    ]
    penalty = np.concatenate([np.full(block.shape[1], amount) for block, amount in blocks])
    return np.column_stack([block for block, _ in blocks]), penalty


def _beside(values: Floats, side: Integers) -> Floats:
    placed = np.full(len(values), np.nan)
    for one in np.unique(side):
        inside = side == one
        there = values[inside][~np.isnan(values[inside])]
        if len(there) > 2:
            placed[inside] = (values[inside] - there.mean()) / (there.std() + 0.3)
    return placed


def _of_pair(evenings: Evenings, i: Integers, j: Integers) -> dict[str, Floats]:
    answers, moment = evenings.answers, evenings.decisions.moment
    interests, wishes = evenings.table(*INTERESTS), evenings.table(*PREFERENCES)
    answered = np.maximum((~np.isnan(interests)).sum(axis=1, keepdims=True), 1)
    mean = np.nan_to_num(interests).sum(axis=1, keepdims=True) / answered
    centred = np.nan_to_num(interests - mean)
    length = np.sqrt((centred**2).sum(axis=1))
    alike = (centred[i] * centred[j]).sum(axis=1) / np.maximum(length[i] * length[j], 1e-9)
    own = evenings.table(*SELF_RATINGS)
    beyond = np.nan_to_num(own - np.nanmean(own, axis=0))
    older = answers["age"][j] - answers["age"][i]
    return {
        "same_field": (answers["field_cd"][i] == answers["field_cd"][j]) * 1.0,
        "same_career": (answers["career_c"][i] == answers["career_c"][j]) * 1.0,
        "interests": alike,
        "interest_gap": np.abs(interests[i] - interests[j]).mean(axis=1),
        "preference_gap": np.sqrt(((wishes[i] - wishes[j]) ** 2).sum(axis=1)),
        "wish_met": (np.nan_to_num(wishes[i][:, :5]) * beyond[j]).sum(axis=1) / 100,
        "wish_met_attr": answers["attr1_1"][i] * (answers["attr3_1"][j] - 7) / 100,
        "older": older,
        "age_gap": np.abs(older),
        "far_older": np.maximum(older, 0),
        "older_directed": older * (answers["gender"][i] * 2 - 1),
        "go_out_gap": np.abs(answers["go_out"][i] - answers["go_out"][j]),
        "first_date": (moment == 1) * 1.0,
        "date_number": moment.astype(np.float64),
    }
