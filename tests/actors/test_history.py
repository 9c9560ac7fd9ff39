"""The history of positions is stored once a minute and not lost with a shard (GEO-24)."""

import contextlib

import numpy as np
import pytest

from actors import messages as wire
from actors.history_keeping import HistoryKeeping
from actors.placement import slot_of
from actors.protocol import EngineError
from identity.seals import Seal
from identity.trails import TRAIL, TrailBook, by_person
from storage import positions, trails
from storage.ids import new_id
from storage.positions import open_valkey

BERLIN = (52.5200, 13.4050)


@pytest.fixture
def book(small):
    return TrailBook(Seal(bytes.fromhex(small.shards[0].config.places_key)))


async def history(small, book, user):
    async with small.pool.acquire() as connection:
        found = await book.read(connection, user, 0, 2**53, (-1, 0), 10_000)
    return found["t_ms"].tolist()


def host(small, user):
    return small.shards[small.router.shard_of(slot_of("user", user))].hosts["user"]


async def move(small, user, t_ms, lat=BERLIN[0]):
    return await small.ask(wire.Position(0, user, lat, BERLIN[1], 5.0, t_ms))


async def test_a_killed_shard_s_last_minute_is_stored_by_the_next_one_and_read_once(small, book):
    user = await small.person()
    start_ms = small.shards[0].now_ms() - 60_000
    for step in range(3):
        await move(small, user, start_ms + 1_000 * step)
    await host(small, user).history.store()
    for step in range(3, 6):
        await move(small, user, start_ms + 1_000 * step)
    number = small.router.shard_of(slot_of("user", user))
    await small.shards.pop(number).stop()
    await small.start_shard(number)
    await move(small, user, start_ms + 6_000)
    assert await small.ask(wire.TrailQuery(0, user)) == {}
    assert await history(small, book, user) == [start_ms + 1_000 * step for step in range(7)]
    assert await small.pool.fetchval("SELECT count(*) FROM trails WHERE user_id = $1", user) == 2


async def test_a_jump_that_is_confirmed_and_a_late_fix_are_history_and_a_glitch_is_none(small, book):
    user = await small.person()
    now_ms = small.shards[0].now_ms() - 60_000
    await move(small, user, now_ms)
    for t_ms, lat in ((1_000, 10.0), (2_000, BERLIN[0]), (3_000, 20.0), (-9_000, BERLIN[0])):
        with contextlib.suppress(EngineError):  # held, or late
            await move(small, user, now_ms + t_ms, lat)
    assert await move(small, user, now_ms + 4_000, 20.0) == {"ok": True}
    await small.ask(wire.TrailQuery(0, user))
    assert await history(small, book, user) == [now_ms + t_ms for t_ms in (-9_000, 0, 2_000, 3_000, 4_000)]


async def test_forgetting_leaves_nothing_to_come_back(small, book, valkey_url):
    user = await small.person()
    now_ms = small.shards[0].now_ms() - 60_000
    await move(small, user, now_ms)
    slot = slot_of("user", user)
    assert await small.ask(wire.ForgetPositions(0, user)) == {}
    activation = small.shards[small.router.shard_of(slot)].activations["user", user]
    state = activation.state
    assert (state.last, state.shown, state.announced) == (None, None, {})
    valkey = open_valkey(valkey_url)
    assert not await positions.load_all(valkey, [(slot, user)])
    assert user.encode() not in (await positions.read_logs(valkey, {slot}))["user"]
    await valkey.aclose()
    number = small.router.shard_of(slot)
    await small.shards.pop(number).stop()
    await small.start_shard(number)
    await small.ask(wire.TrailQuery(0, user))
    assert await history(small, book, user) == []
    state = small.shards[number].activations["user", user].state
    assert state.last is None
    assert await move(small, user, now_ms - 1_000) == {"ok": True}


async def test_what_was_taken_before_the_erasure_is_stored_no_more(small, book):
    user, other = await small.person(), await small.person()
    logged = np.zeros(2, dtype=positions.LOGGED)
    logged["user"], logged["t_ms"] = [user.encode(), other.encode()], 5_000
    logged["at_ms"], logged["seq"] = 5_000, 1
    rows = list(book.rows(by_person(logged)))
    async with small.pool.acquire() as connection:
        await trails.erase(connection, user, 5_000)
        await trails.add(connection, rows)
    assert await history(small, book, user) == []
    assert await history(small, book, other) == [5_000]


async def test_old_rows_go_and_where_none_is_wanted_none_is_kept(small, book):
    user = await small.person()
    now_ms = small.shards[0].now_ms() - 60_000
    await move(small, user, now_ms)
    keeping = host(small, user).history
    await keeping.store()
    async with small.pool.acquire() as connection:
        await trails.remove_old(connection, now_ms)
        assert await history(small, book, user) == [now_ms]
        await trails.remove_old(connection, now_ms + 1)
    assert await history(small, book, user) == []
    shard = keeping._shard
    object.__setattr__(shard.config, "position_history_ms", 0)
    none = HistoryKeeping(shard)
    none.add(np.ones(3, dtype=positions.LOGGED))
    assert not none._rows


async def test_a_long_history_is_read_in_pages_whatever_order_it_was_stored_in(small, book):
    """More rows than one query brings, overlapping, some twice."""
    user = await small.person()
    chance = np.random.default_rng(1)
    times_ms = np.arange(1_000) * 1_000 + 1_000_000
    async with small.pool.acquire() as connection:
        for part in np.array_split(chance.permutation(times_ms), 250):
            logged = np.zeros(part.size, dtype=positions.LOGGED)
            logged["user"], logged["t_ms"], logged["seq"], logged["at_ms"] = user.encode(), part, part, 1
            await trails.add(connection, list(book.rows(logged)) * 1)
            if chance.random() < 0.2:
                await trails.add(connection, list(book.rows(logged)))
        found, after = [], (-1, 0)
        while True:
            page = await book.read(connection, user, 0, 2**53, after, 77)
            if not page.size:
                break
            found += page["t_ms"].tolist()
            after = (int(page["t_ms"][-1]), int(page["seq"][-1]))
    assert found == times_ms.tolist()
    assert TRAIL.itemsize == 44


def test_what_was_logged_is_one_row_a_person_whatever_order_it_came_in():
    seal = Seal(bytes(32))
    book = TrailBook(seal)
    people, chance = [new_id() for _ in range(50)], np.random.default_rng(2)
    logged = np.zeros(2_000, dtype=positions.LOGGED)
    which = chance.integers(50, size=2_000)
    logged["user"] = np.array([user.encode() for user in people])[which]
    logged["t_ms"], logged["at_ms"], logged["seq"] = (
        chance.integers(1_000, size=2_000),
        np.arange(2_000),
        np.arange(2_000),
    )
    ordered = by_person(logged)
    for user in people:
        own = logged["user"] == user.encode()
        assert ordered[ordered["user"] == user.encode()].tolist() == logged[own].tolist()
    rows = {row.user: row for row in book.rows(ordered)}
    assert len(list(book.rows(ordered))) == len(rows) == 50
    for user, row in rows.items():
        own = logged[logged["user"] == user.encode()]
        assert (row.from_ms, row.to_ms) == (own["t_ms"].min(), own["t_ms"].max())
        assert row.taken_ms == own["at_ms"].max()
        plain = np.frombuffer(seal.open("trails", f"{user}|{row.trail}", row.sealed), dtype=TRAIL)
        assert plain["seq"].tolist() == own["seq"].tolist()
    assert list(book.rows(by_person(logged[:0]))) == []
