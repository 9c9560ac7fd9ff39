"""The evenings' file and its protocols: what can leak is refused, ignored or not there."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from matching import protocols
from matching.dating_profile import PROFILE, profile, wide
from matching.decisions import LeakError, deal
from matching.evaluate import main
from matching.metrics import auc
from matching.protocols import Predictor, named_evenings, pairs_kept
from matching.speed_dating import ANSWERS, SCHEDULE, read

FORBIDDEN = (
    "race",
    "samerace",
    "imprace",
    "imprelig",
    "from",
    "zipcode",
    "income",
    "attr",
    "like",
    "prob",
    "dec_o",
    "match",
)


@pytest.fixture(name="data")
def fixture_data(make_decisions, write_events, tmp_path):
    return write_events(tmp_path / "events.csv", make_decisions(5, people=16, cohorts=3), 5)


def test_the_file_gives_back_the_decisions(data, make_decisions):
    evenings, decisions = read(data), make_decisions(5, people=16, cohorts=3)
    found = evenings.decisions
    pairs = zip(decisions.rater.tolist(), decisions.ratee.tolist(), strict=True)
    said = dict(zip(pairs, decisions.label.tolist(), strict=True))
    assert len(found) == len(decisions)
    assert found.label.tolist() == [
        said[pair] for pair in zip(found.rater.tolist(), found.ratee.tolist(), strict=True)
    ]
    assert found.rater[found.reverse].tolist() == found.ratee.tolist()
    assert found.ratee[found.reverse].tolist() == found.rater.tolist()
    assert evenings.dropped == 0
    assert profile(evenings).shape == (len(decisions), len(PROFILE))
    features, penalty = wide(evenings)
    assert features.shape == (len(decisions), len(penalty))


@pytest.mark.parametrize("by", ["dec", "order", None])
def test_the_order_of_rows_says_nothing(data, tmp_path, by):
    frame = pl.read_csv(data)
    other = frame.sort(by, descending=True) if by else frame.sample(fraction=1.0, shuffle=True, seed=1)
    assert not other.equals(frame)
    other.write_csv(tmp_path / "other.csv")
    one, two = read(data), read(tmp_path / "other.csv")
    for name in ("rater", "ratee", "label", "reverse", "moment", "cohort"):
        assert getattr(one.decisions, name).tolist() == getattr(two.decisions, name).tolist()
    assert profile(one).tolist() == pytest.approx(profile(two), nan_ok=True)


def test_no_sensitive_and_no_later_column_is_read():
    assert not set(FORBIDDEN) & {*ANSWERS, *SCHEDULE}
    assert not [name for name in (*ANSWERS, *SCHEDULE) if name.endswith(("_o", "_s", "_2", "_3"))]


def figures(path):
    evenings = read(path)
    said, baseline = Predictor(evenings, 0).predict(evenings.decisions.seen_at(evenings.decisions.cohort < 3))
    return said, baseline


def test_an_unknown_column_that_states_the_outcome_changes_nothing(data, tmp_path):
    frame = pl.read_csv(data)
    planted = frame.with_columns(like=pl.col("dec") * 10, dec_o=pl.col("dec"), leak=pl.col("dec"))
    planted.write_csv(tmp_path / "planted.csv")
    for one, other in zip(figures(data), figures(tmp_path / "planted.csv"), strict=True):
        assert np.array_equal(one, other)


def test_an_answer_that_follows_the_decision_is_refused(data, tmp_path, capsys):
    pl.read_csv(data).with_columns(exphappy=pl.col("dec") * 9 + 1).write_csv(tmp_path / "planted.csv")
    with pytest.raises(LeakError, match="exphappy"):
        read(tmp_path / "planted.csv")
    assert main(["speed-dating", "--data", str(tmp_path / "planted.csv"), "--json"]) == 2
    assert "exphappy" in capsys.readouterr().err


@pytest.mark.parametrize("side", ["iid", "pid"])
def test_an_answer_that_states_a_persons_rate_is_refused(data, tmp_path, side):
    """Constant per person, so only its plausibility tells."""
    frame = pl.read_csv(data)
    rates = frame.group_by(side).agg(clubbing=pl.col("dec").mean()).rename({side: "iid"})
    frame.drop("clubbing").join(rates, on="iid").write_csv(tmp_path / "planted.csv")
    with pytest.raises(LeakError, match="clubbing"):
        read(tmp_path / "planted.csv")


@pytest.mark.parametrize("order", [1 + pl.col("dec") * 7, pl.col("dec").rank("ordinal").over("iid")])
def test_an_order_that_states_the_outcome_is_refused(data, tmp_path, order):
    pl.read_csv(data).with_columns(order=order).write_csv(tmp_path / "planted.csv")
    with pytest.raises(LeakError, match="order"):
        read(tmp_path / "planted.csv")


def test_asked_labels_change_no_score_of_any_protocol(data):
    """By construction: who predicts gets the decisions with those labels gone."""
    evenings = read(data)
    decisions = evenings.decisions
    asked = deal(decisions.pair, 5, 0) == 0
    flipped = replace(decisions, label=np.where(asked, 1 - decisions.label, decisions.label))
    predictor = Predictor(evenings, 0)
    for one, other in zip(
        predictor.predict(decisions.seen_at(~asked)), predictor.predict(flipped.seen_at(~asked)), strict=True
    ):
        assert np.array_equal(one, other)


def test_a_score_made_of_the_asked_label_is_found_out(data, monkeypatch):
    """Whoever plants the label into the profile gets nan, and the run stops."""
    evenings = read(data)
    honest = Predictor.predict

    def leaking(self, decisions):
        said, baseline = honest(self, decisions)
        return said + decisions.label, baseline

    monkeypatch.setattr(protocols.Predictor, "predict", leaking)
    with pytest.raises(ArithmeticError):
        pairs_kept(evenings, 0)


def test_labels_of_pure_chance_cannot_be_told(make_decisions, write_events, tmp_path):
    decisions = make_decisions(6, people=16, cohorts=4)
    chance = np.random.default_rng(0)
    noise = replace(decisions, label=chance.integers(0, 2, len(decisions)).astype(np.float64))
    found = pairs_kept(read(write_events(tmp_path / "noise.csv", noise, 6)), 0)
    spread = 1 / np.sqrt(12 * len(decisions) / 4)
    assert abs(found["decision_auc"] - 0.5) < 4 * spread


def test_crossed_effects_find_what_made_the_decisions(make_decisions, write_events, tmp_path):
    path = write_events(tmp_path / "made.csv", make_decisions(7, people=28, cohorts=2), 7)
    found = pairs_kept(read(path), 0)
    assert found["decision_auc"] > found["baseline"]["decision_auc"]
    assert found["decision_auc"] > 0.75


def test_kept_evenings_know_nothing_of_each_other_but_online_their_past(data, capsys):
    arguments = ["speed-dating", "--data", str(data), "--test-waves", "2,3", "--seed", "1", "--json"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    assert {
        "decision_auc",
        "match_auc",
        "ndcg5",
        "baseline",
        "A",
        "B",
        "online",
        "sha256",
        "seed",
    } <= found.keys()
    assert found["baseline"]["decision_auc"] == pytest.approx(0.5)
    assert found["online"]["baseline"]["decision_auc"] > 0.6
    assert len(found["sha256"]) == 64
    spaced = [*arguments[:4], "2 3", *arguments[5:]]
    assert main(spaced) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found
    assert main([*arguments, "--train-waves", "2"]) == 2
    with pytest.raises(ValueError, match="no evening"):
        named_evenings(read(data), [9], None, 0)


def test_online_asks_each_round_with_earlier_rounds_only(data):
    evenings = read(data)
    decisions = evenings.decisions
    late = decisions.moment >= 5
    flipped = replace(decisions, label=np.where(late, 1 - decisions.label, decisions.label))
    early = []
    for one in (decisions, flipped):
        predictor = Predictor(evenings, 0)
        cold = np.zeros(len(one))
        early.append(predictor.update(one.seen_at(one.moment < 4), cold)[one.moment == 4])
    assert np.array_equal(*early)
    assert auc(decisions.label[decisions.moment == 4], early[0]) > 0.5
