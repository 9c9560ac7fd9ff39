"""An experiment decides by which model somebody is served, and says so by the model's version (ML-7)."""

import asyncio

import numpy as np

from matching import artefact, rank
from matching.artefact import PeopleModel
from matching.experiment import assign
from matching.pair_features import FEATURES, HISTORY
from matching.tally import PRIOR
from storage import experiments, registry
from storage.experiments import Variant

LIVE = "/v1/matches"


def made():
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(200, len(FEATURES)))
    fitted = rank.fit(rows, (rows[:, 0] > 0).astype(float), HISTORY, seed=1)
    return artefact.write(PeopleModel(fitted, FEATURES, PRIOR, artefact.references_of(FEATURES, rows)))


async def test_the_model_that_serves_is_that_of_ones_variant_until_the_experiment_ends(town, beside):
    town.app.state.services.matcher = beside
    people = await town.people(12)
    variants = {"control": Variant(1.0), "new": Variant(1.0, "challenger")}
    shares = {name: each.share for name, each in variants.items()}
    # Ids are new each time: a salt that leaves nobody's variant empty.
    salt = next(
        salt
        for salt in map(str, range(100))
        if len({assign(salt, each.user, shares) for each in people}) == 2
    )
    async with town.pool.acquire() as connection:
        new = await registry.add_version(connection, "people", made(), lineage={}, metrics={})
        await registry.set_alias(connection, "people", "challenger", new, why="trained", moved_by="test")
        await experiments.begin(connection, "new-model", salt, "person", variants)
    await beside.service.start()
    pages = await asyncio.gather(*(each.get(LIVE) for each in people))
    served = {each.user: page["model"] for each, page in zip(people, pages, strict=True)}
    assert set(served.values()) == {"baseline", new}
    assert all(item["model"] == page["model"] for page in pages for item in page["items"])
    again = await asyncio.gather(*(each.get(LIVE) for each in people))
    assert {each.user: page["model"] for each, page in zip(people, again, strict=True)} == served
    rows = await town.pool.fetch("SELECT user_id::text, variant FROM experiment_exposures")
    assert {row[0]: new if row[1] == "new" else "baseline" for row in rows} == served
    async with town.pool.acquire() as connection:
        await experiments.end(connection, "new-model")
    assert {(await each.get(LIVE))["model"] for each in people} == {"baseline"}
