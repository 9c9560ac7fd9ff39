"""A region that is too much for one actor is split into its children, live (ACT-10)."""

from typing import Any

import msgspec

from actors import messages as wire
from actors.effects import NOBODY
from actors.placement import slot_of
from actors.region import RATE_OVER_MS, RegionState, is_too_much, step, tick
from geo.cells import RES_SPLIT, Cell, parent_of, region_of, resolution_of

BERLIN = (52.5200, 13.4050)
REGION = str(region_of(*BERLIN))


def rows(small: Any, conn: str) -> list[list[Any]]:
    pushes = [p for p in small.pushes if isinstance(p, wire.PushMap) and p.ch.endswith(f"#{conn}")]
    return [row for push in pushes for row in msgspec.json.decode(push.k)]


async def move(small: Any, user: str, north: int, t_ms: int) -> None:
    """To a place `north` times 600 m from the middle of Berlin."""
    at = BERLIN[0] + north * 0.0054
    await small.ask(wire.Position(0, user, at, BERLIN[1], 5.0, t_ms))


async def test_a_full_region_is_split_and_nobody_vanishes_for_anybody(small: Any) -> None:
    ann, *others = [await small.person() for _ in range(9)]
    now = small.shards[0].now_ms() - 240_000
    await move(small, ann, 0, now)
    radius = {"radius_m": 5_000}
    await small.subscribe(f"near@{ann}#a", ann, "a", filter=radius)
    for north, person in enumerate(others, -4):
        await move(small, person, north, now)
    await small.until(lambda: {row[0] for row in rows(small, "a")} == set(others))
    region = str(region_of(*BERLIN))
    for shard in small.shards.values():
        object.__setattr__(shard.config, "region_split_users", 3)
    await small.until(lambda: all(region in shard.splits.regions for shard in small.shards.values()))
    state = small.shards[small.router.shard_of(slot_of("user", ann))].activations["user", ann].state
    await small.until(lambda: {resolution_of(Cell(home)) for home in state.announced} == {RES_SPLIT})
    assert region not in state.announced
    late = await small.person()
    await move(small, late, 1, now + 1)
    await small.until(lambda: late in {row[0] for row in rows(small, "a")})
    page = await small.subscribe(f"near@{ann}#b", ann, "b", filter=radius)
    assert {row[0] for row in page["state"]} == {*others, late}
    assert not [row for row in rows(small, "a") if row[1] == "-"]
    far = others[0]
    for later_ms in (120_000, 235_000):  # a snapped place follows a while later
        await move(small, far, -10, now + later_ms)
    await small.until(lambda: [far, "-"] in rows(small, "a"))


async def test_a_split_is_known_to_shards_that_come_later_and_is_not_made_twice(small: Any) -> None:
    region = str(region_of(*BERLIN))
    slot = slot_of("region", region)
    shard = small.shards[small.router.shard_of(slot)]
    await shard.splits.split(region, slot)
    await small.until(lambda: region in shard.splits.regions)
    await shard.splits.split(region, slot)
    await small.start_shard(2)
    assert small.shards[2].splits.regions == {region}
    assert await small.pool.fetchval("SELECT count(*) FROM region_splits") == 1


async def test_one_that_lost_its_slot_splits_nothing(small: Any) -> None:
    region = str(region_of(*BERLIN))
    slot = slot_of("region", region)
    await small.pool.execute("UPDATE slots SET epoch = epoch + 1")
    await small.shards[small.router.shard_of(slot)].splits.split(region, slot)
    assert await small.pool.fetchval("SELECT count(*) FROM region_splits") == 0


def enter(user: str) -> wire.RegionEnter:
    return wire.RegionEnter(0, REGION, user, "881f1d4887fffff", "everyone", "r8", 1, stamp=5)


def test_too_much_is_too_many_people_or_too_many_updates() -> None:
    state = RegionState(REGION, 1)
    assert not is_too_much(state, 1_000_000, 2, 10.0)
    for user in ("a", "b"):
        step(state, enter(user), NOBODY, 1)
    assert not is_too_much(state, 1_000_001, 2, 10.0)
    step(state, enter("c"), NOBODY, 1)
    assert is_too_much(state, 1_000_002, 2, 10.0)
    assert not is_too_much(state, 1_000_003, 3, 10.0)
    for _ in range(60):
        step(state, enter("c"), NOBODY, 1)
    assert is_too_much(state, 1_000_000 + RATE_OVER_MS, 3, 10.0)
    assert not is_too_much(state, 1_000_001 + 2 * RATE_OVER_MS, 3, 10.0)


def test_a_split_region_passes_on_to_its_children_whom_it_has_and_who_comes_late() -> None:
    state = RegionState(REGION, 1)
    step(state, enter("a"), NOBODY, 1)
    tick(state)
    state.split_at_ms = 1
    for late in ("", "b"):
        if late:
            step(state, enter(late), NOBODY, 2)
        news, passed_on = tick(state)
        assert news is not None
        assert news.gone == [(late or "a", 5, True)]
        (told,) = passed_on
        assert isinstance(told, wire.RegionEnter)
        assert (told.user, told.stamp, told.cell) == (late or "a", 5, "881f1d4887fffff")
        assert told.region == parent_of(Cell(told.cell), RES_SPLIT)
    assert state.is_idle


def test_a_word_from_before_somebody_left_comes_too_late() -> None:
    state = RegionState(REGION, 1)
    step(state, enter("a"), NOBODY, 1)
    step(state, wire.RegionLeave(0, REGION, "a", 6), NOBODY, 1)
    step(state, enter("a"), NOBODY, 1)
    assert not state.places
    step(state, wire.RegionEnter(0, REGION, "a", "881f1d4887fffff", "everyone", "r8", 1, stamp=7), NOBODY, 1)
    step(state, wire.RegionLeave(0, REGION, "a", 6), NOBODY, 1)
    assert state.places.keys() == {"a"}
