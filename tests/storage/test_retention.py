"""Which bytes of models and datasets stay, and that nothing goes that somebody needs (ML-5, ML-11)."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from storage import datasets, jobs, registry
from storage.jobs import StepRow
from storage.offsets import Offset
from storage.registry import PrunedError, RegistryError
from storage.retention import MOVED_WITHIN, ROLLBACKS, Keep, prune

YES = {"promote": True, "objections": []}
KEEP = Keep(versions=2, age=timedelta(days=30))
NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=40)
"""When all that a test makes is older than what is kept for its age."""


@pytest.fixture
async def connection(pool):
    async with pool.acquire() as opened:
        yield opened


async def version(connection, stored, dataset=None, name="people"):
    return await registry.add_version(
        connection, name, stored, lineage={}, metrics={"auc": 0.7}, dataset_sha256=dataset
    )


async def a_dataset(connection, stored):
    async with connection.transaction():
        return await datasets.add(
            connection, stored, name="people", from_offset=Offset(), to_offset=Offset(9, 9), row_count=3,
            spec={}, people=[],
        )  # fmt: skip


async def there(connection):
    """Versions and datasets whose bytes are there."""
    rows = await connection.fetch(
        "SELECT version FROM models m JOIN blobs b ON b.sha256 = m.blob_sha256 UNION ALL "
        "SELECT sha256 FROM datasets JOIN blobs USING (sha256)"
    )
    return {row[0] for row in rows}


async def until_it_waits(connection, other):
    """Until `connection` stands before a lock, as `other` sees it."""
    async with asyncio.timeout(30):
        while not await other.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = $1)",
            connection.get_server_pid(),
        ):
            await asyncio.sleep(0.01)


async def test_what_serves_may_serve_again_or_is_new_stays_and_the_rest_goes(connection):
    made = [await version(connection, f"m{number}".encode()) for number in range(12)]
    for each in made[:7]:
        await registry.promote(connection, "people", each, YES, moved_by="job")
    await registry.set_alias(connection, "people", "shadow", made[7], why="try", moved_by="ann")
    await registry.set_alias(connection, "people", "challenger", made[8], why="try", moved_by="ann")
    done = await prune(connection, KEEP, NOW)
    assert set(done.models) == {made[9]}, "everything else is new, has an alias, or had one lately"
    done = await prune(connection, KEEP, NOW + MOVED_WITHIN + timedelta(days=1))
    kept = {*made[10:], made[6], *made[6 - ROLLBACKS : 6], made[7], made[8]}
    assert set(done.models) == {*made} - kept - {made[9]}
    assert done.freed_bytes == sum(len(f"m{number}") for number in (0, 1, 2, 9))
    assert await there(connection) == kept
    gone = await registry.find(connection, "people", made[0])
    assert (gone.pruned_at is not None, gone.metrics) == (True, {"auc": 0.7}), "what it was stays said"
    with pytest.raises(RegistryError, match="pruned"):
        await registry.promote(connection, "people", made[0], YES, moved_by="job")


async def test_a_rollback_after_pruning_leads_to_models_that_are_there(connection):
    made = [await version(connection, f"m{number}".encode()) for number in range(8)]
    for each in made:
        await registry.promote(connection, "people", each, YES, moved_by="job")
    await prune(connection, Keep(1, KEEP.age), LATER)
    back = [await registry.rollback(connection, "people", moved_by="ann") for _ in range(ROLLBACKS + 1)]
    assert back == [made[6], made[5], made[4], registry.BASELINE]


async def test_names_do_not_share_their_places(connection):
    people = [await version(connection, f"m{number}".encode()) for number in range(3)]
    heads = [await version(connection, f"h{number}".encode(), name="emotion") for number in range(3)]
    done = await prune(connection, KEEP, LATER)
    assert set(done.models) == {people[0], heads[0]}


async def test_what_two_versions_share_stays_while_one_of_them_needs_it(connection):
    old, *new = [
        await version(connection, b"same"),
        await version(connection, b"x"),
        await version(connection, b"same"),
    ]
    done = await prune(connection, KEEP, LATER)
    assert done.models == (old,)
    assert await there(connection) >= set(new)


async def test_datasets_stay_with_the_models_made_of_them_and_while_they_are_new(connection):
    used, unused, young = [await a_dataset(connection, each) for each in (b"used", b"unused", b"young")]
    await version(connection, b"model", used)
    await connection.execute("UPDATE datasets SET created_at = $2 WHERE sha256 = $1", young, LATER)
    done = await prune(connection, KEEP, LATER)
    assert done.datasets == (unused,)
    assert (await datasets.load(connection, used))[1] == b"used"
    with pytest.raises(PrunedError, match="build the features again"):
        await datasets.load(connection, unused)
    assert await a_dataset(connection, b"unused") == unused, "made again it is there again"
    assert (await datasets.load(connection, unused))[1] == b"unused"


async def test_who_was_erased_is_not_kept_in_a_model_that_cannot_serve(connection):
    marked, serving = await version(connection, b"marked"), await version(connection, b"serving")
    await registry.promote(connection, "people", serving, YES, moved_by="job")
    await connection.execute("UPDATE models SET erased_at = now()")
    done = await prune(connection, KEEP, NOW)
    assert done.models == (marked,), "though it is new"
    assert "train again" in registry.attention(await registry.champion(connection, "people"))


async def begun(connection, parameters, *steps, state=None):
    run = await jobs.start(connection, "train", {"asked": parameters, "settled": {}})
    for name, done in steps:
        await jobs.save_step(connection, run.id, name, done)
    if state is not None:
        await jobs.finish(connection, run.id, state, {})
    return run


async def test_nothing_goes_that_a_run_names_which_goes_on_or_may(connection, database_url):
    named, stepped, both = [await a_dataset(connection, each) for each in (b"named", b"stepped", b"both")]
    made = [await version(connection, f"m{number}".encode()) for number in range(4)]
    fitted = await registry.put_blob(connection, b"half made")
    held = await begun(connection, {"dataset": named, "model": made[0]}, ("fit", StepRow(fitted, {})))
    await begun(connection, {"seed": 3}, ("dataset", StepRow(None, {"dataset": stepped})))
    await begun(connection, {"seed": 4}, ("dataset", StepRow(None, {"dataset": both})), state="done")
    other = await asyncpg.connect(database_url)
    async with jobs.held(other, "train", json.dumps(held.parameters["asked"], sort_keys=True)):
        await connection.execute("UPDATE datasets SET created_at = $1", NOW - timedelta(days=60))
        done = await prune(connection, KEEP, NOW)
        assert (set(done.datasets), set(done.models), done.steps) == ({both}, {made[1]}, 0)
        done = await prune(connection, KEEP, LATER)
        assert set(done.datasets) == {stepped}, "left by its process, and long ago"
        assert (await jobs.step(connection, held.id, "fit")).blob_sha256 == fitted
        assert await registry.blob(connection, fitted) == b"half made"
    await other.close()
    done = await prune(connection, KEEP, LATER)
    assert (set(done.datasets), set(done.models), done.steps) == ({named}, {made[0]}, 1)
    assert await registry.blob(connection, fitted) is None


async def test_a_run_that_begins_meanwhile_waits_and_one_prunes_at_a_time(connection, database_url):
    unused = await a_dataset(connection, b"unused")
    other, third = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    pruning = other.transaction()
    await pruning.start()
    assert (await prune(other, KEEP, LATER)).datasets == (unused,)
    assert await prune(connection, KEEP, LATER) is None
    begins = asyncio.create_task(begun(third, {"dataset": unused}))
    while not await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = $1)",
        third.get_server_pid(),
    ):
        assert not begins.done()
        await asyncio.sleep(0.01)
    await pruning.commit()
    await begins
    with pytest.raises(PrunedError):
        await datasets.load(third, unused)
    for each in (other, third):
        await each.close()


async def test_bytes_that_are_stored_again_are_not_removed_before_they_are_named(connection, database_url):
    old = await version(connection, b"same", name="old")
    for _ in range(2):
        await version(connection, b"other", name="old")
    other = await asyncpg.connect(database_url)
    storing = other.transaction()
    await storing.start()
    added = await version(other, b"same", name="new")
    pruning = asyncio.create_task(prune(connection, KEEP, LATER, 60.0))
    await until_it_waits(connection, other)
    await other.execute("UPDATE blobs SET created_at = $1", LATER)  # as it is at that time
    await storing.commit()
    assert (await pruning).models == (old,)
    assert added in await there(connection)
    await other.close()


async def test_an_erasure_at_the_same_time_and_pruning_do_not_wait_for_each_other(connection, database_url):
    marked = await a_dataset(connection, b"marked")
    old = await version(connection, b"old", marked)
    for number in range(2):
        await version(connection, b"%d" % number)
    other = await asyncpg.connect(database_url)
    erasing = other.transaction()
    await erasing.start()
    await other.execute("UPDATE datasets SET erased_at = now()")
    pruning = asyncio.create_task(prune(connection, KEEP, LATER, 60.0))
    await until_it_waits(connection, other)
    await other.execute("UPDATE models SET erased_at = now() WHERE dataset_sha256 = $1", marked)
    await erasing.commit()
    assert (await pruning).models == (old,)
    await other.close()
