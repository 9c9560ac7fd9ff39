"""Rows for training are as things stood before each decision, and what knows more is caught (ML-1, ML-2,
MATCH-3).
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from deciding import Town

from matching import dataset, leaks
from matching.dataset import Sources
from matching.decisions import LeakError
from matching.pair_features import FEATURES
from matching.tally import PRIOR, RATES, Tally


@pytest.fixture(scope="module")
def town() -> Town:
    return Town.made(60, 1)


@pytest.fixture(scope="module")
def sources(town) -> Sources:
    return town.sources(1200)


def test_rates_are_those_of_the_tallies_before_each_decision(sources):
    made = dataset.features(sources)
    tallies: dict[str, Tally] = {}
    for place, row in enumerate(sources.log.iter_rows(named=True)):
        sides = {side: tallies.setdefault(row[side], Tally()) for side in ("rater", "ratee")}
        for side, tally in sides.items():
            found = [made[f"{side}_{name}"][place] for name in RATES]
            assert found == pytest.approx(tally.features(PRIOR), abs=1e-12)
        rate = sides["rater"].give_rate(PRIOR)
        sides["rater"].gave(row["likes"])
        sides["ratee"].got(row["likes"], rate)


def test_a_profile_is_what_was_said_before_the_decision(sources):
    log = sources.log[:3]
    rater, ratee = log["rater"][2], log["ratee"][2]
    xid = log["xid"][2]
    rows = [
        (rater, xid - 2, "man", [], ["chess"], "{}", None),
        (ratee, xid - 1, "woman", [], ["chess", "jazz"], "{}", None),
        (ratee, xid, "other", [], [], "{}", None),
    ]
    said = pl.DataFrame(rows, schema=dataset.SAID, orient="row")
    built = dataset.build(replace(sources, log=log, said=said), dataset.features, first=2)
    assert built["shared_interests"].to_list() == [1]
    assert (built["rater_gender"].to_list(), built["ratee_gender"].to_list()) == (["man"], ["woman"])
    born = sources.born.filter(pl.col("user") == rater)["born"][0]
    at = log["at"][2]
    assert built["rater_age"][0] == at.year - born.year - ((at.month, at.day) < (born.month, born.day))
    silent = dataset.features(replace(sources, log=log, said=said[:0]))
    assert silent["shared_interests"].to_list() == [0, 0, 0]
    assert np.isnan(silent["value_likeness"].to_numpy()).all()


def test_the_same_logs_give_the_same_bytes(sources):
    first = dataset.write(dataset.build(sources, dataset.features, first=200))
    again = dataset.write(dataset.build(sources, dataset.features, first=200))
    assert first == again
    assert dataset.read(first).columns == [*dataset.KEYS, *FEATURES, *dataset.AUDIT, dataset.LABEL]
    assert len(dataset.read(first)) == 1000


def test_the_engines_own_features_know_nothing_they_may_not(sources):
    leaks.check(dataset.features, sources, seed=1)


def with_column(name, make):
    def columns(sources: Sources) -> pl.DataFrame:
        label = sources.log["likes"].cast(pl.Float64)
        return dataset.features(sources).with_columns(make(sources.log, label).alias(name))

    return columns


def over(log, values, what):
    return (
        pl.DataFrame({"by": log[what], "value": values}).select(pl.col("value").sum().over("by")).to_series()
    )


PLANTED = {
    "the_label": lambda _log, label: label,
    "the_label_upside_down_and_noisy": lambda log, label: (
        1 - label + np.random.default_rng(3).normal(0, 3, len(log))
    ),
    "all_that_the_ratee_ever_gets": lambda log, label: over(log, label, "ratee"),
    "leave_one_out": lambda log, label: over(log, label, "ratee") - label,
    "how_often_asked_in_the_end": lambda log, label: over(log, label * 0 + 1, "ratee"),
    "matched_later": lambda _log, label: label.shift(-1).fill_null(0),
    "rate_with_this_one": lambda log, label: (
        pl.DataFrame({"by": log["ratee"], "v": label}).select(pl.col("v").cum_sum().over("by")).to_series()
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_is_named(sources, name):
    with pytest.raises(LeakError, match=f"'{name}'"):
        leaks.check(with_column(name, PLANTED[name]), sources, seed=1)


def test_what_was_written_into_the_sources_as_an_outcome_is_a_telltale(sources):
    """Whoever will be liked said so beforehand: no recomputation shows it, one look at the column does."""
    written = sources.log["likes"].cast(pl.Float64) + 10 * (pl.int_range(len(sources.log), eager=True) % 7)
    columns = with_column("written", lambda _log, label: written[: len(label)])
    with pytest.raises(LeakError, match=r"'written' alone tells the decision"):
        leaks.check(columns, sources, seed=1)


def test_one_good_feature_is_no_telltale(town, sources):
    odds = [
        town.log_odds(town.ids.index(row["rater"]), town.ids.index(row["ratee"]))
        for row in sources.log.iter_rows(named=True)
    ]
    leaks.check(with_column("truth", lambda _log, label: pl.Series(odds)[: len(label)]), sources, seed=1)
