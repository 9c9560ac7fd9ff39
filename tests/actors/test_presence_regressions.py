"""Presence through real gateways and shards: what goes wrong elsewhere after a deploy (PRE-3)."""

import asyncio
import random
from typing import Any

import pytest
from crowd import Crowd, LaterShard, Watcher

from actors import presence


def grace_passes() -> None:
    LaterShard.ahead_ms += presence.LINGER_MS


async def sees(crowd: Crowd, watcher: Any) -> None:
    """The watcher sees exactly who is there, and a query says the same."""
    await crowd.small.until(lambda: watcher.refs == crowd.here.keys())
    answer = await watcher.connection.command("pres", {"ch": watcher.ch.removeprefix("presence:")})
    assert {meta["ref"] for meta in answer["metas"]} == crowd.here.keys()
    assert answer["count"] == len(crowd.here)


async def test_a_restarted_gateway_leaves_no_ghosts(crowd: Crowd) -> None:
    first, second = await crowd.open_gateway(), await crowd.open_gateway()
    ann, *others = [await crowd.small.person() for _ in range(7)]
    room = await crowd.small.room(ann, *others)
    watcher = await crowd.watches(second, ann, room)
    for number, user in enumerate(others):
        await crowd.comes((first, second)[number % 2], user, room)
    await sees(crowd, watcher)
    lost = {sid for sid, row in crowd.here.items() if row[1] is first}
    await crowd.kill(first)
    third = await crowd.open_gateway()
    for user in others[::2]:
        await crowd.comes(third, user, room)
    await crowd.small.until(lambda: crowd.here.keys() <= watcher.refs)
    assert lost <= watcher.refs  # shown for their grace
    grace_passes()
    await sees(crowd, watcher)


async def test_a_restarted_shard_shows_who_left_meanwhile_and_nobody_else(crowd: Crowd) -> None:
    first, second = await crowd.open_gateway(), await crowd.open_gateway()
    ann, *others = [await crowd.small.person() for _ in range(7)]
    room = await crowd.small.room(ann, *others)
    watcher = await crowd.watches(second, ann, room)
    sids = [await crowd.comes((first, second)[number % 2], user, room) for number, user in enumerate(others)]
    await sees(crowd, watcher)
    watcher.history.clear()
    for shard in crowd.small.shards.values():
        await shard.stop()
    await crowd.goes(sids[0])
    await crowd.goes(sids[1])
    for number in list(crowd.small.shards):
        await crowd.start_shard(number)
    await sees(crowd, watcher)
    assert sorted(watcher.history) == sorted([("l", sids[0]), ("l", sids[1])])


async def test_gateways_and_shards_restarted_together_leave_no_ghosts(crowd: Crowd) -> None:
    """A deploy: a gateway is replaced while the room moves to a new activation."""
    first, second = await crowd.open_gateway(), await crowd.open_gateway()
    ann, *others = [await crowd.small.person() for _ in range(9)]
    room = await crowd.small.room(ann, *others)
    watcher = await crowd.watches(second, ann, room)
    for number, user in enumerate(others):
        await crowd.comes((first, second)[number % 2], user, room)
    await sees(crowd, watcher)
    for shard in crowd.small.shards.values():
        await shard.stop()
    await crowd.kill(first)
    for number in list(crowd.small.shards):
        await crowd.start_shard(number)
    third = await crowd.open_gateway()
    for user in others[::2]:
        await crowd.comes(third, user, room)
    await sees(crowd, watcher)
    watcher.history.clear()
    grace_passes()
    await asyncio.sleep(1.5)  # two sweeps: nothing else happens
    assert watcher.history == []


async def test_a_resume_on_another_gateway_is_seen_by_nobody(crowd: Crowd) -> None:
    first, second = await crowd.open_gateway(), await crowd.open_gateway()
    ann, bob = [await crowd.small.person() for _ in range(2)]
    room = await crowd.small.room(ann, bob)
    watcher = await crowd.watches(second, ann, room)
    sid = await crowd.comes(first, bob, room)
    key = crowd.greeting["key"]
    await sees(crowd, watcher)
    watcher.history.clear()
    await crowd.here[sid][0].drop()
    subs: dict[str, Any] = {f"room:{room}": {}}
    again = await crowd.connected(second, bob, resume={"sid": sid, "key": key}, subs=subs)
    assert crowd.greeting["resumed"] is True
    crowd.here[sid] = (again, second)
    grace_passes()
    await asyncio.sleep(1.5)
    assert watcher.history == []
    await sees(crowd, watcher)


async def test_a_join_or_leave_between_list_and_subscribe_is_not_lost(crowd: Crowd) -> None:
    """Watchers begin at any moment of others' coming and going, on gateways with and without watchers."""
    gateways = [await crowd.open_gateway(), await crowd.open_gateway()]
    ann, *others = [await crowd.small.person() for _ in range(6)]
    room = await crowd.small.room(ann, *others)
    chance = random.Random(7)
    watchers: list[Any] = []

    async def moves(user: str) -> None:
        for _ in range(6):
            sid = await crowd.comes(chance.choice(gateways), user, room)
            if chance.random() < 0.8:
                await crowd.goes(sid)

    async def lists_and_watches() -> None:
        for number in range(10):
            connection = await crowd.connected(gateways[number % 2], ann)
            await connection.command("pres", {"ch": f"room:{room}"})
            watchers.append(await Watcher(connection, room).begin())

    await asyncio.gather(*(moves(user) for user in others), lists_and_watches())
    for watcher in watchers:
        await sees(crowd, watcher)


@pytest.mark.timeout(120)
async def test_sets_that_differ_by_more_than_50_at_first_contact_converge_exactly(crowd: Crowd) -> None:
    """While no shard answers, 55 leave and 55 come, over two gateways."""
    first, second = await crowd.open_gateway(), await crowd.open_gateway()
    ann, bob = await crowd.small.person(), await crowd.small.person()
    room = await crowd.small.room(ann, bob)
    watchers = [await crowd.watches(gateway, ann, room) for gateway in (first, second)]
    sids = [await crowd.comes((first, second)[number % 2], bob, room) for number in range(60)]
    for watcher in watchers:
        await sees(crowd, watcher)
    for shard in crowd.small.shards.values():
        await shard.stop()
    coming = [
        asyncio.create_task(crowd.comes((first, second)[number % 2], bob, room)) for number in range(55)
    ]
    for sid in sids[:55]:
        await crowd.goes(sid)
    for number in list(crowd.small.shards):
        await crowd.start_shard(number)
    await asyncio.gather(*coming)
    assert len(crowd.here) == 60
    for watcher in watchers:
        await sees(crowd, watcher)
