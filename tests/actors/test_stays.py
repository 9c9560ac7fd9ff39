"""Stays of people on real shards: found in their order, stored once, sealed, theirs alone (GEO-19)."""

import itertools

import pytest

from actors import messages as wire
from actors.housekeeping import Housekeeping
from actors.placement import slot_of
from geo.distance import distance_m
from geo.stays import Turn
from identity.places import PlaceBook, StayChange
from identity.seals import Seal, SealBrokenError
from storage import places as table
from storage.ids import new_id

HOME = (52.5200, 13.4050)
OFFICE = (52.5400, 13.4050)
MINUTE_MS = 60_000
BOOK = PlaceBook(Seal(bytes.fromhex("5a" * 32)))


class Walker:
    """Somebody whose phone tells where they are once a minute of its own time."""

    def __init__(self, small, user):
        self.small, self.user = small, user
        self.t_ms = small.shards[0].now_ms() - 12 * 60 * MINUTE_MS

    async def stay(self, at, minutes):
        """A fix now, and one at the end of each minute."""
        for minute in range(minutes + 1):
            await self.small.ask(wire.Position(0, self.user, *at, 5.0, self.t_ms))
            self.t_ms += MINUTE_MS * (minute < minutes)

    async def go(self, start, end):
        for step in range(1, 11):
            self.t_ms += MINUTE_MS
            lat = start[0] + (end[0] - start[0]) * step / 10
            await self.small.ask(wire.Position(0, self.user, lat, start[1], 5.0, self.t_ms))

    @property
    def keeper(self):
        return self.small.shards[self.small.router.shard_of(slot_of("user", self.user))].hosts["user"]

    async def stored(self):
        """The places, once the tick was taken and nothing waits."""
        host = self.keeper
        await self.small.until(
            lambda: not host._moved and not host.stays._waiting and not host.stays._storing
        )
        await self.small.until(lambda: not host._places._unsaved and not host._places._saving)
        async with self.small.pool.acquire() as connection:
            return await BOOK.read(connection, self.user, infers=False)


def told(own):
    return [(each.place.visits, each.place.stayed_ms // MINUTE_MS, each.stay is not None) for each in own]


async def test_stays_become_places_while_they_go_on_and_when_they_end(small):
    ann = Walker(small, await small.person())
    await ann.stay(HOME, 4)
    assert await ann.stored() == []
    await ann.stay(HOME, 6)
    [home] = await ann.stored()
    assert told([home]) == [(1, 0, True)]
    assert home.stay.length_ms == 5 * MINUTE_MS
    await ann.go(HOME, OFFICE)
    await ann.stay(OFFICE, 20)
    await ann.go(OFFICE, HOME)
    await ann.stay(HOME, 30)
    await ann.go(HOME, OFFICE)
    own = await ann.stored()
    assert told(own) == [(2, 40, False), (1, 20, False)]
    assert distance_m(own[0].place.lat, own[0].place.lon, *HOME) < 20
    assert distance_m(own[1].place.lat, own[1].place.lon, *OFFICE) < 20


async def test_a_stay_outlives_its_shard(small):
    ann = Walker(small, await small.person())
    begun_ms = ann.t_ms
    await ann.stay(HOME, 10)
    await ann.stored()
    number = small.router.shard_of(slot_of("user", ann.user))
    await small.shards[number].stop()
    await small.start_shard(number)
    await ann.stay(HOME, 10)
    await ann.go(HOME, OFFICE)
    [home] = await ann.stored()
    assert told([home]) == [(1, 20, False)]
    assert home.place.first_ms == begun_ms


async def test_the_first_minutes_of_a_stay_travel_with_their_person(small):
    ann = Walker(small, await small.person())
    begun_ms = ann.t_ms
    await ann.stay(HOME, 4)
    await ann.stored()
    await small.retire_shard(small.router.shard_of(slot_of("user", ann.user)))
    await ann.stay(HOME, 2)
    [home] = await ann.stored()
    assert home.stay.since_ms == begun_ms


async def test_a_silent_person_s_stay_is_known_as_far_as_it_came(small, monkeypatch):
    async def later(*_, **__):
        """Their fixes are hours old: whoever looks at them on the way finds them silent."""

    monkeypatch.setattr(Housekeeping, "sweep", later)
    ann = Walker(small, await small.person())
    await ann.stay(HOME, 30)
    await ann.stored()
    host = ann.keeper
    activation = host._shard.activations["user", ann.user]
    host.expire(activation, activation.state.last.t_ms + 899_000)
    [home] = await ann.stored()
    assert home.stay.length_ms == 5 * MINUTE_MS
    for _ in range(2):
        host.expire(activation, activation.state.last.t_ms + 901_000)
    [home] = await ann.stored()
    assert home.stay.length_ms == 30 * MINUTE_MS


async def test_who_keeps_no_places_has_none(small):
    ann = Walker(small, await small.person())
    await small.pool.execute("UPDATE users SET keeps_places = false WHERE id = $1", ann.user)
    await ann.stay(HOME, 10)
    assert await ann.stored() == []
    await small.pool.execute("UPDATE users SET keeps_places = true WHERE id = $1", ann.user)
    await small.router.refresh("user", ann.user)
    await ann.stay(HOME, 10)
    [home] = await ann.stored()
    assert home.stay.since_ms >= ann.t_ms - 11 * MINUTE_MS
    await small.pool.execute("UPDATE users SET keeps_places = false WHERE id = $1", ann.user)
    await small.router.refresh("user", ann.user)
    assert ann.user not in ann.keeper.stays._rows


async def test_a_place_that_was_forgotten_does_not_come_back_with_the_end_of_its_stay(small):
    ann = Walker(small, await small.person())
    await ann.stay(HOME, 10)
    [home] = await ann.stored()
    async with small.pool.acquire() as connection, connection.transaction():
        assert await BOOK.remove(connection, ann.user, home.id)
        assert not await BOOK.remove(connection, new_id(), home.id)
    await small.router.refresh("user", ann.user)
    await ann.stay(HOME, 3)
    assert await ann.stored() == []
    forgotten_until_ms = ann.t_ms - 3 * MINUTE_MS
    await ann.stay(HOME, 4)
    await ann.go(HOME, OFFICE)
    [anew] = await ann.stored()
    assert anew.id != home.id
    assert anew.place.first_ms == forgotten_until_ms


async def test_a_change_that_comes_twice_is_stored_once(small, pool):
    ann = Walker(small, await small.person())
    await ann.stay(HOME, 10)
    await ann.go(HOME, OFFICE)
    [home] = await ann.stored()
    [row] = await table.stays_of(pool, ann.user)
    stay = BOOK._opened_stay(row)
    async with pool.acquire() as connection, connection.transaction():
        again = [StayChange(ann.user, turn, stay) for turn in (Turn.BEGAN, Turn.ENDED)]
        await BOOK.record(connection, again)
        assert await BOOK.read(connection, ann.user, infers=False) == [home]


async def test_an_old_owner_stores_nothing(small):
    ann = Walker(small, await small.person())
    await ann.stay(HOME, 1)
    await small.pool.execute("UPDATE slots SET epoch = epoch + 1 WHERE slot = $1", slot_of("user", ann.user))
    await ann.stay(HOME, 9)
    assert await ann.stored() == []
    assert await small.pool.fetchval("SELECT count(*) FROM stays") == 0


async def test_what_tells_where_is_sealed_to_its_row(small, pool):
    ann, bob = Walker(small, await small.person()), await small.person()
    await ann.stay(HOME, 10)
    [home] = await ann.stored()
    await pool.execute("UPDATE places SET user_id = $1", bob)
    async with pool.acquire() as connection:
        assert [own.id for own in await BOOK.read(connection, bob, infers=False)] == [home.id]
    await pool.execute("UPDATE stays SET user_id = $1", bob)
    async with pool.acquire() as connection:
        with pytest.raises(SealBrokenError):
            await BOOK.read(connection, bob, infers=False)
    other = PlaceBook(Seal(b"o" * 32))
    async with pool.acquire() as connection:
        with pytest.raises(SealBrokenError):
            await other.read(connection, bob, infers=False)


async def test_erasing_leaves_nothing(small, pool):
    ann = Walker(small, await small.person())
    await ann.stay(HOME, 10)
    await ann.stored()
    assert await table.erase(pool, ann.user) == 1
    assert await pool.fetchval("SELECT (SELECT count(*) FROM stays) + (SELECT count(*) FROM places)") == 0


@pytest.mark.parametrize(("status", "kept"), [("paused", 1), ("deleting", 0), ("erased", 0)])
async def test_places_go_with_the_account_and_wait_for_who_pauses(small, pool, status, kept):
    ann, bob = Walker(small, await small.person()), Walker(small, await small.person())
    for walker in (ann, bob):
        await walker.stay(HOME, 10)
        await walker.stored()
    await pool.execute("UPDATE users SET status = $2 WHERE id = $1", ann.user, status)
    await small.router.refresh("user", ann.user)
    counted = "SELECT count(*) FROM stays WHERE user_id = $1"
    assert [await pool.fetchval(counted, each.user) for each in (ann, bob)] == [kept, 1]
    # Of who was not active then, when the retention is looked after.
    await pool.execute("UPDATE users SET status = 'erased' WHERE id = $1", bob.user)
    await table.erase_of_the_gone(pool)
    assert await pool.fetchval("SELECT count(*) FROM places") == kept


async def test_no_more_than_the_limit_are_kept_and_named_ones_first(small, pool, monkeypatch):
    monkeypatch.setattr("identity.places.PLACES_MOST", 2)
    ann = Walker(small, await small.person())
    spots = [(52.5 + 0.01 * number, 13.4) for number in range(4)]
    await ann.stay(spots[0], 10)
    [first] = await ann.stored()
    async with pool.acquire() as connection, connection.transaction():
        assert await BOOK.label(connection, ann.user, first.id, "first")
    for start, end in itertools.pairwise(spots):
        await ann.go(start, end)
        await ann.stay(end, 10)
    own = await ann.stored()
    assert [each.place.label for each in own] == ["", "first"]
    assert distance_m(own[0].place.lat, own[0].place.lon, *spots[3]) < 20
    assert await pool.fetchval("SELECT count(*) FROM stays") == 2


@pytest.mark.parametrize(("minutes", "every_ms"), [(3, 0), (8, 0), (3, 10_000)])
async def test_a_kill_in_a_stay_changes_nothing_about_it(small, monkeypatch, minutes, every_ms):
    """Snapshot and log have what the stores have not: the first minutes, and each fix since (GEO-24)."""
    monkeypatch.setattr("actors.place_keeping.EVERY_MS", every_ms)
    calm, killed = Walker(small, await small.person()), Walker(small, await small.person())
    killed.t_ms = begun_ms = calm.t_ms
    for walker in (calm, killed):
        await walker.stay(HOME, minutes)
        await walker.stored()
    number = small.router.shard_of(slot_of("user", killed.user))
    await small.shards[number].stop()
    await small.start_shard(number)
    for walker in (calm, killed):
        await walker.stay((HOME[0] + 0.0003, HOME[1]), 10)
        await walker.go(HOME, OFFICE)
    [one], [other] = await calm.stored(), await killed.stored()
    assert one.place.first_ms == other.place.first_ms == begun_ms
    assert one.place.stayed_ms == other.place.stayed_ms
    assert one.place.square_ms == pytest.approx(other.place.square_ms, rel=1e-6)
    assert distance_m(one.place.lat, one.place.lon, other.place.lat, other.place.lon) < 0.01
