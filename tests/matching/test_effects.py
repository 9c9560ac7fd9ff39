"""Crossed effects and the cold model, against scipy's optimiser and by what they may see."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from matching.arrays import sigmoid
from matching.cold import cold_logits, standardise
from matching.effects import CrossedEffects, Variances, likeness_of, posterior
from matching.metrics import auc


def model(people: int) -> CrossedEffects:
    alike = {name: np.eye(people) for name in ("self", "whole", "life", "field")}
    return CrossedEffects(np.arange(people) % 2, alike)


def test_the_posterior_mode_is_what_an_optimiser_finds():
    chance = np.random.default_rng(0)
    factor = chance.normal(0, 1, (12, 12))
    kernel = factor @ factor.T / 12 + 0.1 * np.eye(12)
    labels, mean = chance.integers(0, 2, 12).astype(float), chance.normal(0, 1, 12)
    inverse = np.linalg.inv(kernel)

    def cost(latent):
        logits = latent + mean
        return latent @ inverse @ latent / 2 + np.logaddexp(0, logits).sum() - labels @ logits

    expected = minimize(cost, np.zeros(12), method="BFGS", options={"gtol": 1e-8}).x
    assert kernel @ posterior(kernel, labels, mean) == pytest.approx(expected, abs=1e-4)


def test_without_decisions_the_mean_is_the_answer(make_decisions):
    decisions = make_decisions(0)
    nothing = decisions.seen_at(np.zeros(len(decisions), dtype=bool))
    mean = np.linspace(-1, 1, len(decisions))
    assert np.array_equal(model(decisions.people).logits(nothing, mean), mean)


def test_a_cohort_learns_nothing_from_another(make_decisions):
    decisions = make_decisions(1)
    first = decisions.cohort == 0
    flipped = replace(decisions, label=np.where(first, 1 - decisions.label, decisions.label))
    mean = np.zeros(len(decisions))
    one, other = (model(decisions.people).logits(asked, mean) for asked in (decisions, flipped))
    assert np.array_equal(one[~first], other[~first])
    assert not np.array_equal(one[first], other[first])


def test_rows_in_another_order_get_the_same_scores(make_decisions):
    decisions = make_decisions(2)
    order = np.random.default_rng(0).permutation(len(decisions))
    place = np.argsort(order)
    shuffled = replace(
        decisions,
        **{name: getattr(decisions, name)[order] for name in ("cohort", "rater", "ratee", "moment", "label")},
        reverse=place[decisions.reverse[order]],
    )
    mean = np.zeros(len(decisions))
    one, other = (model(decisions.people).logits(asked, mean) for asked in (decisions, shuffled))
    assert other == pytest.approx(one[order], abs=1e-6)


def test_every_reason_of_the_kernel_is_symmetric(make_decisions):
    decisions = make_decisions(3)
    chance = np.random.default_rng(0)
    answers = chance.normal(0, 1, (decisions.people, 4))
    alike = {name: likeness_of(answers) for name in ("self", "whole", "life", "field")}
    rows = np.flatnonzero(decisions.cohort == 0)
    kernel = CrossedEffects(np.arange(decisions.people) % 2, alike, Variances()).kernel(decisions, rows, rows)
    assert kernel == pytest.approx(kernel.T)


def test_likeness_is_one_with_oneself_and_counts_a_missing_answer_as_the_mean():
    answers = np.array([[1.0, 2.0], [1.0, np.nan], [9.0, 8.0], [3.0, 5.0]])
    alike = likeness_of(answers)
    assert np.diag(alike) == pytest.approx(np.ones(4))
    filled = np.where(np.isnan(answers), np.nanmean(answers, axis=0), answers)
    spread = np.nanstd(answers, axis=0)
    expected = np.exp(-((((filled[0] - filled[2]) / spread) ** 2).mean()) / 2)
    assert alike[0, 2] == pytest.approx(expected)


def test_the_cold_model_sees_no_label_of_its_own_cohort(make_decisions):
    decisions = make_decisions(4, cohorts=3)
    profile = np.random.default_rng(0).normal(0, 1, (len(decisions), 5))
    own = decisions.cohort == 1
    flipped = replace(decisions, label=np.where(own, 1 - decisions.label, decisions.label))
    one, other = (cold_logits(profile, asked) for asked in (decisions, flipped))
    assert np.array_equal(one[own], other[own])
    assert not np.array_equal(one[~own], other[~own])


def test_the_cold_model_finds_a_feature_that_decides(make_decisions):
    decisions = make_decisions(5, cohorts=6, people=20)
    chance = np.random.default_rng(0)
    profile = chance.normal(0, 1, (len(decisions), 4))
    label = (chance.random(len(decisions)) < sigmoid(2 * profile[:, 2])) * 1.0
    assert auc(label, cold_logits(profile, replace(decisions, label=label))) > 0.75


def test_standardised_columns_are_centred_and_nothing_known_is_the_mean():
    features = np.column_stack([np.r_[np.random.default_rng(0).normal(5, 2, 99), np.nan], np.full(100, 3.0)])
    found = standardise(features)
    assert found[:99, 0].mean() == pytest.approx(0, abs=0.02)
    assert found[99, 0] == 0
    assert not found[:, 1].any()
