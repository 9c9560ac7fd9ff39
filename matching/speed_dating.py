"""The speed-dating experiment of Fisman and Iyengar (QJE 2006) as decisions and profiles, leaks kept out.

What a model may read is listed here and nothing else is loaded: unknown columns of the file are ignored. A
person's answers are read from that person's own rows, must not differ between them (else somebody wrote an
outcome into them), must pass the guards of `dating_leaks`, and what is known of the partner comes from the
partner's rows, never from the file's `_o` columns. The correlation of interests is computed anew. Scorecards,
later questionnaires, race and its proxies (origin, zip code, its income, religion) are no features
(MATCH-16).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from matching.arrays import Floats, Integers
from matching.dating_leaks import check_order, check_plausible, check_scales, check_sides
from matching.decisions import Decisions, LeakError

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

MOST_WAVES = 100_000
SCALES = {
    name: (0.0, 120.0) if name == "age" else (0.0, 1.0) if name == "gender" else (0.0, 20.0)
    for name in ANSWERS
    if name not in PREFERENCES
}
"""Of every answer but the hundred points of PREFERENCES; a few marked more than the ten that were asked."""


@dataclass(frozen=True)
class Evenings:
    """People (in the order of their iid), their answers, and the decisions of their evenings."""

    decisions: Decisions
    """`cohort` is the wave, `moment` the later of the two orders that the two partners' rows give."""
    answers: Mapping[str, Floats]
    """By name, a value per person; nan is no answer. Preferences are shares of 100."""
    dropped: int
    """Rows without the partner's own row, or that another one repeats."""

    def table(self, *names: str) -> Floats:
        return np.column_stack([self.answers[name] for name in names])

    @property
    def sides(self) -> Integers:
        """Return a number per person that those of one evening and gender share."""
        cohort = np.zeros(self.decisions.people, dtype=np.int64)
        cohort[self.decisions.rater] = self.decisions.cohort
        return cohort * 2 + self.answers["gender"].astype(np.int64)


def read(path: Path) -> Evenings:
    """Read the events file; LeakError if a column cannot be what its name says."""
    frame = _cells(path)
    read_rows = frame.height
    frame = frame.unique(maintain_order=True)
    frame = frame.drop_nulls([*SCHEDULE, LABEL, "gender"]).with_columns(pl.col(SCHEDULE).cast(pl.Int64))
    if frame.is_empty():
        raise ValueError(f"{path.name} has no row with {', '.join([*SCHEDULE, LABEL])} and gender")
    if frame["wave"].min() < 0 or frame["wave"].max() > MOST_WAVES:  # type: ignore[operator] # numbers
        raise ValueError(f"{path.name}: a wave is a number from 0 to {MOST_WAVES}")
    schedule = frame.select(*SCHEDULE, LABEL)
    _check_answers(frame)
    if schedule.select(pl.struct("iid", "order").is_duplicated().any()).item():
        raise LeakError("order: one person has two dates at once")
    back = schedule.select(iid="pid", pid="iid", back_order="order")
    # In one order, whatever the file's: folds are dealt by place, and an order may be made of the answers.
    rows = (
        schedule.join(back, on=["iid", "pid"], how="inner")
        .sort("wave", "iid", "pid", "order", "back_order", LABEL)
        .unique(["iid", "pid"], keep="first", maintain_order=True)
    )
    if rows.is_empty():
        raise ValueError(
            f"{path.name} holds no date with a row of both people: iid with pid, and pid with iid"
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
    side = _answers_of(frame, people, "gender")
    check_sides(decisions, side)
    check_order(decisions, rows["order"].to_numpy().astype(np.float64))
    answers = {name: _answers_of(frame, people, name) for name in ANSWERS}
    check_scales(answers, SCALES)
    preferences = np.column_stack([answers[name] for name in PREFERENCES])
    total = np.nansum(preferences, axis=1)
    for name in PREFERENCES:
        answers[name] = answers[name] * 100 / np.where(total > 0, total, np.nan)
    evenings = Evenings(decisions, answers, read_rows - rows.height)
    told = {name: values for name, values in answers.items() if name != "gender"}
    check_plausible(decisions, told, evenings.sides)
    return evenings


def _cells(path: Path) -> pl.DataFrame:
    """Return the columns that are read, as numbers or null. ValueError where they are not there."""
    wanted = [*SCHEDULE, LABEL, *ANSWERS]
    try:
        header = pl.read_csv(path, n_rows=0, infer_schema=False, encoding="utf8-lossy").columns
        missing = [name for name in wanted if name not in header]
        there = pl.read_csv(
            path,
            columns=[name for name in wanted if name in header],
            infer_schema=False,
            encoding="utf8-lossy",
        )
    except pl.exceptions.PolarsError as wrong:
        raise ValueError(f"{path.name} is no table of text: {wrong}") from None
    if len(missing) == len(wanted):
        raise ValueError(f"{path.name} has none of the columns: it is text with commas between, in UTF-8")
    if missing:
        raise ValueError(f"{path.name} lacks {', '.join(missing)}")
    numbers = there.select(
        pl.col(name).str.strip_chars().str.replace_all(",", "").cast(pl.Float64, strict=False)
        for name in wanted
    )
    return numbers.with_columns(
        pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in wanted
    )


def _answers_of(frame: pl.DataFrame, people: Integers, name: str) -> Floats:
    """Return the answer of each of `people` (ordered): the one that any of their rows holds, else nan."""
    given = frame.group_by("iid").agg(pl.col(name).drop_nulls().first()).sort("iid")
    return given.filter(pl.col("iid").is_in(people.tolist()))[name].to_numpy().astype(np.float64)


def _check_answers(frame: pl.DataFrame) -> None:
    """A cell that is missing here and there is no contradiction; two different answers are."""
    kinds = frame.group_by("iid").agg(pl.col(ANSWERS).drop_nulls().n_unique())
    changing = [name for name in ANSWERS if (kinds[name] > 1).any()]
    if changing:
        raise LeakError(f"{', '.join(changing)}: answers of one person differ from date to date")
