"""From the log of decisions to rows that a model is trained on, each as things stood before it (ML-1, ML-2).

What is point-in-time: RATES come from decisions with a lower offset; interests, goals, answers, values and
gender from what a person had last said in a transaction before the decision's (nothing said yet is nothing
known); age is that of the day. What is not: the day of birth, which people cannot change. Whoever was erased
is in none of the logs, so rates of others are those of a world without them (ML-11).
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from matching.arrays import Floats, Integers
from matching.features import strictly_past
from matching.pair_features import FEATURES, NOBODY, Person, pair_features, profiles
from matching.tally import PRIOR, RATES

LOG = {
    "xid": pl.Int64,
    "seq": pl.Int64,
    "rater": pl.String,
    "ratee": pl.String,
    "likes": pl.Boolean,
    "at": pl.Datetime("us", "UTC"),
    "model": pl.String,
    "source": pl.String,
}
"""A row a decision, ordered by offset (xid, seq)."""
SAID = {
    "user": pl.String,
    "xid": pl.Int64,
    "gender": pl.String,
    "goals": pl.List(pl.String),
    "interests": pl.List(pl.String),
    "answers": pl.String,
    "values": pl.List(pl.Float64),
}
"""A row each time somebody said something of themselves, in order; answers as JSON."""
BORN = {"user": pl.String, "born": pl.Date}
LABEL = "likes"
AUDIT = ("rater_gender", "ratee_gender")
"""What audits cut by and no model sees (MATCH-16)."""
KEYS = ("xid", "seq", "at", "rater", "ratee")


@dataclass(frozen=True)
class Sources:
    """The logs that a dataset is made of."""

    log: pl.DataFrame
    said: pl.DataFrame
    born: pl.DataFrame

    def before(self, row: int) -> "Sources":
        """Return what was there when that row was about to be decided: nothing of it or of later."""
        xid = self.log["xid"][row]
        return replace(self, log=self.log[:row], said=self.said.filter(pl.col("xid") < xid))

    def flipped(self, since: int) -> "Sources":
        """Return the same with all labels from that row on turned round."""
        late = pl.int_range(pl.len()) >= since
        return replace(self, log=self.log.with_columns(likes=pl.col("likes") ^ late))


Columns = Callable[[Sources], pl.DataFrame]
"""Features of every row of the log, a named column each."""


def features(sources: Sources) -> pl.DataFrame:
    """Return FEATURES of every row of the log."""
    log = sources.log.select("rater", "ratee", yes="likes").with_row_index("offset")
    past = strictly_past(log, PRIOR)
    rates = {
        side: past.select(f"{side}_{name}" for name in RATES).to_numpy().astype(np.float64)
        for side in ("rater", "ratee")
    }
    known = profiles([*map(_person, sources.said.iter_rows(named=True)), NOBODY])
    sides = [
        replace(known.take(_said_before(sources, side)), age=_ages(sources, side))
        for side in ("rater", "ratee")
    ]
    made = pair_features(rates["rater"], rates["ratee"], *sides)
    return pl.DataFrame({name: made[:, place] for place, name in enumerate(FEATURES)})


def build(sources: Sources, columns: Columns, first: int = 0) -> pl.DataFrame:
    """Return rows from `first` on: KEYS, the columns, AUDIT, LABEL. Earlier rows count for what they say of
    later ones.
    """
    gender = [*sources.said["gender"], None]
    audit = {
        name: pl.Series(
            name, [gender[row] for row in _said_before(sources, name.partition("_")[0])], pl.String
        )
        for name in AUDIT
    }
    return pl.concat(
        [sources.log.select(KEYS), columns(sources), pl.DataFrame(audit), sources.log.select(LABEL)],
        how="horizontal",
    )[first:]


def write(rows: pl.DataFrame) -> bytes:
    """Return Parquet; the same rows give the same bytes."""
    file = io.BytesIO()
    rows.write_parquet(file, compression="zstd", compression_level=3)
    return file.getvalue()


def read(stored: bytes) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(stored))


def _person(row: dict[str, Any]) -> Person:
    return Person(
        interests=row["interests"],
        goals=row["goals"],
        answers=json.loads(row["answers"]),
        values=row["values"],
    )


def _said_before(sources: Sources, side: str) -> Integers:
    """Return for each row of the log where in `said` that side's last word before it stands; its length is
    none.
    """
    said = (
        sources.said.select("user", "xid")
        .with_row_index("place")
        .with_columns(pl.col("place").cast(pl.Int64))
    )
    found = (
        sources.log.select("xid", user=side)
        .join_asof(said, on="xid", by="user", allow_exact_matches=False, check_sortedness=False)
        .get_column("place")
    )
    return found.fill_null(len(sources.said)).to_numpy().astype(np.int64)


def _ages(sources: Sources, side: str) -> Floats:
    """Return completed years on the day of each decision; nan is not known."""
    found = sources.log.select("at", user=side).join(
        sources.born, on="user", how="left", maintain_order="left"
    )
    day, born = pl.col("at").dt.date(), pl.col("born")
    had_none_yet = (day.dt.month(), day.dt.day())
    before = (had_none_yet[0] < born.dt.month()) | (
        (had_none_yet[0] == born.dt.month()) & (had_none_yet[1] < born.dt.day())
    )
    years = (day.dt.year() - born.dt.year() - before.cast(pl.Int32)).cast(pl.Float64)
    return found.select(years.fill_null(float("nan"))).to_series().to_numpy().astype(np.float64)
