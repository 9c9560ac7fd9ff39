"""What `hereabouts models` says of versions that can't serve any more, and of one that should not (ML-11)."""

from cluster.job_commands import _of, _table
from storage import registry


async def test_a_champion_that_somebody_was_erased_from_and_pruned_versions_are_said(pool):
    async with pool.acquire() as connection:
        for number in range(3):
            await registry.add_version(connection, "people", b"%d" % number, lineage={}, metrics={"auc": 0.7})
        await registry.set_alias(connection, "people", "champion", "people-2", why="forced", moved_by="ann")
        before = _table({"people": await _of(connection, "people")})
        await connection.execute("UPDATE models SET erased_at = '2026-11-26' WHERE version = 'people-2'")
        await connection.execute("UPDATE models SET pruned_at = '2026-11-27' WHERE version = 'people-1'")
        after = _table({"people": await _of(connection, "people")}).splitlines()
    assert "erased" not in before
    assert "pruned" not in before
    assert after[0] == "people: people-2 serves"
    assert "was erased on 2026-11-26: train again" in after[1]
    assert [line.split("  ")[1] for line in after[2:]] == [
        "people-3",
        "people-2 [champion] [trained on somebody erased since]",
        "people-1 [pruned 2026-11-27]",
    ]
