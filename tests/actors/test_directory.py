"""Slots, epochs and views (ACT-2, ACT-3, ACT-4)."""

import asyncio
from collections import Counter

import pytest

from actors.directory import Directory, DirectoryConfig
from actors.placement import SLOTS, slot_of
from actors.shard import Shard, ShardConfig
from storage.slots import DeposedError


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


async def test_the_slots_of_a_dead_shard_go_to_the_others_and_come_back_with_it(small):
    """ACT-9: nobody waits for the restart of a process."""
    ann = await small.person()
    rooms = [await small.room(ann) for _ in range(8)]
    for room in rooms:
        await small.publish(room, ann, "first", cid="1")
    view = small.router.view
    owner = {room: small.router.shard_of(slot_of("room", room)) for room in rooms}
    dead = owner[rooms[0]]
    await small.shards.pop(dead).stop()
    assert [(await small.publish(room, ann, "goes on", cid="2"))["o"] for room in rooms] == [2] * 8
    assert set(small.router.view.owners) == {1 - dead}
    for slot in range(SLOTS):
        raised = small.router.view.epochs[slot] - view.epochs[slot]
        assert raised == (view.owners[slot] == dead)
    await small.start_shard(dead)
    await small.until(lambda: Counter(small.router.view.owners) == {0: 512, 1: 512})
    assert [(await small.publish(room, ann, "again", cid="3"))["o"] for room in rooms] == [3] * 8


async def test_a_shard_that_is_back_at_once_keeps_its_slots(small):
    ann = await small.person()
    room = await small.room(ann)
    number = small.router.shard_of(slot_of("room", room))
    owners = small.router.view.owners
    await small.shards.pop(number).stop()
    await small.start_shard(number)
    assert (await small.publish(room, ann, "x", cid="1"))["o"] == 1
    assert small.router.view.owners == owners


async def test_a_directory_that_was_replaced_changes_nothing_and_serves_nobody(small):
    """Two at once are harmless: the older one's term is over (ACT-3)."""
    older = small.directory
    small.directory = Directory(DirectoryConfig(small.run_dir, small.database_url, 2))
    await small.directory.start()
    assert small.directory.term == older.term + 1
    with pytest.raises(DeposedError):
        await older.store.raise_version(older.term)
    await small.until(lambda: older.is_deposed)
    await small.until(lambda: len(small.directory.view().addresses) == 2)
    await small.until(lambda: small.router.view.version == small.directory.view().version)
    address = await small.pool.fetchval("SELECT address FROM directory")
    assert address == small.directory.address
    await older.stop()


async def test_a_process_whose_successor_came_lets_go_though_it_lives(small):
    """ACT-4: both are shard 0, and only the newer one may act under the raised epochs."""
    ann = await small.person()
    room = next(
        room for room in [await small.room(ann) for _ in range(20)]
        if small.router.shard_of(slot_of("room", room)) == 0
    )  # fmt: skip
    await small.publish(room, ann, "x", cid="1")
    older, ended = small.shards[0], []
    older.on_replaced = lambda: ended.append(older.number)
    assert ("room", room) in older.activations
    await small.start_shard(0)
    await small.until(lambda: ended)
    assert not older.activations
    assert (await small.publish(room, ann, "y", cid="2"))["o"] == 2
    assert not older.activations
    await older.stop()


async def test_a_process_that_is_older_than_its_shards_known_one_is_let_in_nowhere(small):
    """An orphan that was cut off while its successor came."""
    epochs = small.router.view.epochs
    orphan, ended = Shard(ShardConfig(small.run_dir, small.database_url, small.valkey_url, 1)), []
    orphan.router.incarnation = "0" * 8 + small.shards[1].router.incarnation[8:]
    orphan.on_replaced = lambda: ended.append(orphan.number)
    starting = asyncio.ensure_future(orphan.start())
    await small.until(lambda: ended)
    assert small.directory.view().epochs == epochs
    await starting
    await orphan.stop()


async def test_a_slot_is_the_same_everywhere_and_for_ever():
    assert [slot_of("room", "a"), slot_of("user", "a"), slot_of("region", "851f1d4bfffffff")] == [
        356,
        886,
        350,
    ]
