"""The monitor of what serves: silent while nothing moved, and named alarms when something did (ML-10)."""

import json

import numpy as np
import pytest
from deciding import Town

from matching import artefact, dataset, rank
from matching.artefact import PeopleModel
from matching.jobs import features, monitor
from matching.jobs.command import JobError
from matching.judge import Judged
from matching.pair_features import FEATURES, HISTORY, blanked
from matching.tally import PRIOR
from storage import datasets, registry


def asked(module, *arguments):
    return (module._parser() if module is features else module.parser()).parse_args(arguments)


@pytest.fixture
async def served(pool, database_url):
    """A town, and a model fitted to its decisions so far, serving."""
    town = Town.made(60, 5)
    async with pool.acquire() as connection:
        await town.settle(connection)
        await town.decide(connection, 1_600)
    made = await features.main(database_url, asked(features))
    async with pool.acquire() as connection:
        rows = dataset.read((await datasets.load(connection, made["dataset"]))[1])
        on = Judged.of(rows)
        # Rates fill up as people decide: the later half has them as they stay.
        known = blanked(on.features[800:])
        fitted = rank.fit(known, on.labels[800:], HISTORY, seed=1)
        model = PeopleModel(fitted, FEATURES, PRIOR, artefact.references_of(FEATURES, known))
        version = await registry.add_version(
            connection, "people", artefact.write(model), lineage={"trained_to": made["to"]}, metrics={}
        )
        await registry.set_alias(connection, "people", "champion", version, why="forced", moved_by="test")
    return town


async def test_a_model_is_well_until_what_people_decide_is_another_thing(pool, database_url, served):
    async with pool.acquire() as connection:
        await served.decide(connection, 500)
    well = await monitor.main(database_url, asked(monitor, "--ece", "0.12"))
    assert well["rows"] == 500
    assert [alarm for alarm in well["alarms"] if "calibration" in alarm] == []
    assert well["coverage"] == {"people": 60, "with_list": 0, "share": 1.0}
    async with pool.acquire() as connection:
        await served.decide(connection, 1_500, lambda *_: False)
        await connection.execute(
            "INSERT INTO recommendations (user_id, kind, rank, subject_id, score, detail, model, run_id) "
            "SELECT id, 'people', 0, id, 0, $1::json, 'm', 'r' FROM users LIMIT 30",
            json.dumps({}),
        )
        await connection.execute("UPDATE models SET erased_at = now()")
    assert not any("erased" in alarm for alarm in well["alarms"])
    ill = await monitor.main(database_url, asked(monitor, "--from", well["to"], "--ece", "0.12"))
    assert any("was erased on" in alarm and "train again" in alarm for alarm in ill["alarms"])
    assert any(alarm.startswith("calibration error") for alarm in ill["alarms"])
    assert "coverage 0.500" in ill["alarms"]
    moved = set(ill["drift"]["moved"]) - set(well["drift"]["moved"])
    assert any("rate" in name for name in moved), ill["drift"]
    assert "refused" in ill
    assert np.isfinite(list(ill["drift"]["psi"].values())).all()


async def test_without_a_model_there_is_nothing_to_look_at(pool, database_url):
    assert pool is not None
    with pytest.raises(JobError, match="baseline"):
        await monitor.main(database_url, asked(monitor))
