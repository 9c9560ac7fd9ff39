"""Fan-out through real gateways and shards: relays of large rooms, vacancies, batches (FAN-2, FAN-3)."""

import asyncio
from typing import Any

import pytest
from crowd import Crowd, LaterShard

from actors import occupancy, presence
from actors.metrics import counter
from actors.placement import slot_of
from actors.relay import chosen
from serve_app import births


async def large_room(crowd: Crowd, above: int = 3, present: int = 6) -> tuple[str, list[str], int, int]:
    """A room of six over three gateways, one of which at least is reached over the other shard."""
    crowd.shard_settings["relay_above"] = above
    await crowd.restart_shards()
    gateways = [await crowd.open_gateway() for _ in range(3)]
    people = [await crowd.small.person() for _ in range(6)]
    while True:
        room = await crowd.small.room(*people)
        owner = crowd.small.router.view.owners[slot_of("room", room)]
        ways = [chosen(f"room:{room}", g.router.incarnation, [-1, 1 - owner]) for g in gateways]
        if 1 - owner in ways:
            break
    for number, user in enumerate(people[:present]):
        await crowd.comes(gateways[number % 3], user, room)
    return room, people, owner, 1 - owner


def offsets(crowd: Crowd) -> list[list[int]]:
    return [[f["m"]["o"] for f in connection.frames if "m" in f] for connection, _ in crowd.here.values()]


async def speak(crowd: Crowd, room: str, times: int) -> None:
    connections = [connection for connection, _ in crowd.here.values()]

    async def one(connection: Any) -> None:
        for number in range(times):
            await connection.pub(f"room:{room}", number, ack="relay")

    await asyncio.gather(*(one(connection) for connection in connections[:3]))


async def everybody_has(crowd: Crowd, top: int) -> None:
    await crowd.small.until(lambda: all(len(own) >= top for own in offsets(crowd)))
    for own in offsets(crowd):
        assert own == list(range(1, top + 1))


async def test_a_large_room_is_relayed_in_order_and_no_position_is_asked_for(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAN-3."""
    room, _, _, _ = await large_room(crowd)
    recovered = []
    for gateway in crowd.gateways:
        monkeypatch.setattr(gateway.hub.takeover, "recover_all", recovered.append)
    before = counter("relayed").n
    await speak(crowd, room, 60)
    await everybody_has(crowd, 180)
    assert counter("relayed").n > before
    assert recovered == []


async def test_what_went_the_old_way_arrives_before_what_goes_the_new_one(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room grows while the direct link is slow: the relay must not overtake it."""
    room, people, owner, relay = await large_room(crowd, above=5, present=5)
    (through, *_) = [
        g for g in crowd.gateways if chosen(f"room:{room}", g.router.incarnation, [-1, relay]) == relay
    ]
    recovered = []
    monkeypatch.setattr(through.hub.takeover, "recover_all", recovered.append)
    fan_out = crowd.small.shards[owner].fan_out
    link = fan_out.gateways[through.router.incarnation]
    elsewhere = next(g for g in crowd.gateways if g is not through)
    link._paused = True
    (speaker, *_) = [connection for connection, gateway in crowd.here.values() if gateway is elsewhere]
    await speaker.pub(f"room:{room}", 1)
    assert not fan_out.relays.has(f"room:{room}")
    await crowd.comes(elsewhere, people[5], room)
    for number in range(2, 6):
        await speaker.pub(f"room:{room}", number)
    assert fan_out.relays.has(f"room:{room}")
    link.resume_writing()
    await crowd.small.until(lambda: all(own[-1:] == [5] for own in offsets(crowd)))
    assert recovered == []


async def test_a_relay_that_dies_costs_nobody_a_message(crowd: Crowd) -> None:
    room, _, _, relay = await large_room(crowd)
    await speak(crowd, room, 20)
    await everybody_has(crowd, 60)
    shard = crowd.small.shards[relay]
    for link in shard.fan_out.gateways.values():
        link._paused = True  # a relay that hangs before it dies: nothing later shows the hole
    await speak(crowd, room, 5)
    await shard.stop()
    await everybody_has(crowd, 75)
    await crowd.start_shard(relay)
    await speak(crowd, room, 20)
    await everybody_has(crowd, 135)


async def test_a_gateway_whose_link_to_its_relay_is_cut_misses_nothing(crowd: Crowd) -> None:
    """Only the relay knows of the cut, and no later message shows the hole."""
    room, _, owner, relay = await large_room(crowd)
    await speak(crowd, room, 10)
    (through, *_) = [
        g for g in crowd.gateways if chosen(f"room:{room}", g.router.incarnation, [-1, relay]) == relay
    ]
    link = crowd.small.shards[relay].fan_out.gateways[through.router.incarnation]
    await everybody_has(crowd, 30)
    link._paused = True  # what is sent from now on stays in the relay
    await speak(crowd, room, 1)
    elsewhere = [connection for connection, gateway in crowd.here.values() if gateway is not through]
    await crowd.small.until(
        lambda: all(any(f.get("m", {}).get("o") == 33 for f in c.frames) for c in elsewhere)
    )
    assert {len(own) for own in offsets(crowd)} == {30, 33}
    link.abort()
    await everybody_has(crowd, 33)
    assert owner != relay


async def test_a_room_that_shrinks_is_sent_directly_again(crowd: Crowd) -> None:
    room, _, owner, _ = await large_room(crowd)
    await speak(crowd, room, 5)
    shard = crowd.small.shards[owner]
    assert shard.fan_out.relays.has(f"room:{room}")
    for sid in list(crowd.here)[2:]:
        await crowd.goes(sid)
    await crowd.small.until(lambda: shard.activations["room", room].state.attendance.subs == 2)
    await speak(crowd, room, 5)
    await everybody_has(crowd, 25)
    assert not shard.fan_out.relays.has(f"room:{room}")


async def test_a_gateway_is_sent_to_until_nobody_held_the_room_there_for_a_while(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAN-2."""
    monkeypatch.setattr(occupancy, "VACANT_AFTER_S", 0.5)
    monkeypatch.setattr(births, "SWEEP_S", 0.05)
    first, second = await crowd.open_gateway(), await crowd.open_gateway()
    ann, bob = await crowd.small.person(), await crowd.small.person()
    room = await crowd.small.room(ann, bob)
    await crowd.comes(first, ann, room)
    sid = await crowd.comes(second, bob, room)
    owner = crowd.small.router.view.owners[slot_of("room", room)]
    hearing = crowd.small.shards[owner].activations["room", room].state.attendance.hearing
    both = {first.router.incarnation, second.router.incarnation}
    assert set(hearing.gateways) == both
    await crowd.goes(sid)
    again = await crowd.comes(second, bob, room)
    await asyncio.sleep(0.7)
    assert set(hearing.gateways) == both
    await crowd.goes(again)
    await crowd.small.until(lambda: set(hearing.gateways) == {first.router.incarnation})


async def test_the_people_of_a_dead_gateway_leave_in_one_batch(crowd: Crowd) -> None:
    """FAN-3."""
    first, second = await crowd.open_gateway(), await crowd.open_gateway()
    ann, bob = await crowd.small.person(), await crowd.small.person()
    room = await crowd.small.room(ann, bob)
    watcher = await crowd.watches(second, ann, room)
    for _ in range(40):
        await crowd.comes(first, bob, room)
    await crowd.small.until(lambda: len(watcher.refs) == 40)
    await crowd.kill(first)
    LaterShard.ahead_ms += presence.LINGER_MS
    await crowd.small.until(lambda: not watcher.refs)
    assert [len(frame["l"]) for frame in watcher.connection.frames if frame.get("l")] == [40]
