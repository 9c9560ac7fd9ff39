"""A hand-off that fails wedges no slot: its slots are served on, or taken over from the stores (ACT-5)."""

import asyncio
import random
from typing import Any

from actors import hand_off
from actors import messages as wire
from actors.directory import Directory, DirectoryConfig
from actors.placement import slot_of
from actors.protocol import EngineError


async def seal(small: Any, room: str) -> tuple[Any, int]:
    """The room's shard has sealed the room's slot, as for a hand-off to another shard."""
    slot = slot_of("room", room)
    shard = small.shards[small.router.shard_of(slot)]
    link = shard.router._directory._link
    shard.moving.told(link, wire.Seal(999, [slot], 1 - shard.number))
    await small.until(lambda: slot in shard.moving._sealed)
    return shard, slot


async def test_a_slot_whose_directory_died_in_the_middle_is_served_on(small: Any) -> None:
    ann = await small.person()
    room = await small.room(ann, durability="memory")
    await small.publish(room, ann, "one", ack="relay")
    shard, slot = await seal(small, room)
    waiting = asyncio.ensure_future(small.publish(room, ann, "two", ack="relay"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await small.directory.stop()
    small.directory = Directory(DirectoryConfig(small.run_dir, small.database_url, 2))
    await small.directory.start()
    assert (await waiting)["o"] == 2
    assert slot not in shard.moving._sealed


async def test_a_slot_that_nobody_speaks_of_any_more_is_served_on(small: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(hand_off, "FORGOTTEN_S", 0.1)
    ann = await small.person()
    room = await small.room(ann, durability="memory")
    await small.publish(room, ann, "one", ack="relay")
    await seal(small, room)
    assert (await small.publish(room, ann, "two", ack="relay"))["o"] == 2


async def test_a_sealed_slot_that_is_another_shards_by_now_is_not_served(
    small: Any, monkeypatch: Any
) -> None:
    """The view that says so is late; the store knows."""
    monkeypatch.setattr(hand_off, "FORGOTTEN_S", 0.1)
    ann = await small.person()
    room = await small.room(ann, durability="memory")
    await small.publish(room, ann, "one", ack="relay")
    shard, slot = await seal(small, room)
    await small.pool.execute("UPDATE slots SET epoch = epoch + 1 WHERE slot = $1", slot)
    await shard.moving.look_after()
    await asyncio.sleep(0.2)
    await shard.moving.look_after()
    assert slot in shard.moving._sealed


async def test_a_target_that_does_not_answer_gets_nothing(small: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(hand_off, "TRANSFER_LIMIT_S", 0.2)
    ann = await small.person()
    rooms = [await small.room(ann, durability="memory") for _ in range(20)]
    for room in rooms:
        await small.publish(room, ann, "one", ack="relay")
    await small.start_shard(2)
    small.shards[2].moving.asked = lambda *_: None
    await asyncio.sleep(1.5)
    assert set(small.router.view.owners) == {0, 1}
    assert [(await small.publish(room, ann, "two", ack="relay"))["o"] for room in rooms] == [2] * 20


async def test_a_room_with_a_commit_under_way_waits_for_it_and_stays_if_that_takes_long(small: Any) -> None:
    ann = await small.person()
    room = await small.room(ann)
    await small.publish(room, ann, "one")
    slot = slot_of("room", room)
    before = small.router.shard_of(slot)
    async with small.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE", room)
        stuck = asyncio.ensure_future(small.publish(room, ann, "two"))
        await asyncio.sleep(0.1)
        await small.start_shard(2)
        await small.until(lambda: small.router.view.owners.count(2) > 200)
        assert small.router.shard_of(slot) == before
        assert not stuck.done()
    assert (await stuck)["o"] == 2
    await small.retire_shard(before)
    assert small.router.shard_of(slot) != before
    assert (await small.publish(room, ann, "three"))["o"] == 3


async def test_states_of_a_hand_off_that_was_called_off_are_not_used_later(small: Any) -> None:
    """They are older than what the room has acknowledged since."""
    ann = await small.person()
    room = await small.room(ann)
    await small.publish(room, ann, "one")
    shard, slot = await seal(small, room)
    other = small.shards[1 - shard.number]
    await small.until(lambda: slot in other.moving._incoming)
    shard.moving.told(shard.router._directory._link, wire.Unseal([slot]))
    await small.publish(room, ann, "two")
    await small.shards.pop(shard.number).stop()
    assert (await small.publish(room, ann, "three", cid="c"))["o"] == 3
    assert other.moving.taken == 0


async def test_kills_in_the_middle_of_hand_offs_lose_no_acknowledged_message_and_double_none(
    small: Any,
) -> None:
    """Shards come, go and die at random moments while writers resend until they are acknowledged."""
    chance = random.Random(5)
    writers = [await small.person() for _ in range(3)]
    rooms = [await small.room(*writers) for _ in range(6)]
    acked: dict[str, dict[str, int]] = {room: {} for room in rooms}
    going = True

    async def write(room: str, writer: str) -> None:
        number = 0
        while going:
            cid = f"{writer}-{number}"
            try:
                answer = await small.publish(room, writer, str(number), cid)
            except EngineError as refused:
                if not refused.code.temporary:
                    raise
                continue
            acked[room][cid] = answer["o"]
            number += 1

    async def disturb() -> None:
        nonlocal going
        for number in (2, 3, 4, 5, 6):
            await small.start_shard(number)
            await asyncio.sleep(0.25 + chance.random() * 0.4)
            victim = chance.choice(sorted(small.shards))
            await small.shards.pop(victim).stop()
        going = False

    async with asyncio.timeout(60):
        await asyncio.gather(disturb(), *(write(room, writer) for room in rooms for writer in writers))
    for room in rooms:
        rows = await small.pool.fetch(
            'SELECT "offset", sender_id, cid, body FROM messages WHERE room_id = $1 ORDER BY "offset"', room
        )
        assert [row["offset"] for row in rows] == list(range(1, len(rows) + 1))
        assert acked[room].items() <= {row["cid"]: row["offset"] for row in rows}.items()
        for writer in writers:
            said = [row["cid"] for row in rows if str(row["sender_id"]) == writer]
            assert said == [f"{writer}-{number}" for number in range(len(said))]


async def test_a_slot_that_is_unsealed_while_its_turns_are_awaited_is_served_on(small: Any) -> None:
    """A new Directory was found in the middle of a hand-off: its owner must not seal on."""
    ann = await small.person()
    room = await small.room(ann)
    await small.publish(room, ann, "one")
    async with small.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE", room)
        stuck = asyncio.ensure_future(small.publish(room, ann, "two"))
        await asyncio.sleep(0.1)
        shard, slot = await seal(small, room)
        await asyncio.sleep(0.05)
        shard.moving.directory_found()
        await asyncio.sleep(0.05)
    assert (await stuck)["o"] == 2
    await asyncio.sleep(0.1)
    assert slot not in shard.moving._sealed
    assert (await small.publish(room, ann, "three"))["o"] == 3
