"""The directed model: calibrated, the same by its seed, usable cold, and explained exactly."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from matching.arrays import sigmoid
from matching.explain import Explainer, contributions, reasons
from matching.metrics import auc, calibration_error
from matching.rank import Settings, blank_cold, fit, logistic
from matching.shapley import TreeTables

HISTORY = np.array([True, False, False, False])


@pytest.fixture(name="sample", scope="module")
def fixture_sample():
    chance = np.random.default_rng(0)
    features = chance.normal(0, 1, (6_000, 4))
    truth = sigmoid(1.5 * features[:, 0] + 0.8 * features[:, 1] - 0.5 * features[:, 2] ** 2)
    return features, (chance.random(6_000) < truth) * 1.0


@pytest.fixture(name="model", scope="module")
def fixture_model(sample):
    features, labels = sample
    return fit(features[:4_000], labels[:4_000], HISTORY, seed=1)


def test_probabilities_are_calibrated_on_rows_it_has_not_seen(model, sample):
    features, labels = sample[0][4_000:], sample[1][4_000:]
    assert calibration_error(labels, model.probabilities(features)) < 0.04
    assert auc(labels, model.logits(features)) > 0.78


def test_the_seed_decides_everything(model, sample):
    features, labels = sample
    again = fit(features[:4_000], labels[:4_000], HISTORY, seed=1)
    assert np.array_equal(model.logits(features), again.logits(features))
    assert not np.array_equal(
        model.logits(features), fit(features[:4_000], labels[:4_000], HISTORY, 2).logits(features)
    )


def test_a_cold_pair_is_scored_by_its_profile_alone(model, sample):
    features = sample[0][4_000:]
    cold = blank_cold(features, HISTORY, np.zeros(len(features)), np.full(len(features), 9.0))
    other = features.copy()
    other[:, 0] = -other[:, 0]
    assert np.array_equal(
        cold, blank_cold(other, HISTORY, np.zeros(len(features)), np.full(len(features), 9.0)), equal_nan=True
    )
    assert auc(sample[1][4_000:], model.logits(cold)) > 0.6
    warm = blank_cold(features, HISTORY, np.full(len(features), 5.0), np.full(len(features), 5.0))
    assert np.array_equal(warm, features)


def test_the_regression_is_scikit_learns():
    chance = np.random.default_rng(3)
    design = np.column_stack([np.ones(400), chance.normal(0, 1, (400, 3))])
    labels = (chance.random(400) < sigmoid(design @ [0.3, 1, -1, 0])) * 1.0
    ours = logistic(design, labels, np.array([1e-9, 2.0, 2.0, 2.0]))
    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=1_000).fit(design[:, 1:], labels)
    assert ours == pytest.approx(np.r_[theirs.intercept_, theirs.coef_[0]], abs=1e-4)


def test_contributions_add_up_to_the_score(model, sample):
    features = sample[0][:50].copy()
    features[:10, 0] = np.nan
    assert contributions(model, features).sum(axis=1) == pytest.approx(model.logits(features), abs=1e-4)


@pytest.mark.parametrize(("depth", "by_table"), [(1, True), (2, True), (3, True), (5, False)])
def test_a_tables_contributions_are_those_of_the_trees(depth, by_table):
    chance = np.random.default_rng(depth)
    features = chance.normal(size=(900, 6)).round(1)  # many equal a threshold
    features[chance.random(features.shape) < 0.2] = np.nan
    labels = (np.nan_to_num(features) @ [1, -1, 0.5, 0.5, 0, 0] + chance.normal(size=900) > 0) * 1.0
    shape = Settings(max_depth=depth, min_child_weight=2.0, colsample_bytree=0.7)
    fitted = fit(features, labels, np.arange(6) < 2, seed=1, settings=shape)
    assert (TreeTables.of(fitted.booster, [0]) is not None) == by_table
    for columns in ([3, 0, 5], []):
        added = Explainer(fitted, columns).added(features)
        assert added == pytest.approx(contributions(fitted, features)[:, columns], abs=2e-5)


def test_reasons_name_the_largest_parts_first(model):
    names = ["history", "likes", "age", "nothing"]
    features = np.array([[2.5, 0.1, 0.0, 1.0]])
    found = reasons(names, features[0], contributions(model, features)[0], 2)
    assert found[0].feature == "history"
    assert found[0].value == 2.5
    assert abs(found[0].contribution) >= abs(found[1].contribution)
    assert len(found) == 2
    assert "nothing" not in {reason.feature for reason in found}
