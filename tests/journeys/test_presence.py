"""Who is in a room: `presence:room:<id>` and `pres` (PRE-1…PRE-3, docs/protocol.md §3)."""

import asyncio
import time
from collections.abc import Callable

import pytest
from rt_client.member import Member
from rt_client.town import Town
from rt_client.views import PresenceView


async def watch(member: Member, room: str) -> PresenceView:
    view = await member.follow(f"presence:{room}", mode="map")
    assert isinstance(view, PresenceView)
    return view


async def until(wanted: Callable[[], bool], timeout_s: float = 5.0) -> float:
    """How long it took."""
    begun_s = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while not wanted():
            await asyncio.sleep(0.02)
    return time.monotonic() - begun_s


async def test_arrivals_and_clean_leaves_show_at_once(town: Town, codec: str) -> None:
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    watcher = await town.member(ann, codec)
    present = await watch(watcher, room)
    assert present.users() == set()
    other = await town.member(bob, codec, device="phone")
    await other.follow(room)
    await until(lambda: present.users() == {bob.user})
    (meta,) = present.metas.values()
    assert meta["u"] == bob.user
    assert meta["device"] == "phone"
    assert meta["ref"]
    assert abs(meta["since"] - time.time() * 1000) < 60_000
    await other.stop()
    assert await until(lambda: present.users() == set()) < 5


async def test_only_a_stream_subscription_makes_one_present(town: Town) -> None:
    """Watching is not being there; `unsub` leaves."""
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    a = await town.member(ann)
    present = await watch(a, room)
    b = await town.connected(bob)
    await b.sub(f"presence:{room}", mode="map")
    assert (await b.command("pres", {"ch": room})) == {"metas": [], "count": 0}
    await b.sub(room)
    await until(lambda: present.users() == {bob.user})
    await b.command("unsub", {"ch": room})
    await until(lambda: present.users() == set())


async def test_a_late_watcher_and_a_query_see_the_same_people(town: Town, codec: str) -> None:
    ann, *others = town.persons(4)
    room = await town.room(ann, *others)
    members = [await town.member(who, codec) for who in others]
    for member in members:
        await member.follow(room)
    late = await town.member(ann, codec)
    present = await watch(late, room)
    assert present.users() == {who.user for who in others}
    answer = await (await late.online()).command("pres", {"ch": room})
    assert answer["count"] == 3
    assert {meta["ref"] for meta in answer["metas"]} == set(present.metas)


async def test_two_devices_are_two_metas_of_one_user(town: Town) -> None:
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    a = await town.member(ann)
    present = await watch(a, room)
    phone, laptop = await town.member(bob, device="phone"), await town.member(bob, "msgpack", device="laptop")
    await phone.follow(room)
    await laptop.follow(room)
    await until(lambda: {meta["device"] for meta in present.metas.values()} == {"phone", "laptop"})
    await phone.stop()
    await until(lambda: {meta["device"] for meta in present.metas.values()} == {"laptop"})
    assert present.users() == {bob.user}


async def lose_sockets(town: Town) -> None:
    ann, bob, cem = town.persons(3)
    room = await town.room(ann, bob, cem)
    a = await town.member(ann)
    present = await watch(a, room)
    lost = await town.connected(bob, subs={room: {}})
    blinking = await town.member(cem, backoff_last_s=0.5)
    await blinking.follow(room)
    await until(lambda: present.users() == {bob.user, cem.user})
    (frames := (await a.online()).frames).clear()
    await lost.drop()
    await blinking.drop()
    waited_s = await until(lambda: present.users() == {cem.user}, timeout_s=25)
    assert 13 < waited_s < 20
    left = [meta["u"] for frame in frames for meta in frame.get("l", [])]
    assert left.count(bob.user) == 1
    assert len([meta for meta in present.metas.values() if meta["u"] == cem.user]) == 1


@pytest.mark.timeout(60)
@pytest.mark.beside(scenario=lose_sockets)
def test_a_lost_socket_shows_as_a_leave_after_15_seconds_and_not_before(beside: Callable[..., None]) -> None:
    """And who comes back within them never left (no flicker, no ghost)."""
    beside(lose_sockets)


async def test_matches_see_each_other_online_until_one_blocks(town: Town, codec: str) -> None:
    """`presence:matches`: at once on a clean close, nobody else, nobody blocked, also after a resume."""
    ann, bob, stranger = town.persons(3)
    asked = await town.http("PUT", f"/v1/connections/{bob.user}", {"action": "request"}, ann)
    accept = {"action": "accept", "version": asked.body["version"]}
    assert (await town.http("PUT", f"/v1/connections/{ann.user}", accept, bob)).status == 200
    watcher = await town.member(ann, codec)
    view = await watcher.follow("presence:matches", mode="map")
    assert isinstance(view, PresenceView)
    await town.connected(stranger)
    phone = await town.connected(bob, device="phone")
    await until(lambda: view.users() == {bob.user})
    (meta,) = view.metas.values()
    assert (meta["u"], meta["device"]) == (bob.user, "phone")
    await phone.close()
    await until(lambda: view.users() == set())
    tab = await town.connected(bob, device="tab")
    await until(lambda: view.users() == {bob.user})
    own = await tab.sub("presence:matches", mode="map")
    assert {meta["u"] for meta in own["state"]} == {ann.user}
    assert (await tab.command("pres", {"ch": "presence:matches"}))["count"] == 1
    await watcher.drop()
    await watcher.online()
    assert view.users() == {bob.user}
    assert (await town.http("PUT", f"/v1/connections/{bob.user}", {"action": "block"}, ann)).status == 200
    await until(lambda: view.users() == set())
    assert (await tab.command("pres", {"ch": "presence:matches"})) == {"metas": [], "count": 0}
    await watcher.drop()
    await watcher.online()
    assert view.users() == set()
