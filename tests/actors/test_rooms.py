"""Rooms through the real link, two shards, real Postgres."""

import asyncio

import msgspec
import pytest

from actors import messages as wire
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode


async def test_a_durable_publication_is_pushed_and_in_history(small):
    ann, bob = await small.person(), await small.person()
    room = await small.room(ann, bob)
    first = await small.subscribe(f"room:{room}", bob)
    assert (first["offset"], first["recovered"], first["pubs"]) == (0, False, [])
    ack = await small.publish(room, ann, "hello", cid="c1")
    assert (ack["o"], ack["dup"]) == (1, False)
    await small.until(lambda: small.pushes)
    push = small.pushes[0]
    assert isinstance(push, wire.Push)
    assert (push.ch, push.offset, push.user, push.cid) == (f"room:{room}", 1, ann, "c1")
    assert msgspec.json.decode(push.m)["d"] == {"text": "hello"}
    page = await small.ask(wire.History(0, f"room:{room}", bob, 10, offset=0))
    assert [p["o"] for p in page["pubs"]] == [1]
    assert not page["more"]


async def test_a_retry_with_the_same_cid_gets_the_same_offset_also_after_the_shard_died(small):
    ann = await small.person()
    room = await small.room(ann)
    acks = await asyncio.gather(*(small.publish(room, ann, "x", cid="same") for _ in range(20)))
    assert {(a["o"], a["i"]) for a in acks} == {(1, acks[0]["i"])}
    assert sum(not a["dup"] for a in acks) == 1
    number = small.router.shard_of(slot_of("room", room))
    await small.shards[number].stop()
    await small.start_shard(number)
    again = await small.publish(room, ann, "x", cid="same")
    assert (again["o"], again["i"], again["dup"]) == (1, acks[0]["i"], True)
    fresh = await small.publish(room, ann, "y", cid="other")
    assert fresh["o"] == 2


async def test_a_killed_activation_cannot_write(small):
    """ACT-4: the epoch was raised, so what the old activation still commits is refused."""
    ann = await small.person()
    room = await small.room(ann)
    await small.publish(room, ann, "x")
    await small.pool.execute("UPDATE slots SET epoch = epoch + 1")
    with pytest.raises(EngineError) as refused:
        await small.publish(room, ann, "y")
    assert refused.value.code in (ErrorCode.MOVED, ErrorCode.INTERNAL)
    assert await small.pool.fetchval("SELECT count(*) FROM messages") == 1


async def test_recovery_is_whole_or_nothing(small):
    """RT-2."""
    ann = await small.person()
    room = await small.room(ann)
    for n in range(301):
        await small.publish(room, ann, str(n), ack="relay" if n < 300 else "durable")
    epoch = (await small.subscribe(f"room:{room}", ann))["epoch"]
    whole = await small.subscribe(f"room:{room}", ann, epoch=epoch, offset=1)
    assert whole["recovered"]
    assert [p["o"] for p in whole["pubs"]] == list(range(2, 302))
    too_far = await small.subscribe(f"room:{room}", ann, epoch=epoch, offset=0)
    assert (too_far["recovered"], too_far["pubs"], too_far["was_recovering"]) == (False, [], True)
    other = await small.subscribe(f"room:{room}", ann, epoch="other", offset=300)
    assert (other["recovered"], other["pubs"]) == (False, [])
    ahead = await small.subscribe(f"room:{room}", ann, epoch=epoch, offset=999)
    assert not ahead["recovered"]


async def test_a_stranger_is_denied(small):
    ann, eve = await small.person(), await small.person()
    room = await small.room(ann)
    for ask in (small.subscribe(f"room:{room}", eve), small.publish(room, eve, "x")):
        with pytest.raises(EngineError) as refused:
            await ask
        assert refused.value.code == ErrorCode.DENIED


async def test_a_memory_room_refuses_a_durable_ack_and_remembers_cids(small):
    ann = await small.person()
    room = await small.room(ann, durability="memory")
    with pytest.raises(EngineError) as refused:
        await small.publish(room, ann, "x")
    assert refused.value.code == ErrorCode.NOT_AVAILABLE
    one = await small.publish(room, ann, "x", cid="c", ack="relay")
    two = await small.publish(room, ann, "x", cid="c", ack="relay")
    assert (one["o"], one["dup"], two["o"], two["dup"]) == (1, False, 1, True)


async def test_history_pages_from_either_end_past_the_window(small):
    ann = await small.person()
    room = await small.room(ann)
    for n in range(1, 701):
        await small.publish(room, ann, str(n), ack="relay" if n < 700 else "durable")
    ch = f"room:{room}"

    async def offsets(**given):
        page = await small.ask(wire.History(0, ch, ann, given.pop("limit", 5), **given))
        return [p["o"] for p in page["pubs"]], page["more"]

    assert await offsets(offset=0) == ([1, 2, 3, 4, 5], True)
    assert await offsets(offset=697) == ([698, 699, 700], False)
    assert await offsets(reverse=True) == ([700, 699, 698, 697, 696], True)
    assert await offsets(reverse=True, offset=4) == ([3, 2, 1], False)
    assert await offsets(before=10) == ([5, 6, 7, 8, 9], True)
    assert await offsets(before=699, limit=2) == ([697, 698], True)
    assert await offsets(limit=0, offset=0) == ([], False)


async def test_a_blocked_pair_hears_nothing_of_each_other_also_later(small):
    ann, bob, eve = [await small.person() for _ in range(3)]
    room = await small.room(ann, bob, eve)
    low, high = sorted((ann, eve))
    await small.pool.execute(
        "INSERT INTO connections (low_id, high_id, low_blocks) VALUES ($1, $2, true)", low, high
    )
    await small.router.refresh("room", room)
    first = await small.subscribe(f"room:{room}", eve, "c-eve")
    await small.publish(room, ann, "secret")
    await small.publish(room, bob, "open")
    pushes = [p for p in small.pushes if isinstance(p, wire.Push)]
    assert [p.hide for p in pushes] == [[eve], None]
    resumed = await small.subscribe(f"room:{room}", eve, epoch=first["epoch"], offset=0)
    assert resumed["recovered"]
    assert [(p["o"], p["u"]) for p in resumed["pubs"]] == [(2, bob)]
    page = await small.ask(wire.History(0, f"room:{room}", eve, 10, offset=0))
    assert [p["u"] for p in page["pubs"]] == [bob]
    present = await small.ask(wire.PresenceQuery(0, f"room:{room}", ann))
    assert present["count"] == 0


async def test_presence_tells_joins_and_leaves_and_replaces_a_lost_socket_in_one_step(small):
    ann, bob = await small.person(), await small.person()
    room = await small.room(ann, bob)
    page = await small.subscribe(f"presence:room:{room}", bob, "watch")
    assert page["state"] == []
    await small.subscribe(f"room:{room}", ann, "one")
    await small.ask(wire.Unsubscribe(0, f"room:{room}", ann, "one", clean=False))
    await small.subscribe(f"room:{room}", ann, "two")
    await small.ask(wire.Unsubscribe(0, f"room:{room}", ann, "two"))
    diffs = [
        (msgspec.json.decode(p.joins), msgspec.json.decode(p.leaves))
        for p in small.pushes
        if isinstance(p, wire.PushPresence)
    ]
    assert [([m["ref"] for m in j], [m["ref"] for m in leaves]) for j, leaves in diffs] == [
        (["one"], []),
        (["two"], ["one"]),
        ([], ["two"]),
    ]
    assert diffs[1][0][0]["prev"] == "one"
