"""History as features: one definition streaming and in a log, and no label in its own features."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matching.decisions import Decisions, LeakError, deal
from matching.features import (
    ENCODINGS,
    RATES,
    STRENGTH,
    Tally,
    check_blind,
    encode,
    out_of_fold,
    strictly_past,
)

LOGS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()).filter(lambda row: row[0] != row[1]),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60)
@given(LOGS, st.integers(1, 3))
def test_the_log_gives_the_features_that_the_actors_had(rows, at_once):
    """Parity (ML-1): replaying a log through tallies is `strictly_past` of it, rows at one offset blind to
    each other.
    """
    log = pl.DataFrame(rows, schema=["rater", "ratee", "yes"], orient="row").with_columns(
        offset=pl.int_range(pl.len()) // at_once
    )
    tallies, expected = [Tally() for _ in range(5)], []
    for _, group in log.group_by("offset", maintain_order=True):
        batch = group.rows(named=True)
        expected += [
            [*tallies[row["rater"]].features(0.4), *tallies[row["ratee"]].features(0.4)] for row in batch
        ]
        rates = [tallies[row["rater"]].give_rate(0.4) for row in batch]
        for row, rate in zip(batch, rates, strict=True):
            tallies[row["rater"]].gave(row["yes"])
            tallies[row["ratee"]].got(row["yes"], rate)
    found = strictly_past(log, 0.4).select(
        *(f"{side}_{name}" for side in ("rater", "ratee") for name in RATES)
    )
    assert found.to_numpy() == pytest.approx(np.array(expected))


@given(LOGS, st.data())
def test_a_later_decision_changes_no_earlier_features(rows, data):
    log = pl.DataFrame(rows, schema=["rater", "ratee", "yes"], orient="row").with_row_index("offset")
    cut = data.draw(st.integers(0, len(rows) - 1))
    flipped = log.with_columns(yes=pl.col("yes") ^ (pl.col("offset") >= cut))
    before, after = (strictly_past(one, 0.5).drop("yes").head(cut + 1) for one in (log, flipped))
    assert before.equals(after)


def test_rates_are_shrunk_to_the_prior_and_a_person_warms_up():
    tally = Tally()
    assert tally.features(0.3) == (0.3, 0.3, 0.0, 0.0, 0.0)
    for _ in range(5):
        tally.gave(yes=True)
        assert not tally.is_warm
        tally.got(yes=True, rater_give_rate=0.5)
    assert tally.is_warm
    assert tally.give_rate(0.3) == pytest.approx((5 + STRENGTH * 0.3) / (5 + STRENGTH))
    assert tally.residual() == pytest.approx(2.5 / (5 + STRENGTH))


def test_out_of_fold_encodings_are_blind_to_their_fold(make_decisions):
    decisions = make_decisions(seed=1)
    folds = deal(decisions.pair, 5, 0)
    check_blind(lambda asked: out_of_fold(encode, asked, folds), decisions, folds)


def leave_one_out(decisions: Decisions) -> np.ndarray:
    """The leak that looks honest: each row's rates without its own label."""
    encoded = np.full((len(decisions), len(ENCODINGS)), np.nan)
    for row in range(len(decisions)):
        encoded[row] = encode(decisions.seen_at(np.arange(len(decisions)) != row))[row]
    return encoded


@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(encode, id="a row's own label in its rate"),
        pytest.param(leave_one_out, id="leave one out"),
        pytest.param(lambda asked: asked.label[asked.reverse][:, None], id="the partner's answer"),
    ],
)
def test_an_injected_leak_is_refused(make_decisions, leak):
    decisions = make_decisions(seed=2, people=8)
    with pytest.raises(LeakError):
        check_blind(leak, decisions, deal(decisions.pair, 4, 0))


def test_hidden_labels_are_not_there(make_decisions):
    decisions = make_decisions(seed=3)
    seen = np.arange(len(decisions)) % 3 > 0
    hidden = decisions.seen_at(seen)
    other = replace(decisions, label=np.where(seen, decisions.label, 1 - decisions.label)).seen_at(seen)
    assert np.array_equal(encode(hidden), encode(other))
    assert np.isnan(hidden.label[~seen]).all()


@given(st.integers(0, 50), st.integers(2, 6))
def test_folds_keep_groups_together_and_are_even(seed, folds):
    groups = np.random.default_rng(seed).integers(0, 20, 100)
    dealt = deal(groups, folds, seed)
    per_group = {group: set(dealt[groups == group].tolist()) for group in set(groups.tolist())}
    assert all(len(found) == 1 for found in per_group.values())
    sizes = np.bincount([found.pop() for found in per_group.values()], minlength=folds)
    assert sizes.max() - sizes.min() <= 1
