"""Evenings made by a stated model: log-odds = choosiness of the rater + attractiveness of the ratee +
noise.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from matching.arrays import sigmoid
from matching.decisions import Decisions
from matching.speed_dating import ANSWERS

MakeDecisions = Callable[..., Decisions]


def made(seed: int, people: int = 16, cohorts: int = 2, spread: float = 1.5) -> Decisions:
    """Every one of a cohort's first half meets every one of its second half; both decide."""
    chance = np.random.default_rng(seed)
    half = people // 2
    rows = [
        (cohort, cohort * people + one, cohort * people + half + other, 1 + (one + other) % half)
        for cohort in range(cohorts)
        for one in range(half)
        for other in range(half)
    ]
    cohort, first, second, moment = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    count = len(rows)
    rater, ratee = np.r_[first, second], np.r_[second, first]
    choosy, liked = chance.normal(0, spread, (2, people * cohorts))
    label = (chance.random(2 * count) < sigmoid(choosy[rater] + liked[ratee])) * 1.0
    return Decisions(
        np.r_[cohort, cohort], rater, ratee, np.r_[moment, moment], label, np.r_[count : 2 * count, :count]
    )


def events(path: Path, decisions: Decisions, seed: int, **planted: np.ndarray) -> Path:
    """Write decisions as the experiment's file, answers at random; `planted` columns replace or join."""
    chance = np.random.default_rng(seed)
    people = decisions.people
    answers = {name: chance.integers(1, 11, people)[decisions.rater] for name in ANSWERS}
    cohort_size = np.bincount(decisions.cohort[np.unique(decisions.rater, return_index=True)[1]]).max()
    answers["gender"] = (decisions.rater % cohort_size >= cohort_size // 2) * 1
    columns = {
        "iid": decisions.rater + 1,
        "pid": decisions.ratee + 1,
        "wave": decisions.cohort + 1,
        "order": decisions.moment,
        "dec": decisions.label.astype(np.int64),
        **answers,
        **planted,
    }
    pl.DataFrame(columns).write_csv(path)
    return path


@pytest.fixture(name="make_decisions")
def fixture_make_decisions() -> MakeDecisions:
    return made


@pytest.fixture(name="many_evenings", scope="session")
def fixture_many_evenings() -> Decisions:
    """Enough people for a correlation to mean something."""
    return made(9, people=24, cohorts=14, spread=1.0)


@pytest.fixture(name="write_events", scope="session")
def fixture_write_events() -> Callable[..., Path]:
    return events
