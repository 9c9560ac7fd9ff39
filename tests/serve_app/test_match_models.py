"""Models change while the Matcher answers: nothing dropped, nothing mixed (ML-6, MATCH-17)."""

import asyncio

import asyncpg
import numpy as np
import pytest
from match_people import NOW, matcher, person

from actors import metrics
from identity.connections import Action
from identity.pairs import act
from matching import artefact, rank
from matching.answers import BASELINE
from matching.artefact import PeopleModel
from matching.pair_features import FEATURES, HISTORY
from matching.tally import PRIOR
from storage import registry
from storage.outbox import CHANNEL


@pytest.fixture(scope="module")
def artefacts():
    """Two models that say different things."""

    def made(sign):
        chance = np.random.default_rng(0)
        rows = chance.normal(size=(400, len(FEATURES)))
        shared = rows[:, FEATURES.index("shared_interests")]
        labels = (sign * shared + 0.3 * chance.normal(size=400) > 0).astype(float)
        fitted = rank.fit(rows, labels, HISTORY, seed=1)
        return artefact.write(PeopleModel(fitted, FEATURES, PRIOR, artefact.references_of(FEATURES, rows)))

    return made(1), made(-1)


async def register(pool, stored):
    async with pool.acquire() as connection:
        return await registry.add_version(connection, "people", stored, lineage={}, metrics={})


async def point(pool, alias, version):
    async with pool.acquire() as connection:
        await registry.set_alias(connection, "people", alias, version, why="forced", moved_by="test")


def swaps(result):
    return metrics.counter("match_model_swaps", result=result).n


def scores(answer):
    return {row.user: row.score for row in answer.rows}


async def asked_for(service, version, viewer):
    """Back when this version answers."""
    async with asyncio.timeout(10):
        while (await service.recommend(viewer, [], 5)).model != version:
            await asyncio.sleep(0.01)


async def test_a_swap_under_load_drops_nothing_and_mixes_nothing(pool, database_url, artefacts):
    viewers = [await person(pool, interests=["jazz", "tea"][: n % 3]) for n in range(12)]
    one, other = [await register(pool, stored) for stored in artefacts]
    await point(pool, "champion", one)
    told = []
    listener = await asyncpg.connect(database_url)
    await listener.add_listener(CHANNEL, lambda *said: told.append(said[3]))
    async with matcher(database_url) as service:
        expected = {}
        for version in (one, other):
            await point(pool, "champion", version)
            await asked_for(service, version, viewers[0])
            expected[version] = {
                viewer: scores(await service.recommend(viewer, [], 20)) for viewer in viewers
            }
        assert expected[one] != expected[other]
        seen, wrong, is_over = [], [], asyncio.Event()

        async def ask(viewer):
            while not is_over.is_set():
                answer = await service.recommend(viewer, [], 20)
                seen.append(answer.model)
                if scores(answer) != expected[answer.model][viewer]:
                    wrong.append((answer.model, viewer))
                await asyncio.sleep(0.002)

        asking = [asyncio.create_task(ask(viewer)) for viewer in viewers[:5]]
        for version in (one, other, one):
            await point(pool, "champion", version)
            await asked_for(service, version, viewers[0])
        is_over.set()
        await asyncio.gather(*asking)
        assert set(seen) == {one, other}
        assert not wrong
        changes = [version for version, before in zip(seen[1:], seen, strict=False) if version != before]
        assert changes == [one, other, one], "each answer is of the old or of the new, never back and forth"
    await listener.close()
    assert [said for said in told if said.startswith("matcher:")][-3:] == [
        f"matcher:{version}" for version in (one, other, one)
    ]


async def test_a_broken_model_leaves_the_old_one_serving_and_is_reported(pool, database_url, artefacts):
    viewer = await person(pool)
    good, broken = await register(pool, artefacts[0]), await register(pool, artefacts[1][:-40])
    await point(pool, "champion", good)
    async with matcher(database_url) as service:
        assert service.model() == good
        refused = swaps("refused")
        await point(pool, "champion", broken)
        await service.models.follow(service._pool)
        assert (await service.recommend(viewer, [], 5)).model == good
        assert swaps("refused") == refused + 1
        await service.models.follow(service._pool)
        assert swaps("refused") == refused + 1, "it is not tried over and over"
        async with pool.acquire() as connection:
            await registry.rollback(connection, "people", moved_by="test")
        await service.models.follow(service._pool)
        assert service.model() == good
        await point(pool, "champion", None)
        await service.models.follow(service._pool)
        assert service.model() == BASELINE


async def test_a_shadow_is_scored_and_never_shown(pool, database_url, artefacts):
    viewer, other, *_ = [await person(pool) for _ in range(3)]
    await act(pool, other, viewer, Action.REQUEST, NOW)
    version = await register(pool, artefacts[1])
    await point(pool, "shadow", version)
    gaps = metrics.histogram("match_shadow_gap")
    before = sum(gaps.buckets)
    async with matcher(database_url) as service:
        for alias in ("champion", "shadow", "challenger"):
            assert (await service.recommend(viewer, [], 5, alias)).model == BASELINE
        async with asyncio.timeout(10):
            while sum(gaps.buckets) == before:
                await asyncio.sleep(0.01)
        await point(pool, "challenger", version)
        await service.models.follow(service._pool)
        assert (await service.recommend(viewer, [], 5, "challenger")).model == version
        assert (await service.recommend(viewer, [], 5)).model == BASELINE
