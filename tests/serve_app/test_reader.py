"""The Reader without Ray: real heads, real registry (NLP-2, ML-6)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from heads import FINE, FOUL, offence_heads

from serve_app import reader
from serve_app.reader import ReaderConfig, ReaderService
from storage import registry

HEADS = ("offence", "sentiment")


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return offence_heads()


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[ReaderService]:
    made = ReaderService(ReaderConfig(database_url))
    await made.start()
    yield made
    await made.stop()


async def promote(pool: Any, bundle: bytes) -> str:
    async with pool.acquire() as connection:
        version = await registry.add_version(connection, "offence", bundle, lineage={}, metrics={})
        await registry.promote(connection, "offence", version, {"promote": True}, moved_by="test")
    return version


async def until_serves(service: ReaderService, versions: dict[str, str]) -> None:
    async with asyncio.timeout(10):
        while service.model() != versions:
            await asyncio.sleep(0.01)


async def test_without_a_model_nothing_is_read_and_with_one_it_is_at_once(service, pool, bundle) -> None:
    assert await service.score(list(FOUL), HEADS) == [None] * len(FOUL)
    version = await promote(pool, bundle)
    await until_serves(service, {"offence": version})
    verdicts = await service.score([FOUL[0], FINE[0], "Wo seid ihr denn alle heute"], HEADS)
    assert [each.harm is not None and each.harm > 0.5 for each in verdicts] == [True, False, False]
    assert verdicts[0].labels.keys() == {"offence.fine", "offence.offensive"}
    assert verdicts[0].models == {"offence": version}
    assert verdicts[2].abstains
    assert await service.score([FOUL[0]], ("sentiment",)) == [None], "a head without a model says nothing"
    async with pool.acquire() as connection:
        await registry.rollback(connection, "offence", moved_by="test")
    await until_serves(service, {})


async def test_models_are_swapped_under_load_and_nobody_is_dropped(service, pool, bundle) -> None:
    """Each text is read by one version or the other, and all are read."""
    first = await promote(pool, bundle)
    await until_serves(service, {"offence": first})
    seen: list[Any] = []
    ends = asyncio.Event()

    async def load() -> None:
        while not ends.is_set():
            seen.extend(await service.score([FOUL[0], FINE[0]], HEADS))

    running = [asyncio.ensure_future(load()) for _ in range(4)]
    second = await promote(pool, offence_heads(0.5))
    await until_serves(service, {"offence": second})
    await asyncio.sleep(0)
    ends.set()
    await asyncio.gather(*running)
    seen.extend(await service.score([FOUL[0]], HEADS))
    assert None not in seen
    assert {each.models["offence"] for each in seen} == {first, second}


async def test_a_version_that_can_not_be_loaded_leaves_the_one_before_it_serving(
    service, pool, bundle
) -> None:
    first = await promote(pool, bundle)
    await until_serves(service, {"offence": first})
    await promote(pool, b"not a bundle")
    async with asyncio.timeout(10):
        while not service._unfit:
            await asyncio.sleep(0.01)
    verdict = (await service.score([FOUL[0]], HEADS))[0]
    assert verdict.models == {"offence": first}


async def test_batches_are_of_eight_and_the_queue_has_a_bound(
    service, pool, bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NLP-2: what is too much is told so at once, and counted."""
    await until_serves(service, {"offence": await promote(pool, bundle)})
    sizes: list[int] = []
    score = service._score

    def watched(champions: Any, batch: list[Any]) -> Any:
        sizes.append(len(batch))
        return score(champions, batch)

    monkeypatch.setattr(service, "_score", watched)
    monkeypatch.setattr(reader, "QUEUE_LIMIT", 20)
    verdicts = await service.score([FOUL[n % 4] for n in range(30)], HEADS)
    assert [verdict is None for verdict in verdicts] == [False] * 20 + [True] * 10
    assert (max(sizes), sum(sizes)) == (8, 20)
