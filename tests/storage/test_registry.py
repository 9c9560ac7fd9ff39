"""Versions of models, aliases and their moves (ML-5, ML-6, ML-11)."""

import asyncpg
import pytest

from storage import registry
from storage.outbox import CHANNEL
from storage.registry import BASELINE, RegistryError

YES, NO = {"promote": True, "objections": []}, {"promote": False, "objections": ["ece 0.200 > 0.1"]}


async def add(connection, stored=b"m", **more):
    return await registry.add_version(
        connection, "people", stored, lineage={"seed": 1}, metrics={"auc": 0.7}, **more
    )


@pytest.fixture
async def connection(pool):
    async with pool.acquire() as opened:
        yield opened


async def test_versions_are_numbered_and_keep_what_they_were_made_of(connection):
    first, second = await add(connection, b"one"), await add(connection, b"two", card={"for": "x"})
    assert (first, second) == ("people-1", "people-2")
    newest, oldest = await registry.versions(connection, "people")
    assert (newest.version, newest.card, newest.lineage) == (second, {"for": "x"}, {"seed": 1})
    assert await registry.blob(connection, oldest.blob_sha256) == b"one"
    assert await registry.names(connection) == ["people"]
    assert await registry.champion(connection, "people") is None
    assert await registry.put_blob(connection, b"one") == oldest.blob_sha256


async def test_the_gates_no_stands_unless_somebody_insists_and_that_is_kept(connection):
    version = await add(connection)
    with pytest.raises(RegistryError, match=r"ece 0\.200"):
        await registry.promote(connection, "people", version, NO, moved_by="job")
    await registry.promote(connection, "people", version, NO, moved_by="ann", forced=True)
    (move,) = await registry.moves(connection, "people")
    assert (move.why, move.moved_by, move.verdict) == ("forced", "ann", NO)
    assert (await registry.champion(connection, "people")).aliases == ("champion",)


async def test_a_rollback_goes_back_one_champion_at_a_time_to_the_baseline(connection):
    for _ in range(3):
        await registry.promote(connection, "people", await add(connection), YES, moved_by="job")
    await registry.promote(connection, "people", "people-1", YES, moved_by="job")
    back = [await registry.rollback(connection, "people", moved_by="ann") for _ in range(4)]
    assert back == ["people-3", "people-2", "people-1", BASELINE]
    assert await registry.champion(connection, "people") is None
    with pytest.raises(RegistryError, match="baseline"):
        await registry.rollback(connection, "people", moved_by="ann")
    await registry.promote(connection, "people", "people-3", YES, moved_by="job")
    assert await registry.rollback(connection, "people", moved_by="ann") == BASELINE


async def test_a_move_is_told_at_commit_and_no_move_is_not(connection, database_url):
    version, heard = await add(connection), []
    listener = await asyncpg.connect(database_url)
    await listener.add_listener(CHANNEL, lambda *said: heard.append(said[-1]))
    for _ in range(2):
        await registry.set_alias(connection, "people", "shadow", version, why="try", moved_by="ann")
    await listener.execute("SELECT 1")
    await listener.close()
    assert heard == ["model:people"]
    assert (await registry.aliased(connection, "people", "shadow")).version == version


async def test_what_was_made_of_the_erased_is_neither_kept_nor_put_to_serve(connection):
    await connection.execute(
        "INSERT INTO datasets (sha256, name, from_offset, to_offset, row_count, spec) "
        "VALUES ('d', 'people', '0.0', '9.9', 1, '{}')"
    )
    version, other = await add(connection, dataset_sha256="d"), await add(connection, b"other")
    for each in (version, other):
        await registry.promote(connection, "people", each, YES, moved_by="job")
    await connection.execute("UPDATE datasets SET erased_at = now()")
    with pytest.raises(RegistryError, match="erased"):
        await add(connection, dataset_sha256="d")
    await connection.execute("UPDATE models SET erased_at = now() WHERE dataset_sha256 = 'd'")
    with pytest.raises(RegistryError, match="erased"):
        await registry.promote(connection, "people", version, YES, moved_by="job")
    assert await registry.rollback(connection, "people", moved_by="ann") == BASELINE


async def test_an_unknown_version_is_refused(connection):
    with pytest.raises(RegistryError, match="people-9"):
        await registry.set_alias(connection, "people", "champion", "people-9", why="x", moved_by="ann")
