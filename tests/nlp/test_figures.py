"""F1, calibration, abstention: against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss

from nlp import figures, frozen
from nlp.lexical import terms, vader


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def dealt(seed, rows=300, labels=4, sharpness=1.0):
    chance = np.random.default_rng(seed)
    logits = chance.normal(size=(rows, labels)).astype(np.float32) * 2
    true = [chance.choice(labels, p=row / row.sum()) for row in softmax(logits).astype(np.float64)]
    return np.eye(labels, dtype=np.float32)[true], logits * np.float32(sharpness)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_f1_is_scikit_learns(seed):
    targets, logits = dealt(seed, rows=40)
    said = figures.said(softmax(logits))
    expected = f1_score(targets.argmax(1), logits.argmax(1), average=None, labels=range(4), zero_division=0)
    assert figures.f1_by_label(targets, said) == pytest.approx(expected)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_what_made_logits_too_sure(sharpness):
    targets, logits = dealt(1, rows=4_000, sharpness=sharpness)
    found = figures.temperature(targets, logits)
    assert found == pytest.approx(sharpness, rel=0.1)
    before, after = softmax(logits), softmax(logits / found)
    assert figures.calibration_error(targets, after) < max(
        0.03, figures.calibration_error(targets, before) / 3
    )
    exact = after.astype(np.float64)
    by_hand = log_loss(targets.argmax(1), exact / exact.sum(1, keepdims=True))
    assert figures.log_loss(targets, logits, found) == pytest.approx(by_hand, abs=1e-4)


def test_the_threshold_keeps_the_risk_with_the_most_answers():
    targets, logits = dealt(2, rows=1_000)
    probabilities = softmax(logits)
    confidence, right = probabilities.max(1), targets[np.arange(1_000), probabilities.argmax(1)] > 0.5
    lowest, error, coverage = figures.threshold(targets, probabilities, 0.2)
    answered = confidence >= lowest
    assert answered.mean() == pytest.approx(coverage)
    assert (~right[answered]).mean() == pytest.approx(error)
    assert error <= 0.2
    lower = np.sort(confidence[confidence < lowest])
    assert all((~right[confidence >= one]).mean() > 0.2 for one in lower)
    assert figures.threshold(targets, probabilities, 1.0) == (0.0, pytest.approx((~right).mean()), 1.0)


def test_a_risk_that_cannot_be_kept_still_leaves_answers():
    targets, logits = dealt(3, rows=200)
    _, error, coverage = figures.threshold(np.roll(targets, 1, axis=1), softmax(logits), 0.0)
    assert coverage >= 0.1
    assert error > 0


def test_cuts_find_each_labels_own_threshold():
    chance = np.random.default_rng(4)
    probabilities = chance.uniform(size=(2_000, 2)).astype(np.float32)
    targets = (probabilities > [0.3, 0.8]).astype(np.float32)
    assert figures.cuts(targets, probabilities) == pytest.approx((0.3, 0.8), abs=0.03)
    assert figures.said(probabilities, (0.3, 0.8)).mean(0) == pytest.approx([0.7, 0.2], abs=0.05)


def test_words_read_without_scikit_learn_say_what_it_said(feelings):
    """`Lexical` repeats TfidfVectorizer and the regression in numpy."""
    train, val = feelings
    read = frozen.lexical(train, 0)
    table = frozen.TfidfVectorizer(analyzer=terms, min_df=2, sublinear_tf=True)
    counted = frozen.hstack(
        [table.fit_transform(train.texts), np.stack([vader(t) for t in train.texts])]
    ).tocsr()
    model = frozen.LogisticRegression(C=frozen.LEXICAL_STRENGTH, class_weight="balanced", max_iter=1_000)
    model.fit(counted, train.single)
    asked = frozen.hstack([table.transform(val.texts), np.stack([vader(t) for t in val.texts])]).tocsr()
    ours = np.stack([read.logits(text) for text in val.texts])
    assert ours[:, 1] - ours[:, 0] == pytest.approx(model.decision_function(asked), abs=1e-4)


def test_terms_hold_words_pairs_and_letters_of_hashtags():
    found = terms("So HAPPY @user #BestDay 😂")
    assert {"so", "so happy", "<so", "bestd", "tears of"} <= set(found)
