"""The speed-dating experiment of Fisman and Iyengar (QJE 2006) as decisions and profiles, leaks kept out.

What a model may read is listed here and nothing else is loaded: unknown columns of the file are ignored. A
person's answers are read from that person's own rows, must be the same in each (else somebody wrote an
outcome into them), and what is known of the partner comes from the partner's rows, never from the file's
`_o` columns. The correlation of interests is computed anew. Scorecards, later questionnaires, race and its
proxies (origin, zip code, its income, religion) are no features (MATCH-16).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from matching.arrays import Floats, Integers
from matching.decisions import Decisions, LeakError
from matching.metrics import auc

INTERESTS = (
    *("sports", "tvsports", "exercise", "dining", "museums", "art", "hiking", "gaming", "clubbing"),
    *("reading", "tv", "theater", "movies", "concerts", "music", "shopping", "yoga"),
)
QUALITIES = ("attr", "sinc", "intel", "fun", "amb", "shar")
PREFERENCES = tuple(f"{quality}1_1" for quality in QUALITIES)
SELF_RATINGS = tuple(f"{quality}3_1" for quality in QUALITIES[:5])
ANSWERS = (
    *("gender", "age", "field_cd", "career_c", "goal", "date", "go_out", "exphappy", "expnum"),
    *INTERESTS,
    *PREFERENCES,
    *SELF_RATINGS,
)
"""Asked when people signed up: the profile."""
SCHEDULE = ("iid", "pid", "wave", "order")
"""Fixed before the evening; `order` is which date of the evening it is."""
LABEL = "dec"

TOO_GOOD = 0.85
"""No honest answer correlates so with how often its giver was chosen or chose: the strongest has .27."""

ENOUGH_PEOPLE = 30
"""Of fewer a correlation says nothing."""

ORDER_TELLS = 0.15
"""AUC that the order alone may be away from one half; the first date of an evening is a little luckier."""


@dataclass(frozen=True)
class Evenings:
    """People (in the order of their iid), their answers, and the decisions of their evenings."""

    decisions: Decisions
    """`cohort` is the wave, `moment` the later of the two orders that the two partners' rows give."""
    answers: Mapping[str, Floats]
    """By name, a value per person; nan is no answer. Preferences are shares of 100."""
    dropped: int
    """Rows without the partner's own row."""

    def table(self, *names: str) -> Floats:
        return np.column_stack([self.answers[name] for name in names])


def read(path: Path) -> Evenings:
    """Read the events file; LeakError if a column cannot be what its name says."""
    wanted = [*SCHEDULE, LABEL, *ANSWERS]
    header = pl.read_csv(path, n_rows=0, infer_schema=False).columns
    if missing := [name for name in wanted if name not in header]:
        raise ValueError(f"{path.name} lacks {', '.join(missing)}")
    frame = pl.read_csv(path, columns=wanted, infer_schema=False).with_columns(
        pl.col(name).str.replace_all(",", "").cast(pl.Float64, strict=False) for name in wanted
    )
    frame = frame.with_columns(pl.col(SCHEDULE).cast(pl.Int64))
    schedule = frame.select(*SCHEDULE, LABEL)
    _check_answers(frame)
    _check_order(schedule)
    back = schedule.select(iid="pid", pid="iid", back_order="order")
    rows = schedule.join(back, on=["iid", "pid"], how="inner", maintain_order="left").unique(
        ["iid", "pid"], keep="first", maintain_order=True
    )
    people = rows["iid"].unique().sort().to_numpy()
    rater, ratee = (
        np.searchsorted(people, rows[name].to_numpy()).astype(np.int64) for name in ("iid", "pid")
    )
    forward, backward = rater * len(people) + ratee, ratee * len(people) + rater
    by_pair = np.argsort(forward)
    reverse = by_pair[np.searchsorted(forward[by_pair], backward)].astype(np.int64)
    moment = np.maximum(rows["order"].to_numpy(), rows["back_order"].to_numpy()).astype(np.int64)
    label = rows[LABEL].to_numpy().astype(np.float64)
    if not np.isin(label, (0.0, 1.0)).all():
        raise ValueError(f"{LABEL} is neither 0 nor 1 somewhere")
    decisions = Decisions(rows["wave"].to_numpy().astype(np.int64), rater, ratee, moment, label, reverse)
    first = frame.unique("iid", keep="first").sort("iid").filter(pl.col("iid").is_in(people.tolist()))
    answers = {name: first[name].to_numpy().astype(np.float64) for name in ANSWERS}
    preferences = np.column_stack([answers[name] for name in PREFERENCES])
    total = np.nansum(preferences, axis=1)
    for name in PREFERENCES:
        answers[name] = answers[name] * 100 / np.where(total > 0, total, np.nan)
    evenings = Evenings(decisions, answers, frame.height - rows.height)
    check_plausible(evenings)
    return evenings


def _check_answers(frame: pl.DataFrame) -> None:
    kinds = frame.group_by("iid").agg(pl.col(ANSWERS).n_unique())
    changing = [name for name in ANSWERS if (kinds[name] > 1).any()]
    if changing:
        raise LeakError(f"{', '.join(changing)}: answers of one person differ from date to date")


def _check_order(schedule: pl.DataFrame) -> None:
    if schedule.select(pl.struct("iid", "order").is_duplicated().any()).item():
        raise LeakError("order: one person has two dates at once")
    label, order = (schedule[name].to_numpy().astype(np.float64) for name in (LABEL, "order"))
    if abs(auc(label, order) - 0.5) > ORDER_TELLS:
        raise LeakError("order all but states the outcome of a date")


def check_plausible(evenings: Evenings) -> None:
    """Raise LeakError if an answer all but states its person's outcome."""
    decisions = evenings.decisions
    people, label = decisions.people, decisions.label
    for side in (decisions.rater, decisions.ratee):
        count = np.maximum(np.bincount(side, minlength=people), 1)
        rate = np.bincount(side, weights=label, minlength=people) / count
        for name, values in evenings.answers.items():
            there = ~np.isnan(values)
            if (
                there.sum() >= ENOUGH_PEOPLE
                and np.ptp(values[there]) > 0
                and abs(np.corrcoef(values[there], rate[there])[0, 1]) > TOO_GOOD
            ):
                raise LeakError(f"{name} all but states how often its person was chosen or chose")


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
    side = _cohort_of(evenings) * 2 + answers["gender"].astype(np.int64)
    columns = [
        *(answers[name][i] for name in OF_RATER),
        *(answers[name][j] for name in OF_RATEE),
        *(_beside(answers[name], side)[j] for name in BESIDE_OTHERS),
        *_of_pair(evenings, i, j).values(),
    ]
    return np.column_stack(columns)


def _cohort_of(evenings: Evenings) -> Integers:
    cohort = np.zeros(evenings.decisions.people, dtype=np.int64)
    cohort[evenings.decisions.rater] = evenings.decisions.cohort
    return cohort


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
