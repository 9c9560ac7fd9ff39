"""Shards remove what nothing needs any more, and count it (ML-5, ML-8)."""

from datetime import UTC, datetime, timedelta

from actors.metrics import counter
from actors.retention_keeping import RetentionKeeping
from storage import content, registry
from storage.content import ChoiceRow
from storage.ids import UserId


async def test_a_shard_prunes_and_counts_what_it_removed(small):
    user = UserId(await small.person())
    pool = small.shards[0].pool
    at = datetime.fromtimestamp(small.shards[0].now_ms() / 1000, UTC) - timedelta(days=2)
    async with pool.acquire() as connection:
        for number in range(small.shards[0].config.models_kept + 3):
            await registry.add_version(connection, "people", b"%d" % number, lineage={}, metrics={})
        await connection.execute("UPDATE blobs SET created_at = created_at - interval '1 day'")
        await content.add(connection, user, ChoiceRow("far", "jazz", {"far": 1.0}, [1.0], at, is_taken=False))
    before = counter("pruned", what="model").n, counter("pruned_bytes").n
    done = await RetentionKeeping(small.shards[0]).prune()
    assert (len(done.models), done.freed_bytes) == (3, 3)
    assert (counter("pruned", what="model").n - before[0], counter("pruned_bytes").n - before[1]) == (3, 3)
    async with pool.acquire() as connection:
        assert await content.tallies(connection) == {"far": (0, 1)}
    assert (await RetentionKeeping(small.shards[0]).prune()).models == ()
