"""The gate of text heads: better by more than chance, calibrated, comparable."""

from dataclasses import replace

import numpy as np
import pytest

from nlp import gate


def test_a_head_that_has_learnt_beats_always_the_commonest_label(head, feelings):
    found = gate.verdict(head, None, feelings[1], 0)
    assert found["promote"]
    assert found["gain"] > 0.2


def test_the_same_again_is_no_better_and_a_worse_one_is_refused(head, feelings):
    again = gate.verdict(head, head, feelings[1], 0)
    assert not again["promote"]
    assert again["gain"] == 0
    backwards = replace(head, weights=-head.weights, bias=-head.bias, lexical_share=0.0)
    refused = gate.verdict(backwards, head, feelings[1], 0)
    assert not refused["promote"]
    assert "macro-F1" in refused["objections"][0]
    assert gate.verdict(head, backwards, feelings[1], 0)["promote"]


def test_a_head_that_is_too_sure_of_itself_is_refused(head, feelings):
    doubtful = replace(head, temperature=head.temperature * 60)
    refused = gate.verdict(doubtful, None, feelings[1], 0)
    assert not refused["promote"]
    assert "calibration" in refused["objections"][0]


def test_other_labels_cannot_be_compared(head, feelings):
    refused = gate.verdict(head, replace(head, labels=("good", "bad")), feelings[1], 0)
    assert refused["objections"] == ["the champion has other labels: they can't be compared"]


def test_the_standard_error_is_that_of_drawing_texts_anew(feelings):
    """Of a difference that is one text in n the bootstrap's error is known: about the gain itself."""
    val = feelings[1]
    one = val.targets > 0.5
    other = one.copy()
    other[0] = ~other[0]
    gain, error = gate.difference(val, one, other, 0)
    assert error == pytest.approx(gain, rel=0.25)
    assert np.isclose(gate.difference(val, one, one, 0), 0).all()
