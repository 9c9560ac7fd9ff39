"""What is known of two people from earlier decisions: one definition for actors, logs and training (ML-1).

- `Tally` (matching/tally.py): streaming, O(1) a decision (MATCH-4).
- `strictly_past`: the same numbers for each row of a log, in polars: point-in-time by construction (ML-2).
- `encode`, `out_of_fold`: for training where time says nothing: no row sees a label of its own fold
  (MATCH-3).

Rates are shrunk to a prior: (yes + STRENGTH · prior) / (decisions + STRENGTH), an empirical Bayes estimate.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from matching.arrays import Floats, Integers, logit
from matching.decisions import Decisions, LeakError
from matching.tally import PRIOR, RATES, STRENGTH, WARM_FROM, Tally

__all__ = [
    "ENCODINGS",
    "PRIOR",
    "RATES",
    "STRENGTH",
    "WARM_FROM",
    "Tally",
    "check_blind",
    "encode",
    "out_of_fold",
    "strictly_past",
]


def strictly_past(log: pl.DataFrame, prior: float) -> pl.DataFrame:
    """Return the log (rater, ratee, yes, offset) with `rater_*` and `ratee_*` of RATES as they stood before
    each.

    Rows with equal offsets do not see each other. The result is ordered by offset.
    """
    log = log.with_columns(pl.col("yes").cast(pl.Float64)).sort("offset", maintain_order=True)
    given = _running(log, "rater", "given", ["yes"])
    give_rate = _shrunk("given_yes", "given", prior)
    asked = _as_of(log.rename({"rater": "person"}), given).rename({"person": "rater"})
    surprised = asked.with_columns(surprise=pl.col("yes") - give_rate)
    received = _running(surprised, "ratee", "received", ["yes", "surprise"])
    for side in ("rater", "ratee"):
        then = _as_of(_as_of(log.select(side, "offset").rename({side: "person"}), given), received)
        log = pl.concat(
            [
                log,
                then.select(
                    _shrunk("received_yes", "received", prior).alias(f"{side}_received_rate"),
                    give_rate.alias(f"{side}_give_rate"),
                    (pl.col("received_surprise") / (pl.col("received") + STRENGTH)).alias(f"{side}_residual"),
                    pl.col("received").alias(f"{side}_received"),
                    pl.col("given").alias(f"{side}_given"),
                ),
            ],
            how="horizontal",
        )
    return log


def _shrunk(yes: str, count: str, prior: float) -> pl.Expr:
    return (pl.col(yes) + STRENGTH * prior) / (pl.col(count) + STRENGTH)


def _running(log: pl.DataFrame, person: str, name: str, values: list[str]) -> pl.DataFrame:
    """Return person, offset, and the sums of everything up to and with that offset."""
    moments = log.group_by(person, "offset").agg(
        pl.len().cast(pl.Float64).alias(name),
        *(pl.col(value).sum().alias(f"{name}_{value}") for value in values),
    )
    return (
        moments.sort("offset")
        .with_columns(pl.exclude(person, "offset").cum_sum().over(person))
        .rename({person: "person"})
    )


def _as_of(rows: pl.DataFrame, totals: pl.DataFrame) -> pl.DataFrame:
    """Return rows (person, offset, ordered by offset) with the totals strictly before each; nothing is 0."""
    names = [name for name in totals.columns if name not in {"person", "offset"}]
    return rows.join_asof(
        totals, on="offset", by="person", allow_exact_matches=False, check_sortedness=False
    ).with_columns(pl.col(names).fill_null(0.0))


ENCODINGS = (
    "popularity_and_selectivity",
    "ratee_received",
    "rater_gave",
    "rater_received",
    "ratee_gave",
    "ratee_residual",
    "rater_residual",
    "rater_admired",
    "ratee_admired",
    "league",
)


def encode(decisions: Decisions) -> Floats:
    """Return ENCODINGS (rows by encodings) from the labels that are known; rates as log-odds.

    A known row's own label is in its encoding: training takes `out_of_fold`, serving takes this for pairs
    that have not decided yet.
    """
    known, people = decisions.known, decisions.people
    rater, ratee, label = decisions.rater[known], decisions.ratee[known], decisions.label[known]
    mean = float(np.clip(label.mean(), 0.01, 0.99)) if len(label) else 0.5

    def sums(of: Integers, weights: Floats) -> Floats:
        return np.bincount(of, weights=weights, minlength=people).astype(np.float64)

    got, gave = sums(ratee, np.ones_like(label)) + STRENGTH, sums(rater, np.ones_like(label)) + STRENGTH
    received_rate = (sums(ratee, label) + STRENGTH * mean) / got
    give_rate = (sums(rater, label) + STRENGTH * mean) / gave
    received, given = logit(received_rate), logit(give_rate)
    attractive = sums(ratee, label - give_rate[rater]) / got
    generous = sums(rater, label - received_rate[ratee]) / gave
    i, j = decisions.rater, decisions.ratee
    columns = (
        received[j] + given[i] - np.log(mean / (1 - mean)),
        received[j],
        given[i],
        received[i],
        given[j],
        attractive[j],
        generous[i],
        attractive[i],
        generous[j],
        received[j] - received[i],
    )
    return np.column_stack(columns)


def out_of_fold(encode: Callable[[Decisions], Floats], decisions: Decisions, folds: Integers) -> Floats:
    """Return encodings in which a known row sees no label of its own fold; unknown rows see all known ones.

    Leaving out a row's own label alone is not enough: with the sum of a person's labels fixed, the rest
    tells it (a leave-one-out rate is the higher the lower its own label), and trees read that.
    """
    encoded = encode(decisions)
    for fold in np.unique(folds[decisions.known]):
        inside = decisions.known & (folds == fold)
        encoded[inside] = encode(decisions.seen_at(decisions.known & (folds != fold)))[inside]
    return encoded


def check_blind(encoded: Callable[[Decisions], Floats], decisions: Decisions, folds: Integers) -> None:
    """Raise LeakError if an encoding of a fold's rows changes with that fold's own labels (MATCH-3)."""
    before = encoded(decisions)
    for fold in np.unique(folds[decisions.known]):
        inside = decisions.known & (folds == fold)
        flipped = np.where(inside, 1 - decisions.label, decisions.label)
        # One at a time too: flipping all of a fold leaves some statistics as they were.
        alone = np.where(
            np.arange(len(decisions)) == np.flatnonzero(inside)[0], 1 - decisions.label, decisions.label
        )
        for labels in (flipped, alone):
            after = encoded(replace(decisions, label=labels))
            if not np.array_equal(before[inside], after[inside], equal_nan=True):
                raise LeakError(f"an encoding of fold {fold} follows labels of fold {fold}")
