"""`presence:matches` through real gateways and shards: my matches who are online (PRE-2, PRE-3, PRE-5)."""

import asyncio
from typing import Any

import pytest
from crowd import Crowd, LaterShard, Watcher

from actors import messages as wire
from actors import presence
from actors.online import Online
from actors.placement import slot_of
from storage.ids import new_id


async def matched(crowd: Crowd, one: str, other: str, state: str = "matched", **blocks: bool) -> None:
    low, high = sorted((one, other))
    await crowd.small.pool.execute(
        "INSERT INTO connections (low_id, high_id, state, low_blocks) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (low_id, high_id) DO UPDATE SET state = $3, low_blocks = $4",
        low, high, state, blocks.get("low_blocks", False),
    )  # fmt: skip
    for user in (one, other):
        await crowd.small.router.refresh("user", user)


async def people(crowd: Crowd, count: int) -> list[str]:
    """The first one is a match of all the others."""
    ann, *others = [await crowd.small.person("matches") for _ in range(count)]
    for other in others:
        await matched(crowd, ann, other)
    return [ann, *others]


async def watches(crowd: Crowd, gateway: Any, user: str) -> Watcher:
    return await Watcher(await crowd.connected(gateway, user)).begin()


async def comes(crowd: Crowd, gateway: Any, user: str, device: str = "", **body: Any) -> tuple[str, Any]:
    connection = await crowd.connected(gateway, user, device, **body)
    return crowd.greeting["sid"], connection


def grace_passes() -> None:
    LaterShard.ahead_ms += presence.LINGER_MS


@pytest.fixture
async def gateways(crowd: Crowd) -> list[Any]:
    return [await crowd.open_gateway(), await crowd.open_gateway()]


async def sees(crowd: Crowd, watcher: Watcher, *sids: str) -> None:
    await crowd.small.until(lambda: watcher.refs == set(sids))


async def test_matches_come_and_go_at_once_and_nobody_else_is_shown(crowd: Crowd, gateways: Any) -> None:
    first, second = gateways
    ann, bob, cem = await people(crowd, 3)
    stranger = await crowd.small.person()
    early, _ = await comes(crowd, second, bob, "phone")
    await comes(crowd, second, stranger)
    watcher = await watches(crowd, first, ann)
    assert watcher.refs == {early}  # complete from the first reply on
    late, connection = await comes(crowd, second, cem, "tab")
    await sees(crowd, watcher, early, late)
    meta = watcher.metas[late]
    assert (meta["u"], meta["device"]) == (cem, "tab")
    other, _ = await comes(crowd, first, cem, "phone")
    await sees(crowd, watcher, early, late, other)  # a meta for each device
    await connection.close()
    await sees(crowd, watcher, early, other)
    channel = first.hub.channel(f"presence:matches@{ann}")
    assert channel.said & 0xFFFF_FFFF == 3  # numbered one by one, as a room's
    answer = await watcher.connection.command("pres", {"ch": "presence:matches"})
    assert {each["ref"] for each in answer["metas"]} == {early, other}
    assert answer["count"] == 2


async def test_a_loss_is_hidden_for_its_grace_and_a_resume_for_ever(crowd: Crowd, gateways: Any) -> None:
    first, second = gateways
    ann, bob = await people(crowd, 2)
    watcher = await watches(crowd, first, ann)
    sid, connection = await comes(crowd, second, bob, "phone")
    key = crowd.greeting["key"]
    await sees(crowd, watcher, sid)
    await connection.drop()
    await asyncio.sleep(1.2)  # a sweep
    again, connection = await comes(crowd, first, bob, "phone", resume={"sid": sid, "key": key})
    assert again == sid
    grace_passes()
    await asyncio.sleep(1.2)
    assert watcher.history == [("j", sid)]
    await connection.drop()
    await asyncio.sleep(0.2)
    new, connection = await comes(crowd, first, bob, "phone")
    await sees(crowd, watcher, new)  # the same device takes its place in one step
    assert watcher.metas[new]["prev"] == sid
    await connection.drop()
    await asyncio.sleep(0.2)
    assert watcher.refs == {new}
    grace_passes()
    await sees(crowd, watcher)


async def test_blocked_unmatched_and_hidden_people_vanish_at_once_also_on_resume(
    crowd: Crowd, gateways: Any
) -> None:
    first, second = gateways
    ann, bob, cem, dan = await people(crowd, 4)
    sids = {user: (await comes(crowd, second, user))[0] for user in (bob, cem, dan)}
    watcher = await watches(crowd, first, ann)
    key, sid = crowd.greeting["key"], crowd.greeting["sid"]
    assert watcher.refs == set(sids.values())
    await matched(crowd, ann, bob, low_blocks=True)
    await sees(crowd, watcher, sids[cem], sids[dan])
    await matched(crowd, ann, cem, "unmatched")
    await sees(crowd, watcher, sids[dan])
    await crowd.small.pool.execute("UPDATE users SET visibility_audience = 'nobody' WHERE id = $1", dan)
    await crowd.small.router.refresh("user", dan)
    await sees(crowd, watcher)
    await watcher.connection.drop()
    await crowd.connected(second, ann, resume={"sid": sid, "key": key}, subs={"presence:matches": {}})
    assert crowd.greeting["resumed"] is True
    assert crowd.greeting["subs"]["presence:matches"]["state"] == []
    await crowd.small.pool.execute("UPDATE users SET visibility_audience = 'matches' WHERE id = $1", dan)
    await crowd.small.router.refresh("user", dan)
    later = await watches(crowd, first, ann)
    await sees(crowd, later, sids[dan])
    await matched(crowd, ann, cem)
    await sees(crowd, later, sids[dan], sids[cem])


async def test_lost_shards_and_gateways_show_nobody_leaving_who_did_not(crowd: Crowd, gateways: Any) -> None:
    """A deploy: all shards begin anew, a gateway dies, some leave meanwhile."""
    first, second = gateways
    ann, *others = await people(crowd, 7)
    watcher = await watches(crowd, first, ann)
    here = {user: await comes(crowd, (first, second)[n % 2], user) for n, user in enumerate(others)}
    await sees(crowd, watcher, *(sid for sid, _ in here.values()))
    watcher.history.clear()
    for shard in crowd.small.shards.values():
        await shard.stop()
    gone = here.pop(others[0])
    await gone[1].close()
    for number in list(crowd.small.shards):
        await crowd.start_shard(number)
    grace_passes()
    await sees(crowd, watcher, *(sid for sid, _ in here.values()))
    assert watcher.history == [("l", gone[0])]
    dead = {here.pop(user)[0] for user in others[1::2]}
    await crowd.kill(second)
    await asyncio.sleep(1.2)
    assert dead <= watcher.refs
    grace_passes()
    await sees(crowd, watcher, *(sid for sid, _ in here.values()))


async def test_a_hand_over_of_either_side_changes_nothing(crowd: Crowd, gateways: Any) -> None:
    first, second = gateways
    ann, bob = await people(crowd, 2)
    watcher = await watches(crowd, first, ann)
    sid, connection = await comes(crowd, second, bob)
    await sees(crowd, watcher, sid)
    small = crowd.small
    for user in (bob, ann):
        slot = slot_of("user", user)
        before = small.router.shard_of(slot)
        small.directory.mover._relieving = {slot: 1 - before}
        small.directory.mover.changed()
        await small.until(lambda slot=slot, before=before: small.router.shard_of(slot) == 1 - before)
    other, _ = await comes(crowd, first, bob)
    await sees(crowd, watcher, sid, other)
    await connection.close()
    await sees(crowd, watcher, other)
    assert watcher.history == [("j", sid), ("j", other), ("l", sid)]


async def test_a_connection_that_nobody_asks_about_activates_nobody(crowd: Crowd, gateways: Any) -> None:
    """What an idle connection costs a shard is a row (W3); somebody who stops watching is told no more."""
    ann, bob = await people(crowd, 2)
    for user in (ann, bob):  # what refreshing them did
        for shard in crowd.small.shards.values():
            shard.activations.pop(("user", user), None)
    sid, connection = await comes(crowd, gateways[0], bob)
    shards = crowd.small.shards.values()
    slot = slot_of("user", bob)
    await crowd.small.until(lambda: any(shard.online.table.is_online(slot, bob) for shard in shards))
    assert not any(("user", bob) in shard.activations for shard in shards)
    watcher = await watches(crowd, gateways[1], ann)
    assert watcher.refs == {sid}
    await watcher.connection.command("unsub", {"ch": "presence:matches"})
    await connection.close()
    tables = [shard.online.table for shard in shards]
    await crowd.small.until(lambda: not any(table.watched() for table in tables))
    assert watcher.history == []


async def test_a_slot_that_is_given_away_takes_the_loss_of_a_gateway_along(crowd: Crowd) -> None:
    """Also where that is not worked through yet: its next owner hears nothing of the gateway."""
    shard = crowd.small.shards[0]
    ann, bob = new_id(), new_id()
    for slot, user in ((1, ann), (2, bob)):
        shard.online.table.here(slot, wire.Here(0, user, new_id(), "d", 1, 1, 0), "a gateway that is gone")
    shard.online.gateway_lost("a gateway that is gone")
    given = shard.online.given(2)[bob]
    assert isinstance(given, Online)
    assert given.presence.down.keys() == {"a gateway that is gone"}
    await crowd.small.until(lambda: {(1, ann), (2, bob)} <= shard.online.table.waiting)


async def test_anothers_matches_are_not_there(crowd: Crowd) -> None:
    ann, bob = await people(crowd, 2)
    from actors.protocol import EngineError  # noqa: PLC0415

    with pytest.raises(EngineError):
        await crowd.small.subscribe(f"presence:matches@{ann}", bob, new_id())
