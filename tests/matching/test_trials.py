"""Experiments, bandits, drift and the promotion gate, against simulations and scipy."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, norm, ttest_ind

from matching.arrays import logit, sigmoid
from matching.audit import AuditLimits, by_group, gate, objections
from matching.bandit import FLOOR, LinUcb, Thompson, doubly_robust, inverse_propensity, regret
from matching.drift import PSI_ALARM, Reference, look, population_stability
from matching.experiment import (
    SRM_ALARM,
    Difference,
    always_valid_interval,
    always_valid_p,
    assign,
    clustered,
    cuped,
    difference,
    ratio,
    sample_ratio_p,
)

SHARES = {"control": 0.5, "treated": 0.3, "other": 0.2}


def test_assignment_is_steady_by_salt_and_follows_the_shares():
    units = [f"user{number}" for number in range(6_000)]
    first = [assign("a", unit, SHARES) for unit in units]
    assert first == [assign("a", unit, SHARES) for unit in units]
    counts = Counter(first)
    assert sample_ratio_p(counts, SHARES) > SRM_ALARM
    crossed = Counter(zip(first, (assign("b", unit, SHARES) for unit in units), strict=True))
    for (one, other), count in crossed.items():
        assert count / 6_000 == pytest.approx(SHARES[one] * SHARES[other], abs=0.02)


@given(st.integers(100, 2_000), st.integers(100, 2_000))
def test_the_sample_ratio_test_is_the_chi_square_test(control, treated):
    expected = chisquare([control, treated]).pvalue
    found = sample_ratio_p({"a": control, "b": treated}, {"a": 1, "b": 1})
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_lost_tenth_of_one_variant_raises_the_alarm():
    assert sample_ratio_p({"a": 5_000, "b": 4_500}, {"a": 1, "b": 1}) < SRM_ALARM


def test_cuped_keeps_the_mean_and_takes_what_the_time_before_told():
    chance = np.random.default_rng(0)
    before = chance.normal(5, 2, 5_000)
    outcome = before + chance.normal(0, 1, 5_000)
    adjusted = cuped(outcome, before)
    assert adjusted.mean() == pytest.approx(outcome.mean())
    correlation = np.corrcoef(before, outcome)[0, 1]
    assert adjusted.var() == pytest.approx(outcome.var() * (1 - correlation**2))
    assert np.array_equal(cuped(outcome, np.ones(5_000)), outcome)


def test_the_difference_is_welchs():
    chance = np.random.default_rng(1)
    control, treated = chance.normal(0, 1, 800), chance.normal(0.1, 2, 700)
    found = difference(control, treated)
    expected = ttest_ind(treated, control, equal_var=False)
    assert found.value / found.standard_error == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue, abs=0.002)


def test_the_delta_method_gives_the_spread_of_a_ratio():
    chance = np.random.default_rng(2)

    def draw():
        views = chance.poisson(5, 400) + 1.0
        return chance.binomial(views.astype(int), 0.3) * 1.0, views

    seen = [ratio(*draw()) for _ in range(800)]
    assert np.mean([value for value, _ in seen]) == pytest.approx(0.3, abs=0.003)
    assert np.mean([variance for _, variance in seen]) == pytest.approx(
        np.var([value for value, _ in seen]), rel=0.15
    )


def test_clusters_count_as_one_unit_each():
    """Without an effect, the clustered test alarms as often as it says; rows taken as independent, far
    oftener.
    """
    chance = np.random.default_rng(3)
    alarms, naive = 0, 0
    for _ in range(400):
        cluster = np.repeat(np.arange(60), 20)
        treated = chance.permutation(np.arange(60) % 2)[cluster]
        outcome = chance.normal(0, 1, 60)[cluster] + chance.normal(0, 1, 1_200)
        alarms += clustered(outcome, cluster, treated).p < 0.05
        naive += difference(outcome[treated == 0], outcome[treated == 1]).p < 0.05
    assert alarms / 400 == pytest.approx(0.05, abs=0.035)
    assert naive / 400 > 0.3
    with pytest.raises(ValueError, match="both sides"):
        clustered(np.ones(4), np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))


def test_looking_at_every_step_keeps_the_always_valid_promise():
    """2,000 runs without an effect, each looked at 200 times: false alarms stay below 5 %; a plain test's
    do not.
    """
    chance = np.random.default_rng(4)
    steps = chance.normal(0, 1, (2_000, 200)).cumsum(axis=1) / np.arange(1, 201)
    variance = 1 / np.arange(1, 201)
    ever = sum(
        any(always_valid_p(value, spread, 0.3) < 0.05 for value, spread in zip(run, variance, strict=True))
        for run in steps[:400]
    )
    plain = (2 * norm.sf(np.abs(steps) / np.sqrt(variance)) < 0.05).any(axis=1).mean()
    assert ever / 400 < 0.05
    assert plain > 0.3


@given(st.floats(-2, 2), st.floats(0.01, 1), st.floats(0.05, 2))
def test_the_always_valid_interval_is_what_the_p_value_does_not_reject(value, error, scale):
    low, high = always_valid_interval(Difference(value, error), scale)
    assert low < value < high
    for edge in (low, high):
        assert always_valid_p(value - edge, error**2, scale) == pytest.approx(0.05, rel=1e-6)


def test_thompson_finds_the_best_arm_and_logs_the_odds_it_drew_by():
    chance, bandit = np.random.default_rng(5), Thompson(3)
    means, pulls = (0.2, 0.5, 0.35), []
    for _ in range(600):
        choice = bandit.choose(chance)
        assert FLOOR <= choice.propensity <= 1
        bandit.learn(choice.arm, float(chance.random() < means[choice.arm]))
        pulls.append(choice.arm)
    assert bandit.propensities(chance).sum() == pytest.approx(1)
    assert np.bincount(pulls[300:]).argmax() == 1
    assert regret(means, np.array(pulls)) < 0.5 * regret(means, chance.integers(0, 3, 600))


def test_linucb_keeps_the_ridge_solution_of_each_arm():
    chance, bandit = np.random.default_rng(6), LinUcb(2, 3)
    contexts, rewards = chance.normal(0, 1, (50, 3)), chance.normal(0, 1, 50)
    for context, reward in zip(contexts, rewards, strict=True):
        bandit.learn(1, context, reward)
    expected = np.linalg.solve(np.eye(3) + contexts.T @ contexts, contexts.T @ rewards)
    assert bandit.inverse[1] @ bandit.sums[1] == pytest.approx(expected)
    assert bandit.inverse[0] == pytest.approx(np.eye(3))
    assert bandit.bounds(contexts[0])[0] == pytest.approx(np.linalg.norm(contexts[0]))


def test_replay_tells_what_another_policy_would_have_earned():
    chance = np.random.default_rng(7)
    count, means = 20_000, np.array([0.2, 0.5, 0.8])
    logged, asked = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.2, 0.7])
    arms = chance.choice(3, count, p=logged)
    rewards = (chance.random(count) < means[arms]) * 1.0
    truth = float(asked @ means)
    plain, plain_error = inverse_propensity(rewards, logged[arms], asked[arms])
    policy, wrong = np.tile(asked, (count, 1)), np.tile([0.3, 0.4, 0.6], (count, 1))
    robust, robust_error = doubly_robust(rewards, logged[arms], arms, policy, wrong)
    assert abs(plain - truth) < 4 * plain_error
    assert abs(robust - truth) < 4 * robust_error
    assert robust_error < plain_error


@settings(max_examples=50)
@given(st.integers(0, 1_000))
def test_stability_is_never_negative_and_none_for_the_same(seed):
    chance = np.random.default_rng(seed)
    values = np.where(chance.random(500) < 0.1, np.nan, chance.normal(0, 1, 500))
    reference = Reference.of(values)
    assert population_stability(reference, values) == pytest.approx(0)
    assert population_stability(reference, chance.normal(0.3, 2, 300)) >= 0


def test_a_shift_a_new_gap_and_lost_calibration_are_alarms():
    chance = np.random.default_rng(8)
    values = chance.normal(0, 1, 2_000)
    reference = Reference.of(values)
    assert population_stability(reference, chance.normal(0, 1, 2_000)) < 0.1
    assert population_stability(reference, values + 1) > PSI_ALARM
    assert population_stability(reference, np.where(chance.random(2_000) < 0.3, np.nan, values)) > PSI_ALARM
    said = chance.random(3_000)
    labels = (chance.random(3_000) < said) * 1.0
    well = look({"x": reference}, {"x": values}, labels=labels, probabilities=said, asked=100, served=99)
    assert well.alarms() == []
    off = np.clip(said + 0.3, 0, 1)
    ill = look({"x": reference}, {"x": values + 2}, labels=labels, probabilities=off, asked=100, served=50)
    assert len(ill.alarms()) == 3


def judged(seed=9, count=8_000):
    chance = np.random.default_rng(seed)
    signal = chance.normal(0, 1, count)
    labels = (chance.random(count) < sigmoid(signal)) * 1.0
    groups = {"a": chance.random(count) < 0.5}
    groups["b"] = ~groups["a"]
    return chance, signal, labels, groups


def test_the_gate_lets_a_better_model_pass_and_no_equal_one():
    chance, signal, labels, groups = judged()
    champion = sigmoid(0.5 * signal + chance.normal(0, 0.8, len(signal)))
    assert gate(labels, champion, sigmoid(signal), groups, seed=0).promote
    same = gate(labels, champion, champion, groups, seed=0)
    assert not same.promote
    assert same.gain == 0


def test_a_biased_model_is_stopped_at_the_gate_though_it_is_better():
    chance, signal, labels, groups = judged()
    champion = sigmoid(chance.normal(0, 1, len(signal)))
    biased = sigmoid(signal + np.where(groups["a"], 0.6, -0.6))
    verdict = gate(labels, champion, biased, groups, seed=0)
    assert verdict.gain > verdict.standard_error
    assert not verdict.promote
    assert any("a is promised" in objection for objection in verdict.objections)


def test_figures_by_group_are_those_of_the_group_alone():
    _, signal, labels, groups = judged()
    said = sigmoid(signal)
    found = by_group(labels, said, {**groups, "few": np.arange(len(labels)) < 10})
    assert found.keys() == {"a", "b"}
    assert found["a"].rows == groups["a"].sum()
    assert found["a"].bias == pytest.approx((said - labels)[groups["a"]].mean())
    assert objections(found, AuditLimits()) == []
    blind = by_group(labels, np.where(groups["a"], said, sigmoid(0 * logit(said))), groups)
    assert any("auc" in objection for objection in objections(blind, AuditLimits()))
