"""Outcomes written into the sheet of answers are found, honest answers are not taken for such."""

import numpy as np
import polars as pl
import pytest

from matching.cold import cold_logits
from matching.dating_leaks import LIMIT, told_by
from matching.dating_profile import wide
from matching.decisions import LeakError
from matching.speed_dating import INTERESTS, read


@pytest.fixture(name="decisions", scope="module")
def fixture_decisions(many_evenings):
    return many_evenings


@pytest.fixture(name="write", scope="module")
def fixture_write(write_events, decisions, tmp_path_factory):
    def write(**planted):
        return write_events(tmp_path_factory.mktemp("events") / "events.csv", decisions, 5, **planted)

    return write


def rates(decisions, by):
    people = decisions.people
    return np.bincount(by, weights=decisions.label, minlength=people) / np.bincount(by, minlength=people)


def test_honest_answers_pass_whatever_the_seed(decisions, write_events, tmp_path):
    for seed in range(8):
        assert read(write_events(tmp_path / "events.csv", decisions, seed)).dropped == 0


@pytest.mark.parametrize("direction", ["rater", "ratee"])
def test_a_noisy_rate_in_an_answer_is_refused(decisions, write, direction):
    """Half its variance is noise, and it is a whole number on the answer's scale."""
    rate = rates(decisions, getattr(decisions, direction))
    noise = np.random.default_rng(0).normal(0, rate.std(), len(rate))
    planted = np.clip(np.round(5 + 2 * (rate + noise - rate.mean()) / rate.std()), 0, 15).astype(int)
    with pytest.raises(LeakError, match="hiking"):
        read(write(hiking=planted[decisions.rater]))


def test_a_rate_behind_scrambled_codes_is_refused(decisions, write):
    """No order is left to correlate with: as kinds they still tell."""
    rate = rates(decisions, decisions.ratee)
    codes = np.random.default_rng(3).permutation(16)
    planted = codes[np.minimum((rate * 16).astype(int), 15)] + 1
    assert abs(np.corrcoef(planted, rate)[0, 1]) < LIMIT
    with pytest.raises(LeakError, match="field_cd"):
        read(write(field_cd=planted[decisions.rater]))


def test_a_rate_spread_over_many_answers_is_refused(decisions, write):
    """Each answer alone tells no more than an honest one may; together they say it."""
    rate, chance = rates(decisions, decisions.ratee), np.random.default_rng(1)
    hidden = (rate - rate.mean()) / rate.std()
    planted = {
        name: np.clip(np.round(7 + 0.5 * hidden + chance.normal(0, 2.2, len(rate))), 0, 20).astype(int)
        for name in INTERESTS
    }
    assert max(told_by(values.astype(float), rate) for values in planted.values()) < LIMIT
    with pytest.raises(LeakError, match="together"):
        read(write(**{name: values[decisions.rater] for name, values in planted.items()}))


def test_values_off_the_scale_are_refused(decisions, write):
    """Where a decimal hides who said yes to whom, no correlation shows it."""
    hidden = np.random.default_rng(2).integers(1, 10, decisions.people)
    with pytest.raises(LeakError, match="tv"):
        read(write(tv=(hidden + 0.0001 * np.arange(decisions.people) / decisions.people)[decisions.rater]))


def test_dates_that_the_sheet_contradicts_are_refused(decisions, write):
    with pytest.raises(LeakError, match="two evenings"):
        read(write(wave=decisions.cohort + decisions.label.astype(int)))
    with pytest.raises(LeakError, match="one side"):
        read(write(gender=np.zeros(len(decisions), dtype=int)))


def test_other_column_orders_and_missing_cells_change_nothing_that_is_there(write, tmp_path):
    frame = pl.read_csv(write())
    holes = frame.with_columns(
        pl.when(pl.int_range(pl.len()) % 7 == 0).then(None).otherwise(pl.col(name)).alias(name)
        for name in ("age", "tv", "attr1_1")
    )
    extra = holes.select(reversed(frame.columns)).with_columns(pl.lit("é, x").alias("career"))
    extra.write_csv(tmp_path / "other.csv")
    one, other = read(write()), read(tmp_path / "other.csv")
    assert np.array_equal(one.decisions.label, other.decisions.label)
    assert np.array_equal(wide(one)[0], wide(other)[0])
    unknown = frame.with_columns(
        pl.when(pl.col("iid") % 5 == 0).then(None).otherwise(pl.col("age")).alias("age"),
        pl.when(pl.col("iid") == 1).then(None).otherwise(pl.col("dec")).alias("dec"),
    )
    unknown.write_csv(tmp_path / "unknown.csv")
    fewer = read(tmp_path / "unknown.csv")
    assert np.isnan(fewer.answers["age"]).any()
    assert fewer.dropped == 2 * (frame["iid"] == 1).sum()
    features, penalty = wide(fewer)
    assert np.isfinite(cold_logits(features, fewer.decisions, penalty)).all()
