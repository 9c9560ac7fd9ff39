"""Metrics, against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import ndcg_score, roc_auc_score

from matching.arrays import logit, sigmoid
from matching.metrics import auc, calibration_error, gini, interval, ndcg
from matching.reciprocal import both, harmonic

SCORES = arrays(np.float64, 30, elements=st.integers(0, 9).map(float))
LABELS = arrays(np.float64, 30, elements=st.sampled_from([0.0, 1.0]))
SHARES = arrays(np.float64, 20, elements=st.floats(0, 1))


@settings(max_examples=40)
@given(LABELS, SCORES)
def test_auc_is_scikit_learns_ties_and_all(labels, scores):
    assume(0 < labels.sum() < len(labels))
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


def test_auc_of_one_kind_only_is_not_a_number():
    assert np.isnan(auc(np.ones(3), np.arange(3.0)))


@settings(max_examples=40)
@given(LABELS, st.permutations(range(30)).map(lambda order: np.array(order, dtype=np.float64)) | SCORES)
def test_ndcg_is_scikit_learns_on_lists_that_can_be_wrong_ties_and_all(labels, scores):
    lists = np.repeat([0, 1, 2], 10)
    expected = [
        ndcg_score([labels[lists == one]], [scores[lists == one]], k=5)
        for one in range(3)
        if 0 < labels[lists == one].sum() < 10
    ]
    assume(expected)
    assert ndcg(lists, labels, scores, 5) == pytest.approx(np.mean(expected))


def test_rows_sorted_by_the_answer_tell_a_list_of_equal_scores_nothing():
    labels = np.array([1.0, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    lists, same = np.zeros(10, dtype=np.int64), np.zeros(10)
    found = [ndcg(lists, each, same, 5) for each in (labels, labels[::-1])]
    assert found[0] == pytest.approx(found[1])
    assert found[0] == pytest.approx(ndcg_score([labels], [same], k=5))


def test_calibration_error_counts_the_gap_of_every_bin():
    said = np.array([0.15, 0.15, 0.95, 0.95])
    assert calibration_error(np.array([0.0, 0.0, 1.0, 0.0]), said) == pytest.approx(0.5 * 0.15 + 0.5 * 0.45)


@given(st.integers(0, 100))
def test_labels_drawn_from_the_probabilities_are_calibrated(seed):
    chance = np.random.default_rng(seed)
    said = chance.random(20_000)
    assert calibration_error((chance.random(20_000) < said) * 1.0, said) < 0.03


def test_gini_of_equal_shares_is_none_and_of_one_owner_all_but_one():
    assert gini(np.ones(7)) == pytest.approx(0)
    assert gini(np.array([0.0, 0, 0, 5])) == pytest.approx(0.75)
    assert gini(np.zeros(3)) == 0


@given(arrays(np.float64, 12, elements=st.floats(0, 100)))
def test_gini_is_half_the_mean_difference_over_the_mean(amounts):
    assume(amounts.sum() > 1e-3)
    expected = np.abs(amounts[:, None] - amounts).mean() / (2 * amounts.mean())
    assert gini(amounts) == pytest.approx(expected, abs=1e-9)


def test_a_bootstrap_interval_holds_the_mean_and_narrows_with_more():
    chance = np.random.default_rng(1)
    few, many = chance.normal(1, 1, 20), chance.normal(1, 1, 2_000)
    low, high = interval(few, 0)
    assert low < few.mean() < high
    assert np.diff(interval(many, 0, draws=500))[0] < (high - low) / 3


@given(SHARES, SHARES)
def test_the_harmonic_mean_is_symmetric_and_near_the_less_willing(one, other):
    fused = harmonic(one, other)
    assert np.array_equal(fused, harmonic(other, one))
    least = np.minimum(one, other)
    assert (fused >= least - 1e-12).all()
    assert (fused <= 2 * least + 1e-12).all()
    assert (both(one, other) <= least + 1e-12).all()


@given(arrays(np.float64, 9, elements=st.floats(-20, 20)))
def test_log_odds_and_probabilities_are_inverse(logits):
    assert logit(sigmoid(logits)) == pytest.approx(logits, rel=1e-6, abs=1e-6)
    assert (sigmoid(np.array([-1e9, 1e9])) == [0, 1]).all()
