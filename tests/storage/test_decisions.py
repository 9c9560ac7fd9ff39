"""The log of decisions is read in the order of commits: nothing is missed or seen twice (ML-12)."""

import asyncpg

from storage import decisions
from storage.ids import new_id
from storage.offsets import Offset


async def person(connection) -> str:
    user = new_id()
    await connection.execute(
        "INSERT INTO users (id, handle, birth_date) VALUES ($1, $2, '1990-01-01')", user, f"u{user[-12:]}"
    )
    return user


async def test_a_reader_waits_for_what_may_still_come_before(pool, database_url):
    async with pool.acquire() as connection:
        people = [await person(connection) for _ in range(3)]
    slow = await asyncpg.connect(database_url)
    begun = slow.transaction()
    await begun.start()
    now = await slow.fetchval("SELECT now()")
    await decisions.lock_both(slow, people[0], people[1])
    await decisions.append(slow, people[0], people[1], likes=True, at=now)
    async with pool.acquire() as connection:
        async with connection.transaction():
            await decisions.lock_both(connection, people[2], new_id())
            await decisions.append(connection, people[2], people[1], likes=False, at=now, model="people-1")
        assert await decisions.read(connection, Offset(), 10) == []
        await begun.commit()
        await slow.close()
        rows = await decisions.read(connection, Offset(), 10)
        assert [(row.rater, row.likes, row.model) for row in rows] == [
            (people[0], True, None),
            (people[2], False, "people-1"),
        ]
        assert await decisions.read(connection, rows[0].offset, 10) == rows[1:]
        assert await decisions.read(connection, Offset.parse(str(rows[1].offset)), 10) == []


async def test_a_tally_is_kept_as_it_was_saved(pool):
    async with pool.acquire() as connection:
        one = await person(connection)
        row = decisions.TallyRow(3, 2, 5, 1, -0.25)
        for each in (decisions.TallyRow(1), row):
            await decisions.save_tally(connection, one, each)
        assert await decisions.tallies(connection, [one, new_id()]) == {one: row}
