"""Events belong to the transaction that made them true, and reach those whom they touch."""

import asyncio

import asyncpg
import pytest

from storage.ids import new_id
from storage.outbox import append_user_event, write_event


async def event(connection, touches=(), **payload):
    await write_event(connection, type="t", aggregate="room:1", payload=payload, touches=touches)


async def test_outside_a_transaction_nothing_can_be_written(pool):
    async with pool.acquire() as connection:
        with pytest.raises(AssertionError):
            await event(connection)
        with pytest.raises(AssertionError):
            await append_user_event(connection, new_id(), {"type": "x"})


async def test_a_rollback_takes_the_event_along(pool):
    async def fail():
        async with pool.acquire() as connection, connection.transaction():
            await event(connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_each_touched_actor_is_told_once_and_only_after_the_commit(pool, database_url):
    told: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(database_url)
    await listener.add_listener("hereabouts", lambda *given: told.put_nowait(given[3]))
    async with pool.acquire() as connection, connection.transaction():
        await event(connection, [("user", "b"), ("room", "a"), ("user", "b")], name="ä")
        await listener.execute("SELECT 1")
        assert told.empty()
    assert [await asyncio.wait_for(told.get(), 5) for _ in range(2)] == ["room:a", "user:b"]
    await listener.execute("SELECT 1")
    assert told.empty()
    await listener.close()
    row = await pool.fetchrow("SELECT type, version, aggregate, payload FROM outbox")
    assert tuple(row) == ("t", 1, "room:1", '{"name":"ä"}')


async def test_a_persons_stream_has_no_gaps_under_concurrency_and_rollback(pool):
    user = new_id()

    async def append(number):
        async with pool.acquire() as connection, connection.transaction():
            offset = await append_user_event(connection, user, {"type": "x", "v": 1, "number": number})
            if number % 3 == 0:
                raise ZeroDivisionError
            return offset

    outcomes = await asyncio.gather(*(append(number) for number in range(30)), return_exceptions=True)
    offsets = sorted(each for each in outcomes if isinstance(each, int))
    assert offsets == list(range(1, 21))
    stored = await pool.fetch('SELECT "offset" FROM user_events WHERE user_id = $1 ORDER BY 1', user)
    assert [row["offset"] for row in stored] == offsets
