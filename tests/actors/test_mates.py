"""Matches near each other, over two shards (GEO-10)."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from sharing import BERLIN, me

from actors import messages as wire
from actors.placement import slot_of
from actors.shard import Shard
from identity.connections import Action
from identity.pairs import act
from storage import ghosts, near_episodes

MINUTE_MS = 60_001


@pytest.fixture
def clock(monkeypatch):
    """Moves all shards' clocks."""

    class Clock:
        ahead_ms = 0

        def now_ms(self):
            return time.time_ns() // 1_000_000 + self.ahead_ms

    clock = Clock()
    monkeypatch.setattr(Shard, "now_ms", lambda _: clock.now_ms())
    return clock


class Pair:
    """Two matches, the lower id first."""

    def __init__(self, small, clock, low, high):
        self.small, self.clock = small, clock
        self.low, self.high = low, high
        self.fixes = 0

    async def at(self, user, north_m):
        """The person is there, and the shards have heard of it."""
        self.fixes += 1
        t_ms = self.clock.now_ms() - 10_000 + self.fixes
        fix = wire.Position(0, user, BERLIN[0] + north_m / 111_270, BERLIN[1], 5.0, t_ms)
        try:
            await self.small.ask(fix)
        finally:
            self.clock.ahead_ms += (
                60_000 if abs(north_m) > 800 else 15_000
            )  # so that no walk of a few hundred metres is a jump

    async def told(self, user):
        events = [body for body in await me(self.small, user) if body["type"].startswith("near.")]
        return [(each["type"], each["user"], each.get("reason")) for each in events]

    async def until(self, user, wanted):
        for _ in range(300):
            if await self.told(user) == wanted:
                return
            await self.small.pool.execute("SELECT pg_sleep(0.02)")
        assert await self.told(user) == wanted

    async def both(self, *wanted):
        await self.until(self.low, [(kind, self.high, reason) for kind, reason in wanted])
        await self.until(self.high, [(kind, self.low, reason) for kind, reason in wanted])

    async def settled(self):
        """What has happened has been decided: a tick has passed, on both shards and between them."""
        await self.small.pool.execute("SELECT pg_sleep(0.35)")

    def shard_of(self, user):
        return self.small.router.shard_of(slot_of("user", user))


ENTER = ("near.enter", None)
APART = ("near.leave", "apart")
GONE = ("near.leave", "gone")


async def people(small, clock, same_shard):
    while True:
        low, high = sorted([await small.person("matches"), await small.person("matches")])
        pair = Pair(small, clock, low, high)
        if (pair.shard_of(low) == pair.shard_of(high)) == same_shard:
            break
    await small.pool.execute(
        "INSERT INTO connections (low_id, high_id, state) VALUES ($1, $2, 'matched')", low, high
    )
    return pair


@pytest.fixture(params=[True, False], ids=["one-shard", "two-shards"])
async def pair(request, small, clock):
    return await people(small, clock, request.param)


@pytest.fixture
async def far(small, clock):
    """A pair on two shards."""
    return await people(small, clock, same_shard=False)


@pytest.mark.parametrize("mover", ["low", "high"])
async def test_both_are_told_once_of_an_episode_whoever_moves(pair, mover):
    stays, moves = (pair.low, pair.high) if mover == "high" else (pair.high, pair.low)
    await pair.at(stays, 0)
    await pair.at(moves, 2_000)
    await pair.at(moves, 900)
    await pair.at(moves, 230)
    await pair.settled()
    assert await pair.told(pair.low) == []
    await pair.at(moves, 190)
    await pair.both(ENTER)
    await pair.at(moves, 30)
    await pair.at(moves, 240)
    await pair.settled()
    pair.clock.ahead_ms += MINUTE_MS
    await pair.at(moves, 262)
    await pair.both(ENTER, APART)
    entered, left = await me(pair.small, pair.low)
    assert entered.keys() == {"type", "v", "user", "at_ms"}, "no distance, no place"
    assert left.keys() == {"type", "v", "user", "at_ms", "reason"}
    pair.clock.ahead_ms += MINUTE_MS
    await pair.at(moves, 100)
    await pair.both(ENTER, APART, ENTER)


async def test_events_of_a_pair_are_a_minute_apart(pair):
    await pair.at(pair.low, 0)
    await pair.at(pair.high, 100)
    await pair.both(ENTER)
    entered_ms = (await me(pair.small, pair.low))[0]["at_ms"]
    await pair.at(pair.high, 600)
    await pair.settled()
    assert await pair.told(pair.low) == [(ENTER[0], pair.high, None)]
    await pair.at(pair.high, 120)
    pair.clock.ahead_ms += MINUTE_MS
    await pair.settled()
    await pair.small.pool.execute("SELECT pg_sleep(1.1)")
    assert await pair.told(pair.low) == [(ENTER[0], pair.high, None)], "it has changed back"
    await pair.at(pair.high, 600)
    await pair.both(ENTER, APART)
    left_ms = (await me(pair.small, pair.low))[-1]["at_ms"]
    assert left_ms - entered_ms >= 60_000
    await pair.at(pair.high, 20)
    pair.clock.ahead_ms += MINUTE_MS
    await pair.both(ENTER, APART, ENTER)
    assert (await me(pair.small, pair.low))[-1]["at_ms"] - left_ms >= 60_000


@pytest.mark.parametrize(
    ("who", "change"),
    [
        ("low", "visibility_audience = 'nobody'"), ("high", "visibility_precision = 'r7'"),
        ("high", "visibility_precision = 'hidden'"), ("low", "status = 'paused'"),
    ],
)  # fmt: skip
async def test_only_those_who_show_themselves_to_matches_are_near(far, who, change):
    user = far.low if who == "low" else far.high
    await far.at(far.low, 0)
    await far.at(far.high, 100)
    await far.both(ENTER)
    far.clock.ahead_ms += MINUTE_MS
    await far.small.pool.execute(f"UPDATE users SET {change} WHERE id = $1", user)
    await far.small.router.refresh("user", user)
    await far.both(ENTER, GONE)


@pytest.mark.parametrize("who", ["low", "high"])
async def test_a_ghost_is_near_nobody(far, who):
    user = far.low if who == "low" else far.high
    await far.at(far.low, 0)
    now = datetime.now(UTC)
    await ghosts.begin(far.small.pool, user, "frozen", now, now + timedelta(days=1))
    await far.small.router.refresh("user", user)
    await far.at(far.high, 100)
    await far.at(far.low, 20)
    await far.settled()
    assert await far.told(far.low) == await far.told(far.high) == []
    await ghosts.end(far.small.pool, user)
    await far.small.router.refresh("user", user)
    await far.both(ENTER)


@pytest.mark.parametrize("who", ["low", "high"])
async def test_whose_position_is_too_old_is_near_nobody(far, who):
    lost, other = (far.low, far.high) if who == "low" else (far.high, far.low)
    await far.at(far.low, 0)
    await far.at(far.high, 100)
    await far.both(ENTER)
    for _ in range(4):
        far.clock.ahead_ms += 400_000
        await far.at(other, 100 if other == far.high else 0)
    await far.both(ENTER, GONE)
    await far.at(lost, 50)
    far.clock.ahead_ms += MINUTE_MS
    await far.both(ENTER, GONE, ENTER)


@pytest.mark.parametrize("who", ["low", "high"])
async def test_after_a_block_nothing_is_said_at_all(far, who):
    blocker, other = (far.low, far.high) if who == "low" else (far.high, far.low)
    await far.at(far.low, 0)
    await far.at(far.high, 100)
    await far.both(ENTER)
    far.clock.ahead_ms += MINUTE_MS
    _, touches = await act(far.small.pool, blocker, other, Action.BLOCK, datetime.now(UTC))
    for kind, key in touches:
        await far.small.router.refresh(kind, key)
    await far.at(far.high, 1_000)
    await far.at(far.high, 100)
    await far.settled()
    assert [kind for kind, *_ in await far.told(far.low) + await far.told(far.high)] == ["near.enter"] * 2
    assert await far.small.pool.fetchval("SELECT is_near FROM near_episodes") is False


@pytest.mark.parametrize("who", ["low", "high"])
async def test_who_is_no_more_is_near_nobody_and_never_was(far, who):
    erased, other = (far.low, far.high) if who == "low" else (far.high, far.low)
    await far.at(far.low, 0)
    await far.at(far.high, 100)
    await far.both(ENTER)
    await far.small.pool.execute("UPDATE users SET status = 'deleting' WHERE id = $1", erased)
    await far.small.router.refresh("user", erased)
    await far.until(other, [(ENTER[0], erased, None), (GONE[0], erased, "gone")])
    assert await far.small.pool.fetchval("SELECT count(*) FROM near_episodes") == 0


async def test_the_end_of_a_match_ends_the_episode(far):
    await far.at(far.low, 0)
    await far.at(far.high, 100)
    await far.both(ENTER)
    far.clock.ahead_ms += MINUTE_MS
    _, touches = await act(far.small.pool, far.high, far.low, Action.UNMATCH, datetime.now(UTC))
    for kind, key in touches:
        await far.small.router.refresh(kind, key)
    await far.both(ENTER, GONE)
    await far.at(far.high, 90)
    await far.settled()
    await far.both(ENTER, GONE)


@pytest.mark.parametrize("whose", ["low", "high"])
async def test_an_episode_goes_on_when_a_shard_is_killed(far, whose):
    """Neither a second enter, nor a leave that nobody walked."""
    small = far.small
    await far.at(far.low, 0)
    await far.at(far.high, 100)
    await far.both(ENTER)
    number = far.shard_of(far.low if whose == "low" else far.high)
    await small.shards[number].stop()
    await small.start_shard(number)
    far.clock.ahead_ms += MINUTE_MS
    await far.at(far.low, 5)
    await far.at(far.high, 95)
    await far.settled()
    await far.both(ENTER)
    await far.at(far.high, 700)
    await far.both(ENTER, APART)
    assert await small.pool.fetchval("SELECT episode FROM near_episodes") == 1


@pytest.mark.parametrize("whose", ["low", "high"])
async def test_an_episode_is_handed_over_with_its_people(far, whose):
    await far.at(far.low, 0)
    await far.at(far.high, 100)
    await far.both(ENTER)
    await far.small.retire_shard(far.shard_of(far.low if whose == "low" else far.high))
    far.clock.ahead_ms += MINUTE_MS
    await far.at(far.high, 90)
    await far.settled()
    await far.both(ENTER)
    await far.at(far.low, -900)
    await far.both(ENTER, APART)


async def test_who_walked_away_while_the_deciding_shard_was_down_has_left(far):
    await far.at(far.low, 0)
    await far.at(far.high, 100)
    await far.both(ENTER)
    number = far.shard_of(far.low)
    await far.small.shards[number].stop()
    await far.at(far.high, 900)
    far.clock.ahead_ms += MINUTE_MS
    await far.small.start_shard(number)
    await far.at(far.low, 1)
    await far.both(ENTER, APART)


async def test_an_episode_whose_low_one_never_comes_back_ends_by_its_reminder(far):
    await far.at(far.low, 0)
    await far.at(far.high, 100)
    await far.both(ENTER)
    number = far.shard_of(far.low)
    await far.small.shards[number].stop()
    far.clock.ahead_ms += 2_000_000
    await far.small.start_shard(number)
    await far.both(ENTER, GONE)


async def test_an_episode_lasts_as_long_as_both_are_there(pair):
    """Also where a kill has made the deciding shard forget for a moment where the other one is."""
    await pair.at(pair.low, 0)
    await pair.at(pair.high, 100)
    await pair.both(ENTER)
    for number in list(pair.small.shards):
        await pair.small.shards[number].stop()
        await pair.small.start_shard(number)
    for _ in range(5):
        pair.clock.ahead_ms += 400_000
        await pair.at(pair.low, 0)
        await pair.at(pair.high, 100)
        await pair.settled()
    await pair.small.pool.execute("SELECT pg_sleep(1.1)")
    await pair.both(ENTER)


async def test_somebody_of_whom_nothing_is_heard_any_more_is_near_nobody(far):
    """News that they are gone may be lost with a link."""
    await far.at(far.low, 0)
    await far.at(far.high, 100)
    await far.both(ENTER)
    deciding = far.small.shards[far.shard_of(far.low)].hosts["user"].mates
    deciding.received = lambda _: None
    for _ in range(2):  # they are asked for, and do not answer
        far.clock.ahead_ms += 460_000
        await far.at(far.low, 0)
        await far.small.sweep()
    await far.both(ENTER, GONE)


async def test_a_pair_far_apart_is_not_reported_until_one_has_come_half_the_way(far):
    """One message per (shard, tick), and only of who has left the circle that they were granted."""
    small = far.small
    told = []
    deciding = small.shards[far.shard_of(far.low)].hosts["user"].mates
    received = deciding.received
    deciding.received = lambda message: (told.append(message), received(message))
    await far.at(far.low, 0)
    await far.at(far.high, 20_000)
    await far.settled()
    told.clear()
    for step in range(5):
        await far.at(far.high, 20_000 - 1_500 * step)
    await far.settled()
    assert [row.user for message in told for row in message.moved] == []
    for step in range(8):
        await far.at(far.high, 14_000 - 1_500 * step)
    await far.settled()
    assert 0 < len([row for message in told for row in message.moved]) < 8


async def test_who_probes_is_told_nothing(far):
    """GEO-23: neither of an episode's beginning nor of its end."""
    await far.at(far.low, 0)
    await far.at(far.high, 5_000)
    state = far.small.shards[far.shard_of(far.high)].activations["user", far.high].state
    state.probing.restore(2**53, far.clock.now_ms())
    await far.at(far.high, 4_900)
    await far.at(far.high, 2_000)
    await far.at(far.high, 100)
    await far.until(far.low, [(ENTER[0], far.high, None)])
    far.clock.ahead_ms += MINUTE_MS
    await far.at(far.high, 700)
    await far.until(far.low, [(ENTER[0], far.high, None), (APART[0], far.high, "apart")])
    assert await far.told(far.high) == []


async def test_an_episode_is_stored_once(far):
    """Idempotent by (pair, number): a write that is repeated tells nothing twice."""
    await far.at(far.low, 0)
    await far.at(far.high, 100)
    await far.both(ENTER)
    slot = slot_of("user", far.low)
    epoch = far.small.router.epoch_of(slot)
    stored = (await near_episodes.load_episodes(far.small.pool, [far.low]))[far.low][far.high]
    change = near_episodes.EpisodeChange(far.low, far.high, stored, "apart")
    async with far.small.pool.acquire() as connection, connection.transaction():
        assert await near_episodes.record(connection, slot, epoch, change) is False
    await far.both(ENTER)
    bodies = await far.small.pool.fetch("SELECT payload FROM outbox WHERE type LIKE 'near.%'")
    assert [json.loads(row["payload"]).keys() for row in bodies] == [{"episode", "at_ms"}]
