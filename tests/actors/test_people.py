"""People: near as a live map, fences as a durable stream, blocks everywhere."""

import asyncio

import msgspec
import pytest
from fencing import BERLIN, fence, move, square

from actors import messages as wire
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from storage.ids import new_id


def rows(small, conn):
    return [
        row
        for push in small.pushes
        if isinstance(push, wire.PushMap) and push.ch.endswith(f"#{conn}")
        for row in msgspec.json.decode(push.k)
    ]


async def test_two_people_come_near_and_part(small):
    ann, bob = await small.person(), await small.person()
    now = small.shards[0].now_ms() - 240_000
    await move(small, ann, *BERLIN, now)
    page = await small.subscribe(f"near@{ann}#a", ann, "a")
    assert page["state"] == []
    await move(small, bob, BERLIN[0] + 0.005, BERLIN[1], now + 1)
    await small.until(lambda: rows(small, "a"))
    key, op, data, version = rows(small, "a")[0]
    assert (key, op, version) == (bob, "+", 1)
    assert data.keys() == {"user", "cell", "band"}
    assert data["band"] == "<1"
    later = await small.subscribe(f"near@{bob}#b", bob, "b")
    assert [row[0] for row in later["state"]] == [ann]
    for step in range(1, 21):  # bob leaves by train, a fix every ten seconds
        await move(small, bob, BERLIN[0] + 0.005 + step * 0.0055, BERLIN[1], now + step * 10_000 + 2)
    await small.until(lambda: [bob, "-"] in rows(small, "a"))
    for push in small.pushes:
        assert b"lat" not in push.k
        assert b"52.5" not in push.k


async def test_a_blocked_or_hidden_person_is_absent_from_near_at_once(small):
    ann, bob = await small.person(), await small.person()
    now = small.shards[0].now_ms() - 60_000
    await move(small, ann, *BERLIN, now)
    await move(small, bob, *BERLIN, now)
    page = await small.subscribe(f"near@{ann}#a", ann, "a")
    assert [row[0] for row in page["state"]] == [bob]
    low, high = sorted((ann, bob))
    await small.pool.execute(
        "INSERT INTO connections (low_id, high_id, high_blocks) VALUES ($1, $2, true)", low, high
    )
    await small.router.refresh("user", ann)
    await small.until(lambda: [bob, "-"] in rows(small, "a"))
    assert (await small.subscribe(f"near@{ann}#z", ann, "z"))["state"] == []
    await small.pool.execute("DELETE FROM connections")
    await small.router.refresh("user", ann)
    await small.pool.execute("UPDATE users SET visibility_audience = 'nobody' WHERE id = $1", bob)
    await small.router.refresh("user", bob)
    await small.until(lambda: rows(small, "a")[-1] == [bob, "-"])


async def test_near_of_somebody_else_is_denied(small):
    ann, eve = await small.person(), await small.person()
    for channel in (f"near@{ann}#x", f"me@{ann}", f"fences@{ann}"):
        with pytest.raises(EngineError) as refused:
            await small.subscribe(channel, eve, "x")
        assert refused.value.code == ErrorCode.DENIED


async def test_a_new_activation_continues_a_near_map_with_deltas(small):
    """ACT-9: the gateway hands over what its connection holds."""
    ann, bob = await small.person(), await small.person()
    now = small.shards[0].now_ms() - 60_000
    await move(small, ann, *BERLIN, now)
    await move(small, bob, *BERLIN, now)
    page = await small.subscribe(f"near@{ann}#a", ann, "a")
    number = small.router.shard_of(slot_of("user", ann))
    # The snapshot is written soon after a fix; a kill before that would cost the place.
    people = small.shards[number].hosts["user"]
    await small.until(lambda: not (people._moved or people._places._unsaved or people._places._saving))
    await small.shards[number].stop()
    await small.start_shard(number)
    gone = new_id()
    shadow = {bob: 1, gone: 1}
    again = await small.subscribe(
        f"near@{ann}#a", ann, "a", epoch=page["epoch"], offset=page["offset"], shadow=shadow
    )
    assert (again["recovered"], again["epoch"], again["offset"]) == (True, page["epoch"], page["offset"])
    await small.until(lambda: [gone, "-"] in rows(small, "a"))
    await small.until(lambda: any(row[:2] == [bob, "~"] for row in rows(small, "a")))


async def test_crossings_are_confirmed_stored_and_pushed_in_order(small):
    """GEO-15, GEO-16, GEO-18."""
    ann = await small.person()
    here = await fence(small, ann, square(*BERLIN))
    page = await small.subscribe(f"fences@{ann}", ann, "c")
    now = small.shards[0].now_ms() - 3_600_000
    inside, outside = BERLIN, (BERLIN[0] + 0.02, BERLIN[1])
    for n, (lat, lon) in enumerate([inside, outside, outside, inside, inside, outside, outside]):
        await move(small, ann, lat, lon, now + n * 60_000)
    await small.until(lambda: len(small.pushes) == 4)
    events = [msgspec.json.decode(p.m)["d"] for p in small.pushes]
    assert [e["event"] for e in events] == ["inside", "exit", "enter", "exit"]
    assert {e["fence"] for e in events} == {here}
    assert events[-1]["entered_at_ms"] == now + 4 * 60_000
    resumed = await small.subscribe(f"fences@{ann}", ann, "c", epoch=page["epoch"], offset=1)
    assert [p["o"] for p in resumed["pubs"]] == [2, 3, 4]


async def test_a_fence_moves_membership_of_its_room_once_and_says_so_in_the_room(small):
    """CHAT-19, GEO-14: with the member's opt-in only."""
    owner, ann, bob = [await small.person() for _ in range(3)]
    room = await small.room(owner)
    here = await fence(small, owner, square(*BERLIN), room)
    await small.pool.execute("INSERT INTO fence_grants VALUES ($1, $2, 'count', true)", ann, here)
    await small.subscribe(f"room:{room}", owner, "o")
    now = small.shards[0].now_ms() - 300_000
    for user in (ann, bob):
        for n in range(3):
            await move(small, user, *BERLIN, now + n * 1000)
    await small.until(lambda: any(isinstance(p, wire.Push) and p.ch == f"room:{room}" for p in small.pushes))
    assert (await small.publish(room, ann, "I am here"))["o"] == 2
    with pytest.raises(EngineError):
        await small.publish(room, bob, "me too")
    for n in range(3):
        await move(small, ann, BERLIN[0] + 0.02, BERLIN[1], now + 60_000 + n * 1000)
    await small.until(lambda: sum(isinstance(p, wire.Push) for p in small.pushes) == 3)
    said = [msgspec.json.decode(p.m)["d"].get("type") for p in small.pushes if isinstance(p, wire.Push)]
    assert said == ["join", None, "leave"]
    with pytest.raises(EngineError):
        await small.publish(room, ann, "gone")
    stored = "SELECT type FROM outbox WHERE type LIKE 'fence.%' ORDER BY type"
    async with asyncio.timeout(10):
        while len(kinds := await small.pool.fetch(stored)) < 3:  # bob's is stored by itself
            await small.until_next()
    assert [row["type"] for row in kinds] == ["fence.exit", "fence.inside", "fence.inside"]


async def test_crossings_that_come_while_others_are_stored_are_all_told(small):
    """GEO-18: each is stored once, in order, however the fixes fall between the commits."""
    ann = await small.person()
    await fence(small, ann, square(*BERLIN))
    await small.subscribe(f"fences@{ann}", ann, "c")
    now = small.shards[0].now_ms() - 7_200_000
    people = small.shards[small.router.shard_of(slot_of("user", ann))]
    for n in range(80):
        outside = (n // 2) % 2
        await move(small, ann, BERLIN[0] + 0.02 * outside, BERLIN[1], now + n * 60_000)
        if n % 3 == 0:
            people._tick()
    await small.until(lambda: len(small.pushes) == 40)
    events = [msgspec.json.decode(p.m)["d"]["event"] for p in small.pushes]
    assert events == ["inside", *["exit", "enter"] * 20][:40]
    assert [p.offset for p in small.pushes] == list(range(1, 41))


async def test_a_removed_fence_ends_the_visit_of_whoever_is_inside(small):
    """GEO-17."""
    ann = await small.person()
    here = await fence(small, ann, square(*BERLIN))
    await small.subscribe(f"fences@{ann}", ann, "c")
    await move(small, ann, *BERLIN, small.shards[0].now_ms() - 1000)
    await small.until(lambda: len(small.pushes) == 1)
    await small.pool.execute("UPDATE fences SET removed_at = now() WHERE id = $1", here)
    await small.router.refresh("fences", "*")
    await small.until(lambda: len(small.pushes) == 2)
    last = msgspec.json.decode(small.pushes[1].m)["d"]
    assert (last["event"], last["reason"]) == ("exit", "fence_removed")


async def test_a_stale_or_impossible_fix_is_refused(small):
    ann = await small.person()
    now = small.shards[0].now_ms()
    await move(small, ann, *BERLIN, now)
    for lat, t_ms, code in [
        (BERLIN[0], now - 5000, ErrorCode.STALE_POSITION),
        (BERLIN[0] + 1, now + 1000, ErrorCode.STALE_POSITION),
        (91.0, now + 2000, ErrorCode.BAD_REQUEST),
        (float("nan"), now + 2000, ErrorCode.BAD_REQUEST),
    ]:
        with pytest.raises(EngineError) as refused:
            await move(small, ann, lat, BERLIN[1], t_ms)
        assert refused.value.code == code
