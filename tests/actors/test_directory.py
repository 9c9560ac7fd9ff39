"""Slots, epochs and views (ACT-2, ACT-3, ACT-4)."""

import asyncio
from collections import Counter

from actors.directory import Directory, DirectoryConfig
from actors.placement import SLOTS, slot_of
from storage import slots


async def test_every_slot_has_one_owner_and_new_shards_take_only_their_share(pool):
    async with pool.acquire() as connection:
        two = await slots.spread_slots(connection, 2)
        assert Counter(two.owners) == {0: 512, 1: 512}
        again = await slots.spread_slots(connection, 2)
        assert (again.owners, again.epochs) == (two.owners, two.epochs)
        four = await slots.spread_slots(connection, 4)
        assert Counter(four.owners) == dict.fromkeys(range(4), 256)
        for slot in range(SLOTS):
            moved = four.owners[slot] != two.owners[slot]
            assert four.epochs[slot] == two.epochs[slot] + moved
        assert four.version > again.version > two.version


async def test_a_new_incarnation_raises_its_epochs_and_no_others(pool):
    async with pool.acquire() as connection:
        before = await slots.spread_slots(connection, 2)
        one = await slots.admit_shard(connection, 1, "first", "unix:/x")
        same = await slots.admit_shard(connection, 1, "first", "unix:/x")
        assert same.epochs == one.epochs
        for slot in range(SLOTS):
            assert one.epochs[slot] == before.epochs[slot] + (before.owners[slot] == 1)


async def test_rooms_go_on_without_the_directory_and_it_comes_back(small):
    ann = await small.person()
    room = await small.room(ann)
    assert (await small.publish(room, ann, "one"))["o"] == 1
    version = small.router.view.version
    await small.directory.stop()
    assert (await small.publish(room, ann, "two"))["o"] == 2
    small.directory = Directory(DirectoryConfig(small.run_dir, small.database_url, 2))
    await small.directory.start()
    await small.until(lambda: small.router.view.version > version and len(small.router.view.addresses) == 2)
    assert (await small.publish(room, ann, "three"))["o"] == 3


async def test_the_death_of_a_shard_stalls_only_its_rooms(small):
    ann = await small.person()
    rooms = [await small.room(ann) for _ in range(8)]
    owner = {room: small.router.shard_of(slot_of("room", room)) for room in rooms}
    dead, alive = owner[rooms[0]], 1 - owner[rooms[0]]
    await small.shards[dead].stop()
    waiting = asyncio.ensure_future(small.publish(rooms[0], ann, "waits", cid="1"))
    for room in rooms:
        if owner[room] == alive:
            await small.publish(room, ann, "goes on")
    assert not waiting.done()
    await small.start_shard(dead)
    assert (await waiting)["o"] == 1


async def test_a_slot_is_the_same_everywhere_and_for_ever():
    assert [slot_of("room", "a"), slot_of("user", "a"), slot_of("region", "851f1d4bfffffff")] == [
        356,
        886,
        350,
    ]
