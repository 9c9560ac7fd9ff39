"""Viewers' shards follow regions: what is lost is asked for, a region that moves takes nobody off (GEO-7)."""

from typing import Any

import msgspec
import pytest

from actors import messages as wire
from actors.placement import slot_of
from geo.cells import region_of

BERLIN = (52.5200, 13.4050)
REGION = str(region_of(*BERLIN))
FILTER = {"radius_m": 2_000}


async def stand(small: Any, user: str, t_ms: int) -> None:
    await small.ask(wire.Position(0, user, *BERLIN, 5.0, t_ms))


def rows(small: Any) -> list[list[Any]]:
    pushes = [push for push in small.pushes if isinstance(push, wire.PushMap)]
    return [row[:2] for push in pushes for row in msgspec.json.decode(push.k)]


def owner(small: Any, kind: str, key: str) -> Any:
    return small.shards[small.router.shard_of(slot_of(kind, key))]


async def viewer_elsewhere(small: Any) -> str:
    """Somebody whose actor is not in the region's shard."""
    while True:
        user: str = await small.person()
        if owner(small, "user", user) is not owner(small, "region", REGION):
            return user


async def test_news_that_were_lost_on_the_way_are_asked_for(small: Any) -> None:
    eve, now = await viewer_elsewhere(small), small.shards[0].now_ms() - 60_000
    await stand(small, eve, now)
    await small.subscribe(f"near@{eve}#e", eve, "e", filter=FILTER)
    here, there = owner(small, "region", REGION), owner(small, "user", eve)
    followed = there.hosts["user"].near.following._regions[REGION]
    here.activations["region", REGION].state.followers.clear()  # as if what it tells were lost
    ann = await small.person()
    await stand(small, ann, now)
    await small.until(lambda: here.activations["region", REGION].state.version > followed.version)
    assert rows(small) == []
    bob = await small.person()
    here.activations["region", REGION].state.followers[there.number] = now + 3_600_000
    await stand(small, bob, now)  # the next word shows that one is missing
    await small.until(lambda: sorted(rows(small)) == sorted([[ann, "+"], [bob, "+"]]))


async def test_a_region_that_is_handed_over_goes_on_without_a_row_too_much(small: Any) -> None:
    eve, now = await viewer_elsewhere(small), small.shards[0].now_ms() - 60_000
    people = [await small.person() for _ in range(3)]
    for user in (eve, *people[:2]):
        await stand(small, user, now)
    page = await small.subscribe(f"near@{eve}#e", eve, "e", filter=FILTER)
    assert {row[0] for row in page["state"]} == set(people[:2])
    slot = slot_of("region", REGION)
    before = small.router.shard_of(slot)
    state = owner(small, "region", REGION).activations["region", REGION].state
    epoch, version = state.epoch, state.version
    small.directory.mover._relieving = {slot: 1 - before}
    small.directory.mover.changed()
    await small.until(lambda: small.router.shard_of(slot) == 1 - before)
    await stand(small, people[2], now)
    await small.until(lambda: rows(small) == [[people[2], "+"]])
    state = owner(small, "region", REGION).activations["region", REGION].state
    assert (state.epoch, state.version) == (epoch, version + 1)


@pytest.mark.usefixtures("valkey")
async def test_a_killed_region_comes_back_and_nobody_vanishes_meanwhile(small: Any) -> None:
    eve, now = await viewer_elsewhere(small), small.shards[0].now_ms() - 60_000
    people = [await small.person() for _ in range(6)]
    for user in (eve, *people[:5]):
        await stand(small, user, now)
    await small.subscribe(f"near@{eve}#e", eve, "e", filter=FILTER)
    here = owner(small, "region", REGION)
    await small.until(lambda: not here.hosts["region"].keeping._saving)
    await here.stop()
    await small.start_shard(here.number)
    await stand(small, people[5], now)
    await small.until(lambda: [people[5], "+"] in rows(small))
    assert rows(small) == [[people[5], "+"]]


async def test_a_region_is_followed_once_for_all_viewers_and_not_for_ever(small: Any) -> None:
    now = small.shards[0].now_ms() - 60_000
    viewers = [await small.person() for _ in range(4)]
    for user in viewers:
        await stand(small, user, now)
        await small.subscribe(f"near@{user}#{user}", user, user, filter=FILTER)
    state = owner(small, "region", REGION).activations["region", REGION].state
    assert state.followers.keys() == {small.router.shard_of(slot_of("user", user)) for user in viewers}
    for user in viewers:
        await small.ask(wire.Unsubscribe(0, f"near@{user}#{user}", user, user))
    for shard in small.shards.values():
        following = shard.hosts["user"].near.following
        for followed in following._regions.values():
            followed.used_at_ms = 0
        following.look_after(set())
        assert not following._regions
        assert not following.people.people


async def test_a_viewer_who_is_handed_over_is_told_of_changes_only(small: Any) -> None:
    """Their next shard reviews the view only when the regions have told it who is there."""
    eve, now = await viewer_elsewhere(small), small.shards[0].now_ms() - 60_000
    people = [await small.person() for _ in range(4)]
    for user in (eve, *people[:3]):
        await stand(small, user, now)
    await small.subscribe(f"near@{eve}#e", eve, "e", filter=FILTER)
    slot = slot_of("user", eve)
    before = small.router.shard_of(slot)
    small.directory.mover._relieving = {slot: 1 - before}
    small.directory.mover.changed()
    await small.until(lambda: small.router.shard_of(slot) == 1 - before)
    await stand(small, people[3], now)
    await small.until(lambda: [people[3], "+"] in rows(small))
    assert rows(small) == [[people[3], "+"]]
    assert not small.shards[before].hosts["user"].near._viewers.by_user
