"""A person's actor and regions go on where they were when their slots are handed over (ACT-5, PRE-5)."""

import json
from typing import Any

import msgspec
import pytest

from actors import messages as wire
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from geo.cells import region_of
from storage.ids import new_id

BERLIN = (52.5200, 13.4050)


async def move(small: Any, user: str, lat: float, lon: float, t_ms: int) -> Any:
    return await small.ask(wire.Position(0, user, lat, lon, 5.0, t_ms))


async def hand_over(small: Any, kind: str, key: str) -> None:
    """To the other one of two shards."""
    slot = slot_of(kind, key)
    before = small.router.shard_of(slot)
    small.directory.mover._relieving = {slot: 1 - before}
    small.directory.mover.changed()
    await small.until(lambda: small.router.shard_of(slot) == 1 - before)
    await small.until(lambda: (kind, key) in small.shards[1 - before].activations)
    assert (kind, key) not in small.shards[before].activations


def rows(small: Any, conn: str) -> list[list[Any]]:
    pushes = [p for p in small.pushes if isinstance(p, wire.PushMap) and p.ch.endswith(f"#{conn}")]
    return [row for push in pushes for row in msgspec.json.decode(push.k)]


async def test_a_near_map_goes_on_with_deltas_whoever_of_those_in_it_moves_house(small: Any) -> None:
    ann, bob, eve = [await small.person() for _ in range(3)]
    now = small.shards[0].now_ms() - 600_000
    await move(small, ann, *BERLIN, now)
    page = await small.subscribe(f"near@{ann}#a", ann, "a")
    assert page["state"] == []
    await move(small, bob, BERLIN[0] + 0.005, BERLIN[1], now)
    await small.until(lambda: [row[:2] for row in rows(small, "a")] == [[bob, "+"]])
    small.router.on_slots_moved = lambda slots: pytest.fail(f"subscribe again for {slots}")
    region = str(region_of(*BERLIN))
    await hand_over(small, "user", ann)
    await hand_over(small, "region", region)
    await move(small, eve, BERLIN[0] + 0.005, BERLIN[1], now)
    await small.until(lambda: [row[:2] for row in rows(small, "a")] == [[bob, "+"], [eve, "+"]])
    await hand_over(small, "user", bob)
    for later_ms in (200_000, 300_000):
        await move(small, bob, BERLIN[0] + 0.05, BERLIN[1], now + later_ms)
    await small.until(lambda: rows(small, "a")[-1] == [bob, "-"])
    offsets = [p.offset for p in small.pushes if isinstance(p, wire.PushMap)]
    assert offsets == sorted(offsets)
    assert len(rows(small, "a")) == 3


async def test_the_order_of_fixes_and_a_crossing_half_confirmed_survive(small: Any) -> None:
    """GEO-15: two fixes confirm a crossing, one before and one after the hand-over."""
    ann = await small.person()
    fence, half = new_id(), 0.002
    west, south, east, north = BERLIN[1] - half, BERLIN[0] - half, BERLIN[1] + half, BERLIN[0] + half
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    await small.pool.execute(
        "INSERT INTO fences (id, owner_id, name, shape) VALUES ($1, $2, 'f', $3)",
        fence, ann, json.dumps({"type": "Polygon", "coordinates": [ring]}),
    )  # fmt: skip
    await small.router.refresh("fences", "*")
    await small.subscribe(f"fences@{ann}", ann, "c")
    now = small.shards[0].now_ms() - 600_000
    await move(small, ann, BERLIN[0] + 0.02, BERLIN[1], now)
    await move(small, ann, *BERLIN, now + 100_000)
    assert not small.pushes
    await hand_over(small, "user", ann)
    with pytest.raises(EngineError) as stale:
        await move(small, ann, *BERLIN, now + 50_000)
    assert stale.value.code is ErrorCode.STALE_POSITION
    await move(small, ann, *BERLIN, now + 200_000)
    await small.until(lambda: small.pushes)
    event = msgspec.json.decode(small.pushes[0].m)["d"]
    assert (event["event"], event["at_ms"]) == ("enter", now + 200_000)
