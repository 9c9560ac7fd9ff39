"""Which models may serve (ML-5, ML-10, MATCH-16)."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from deciding import Town

from matching import dataset, judge
from matching.artefact import PeopleModel, read, write
from matching.jobs.fitting import fit_rows
from matching.judge import Judged
from matching.rank import Settings

SETTINGS = {"rounds": 60, "eta": 0.1}
TRAINED = 4000


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return dataset.build(Town.made(150, 3).sources(6000), dataset.features)


def model(rows: pl.DataFrame, seed: int = 0) -> PeopleModel:
    return read(fit_rows(rows, Settings(**SETTINGS).__dict__, seed))


@pytest.fixture(scope="module")
def fair(rows) -> PeopleModel:
    return model(rows[:TRAINED])


def test_a_model_that_beats_the_baseline_may_serve_and_not_again_against_itself(rows, fair):
    on = Judged.of(rows[TRAINED:])
    first = judge.verdict(on, None, fair, seed=0)
    assert first.promote, first.objections
    again = judge.verdict(on, fair, fair, seed=0)
    assert (again.promote, again.gain) == (False, 0.0)
    assert "not beyond one" in again.objections[0]


def test_the_same_rows_give_the_same_bytes(rows, fair):
    assert write(model(rows[:TRAINED])) == write(fair)


def test_of_few_later_decisions_nothing_is_concluded(rows, fair):
    verdict = judge.verdict(Judged.of(rows[TRAINED : TRAINED + 150]), None, fair, seed=0)
    assert not verdict.promote
    assert "150 decisions" in verdict.objections[0]


def test_a_model_trained_on_labels_skewed_for_a_group_is_refused(rows):
    """Somebody turned two thirds of what women of 35 to 44 got into no, in the training rows alone."""
    chance = np.random.default_rng(1)
    hit = (rows["ratee_gender"] == "woman") & rows["ratee_age"].is_between(35, 44)
    hit &= pl.Series(chance.random(len(rows)) < 0.67)
    skewed = rows.with_columns(likes=pl.col("likes") & ~hit)
    verdict = judge.verdict(Judged.of(rows[TRAINED:]), None, model(skewed[:TRAINED]), seed=0)
    assert not verdict.promote
    assert any("ratee age: 35-44" in said for said in verdict.objections), verdict.objections


@pytest.mark.parametrize("group", ["ratee gender: woman", "ratee age: 25-34"])
def test_scores_lowered_for_a_group_are_refused(rows, fair, group):
    on = Judged.of(rows[TRAINED:])
    lowered = on.groups[group]

    class Lowered(PeopleModel):
        def probabilities(self, features):
            return super().probabilities(features) * np.where(lowered, 0.6, 1.0)

    biased = Lowered(**{name: getattr(fair, name) for name in PeopleModel.__dataclass_fields__})
    verdict = judge.verdict(on, None, biased, seed=0)
    assert not verdict.promote
    assert any(f"more than {group}" in said for said in verdict.objections), verdict.objections


def test_figures_name_groups_by_gender_and_age(rows, fair):
    on = Judged.of(rows[TRAINED:])
    found = judge.figures(on, fair.probabilities(on.features))
    assert {"rater gender: man", "ratee gender: woman", "ratee age: 25-34"} <= set(found["groups"])
    assert found["rows"] == 2000
    assert (
        found["groups"]["ratee gender: woman"]["rows"] + found["groups"]["ratee gender: man"]["rows"] == 2000
    )


def test_a_feature_that_moved_is_seen(rows, fair):
    on = Judged.of(rows[:TRAINED])
    assert judge.drift(fair, on.features)["moved"] == []
    place = judge.FEATURES.index("age_gap")
    later = replace(on, features=on.features + 20 * np.eye(len(judge.FEATURES))[place])
    assert judge.drift(fair, later.features)["moved"] == ["age_gap"]
