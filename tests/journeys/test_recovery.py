"""A stream recovers whole or says that it does not (RT-1…RT-6)."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from rt_client.connection import Connection, Refused
from rt_client.town import Town

from cluster.check import check
from cluster.history import Channel, entries


async def publish_many(connection: Connection, room: str, count: int, ack: str = "durable") -> None:
    for start in range(0, count, 50):
        started = [
            connection.start("pub", {"ch": room, "d": number, "ack": ack})
            for number in range(start, min(start + 50, count))
        ]
        await connection.send(*[frame for frame, _ in started])
        await asyncio.wait_for(asyncio.gather(*[waiter for _, waiter in started]), 20)


async def test_what_was_missed_comes_with_the_subscription(town: Town, codec: str) -> None:
    """RT-2 at each edge: nothing missed, some missed, a position ahead of the top, another epoch."""
    me = town.person()
    room = await town.room(me)
    connection = await town.connected(me, codec)
    epoch = (await connection.sub(room))["epoch"]
    await publish_many(connection, room, 10)

    async def resub(at_epoch: str, offset: int) -> dict[str, Any]:
        await connection.command("unsub", {"ch": room})
        return await connection.sub(room, epoch=at_epoch, offset=offset)

    for offset, expected in [(10, []), (9, [10]), (0, list(range(1, 11)))]:
        result = await resub(epoch, offset)
        assert (result["recovered"], result["was_recovering"], result["offset"]) == (True, True, 10)
        assert [m["o"] for m in result["pubs"]] == expected
    for at_epoch, offset in [(epoch, 11), ("another", 5), ("another", 10)]:
        result = await resub(at_epoch, offset)
        assert (result["recovered"], result["was_recovering"], result["pubs"]) == (False, True, [])
        assert (result["epoch"], result["offset"]) == (epoch, 10)


async def test_without_a_position_the_newest_are_given_on_request(town: Town, codec: str) -> None:
    me = town.person()
    room = await town.room(me)
    connection = await town.connected(me, codec)
    await publish_many(connection, room, 12)
    for limit, expected in [(0, []), (3, [10, 11, 12]), (50, list(range(1, 13)))]:
        result = await connection.sub(room, limit=limit)
        assert [m["o"] for m in result["pubs"]] == expected
        assert (result["offset"], result["was_recovering"]) == (12, False)
        await connection.command("unsub", {"ch": room})


async def test_recovery_rides_on_connect(town: Town, codec: str) -> None:
    """`connect.subs` resubscribes by position in the same round trip, refusals beside results."""
    me, other = town.persons(2)
    rooms = [await town.room(me) for _ in range(3)]
    foreign = await town.room(other)
    first = await town.connected(me, codec)
    places = {}
    for room in rooms:
        sub = await first.sub(room)
        places[room] = {"epoch": sub["epoch"], "offset": 1}
        await publish_many(first, room, 4)
    await first.drop()
    second = await town.socket(codec)
    hello = await second.connect(me.token, subs={**places, foreign: {}, "nonsense": {}})
    for room in rooms:
        assert hello["subs"][room]["recovered"] is True
        assert [m["o"] for m in hello["subs"][room]["pubs"]] == [2, 3, 4]
    assert hello["subs"][foreign]["err"]["code"] == 103
    assert hello["subs"]["nonsense"]["err"]["code"] == 102
    assert len({hello["subs"][room]["n"] for room in rooms}) == 3


async def test_past_300_nothing_is_given_but_history_has_it_all(town: Town, codec: str) -> None:
    me = town.person()
    room = await town.room(me)
    connection = await town.connected(me, codec)
    epoch = (await connection.sub(room))["epoch"]
    await connection.command("unsub", {"ch": room})
    await publish_many(connection, room, 301)
    lost = await connection.sub(room, epoch=epoch, offset=0)
    assert (lost["recovered"], lost["was_recovering"], lost["pubs"], lost["offset"]) == (False, True, [], 301)
    assert lost["epoch"] == epoch
    await connection.command("unsub", {"ch": room})
    just = await connection.sub(room, epoch=epoch, offset=1)
    assert just["recovered"] is True
    assert [m["o"] for m in just["pubs"]] == list(range(2, 302))
    paged: list[int] = []
    while True:
        since = {"epoch": epoch, "offset": paged[-1] if paged else 0}
        page = await connection.hist(room, 100, since=since)
        paged += [m["o"] for m in page["pubs"]]
        if not page["more"]:
            break
    assert paged == list(range(1, 302))


async def test_history_pages_both_ways(town: Town, codec: str) -> None:
    me = town.person()
    room = await town.room(me)
    connection = await town.connected(me, codec)
    await publish_many(connection, room, 10)
    epoch = (await connection.hist(room, 1))["epoch"]

    async def page(limit: int, **body: Any) -> tuple[list[int], bool]:
        answer = await connection.hist(room, limit, **body)
        assert (answer["epoch"], answer["offset"]) == (epoch, 10)
        return [m["o"] for m in answer["pubs"]], answer["more"]

    assert await page(4, since={"epoch": epoch, "offset": 3}) == ([4, 5, 6, 7], True)
    assert await page(4, since={"epoch": epoch, "offset": 6}) == ([7, 8, 9, 10], False)
    assert await page(4, since={"epoch": epoch, "offset": 10}) == ([], False)
    assert await page(3, since={"epoch": epoch, "offset": 5}, reverse=True) == ([4, 3, 2], True)
    assert await page(9, since={"epoch": epoch, "offset": 3}, reverse=True) == ([2, 1], False)
    assert await page(3, reverse=True) == ([10, 9, 8], True)
    with pytest.raises(Refused) as refused:
        await connection.hist(room, 4, since={"epoch": "another", "offset": 3})
    assert refused.value.code == 112


async def test_a_memory_room_lost_past_its_window_says_so(town: Town) -> None:
    me = town.person()
    room = await town.room(me, durability="memory")
    connection = await town.connected(me)
    epoch = (await connection.sub(room))["epoch"]
    await connection.command("unsub", {"ch": room})
    await publish_many(connection, room, 320, "relay")
    result = await connection.sub(room, epoch=epoch, offset=0)
    assert (result["recovered"], result["pubs"], result["offset"]) == (False, [], 320)


async def test_a_subscription_races_publications_without_loss(town: Town) -> None:
    """RT-3: whatever is published around the moment of subscribing is seen once, in order."""
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    writer = await town.connected(ann)
    epoch = (await writer.sub(room))["epoch"]
    stop = asyncio.Event()

    async def write() -> int:
        count = 0
        while not stop.is_set():
            await writer.pub(room, count, ack="relay")
            count += 1
        return count

    writing = asyncio.create_task(write())
    reader = await town.connected(bob, "msgpack")
    shown: list[int] = []
    place = 0
    for _ in range(25):
        sub = await reader.sub(room, epoch=epoch, offset=place)
        assert sub["recovered"] is True
        shown += [m["o"] for m in sub["pubs"]]
        await asyncio.sleep(0.02)
        await reader.command("unsub", {"ch": room})
        live = [frame["m"]["o"] for frame in reader.pushes(sub["n"], "m")]
        assert not live or live[0] == sub["offset"] + 1
        shown += live
        reader.frames.clear()
        place = shown[-1] if shown else 0
    stop.set()
    assert await writing >= len(shown)
    assert shown == list(range(1, len(shown) + 1))


@pytest.mark.parametrize("durability", ["durable", "memory"])
async def test_a_reader_that_loses_its_socket_at_random_misses_nothing(
    town: Town, durability: str, tell: Callable[[str], None]
) -> None:
    """CHAT-4: the concatenation of what each reader saw is the history, in order, once."""
    chance = random.Random(20)
    ann, *others = town.persons(4)
    room = await town.room(ann, *others, durability=durability)
    writer = await town.member(ann)
    await writer.follow(room)
    readers = [
        await town.member(who, codec, backoff_last_s=0.5)
        for who, codec in zip(others, ("json", "msgpack", "json"), strict=True)
    ]
    for reader in readers:
        await reader.follow(room)
    count = 250

    async def write() -> None:
        for number in range(count):
            await writer.publish(room, {"text": str(number)}, ack="relay")
            await asyncio.sleep(0.01)

    async def disturb() -> None:
        while True:
            await asyncio.sleep(chance.uniform(0.05, 0.4))
            await chance.choice(readers).drop()

    disturbing = asyncio.create_task(disturb())
    await write()
    disturbing.cancel()
    async with asyncio.timeout(20):
        for member in (writer, *readers):
            while member.stream(room).offset < count:
                await asyncio.sleep(0.05)
    for member in (writer, *readers):
        assert [m["o"] for m in member.stream(room).publications] == list(range(1, count + 1))
        assert [m["d"]["text"] for m in member.stream(room).publications] == [str(n) for n in range(count)]
    assert sum(reader.connects for reader in readers) > len(readers)
    if durability == "durable":
        verdict = await town.verdict({room: ann})
        tell(f"random drops: {verdict}")
        assert verdict.faults == []
        assert verdict.resumes_recovered == verdict.resumes_within_limit > 0
    else:
        memory = entries("all", [Channel(ch=room, memory=True)])
        assert check([memory, *(entries(member.name, member.log) for member in town.members)]).faults == []
    assert all(member.insufficient == 0 for member in town.members)
