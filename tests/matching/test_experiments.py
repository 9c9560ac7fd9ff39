"""Experiments on simulated people and on the engine's tables: who gets what, and what may be concluded
(ML-7).
"""

import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import numpy as np
import pytest
from deciding import BEGIN, Town

from geo.cells import cell_of
from matching.communities import communities
from matching.experiment import SRM_ALARM, sample_ratio_p
from matching.jobs import experiment
from matching.jobs.command import JobError
from matching.jobs.engine import EngineSite
from matching.trial import Outcome, Trial, least_p, report
from serve_app.trials import alias_for, variant_of
from storage import erasing_matching, experiments, positions
from storage.experiments import ExperimentError, Variant
from storage.placement import slot_of

HALVES = {"control": 1.0, "new": 1.0}


def trial(chance, clusters, size):
    """Clusters of people, each wholly in one variant, alike within."""
    variants = np.where(chance.permutation(clusters) % 2, "control", "new").repeat(size)
    return Trial([f"unit{place}" for place in np.arange(clusters).repeat(size)], variants.tolist(), HALVES)


def outcome(chance, of, clusters, size, effect=0.0):
    """What people do: what they did before, what their cluster is like, chance, and the effect."""
    before = 3 + chance.normal(0, 0.5, clusters).repeat(size) + chance.normal(0, 1, clusters * size)
    treated = np.array(of.variants) == "new"
    shared = chance.normal(0, 0.4, clusters).repeat(size)
    return Outcome(before + shared + effect * treated + chance.normal(0, 1, clusters * size), before)


def test_looking_again_and_again_at_reports_rarely_finds_what_is_not_there():
    """150 experiments without an effect, looked at 11 times each: at most 5 % are ever below .05; the
    fixed-horizon p-value of the same difference is in far more.
    """
    chance = np.random.default_rng(0)
    ever = plain = 0
    for _ in range(150):
        whole = trial(chance, 240, 1)
        values = outcome(chance, whole, 240, 1)
        said = []
        fixed = False
        for seen in range(40, 241, 20):
            part = Trial(whole.units[:seen], whole.variants[:seen], HALVES)
            figures = {"x": Outcome(values.value[:seen], values.before[:seen])}
            found = report(part, figures, effect=0.1)
            said.append(found)
            compared = found.get("outcomes", {}).get("x", {}).get("new", {})
            if "p" in compared:
                fixed |= abs(compared["difference"]) > 1.96 * compared["standard_error"]
        ever += least_p(said[-1], said).get("x", {}).get("new", 1.0) < 0.05
        plain += fixed
    assert ever / 150 <= 0.05
    assert plain / 150 > 0.12


def test_intervals_of_clusters_cover_the_truth_and_those_of_rows_do_not():
    chance = np.random.default_rng(1)
    covered = alone = 0
    for _ in range(200):
        of = trial(chance, 60, 12)
        values = outcome(chance, of, 60, 12, effect=0.3)
        found = report(of, {"x": values}, effect=0.1)["outcomes"]["x"]["new"]
        covered += abs(found["difference"] - 0.3) < 1.96 * found["standard_error"]
        rows = Trial([str(place) for place in range(720)], of.variants, HALVES)
        split = report(rows, {"x": values}, effect=0.1)["outcomes"]["x"]["new"]
        alone += abs(split["difference"] - 0.3) < 1.96 * split["standard_error"]
    assert covered / 200 == pytest.approx(0.95, abs=0.04)
    assert alone / 200 < 0.85


def test_what_was_before_narrows_the_error():
    chance = np.random.default_rng(2)
    of = trial(chance, 400, 1)
    found = report(of, {"x": outcome(chance, of, 400, 1, effect=0.5)}, effect=0.1)["outcomes"]["x"]["new"]
    assert found["standard_error"] < 0.8 * found["without_cuped"]["standard_error"]
    assert found["p"] < 0.05
    assert found["interval"][0] < 0.5 < found["interval"][1]


def test_a_lost_hundredth_of_one_variant_raises_the_alarm_and_no_loss_none():
    """Of two million people 1 % of one side never arrive: found in every one of 50 draws."""
    chance = np.random.default_rng(3)
    lost = kept = 0
    for _ in range(50):
        control = chance.binomial(2_000_000, 0.5)
        arrived = chance.binomial(2_000_000 - control, 0.99)
        lost += sample_ratio_p({"control": control, "new": arrived}, HALVES) < SRM_ALARM
        kept += sample_ratio_p({"control": control, "new": 2_000_000 - control}, HALVES) < SRM_ALARM
    assert (lost, kept) == (50, 0)


def test_a_report_on_a_split_that_is_not_sound_says_nothing_else():
    values = Outcome(np.ones(300), np.ones(300))
    uneven = Trial([str(place) for place in range(300)], ["control"] * 100 + ["new"] * 200, HALVES)
    found = report(uneven, {"x": values}, effect=0.1)
    assert found["split"]["alarm"]
    assert "outcomes" not in found
    mixed = Trial([str(place // 2) for place in range(300)], ["control", "new"] * 150, HALVES)
    assert report(mixed, {"x": values}, effect=0.1)["split"]["units_on_both_sides"] == 150
    assert "refused" in report(mixed, {"x": values}, effect=0.1)


def test_communities_are_those_who_know_each_other_and_no_larger_than_allowed():
    ring = [(base + one, base + other) for base in (0, 10, 20) for one in range(10) for other in range(one)]
    pairs = np.array([*ring, (0, 10), (10, 20)])
    found = communities(32, pairs, seed=0)
    assert [len(set(found[base : base + 10].tolist())) for base in (0, 10, 20)] == [1, 1, 1]
    assert len(set(found.tolist())) == 5
    assert max(Counter(communities(32, pairs, seed=0, most=4).tolist()).values()) <= 4
    assert communities(3, np.zeros((0, 2), dtype=np.int64), seed=0).tolist() == [0, 1, 2]


@pytest.fixture(name="town")
async def fixture_town(pool):
    town = Town.made(60, 7)
    async with pool.acquire() as connection:
        await town.settle(connection)
    return town


def asked(*arguments):
    return experiment.parser().parse_args(arguments)


@pytest.fixture(name="site")
def fixture_site(database_url):
    return EngineSite(database_url, "", 1)


BEGIN_NEW = ("begin", "--name", "new-model", "--variant", "control=1", "--variant", "new=1:challenger")


async def test_who_is_served_by_what_stays_so_and_is_noted_once(pool, site, town):
    await experiment.main(site, asked(*BEGIN_NEW, "--salt", "s"))
    async with pool.acquire() as connection:
        served = {user: await alias_for(connection, user) for user in town.ids}
        assert {await alias_for(connection, user) for user in town.ids[:5]} == {
            served[user] for user in town.ids[:5]
        }
        counts = Counter(served.values())
        assert counts["champion"] + counts["challenger"] == 60
        assert min(counts.values()) > 15
        rows = await connection.fetch("SELECT user_id::text, variant FROM experiment_exposures")
        assert {row[0]: "challenger" if row[1] == "new" else "champion" for row in rows} == served
        (at,) = await experiments.standing(connection, town.ids[0])
        kept = variant_of(at)
        other = {"control": "new", "new": "control"}[kept]
        shares = {kept: Variant(1e-9), other: Variant(1.0)}
        assert variant_of(replace(at, experiment=replace(at.experiment, variants=shares))) == kept
        with pytest.raises(JobError, match="decides what serves"):
            await experiment.main(site, asked(*BEGIN_NEW[:2], "second", *BEGIN_NEW[3:]))
        await experiment.main(site, asked("end", "--name", "new-model"))
        assert {await alias_for(connection, user) for user in town.ids} == {"champion"}
        with pytest.raises(JobError, match="no running"):
            await experiment.main(site, asked("end", "--name", "new-model"))


async def test_friends_get_one_variant_and_an_erased_person_is_in_no_experiment(pool, site, town):
    circles = [town.ids[base : base + 6] for base in range(0, 60, 6)]
    pairs = [pair for circle in circles for pair in combinations(sorted(circle), 2)]
    async with pool.acquire() as connection:
        await connection.executemany(
            "INSERT INTO connections (low_id, high_id, state) VALUES ($1, $2, 'matched')", pairs
        )
        said = await experiment.main(site, asked(*BEGIN_NEW, "--unit", "community"))
        assert (said["units"], sum(said["planned"].values())) == (10, 10)
        served = [await alias_for(connection, user) for user in town.ids]
        assert [len(set(served[base : base + 6])) for base in range(0, 60, 6)] == [1] * 10
        async with connection.transaction():
            await erasing_matching.erase(connection, town.ids[0])
        for table in ("experiment_units", "experiment_exposures"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 59


async def test_people_of_one_cell_get_one_variant_and_no_row_tells_the_cell(
    pool, database_url, valkey_url, town
):
    cities = ((52.52, 13.405), (48.137, 11.575), (50.11, 8.68))
    now_ms = int(time.time() * 1_000)
    valkey = positions.open_valkey(valkey_url)
    await valkey.flushdb()  # another test's slots may stand under later epochs
    for place, user in enumerate(town.ids[:30]):
        lat, lon = cities[place % 3]
        cell = cell_of(lat + 1e-4 * place, lon, 9)
        at = positions.Place(lat, lon, 10.0, now_ms, 1, cell, None)
        await positions.save(valkey, [positions.SlotPlaces(slot_of("user", user), 1, {user: at})])
    await valkey.aclose()
    said = await experiment.main(EngineSite(database_url, valkey_url, 1), asked(*BEGIN_NEW, "--unit", "cell"))
    assert (said["units"], said["largest_unit"]) == (3, 10)
    async with pool.acquire() as connection:
        served = [await alias_for(connection, user) for user in town.ids]
        units = {row[0] for row in await connection.fetch("SELECT DISTINCT unit FROM experiment_units")}
    assert [len(set(served[city:30:3])) for city in range(3)] == [1, 1, 1]
    assert units == {"cell-0", "cell-1", "cell-2"}
    assert len(set(served[30:])) == 2


async def test_the_report_counts_what_the_exposed_did_since_and_before(pool, site, town):
    await experiment.main(site, asked(*BEGIN_NEW))
    exposed = BEGIN + timedelta(days=2)
    async with pool.acquire() as connection:
        for place, user in enumerate(town.ids):
            variant = "new" if place % 2 else "control"
            await experiments.expose(connection, "new-model", user, user, variant)
        await connection.execute("UPDATE experiment_exposures SET at = $1", exposed)
        for _ in range(4):
            await town.decide(connection, 400)
        found = await experiments.outcomes(
            connection, "new-model", exposed + timedelta(days=9), 28 * 86_400.0
        )
        log = [tuple(row) for row in await connection.fetch(
            "SELECT rater_id::text, ratee_id::text, likes, at FROM decisions")]  # fmt: skip
    likes = {(rater, ratee): at for rater, ratee, yes, at in reversed(log) if yes}
    for row in found:
        mine = [(yes, at) for rater, _, yes, at in log if rater == row.user]
        assert row.decisions_after == sum(at >= exposed for _, at in mine)
        assert row.likes_before == sum(yes and at < exposed for yes, at in mine)
        met = [max(at, likes[ratee, rater]) for (rater, ratee), at in likes.items()
               if rater == row.user and (ratee, rater) in likes]  # fmt: skip
        assert (row.matches_after, row.matches_before) == (
            sum(at >= exposed for at in met), sum(at < exposed for at in met)
        )  # fmt: skip
    first = await experiment.main(site, asked("report", "--name", "new-model"))
    assert first["outcomes"]["likes_a_decision"]["new"]["units"] == {"control": 30, "new": 30}
    rates = {
        side: sum(row.likes_after for row in found if row.variant == side)
        / sum(row.decisions_after for row in found if row.variant == side)
        for side in HALVES
    }
    said = first["outcomes"]["likes_a_decision"]["new"]
    assert said["difference"] == pytest.approx(rates["new"] - rates["control"])
    again = await experiment.main(site, asked("report", "--name", "new-model"))
    assert again["run"] != first["run"]
    assert again["least_p"] == first["least_p"]
    async with pool.acquire() as connection:
        await connection.execute("DELETE FROM experiment_exposures WHERE variant = 'new'")
    assert "refused" in await experiment.main(site, asked("report", "--name", "new-model"))


async def test_what_can_not_be_an_experiment_is_refused_in_a_sentence(pool, site):
    for wrong in ("new", "new=x", "new=1:shadow", "new=0", "new=inf", "new=nan"):
        with pytest.raises(JobError):
            await experiment.main(site, asked(*BEGIN_NEW[:5], "--variant", wrong))
    with pytest.raises(JobError, match="no experiment"):
        await experiment.main(site, asked("report", "--name", "none"))
    async with pool.acquire() as connection:
        with pytest.raises(ExperimentError, match="unit"):
            await experiments.begin(connection, "x", "s", "city", {})
