"""`near` with the filter `online`: those near who are online now, live (PRE-2, PRE-5, GEO-11)."""

from typing import Any

import msgspec
import pytest
from crowd import Crowd, LaterShard

from actors import messages as wire
from actors import region
from actors.effects import NOBODY
from actors.near import near_filter
from actors.placement import slot_of
from actors.presence import LINGER_MS
from actors.region import RegionState

BERLIN = (52.5200, 13.4050)
CLOSE = (BERLIN[0] + 0.005, BERLIN[1])


async def move(small: Any, user: str, lat: float, lon: float, t_ms: int) -> None:
    await small.ask(wire.Position(0, user, lat, lon, 5.0, t_ms))


def rows(small: Any, conn: str) -> list[tuple[str, str]]:
    pushes = [p for p in small.pushes if isinstance(p, wire.PushMap) and p.ch.endswith(f"#{conn}")]
    return [(row[0], row[1]) for push in pushes for row in msgspec.json.decode(push.k)]


async def here(small: Any, user: str, conn: str, birth: int) -> None:
    await small.ask(wire.Here(0, user, conn, "phone", 1, birth, birth - 1))


async def away(small: Any, user: str, conn: str, birth: int, *, clean: bool) -> None:
    await small.ask(wire.Away(0, user, conn, clean, birth, birth))


async def test_who_comes_goes_and_is_lost_is_shown_as_in_presence(crowd: Crowd) -> None:
    small = crowd.small
    ann, bob, cem = [await small.person() for _ in range(3)]
    now = small.shards[0].now_ms() - 60_000
    for user, place in ((ann, BERLIN), (bob, CLOSE), (cem, CLOSE)):
        await move(small, user, *place, now)
    await here(small, bob, "b1", 1)
    everybody = await small.subscribe(f"near@{ann}#all", ann, "all")
    assert {row[0] for row in everybody["state"]} == {bob, cem}
    page = await small.subscribe(f"near@{ann}#on", ann, "on", filter={"online": True})
    assert {row[0] for row in page["state"]} == {bob}
    await here(small, cem, "c1", 2)
    await small.until(lambda: rows(small, "on") == [(cem, "+")])
    await away(small, cem, "c1", 2, clean=True)
    await small.until(lambda: rows(small, "on") == [(cem, "+"), (cem, "-")])
    await away(small, bob, "b1", 1, clean=False)
    await here(small, bob, "b1", 3)  # a resume
    await away(small, bob, "b1", 3, clean=False)
    await here(small, cem, "c2", 4)
    await small.until(lambda: rows(small, "on")[2:] == [(cem, "+")])  # bob has not left meanwhile
    LaterShard.ahead_ms += LINGER_MS
    await small.until(lambda: rows(small, "on")[3:] == [(bob, "-")])
    assert rows(small, "all") == []


async def test_a_hand_over_changes_nothing_and_presence_goes_on(crowd: Crowd) -> None:
    small = crowd.small
    ann, bob = [await small.person() for _ in range(2)]
    now = small.shards[0].now_ms() - 60_000
    await move(small, ann, *BERLIN, now)
    await move(small, bob, *CLOSE, now)
    await here(small, bob, "b1", 1)
    page = await small.subscribe(f"near@{ann}#on", ann, "on", filter={"online": True})
    assert {row[0] for row in page["state"]} == {bob}
    slot = slot_of("user", bob)
    before = small.router.shard_of(slot)
    small.directory.mover._relieving = {slot: 1 - before}
    small.directory.mover.changed()
    await small.until(lambda: small.router.shard_of(slot) == 1 - before)
    await move(small, bob, CLOSE[0] + 0.0001, CLOSE[1], now + 30_000)
    await away(small, bob, "b1", 1, clean=True)
    await small.until(lambda: rows(small, "on")[-1:] == [(bob, "-")])
    assert [row for row in rows(small, "on") if row[1] != "~"] == [(bob, "-")]


def test_a_region_keeps_what_it_knew_of_somebody_whose_actor_does_not_know_yet() -> None:
    state = RegionState("r", 1)
    cell = "881f1d4887fffff"

    def announced(online: bool | None) -> bool:
        enter = wire.RegionEnter(0, "r", "ann", cell, "everyone", "r8", 1, online)
        region.step(state, enter, NOBODY, 1)
        region.tick(state)
        return state.told["ann"].online

    assert [announced(said) for said in (None, True, None, False, None)] == [False, True, True, False, False]


def test_the_filter_is_true_or_false() -> None:
    assert near_filter({"online": True}).online is True
    assert near_filter({"online": False}).online is near_filter({}).online is False
    assert near_filter({"online": None}).online is False, "null is as not given"
    for wrong in ("yes", 1):
        with pytest.raises(ValueError, match="online"):
            near_filter({"online": wrong})
