"""Visits of fences: what time, others and the fence's end make of them, and whom a fence may notice."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from fencing import AWAY, BERLIN, Clock, change, fence, move, square, told, until_told, visit

from actors import messages as wire
from actors.crossing_log import CrossingLog
from actors.crossings import Crossings
from actors.placement import slot_of
from storage import crossings as table

PARK = square(*BERLIN)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def remove(small: Any, fence: str) -> None:
    await small.pool.execute("UPDATE fences SET removed_at = now() WHERE id = $1", fence)
    await change(small, fence)


async def test_a_stay_dwells_and_a_silence_ends_it_by_the_clock_alone(small: Any, clock: Clock) -> None:
    """GEO-15, GEO-17, GEO-25."""
    ann = await small.person()
    await fence(small, ann, PARK)
    now = clock.now_ms()
    await move(small, ann, *AWAY, now - 60_000)
    await visit(small, ann, now)
    await until_told(small, ann, 1)
    clock.pass_s(301)
    await until_told(small, ann, 2)
    clock.pass_s(550)
    await move(small, ann, *BERLIN, clock.now_ms())  # still there
    await small.sweep()
    clock.pass_s(600)
    await small.sweep()
    assert await told(small, ann) == [("enter", None), ("dwell", None)]
    clock.pass_s(301)
    assert (await until_told(small, ann, 3))[2] == ("exit", "ttl")
    bodies = await small.pool.fetch("SELECT body FROM user_events WHERE user_id = $1 ORDER BY at", ann)
    _, dwell, left = [msgspec.json.decode(row["body"]) for row in bodies]
    assert dwell["at_ms"] == now + 1000 + 300_000
    assert (left["entered_at_ms"], left["at_ms"]) == (
        now + 1000,
        pytest.approx(now + 851_000 + 900_000, abs=5_000),
    )


async def test_who_is_behind_in_time_is_judged_by_the_pace_of_their_own_clock(
    small: Any, clock: Clock
) -> None:
    """A device that sends what it recorded an hour ago: nothing ends or dwells the moment it is heard."""
    ann = await small.person()
    await fence(small, ann, PARK)
    then = clock.now_ms() - 3_600_000
    await move(small, ann, *AWAY, then - 60_000)
    await visit(small, ann, then)
    await until_told(small, ann, 1)
    await small.sweep()
    assert await told(small, ann) == [("enter", None)]
    clock.pass_s(300)
    await until_told(small, ann, 2)
    clock.pass_s(650)
    assert [event for event, _ in await until_told(small, ann, 3)] == ["enter", "dwell", "exit"]


async def test_an_exit_comes_also_where_nobody_was_left_to_notice(small: Any, clock: Clock) -> None:
    """The shard was down while the time passed, and the person never came back (ACT-8)."""
    ann = await small.person()
    await fence(small, ann, PARK)
    await visit(small, ann, clock.now_ms())
    await until_told(small, ann, 1)
    number = small.router.shard_of(slot_of("user", ann))
    await small.shards[number].stop()
    clock.pass_s(2_000)
    await small.start_shard(number)
    assert await until_told(small, ann, 3) == [("inside", None), ("dwell", None), ("exit", "ttl")]
    await small.sweep()
    assert len(await told(small, ann)) == 3
    assert await small.pool.fetchval("SELECT count(*) FROM reminders WHERE name LIKE 'visit:%'") == 0


async def test_a_removed_fence_lets_everybody_out_in_a_few_writes(
    small: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GEO-17: exactly one exit for each who is inside, none for others, and not a transaction each."""
    inside, outside = [await small.person() for _ in range(60)], [await small.person() for _ in range(5)]
    here = await fence(small, inside[0], PARK)
    now = clock.now_ms() - 5_000
    for user in inside:
        await move(small, user, *BERLIN, now)
    for user in outside:
        await move(small, user, *AWAY, now)
    for user in inside:
        await until_told(small, user, 1)
    batches = []
    record = table.record

    async def counted(connection: Any, fences: Any, rows: Any) -> Any:
        batches.append(len(rows))
        return await record(connection, fences, rows)

    monkeypatch.setattr(table, "record", counted)
    await remove(small, here)
    for user in inside:
        assert await until_told(small, user, 2) == [("inside", None), ("exit", "fence_removed")]
    assert (sum(batches), len(batches) <= 6) == (60, True)
    for user in outside:
        assert await told(small, user) == []
    assert await small.pool.fetchval("SELECT inside FROM fence_streams WHERE fence_id = $1", here) == 0


async def test_a_fence_that_expires_lets_everybody_out(small: Any, clock: Clock) -> None:
    ann = await small.person()
    here = await fence(small, ann, PARK)
    ends = datetime.fromtimestamp(clock.now_ms() / 1000 + 60, UTC)
    await small.pool.execute("UPDATE fences SET expires_at = $2 WHERE id = $1", here, ends)
    await change(small, here)
    await visit(small, ann, clock.now_ms() - 5_000)
    await until_told(small, ann, 1)
    clock.pass_s(61)
    assert await until_told(small, ann, 2) == [("inside", None), ("exit", "fence_expired")]
    await visit(small, ann, clock.now_ms())
    await small.sweep()
    assert len(await told(small, ann)) == 2


async def test_a_fence_notices_whom_its_audience_includes_and_only_while_it_does(
    small: Any, clock: Clock
) -> None:
    """GEO-14: relative to the fence's owner; a block ends the visit at once; who hides is in nobody's."""
    owner, match, stranger, hidden = [await small.person() for _ in range(4)]
    await small.pool.execute("UPDATE users SET visibility_audience = 'nobody' WHERE id = $1", hidden)
    low, high = sorted((owner, match))
    await small.pool.execute(
        "INSERT INTO connections (low_id, high_id, state) VALUES ($1, $2, 'matched')", low, high
    )
    everyone, matches, nobody = [await fence(small, owner, PARK) for _ in range(3)]
    for here, audience in ((matches, "matches"), (nobody, "nobody")):
        await small.pool.execute("UPDATE fences SET audience = $2 WHERE id = $1", here, audience)
        await change(small, here)
    now = clock.now_ms() - 5_000
    for user in (owner, match, stranger, hidden):
        await visit(small, user, now)
    await until_told(small, owner, 3)
    await until_told(small, match, 2)
    await until_told(small, stranger, 1)

    async def where(user: str) -> set[str]:
        rows = await small.pool.fetch(
            "SELECT fence_id::text AS fence FROM fence_visits WHERE user_id = $1 AND exited_at IS NULL", user
        )
        return {row["fence"] for row in rows}

    assert await where(owner) == {everyone, matches, nobody}
    assert await where(match) == {everyone, matches}
    assert await where(stranger) == {everyone}
    assert await where(hidden) == set()

    await small.pool.execute("UPDATE connections SET state = 'none', high_blocks = true")
    await small.router.refresh("user", match)
    assert (await until_told(small, match, 4))[2:] == [("exit", "not_in_audience")] * 2
    await small.pool.execute("UPDATE users SET visibility_precision = 'hidden' WHERE id = $1", stranger)
    await small.router.refresh("user", stranger)
    assert (await until_told(small, stranger, 2))[1] == ("exit", "hidden")
    for n in range(3):
        await visit(small, match, clock.now_ms() + n * 2000)
    await small.sweep()
    assert len(await told(small, match)) == 4


async def test_who_is_crossing_is_told_by_the_crossing_alone(small: Any, clock: Clock) -> None:
    """CHAT-19: a room that looks who its members are while a crossing is being committed says nothing of that
    person: it would stand in the log twice.
    """
    owner, ann = await small.person(), await small.person()
    room = await small.room(owner, await small.person())
    here = await fence(small, owner, PARK, room)
    await small.pool.execute("INSERT INTO fence_grants VALUES ($1, $2, 'count', true)", ann, here)

    await small.router.refresh("room", room)
    async with small.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE fence_visits IN EXCLUSIVE MODE")
        await visit(small, ann, clock.now_ms() - 5_000)
        committers = [shard.hosts["room"].committer for shard in small.shards.values()]
        await small.until(lambda: any(room in committer.rooms() for committer in committers))
        await small.pool.execute("INSERT INTO room_members (room_id, user_id) VALUES ($1, $2)", room, ann)
        await small.router.refresh("room", room)
        said = [draft for c in committers for draft in (*c._queue, *c._under_way) if hasattr(draft, "d")]
        assert said == []
    await until_told(small, ann, 1)


async def test_only_who_was_taken_in_by_a_fence_is_put_out_by_it(small: Any, clock: Clock) -> None:
    """CHAT-19: a member by hand stays; who left by hand is not taken in again by the same visit; consent
    that was withdrawn, and a fence that is gone, still end what the fence began."""
    owner, by_hand, leaver, taken = [await small.person() for _ in range(4)]
    room = await small.room(owner, by_hand)
    here = await fence(small, owner, PARK, room)
    for user in (by_hand, leaver, taken):
        await small.pool.execute("INSERT INTO fence_grants VALUES ($1, $2, 'count', true)", user, here)
    now = clock.now_ms() - 60_000
    for user in (by_hand, leaver, taken):
        await visit(small, user, now)
        await until_told(small, user, 1)
    await small.pool.execute(
        "UPDATE room_members SET state = 'left', by_fence = NULL WHERE user_id = $1", leaver
    )
    await small.router.refresh("room", room)
    await small.pool.execute("UPDATE fence_grants SET auto_join = false WHERE user_id = $1", taken)
    await small.router.refresh("user", taken)
    await visit(small, leaver, now + 5_000)

    async def members() -> set[str]:
        rows = await small.pool.fetch(
            "SELECT user_id::text AS u FROM room_members WHERE room_id = $1 AND state = 'member'", room
        )
        return {row["u"] for row in rows}

    assert await members() == {owner, by_hand, taken}
    for user in (by_hand, leaver):
        await visit(small, user, now + 50_000, AWAY)
        await until_told(small, user, 2)
    await remove(small, here)
    await until_told(small, taken, 2)
    assert await members() == {owner, by_hand}
    said = await small.pool.fetch("""SELECT body FROM messages ORDER BY "offset" """)
    assert [(d["type"], d["user"]) for d in (msgspec.json.decode(row["body"]) for row in said)] == [
        ("join", leaver),
        ("join", taken),
        ("leave", leaver),
        ("leave", taken),
    ]


async def test_an_apps_fence_takes_in_whoever_comes(small: Any, clock: Clock) -> None:
    """GEO-14: an app-role fence needs no opt-in, another one does."""
    app, owner, ann = [await small.person() for _ in range(3)]
    await small.pool.execute("UPDATE users SET roles = '{app}' WHERE id = $1", app)
    rooms = {each: await small.room(each) for each in (app, owner)}
    for each, room in rooms.items():
        await fence(small, each, PARK, room)
    await visit(small, ann, clock.now_ms() - 5_000)
    await until_told(small, ann, 2)
    joined = await small.pool.fetch("SELECT room_id::text AS r FROM room_members WHERE user_id = $1", ann)
    assert [row["r"] for row in joined] == [rooms[app]]


async def test_crossings_of_many_people_are_stored_together_and_told_in_order(
    small: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Group commit: whoever crosses while others are stored goes with the next batch; all is told once."""
    people = [await small.person() for _ in range(40)]
    await fence(small, people[0], PARK)
    for user in people:
        await small.subscribe(f"fences@{user}", user, user)
    slow = CrossingLog._store

    async def counted(self: Any, shares: Any) -> None:
        batches.append(len(shares))
        await slow(self, shares)

    batches: list[int] = []
    monkeypatch.setattr(CrossingLog, "_store", counted)
    now = clock.now_ms() - 600_000
    for turn in range(4):
        place = AWAY if turn % 2 else BERLIN
        await asyncio.gather(*(visit(small, user, now + turn * 60_000, place) for user in people))
        for shard in small.shards.values():
            shard._tick()
    await small.until(lambda: len(small.pushes) == 4 * len(people))
    for user in people:
        own = [push for push in small.pushes if push.ch == f"fences@{user}"]
        assert all(isinstance(push, wire.Push) for push in own)
        assert [push.offset for push in own] == [1, 2, 3, 4]
        events = [msgspec.json.decode(push.m)["d"]["event"] for push in own]
        assert events == ["inside", "exit", "enter", "exit"]
    assert max(batches) > 5


async def test_who_stays_where_nothing_is_pending_is_not_stepped(
    small: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GEO-5: fixes of people at rest inside cost a comparison; their dwell and their silence still come."""
    ann, bob = await small.person(), await small.person()
    await fence(small, ann, square(*BERLIN))
    await fence(small, ann, square(*BERLIN, 0.001))
    steps: list[str] = []
    step = Crossings._step

    def counted(self: Any, activation: Any, *what: Any) -> None:
        steps.append(activation.key)
        step(self, activation, *what)

    monkeypatch.setattr(Crossings, "_step", counted)
    now = clock.now_ms() - 280_000
    for n in range(28):
        await move(small, ann, *BERLIN, now + n * 10_000)
        await move(small, bob, *AWAY, now + n * 10_000)
        for shard in small.shards.values():
            shard._tick()
    assert steps == [ann]  # the first one, which was inside
    clock.pass_s(40)
    await move(small, ann, *BERLIN, clock.now_ms())
    await small.sweep()
    assert [event for event, _ in await until_told(small, ann, 4)] == ["inside", "inside", "dwell", "dwell"]
    clock.pass_s(901)
    assert (await until_told(small, ann, 6))[4:] == [("exit", "ttl")] * 2
    bodies = await small.pool.fetch("SELECT body FROM user_events WHERE user_id = $1", ann)
    last = max((msgspec.json.decode(row["body"]) for row in bodies), key=lambda body: body["at_ms"])
    assert last["at_ms"] == pytest.approx(now + 280_000 + 40_000 + 900_000, abs=5_000)


async def test_whose_account_ends_leaves_once_live_or_not(small: Any, clock: Clock) -> None:
    """GEO-17: by the actor that learns of it, or by the reminder of a visit that nobody is left to end."""
    live, away = await small.person(), await small.person()
    here = await fence(small, live, PARK)
    for user in (live, away):
        await visit(small, user, clock.now_ms() - 5_000)
        await until_told(small, user, 1)
    number = small.router.shard_of(slot_of("user", away))
    shard = small.shards[number]
    shard.deactivate(shard.activations["user", away])
    await small.pool.execute("UPDATE users SET status = 'suspended'")
    await small.router.refresh("user", live)
    assert await until_told(small, live, 2) == [("inside", None), ("exit", "account_erased")]
    clock.pass_s(1_000)
    shard.reminders.look()
    assert await until_told(small, away, 2) == [("inside", None), ("exit", "account_erased")]
    await small.until_quiet(lambda: small.pool.fetchval("SELECT count(*) FROM reminders"))
    assert await small.pool.fetchval("SELECT inside FROM fence_streams WHERE fence_id = $1", here) == 0


async def test_of_an_erased_account_no_fence_keeps_the_name_and_its_own_fences_end(
    small: Any, clock: Clock
) -> None:
    owner, ann = await small.person(), await small.person()
    await fence(small, owner, PARK)
    own = await fence(small, ann, PARK)
    await visit(small, ann, clock.now_ms() - 5_000)
    await until_told(small, ann, 2)
    await small.pool.execute("UPDATE users SET status = 'deleting' WHERE id = $1", ann)
    await small.router.refresh("user", ann)
    assert sorted((await until_told(small, ann, 4))[2:]) == [("exit", "account_erased")] * 2
    assert await small.pool.fetchval("SELECT count(user_id) FROM fence_events") == 0
    assert await small.pool.fetchval("SELECT removed_at IS NOT NULL FROM fences WHERE id = $1", own)


async def test_everybody_leaves_the_room_of_a_fence_that_is_removed_and_its_log_has_no_gap(
    small: Any, clock: Clock
) -> None:
    """CHAT-19, GEO-17: many at once, through the room's shard."""
    app, people = await small.person(), [await small.person() for _ in range(40)]
    await small.pool.execute("UPDATE users SET roles = '{app}' WHERE id = $1", app)
    room = await small.room(app)
    here = await fence(small, app, PARK, room)
    page = await small.subscribe(f"room:{room}", app, "a")
    for user in people:
        await move(small, user, *BERLIN, clock.now_ms() - 5_000)
    await small.until(lambda: sum(push.ch == f"room:{room}" for push in small.pushes) == 40)
    await remove(small, here)
    await small.until(lambda: sum(push.ch == f"room:{room}" for push in small.pushes) == 80)
    pushes = [push for push in small.pushes if push.ch == f"room:{room}"]
    assert [push.offset for push in pushes] == list(range(page["offset"] + 1, page["offset"] + 81))
    said = [msgspec.json.decode(push.m)["d"] for push in pushes]
    assert [d["type"] for d in said] == ["join"] * 40 + ["leave"] * 40
    assert {d["user"] for d in said[:40]} == {d["user"] for d in said[40:]} == set(people)
    members = await small.pool.fetchval("SELECT count(*) FROM room_members WHERE state = 'member'")
    assert members == 1
    assert (await small.publish(room, app, "alone"))["o"] == page["offset"] + 81


async def test_a_room_in_memory_hears_of_its_fence_too(small: Any, clock: Clock) -> None:
    app, ann = await small.person(), await small.person()
    await small.pool.execute("UPDATE users SET roles = '{app}' WHERE id = $1", app)
    room = await small.room(app, durability="memory")
    await fence(small, app, PARK, room)
    await small.subscribe(f"room:{room}", app, "a")
    now = clock.now_ms() - 300_000
    await visit(small, ann, now)
    await until_told(small, ann, 1)
    assert (await small.publish(room, ann, "here", ack="relay"))["o"] == 2
    await visit(small, ann, now + 120_000, AWAY)
    await small.until(lambda: sum(push.ch == f"room:{room}" for push in small.pushes) == 3)
    said = [msgspec.json.decode(push.m)["d"].get("type") for push in small.pushes if hasattr(push, "m")]
    assert said == ["join", None, "leave"]
