"""The attacks on a person's position, through actors and regions as any question goes (GEO-20, 21, 23).

The attacker may use any number of accounts, places, radii and repetitions. Whatever they compute, they come
no nearer than the middle of the cell that they are told.
"""

import asyncio
import itertools
import math
import random
import statistics
from typing import Any

import h3
import msgspec
import numpy as np
import pytest

from actors import announcing, near_people, region
from actors import messages as wire
from actors.effects import NOBODY
from actors.near import NearView
from actors.near_people import Around
from actors.person import ToRegion, UserState
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from actors.region import RegionState
from actors.vicinity import Vicinity
from geo.cells import Cell, cell_of, edge_m, region_of, resolution_of
from geo.distance import distance_m, distances_m, metres_per_degree
from geo.fixes import Fix
from geo.privacy import Audience, Shown, coarse
from geo.proximity import MapView
from storage.streams import UserRecord

MIDDLE = (52.5200, 13.4050)
REGION = str(region_of(*MIDDLE))
LAT_M, LON_M = metres_per_degree(MIDDLE[0])
RADII_M = (700.0, 1_300.0, 2_000.0, 3_200.0, 5_000.0)

Place = tuple[float, float]


def at(east_m: float, north_m: float, middle: Place = MIDDLE) -> Place:
    return middle[0] + north_m / LAT_M, middle[1] + east_m / LON_M


async def stand(small: Any, user: str, place: Place, t_ms: int) -> None:
    await small.ask(wire.Position(0, user, *place, 5.0, t_ms))


async def look(small: Any, user: str, radius_m: float = 5_000.0) -> dict[str, dict[str, Any]]:
    answer = await small.ask(wire.NearQuery(0, user, radius_m, 50))
    return {row["user"]: row for row in answer["items"]}


def of_everyone() -> UserRecord:
    nobody = frozenset[str]()
    return UserRecord(
        "everyone", "r8", nobody, nobody, nobody, open_visits={}, visits={}, left_at_ms={}, auto_join=nobody
    )


def pushed(small: Any, conn: str) -> list[Any]:
    pushes = [p for p in small.pushes if isinstance(p, wire.PushMap) and p.ch.endswith(f"#{conn}")]
    return [row for push in pushes for row in msgspec.json.decode(push.k)]


async def block(small: Any, one: str, other: str) -> None:
    low, high = sorted((one, other))
    await small.pool.execute(
        "INSERT INTO connections (low_id, high_id, high_blocks) VALUES ($1, $2, true)", low, high
    )
    for user in (one, other):
        await small.router.refresh("user", user)


def possible(seen: list[tuple[Place, float, str | None]], shown: Cell) -> Place:
    """Where all circles of bands and radii around the attackers' cells can meet, on average: what exact
    distances would give away, whether or not somebody is in an answer.
    """
    centre = coarse(shown)
    north_m, east_m = (axis.ravel() for axis in np.meshgrid(*[np.arange(-1_500, 1_501, 100.0)] * 2))
    lats, lons = centre.lat + north_m / LAT_M, centre.lon + east_m / LON_M
    fits = np.zeros(lats.size)
    for (lat, lon), radius_m, band in seen:
        metres = distances_m(lat, lon, lats, lons)
        if band is None:
            fits += metres > radius_m
        else:
            low_m = {"<1": 0.0, "<2": 1e3, "<5": 2e3, "<10": 5e3}[band]
            fits += (metres >= low_m) & (metres < min(float(band[1:]) * 1e3, radius_m + 1e-3))
    best = fits >= fits.max() - 1e-9
    return float(lats[best].mean()), float(lons[best].mean())


async def test_trilateration_from_spoofed_places_finds_the_middle_of_a_cell(small: Any) -> None:
    """Second accounts, rounded distances, the edges of bands and of any radius: nothing is nearer."""
    chance = random.Random(11)
    now_ms = small.shards[0].now_ms()
    victims = {
        await small.person(): at(chance.uniform(-2e3, 2e3), chance.uniform(-2e3, 2e3)) for _ in range(30)
    }
    spots = [at(chance.uniform(-4e3, 4e3), chance.uniform(-4e3, 4e3)) for _ in range(60)]
    attackers = {await small.person("nobody"): spot for spot in spots}
    everybody = [*victims.items(), *attackers.items()]
    await asyncio.gather(*(stand(small, user, place, now_ms) for user, place in everybody))
    evidence: dict[str, list[tuple[Place, float, str | None]]] = {user: [] for user in victims}
    shown: dict[str, set[str]] = {user: set() for user in victims}

    async def ask(attacker: str, spot: Place) -> None:
        own = coarse(cell_of(*spot, 8))
        for radius_m in RADII_M:
            answer = await look(small, attacker, radius_m)
            for victim, told in evidence.items():
                row = answer.get(victim)
                told.append(((own.lat, own.lon), radius_m, row and row["band"]))
                if row is not None:
                    assert row.keys() == {"user", "cell", "band"}
                    shown[victim].add(row["cell"])

    await asyncio.gather(*(ask(attacker, spot) for attacker, spot in attackers.items()))
    errors, bounds = [], []
    for victim, place in victims.items():
        (cell,) = shown[victim]
        assert cell == cell_of(*place, 8)
        errors.append(distance_m(*place, *possible(evidence[victim], Cell(cell))))
        middle = coarse(Cell(cell))
        bounds.append(distance_m(*place, middle.lat, middle.lon))
    assert statistics.median(errors) >= 0.95 * statistics.mean(bounds)
    assert statistics.median(errors) >= 0.5 * edge_m(8)


async def test_averaging_a_person_at_rest_or_on_an_edge_tells_one_cell(small: Any) -> None:
    """Repeated looks while the victim's fixes scatter by 30 m, and while they walk along an edge of cells."""
    chance = random.Random(3)
    cell = cell_of(*MIDDLE, 8)
    corners = h3.cell_to_boundary(cell)
    side = [tuple((a + b) / 2 for a, b in zip(*pair, strict=True)) for pair in itertools.pairwise(corners)]
    start_ms = small.shards[0].now_ms() - 800_000
    attacker = await small.person("nobody")
    await stand(small, attacker, MIDDLE, start_ms)
    await small.subscribe(f"near@{attacker}#a", attacker, "a", filter={"radius_m": 5_000})
    for number, (lat, lon) in enumerate(side[:3]):
        victim = await small.person()
        seen = set()
        for step in range(40):
            along = (step - 20) * 8.0  # beside the edge, to and fro across it
            scattered = at(chance.gauss(0, 30) + along * math.cos(number), chance.gauss(0, 30), (lat, lon))
            await stand(small, victim, scattered, start_ms + step * 20_000)
            if step % 8 == 0:
                seen.add((await look(small, attacker))[victim]["cell"])
        assert len(seen) == 1
        (only,) = {row[2]["cell"] for row in pushed(small, "a") if row[0] == victim}
        assert seen == {only}


async def test_coming_back_and_paging_tell_nothing_that_was_not_shown(small: Any) -> None:
    """A resume goes on from what was shown: steps within the cell leave no trace; `near` has no history."""
    ann, eve = await small.person(), await small.person()
    start_ms = small.shards[0].now_ms() - 600_000
    middle = coarse(cell_of(*MIDDLE, 8))
    await stand(small, ann, (middle.lat, middle.lon), start_ms)
    await stand(small, eve, MIDDLE, start_ms)
    page = await small.subscribe(f"near@{eve}#e", eve, "e")
    assert [row[0] for row in page["state"]] == [ann]
    await small.ask(wire.Unsubscribe(0, f"near@{eve}#e", eve, "e", clean=False))
    for step in range(10):
        place = at(30.0 * step, -20.0 * step, (middle.lat, middle.lon))
        await stand(small, ann, place, start_ms + (step + 1) * 50_000)
    position = {"epoch": page["epoch"], "offset": page["offset"]}
    back = await small.subscribe(f"near@{eve}#f", eve, "f", **position)
    assert (back["recovered"], back["offset"], list(back["k"])) == (True, page["offset"], [])
    with pytest.raises(EngineError):
        await small.ask(wire.History(0, f"near@{eve}#f", eve, 10))


async def test_a_match_sees_the_cell_they_are_granted_and_strangers_no_finer_one(small: Any) -> None:
    ann, friend, eve = [await small.person() for _ in range(3)]
    await small.pool.execute("UPDATE users SET visibility_precision = 'exact' WHERE id = $1", ann)
    low, high = sorted((ann, friend))
    await small.pool.execute(
        "INSERT INTO connections (low_id, high_id, state) VALUES ($1, $2, 'matched')", low, high
    )
    now_ms = small.shards[0].now_ms()
    for user in (ann, friend, eve):
        await stand(small, user, MIDDLE, now_ms)
    fine = cell_of(*MIDDLE, 9)
    assert (await look(small, friend))[ann]["cell"] == fine
    assert (await look(small, eve))[ann]["cell"] == cell_of(*MIDDLE, 8)
    page = await small.subscribe(f"near@{friend}#f", friend, "f")
    assert {row[0]: row[1]["cell"] for row in page["state"]}[ann] == fine
    # Nothing that reaches a stranger's actor, or the index it is answered from, tells the finer cell.
    for shard in small.shards.values():
        people = shard.hosts["user"].near.following.people
        assert fine not in people._open
        assert {each.data["cell"] for each in people.strangers(cell_of(*MIDDLE, 8))} <= {cell_of(*MIDDLE, 8)}


async def test_a_blocked_pair_never_sees_each_other_live_or_on_resume(small: Any) -> None:
    ann, bob = await small.person(), await small.person()
    start_ms = small.shards[0].now_ms() - 600_000
    pages = {}
    for user in (ann, bob):
        await stand(small, user, MIDDLE, start_ms)
    for user in (ann, bob):
        pages[user] = await small.subscribe(f"near@{user}#{user}", user, user)
        assert [row[0] for row in pages[user]["state"]] == [bob if user == ann else ann]
    await block(small, ann, bob)
    await small.until(
        lambda: all(pushed(small, user)[-1:] == [[other, "-"]] for user, other in ((ann, bob), (bob, ann)))
    )
    for user in (ann, bob):
        await small.ask(wire.Unsubscribe(0, f"near@{user}#{user}", user, user, clean=False))
    for step in range(1, 6):
        for user in (ann, bob):
            await stand(small, user, at(400.0 * step, 0.0), start_ms + step * 70_000)
    for user in (ann, bob):
        page = pages[user]
        back = await small.subscribe(
            f"near@{user}#again", user, "again", epoch=page["epoch"], offset=page["offset"]
        )
        assert [row[1] for row in back["k"]] == ["-"]
        assert await look(small, user) == {}
        assert [row[1] for row in pushed(small, user)] == ["-"]


async def teleport(small: Any, user: str, places: int, t_ms: int) -> None:
    """To and fro over 300 km, every second; each place is agreed on by a second fix."""
    for number in range(places):
        place = at(0.0 if number % 2 else 300_000.0, 0.0)
        with pytest.raises(EngineError):
            await stand(small, user, place, t_ms + number * 2_000 + 1_000)
        await stand(small, user, place, t_ms + number * 2_000 + 2_000)


async def test_who_is_everywhere_at_once_sees_a_city_and_a_restart_ends_nothing(small: Any) -> None:
    ann, eve = await small.person(), await small.person()
    start_ms = small.shards[0].now_ms() - 60_000
    await stand(small, ann, MIDDLE, start_ms)
    await stand(small, eve, MIDDLE, start_ms)
    page = await small.subscribe(f"near@{eve}#e", eve, "e")
    assert resolution_of(Cell(page["state"][0][1]["cell"])) == 8
    await teleport(small, eve, 4, start_ms)
    coarsened = {ann: {"user": ann, "cell": cell_of(*MIDDLE, 5), "band": "<10"}}
    assert await look(small, eve, 500.0) == coarsened
    await small.until(lambda: pushed(small, "e")[-1:] and pushed(small, "e")[-1][2] == coarsened[ann])
    assert (await look(small, ann)).keys() <= {eve}
    number = small.router.shard_of(slot_of("user", eve))
    valkey = small.shards[number].valkey
    assert int(await valkey.get(f"hereabouts:probing:{eve}")) > start_ms + 3_600_000
    people = small.shards[number].hosts["user"]
    await small.until(lambda: not (people._moved or people._places._unsaved or people._places._saving))
    await small.shards[number].stop()
    await small.start_shard(number)
    for _ in range(100):  # until where people are has been told again
        if seen := await look(small, eve):
            break
        await asyncio.sleep(0.1)
    assert seen == coarsened
    await small.pool.execute("UPDATE users SET status = 'deleting' WHERE id = $1", eve)
    await small.router.refresh("user", eve)
    valkey = small.shards[0].valkey
    async with asyncio.timeout(5):
        while await valkey.get(f"hereabouts:probing:{eve}") is not None:  # it is erased with the rest
            await asyncio.sleep(0.02)


async def test_who_looks_too_often_waits_on_all_their_connections(small: Any) -> None:
    eve = await small.person()
    burst, refusals = small.shards[0].config.near_burst, dict[int, tuple[int, EngineError]]()
    asks = [lambda: look(small, eve), lambda: small.subscribe(f"near@{eve}#e", eve, "e")]
    for number in range(3 * burst):  # a token comes back now and then
        try:
            await asks[number % 2]()
        except EngineError as error:
            refusals[number % 2] = number, error
    assert refusals.keys() == {0, 1}
    for number, refused in refusals.values():
        assert number >= burst
        assert refused.code is ErrorCode.TOO_MANY_REQUESTS
        assert refused.retry_ms


def test_two_walks_through_one_snapped_cell_tell_the_same_at_the_same_time() -> None:
    """Whatever the steps, the accuracy or the speed: equal words, equal ticks, equal maps (GEO-27)."""
    cell = cell_of(*MIDDLE, 8)
    middle = coarse(cell)

    def told(seed: int) -> list[Any]:
        chance = random.Random(seed)
        victim, viewer = UserState("ann", of_everyone()), UserState("eve", of_everyone())
        home, around = RegionState(REGION, 1), Vicinity()
        viewer.location.shown = Shown(cell)
        viewer.views["c"] = NearView("c", "g", "near", "e", 2_000.0, Audience.EVERYONE, MapView())
        heard: list[Any] = []
        for step in range(1, 30):
            now_ms = step * 17_000
            turn, reach_m = chance.uniform(0, math.tau), chance.uniform(0, 0.6 * edge_m(8))
            lat, lon = at(reach_m * math.cos(turn), reach_m * math.sin(turn), (middle.lat, middle.lon))
            speed_mps = chance.choice([None, chance.uniform(0, 30)])
            victim.location.last = Fix(lat, lon, chance.uniform(3, 60), now_ms, step, speed_mps)
            for effect in [*announcing.expired(victim, now_ms), *announcing.placed(victim, now_ms)]:
                assert isinstance(effect, ToRegion)
                region.step(home, effect.message, NOBODY, now_ms)
                heard.append(effect)
            news, _ = region.tick(home)
            if news is not None:
                around.apply(news, now_ms)
            seen = near_people.reviewed(viewer, now_ms, Around(around, is_complete=True))
            heard.append((now_ms, news, seen))
        assert viewer.views["c"].seen.rows.keys() == {"ann"}
        return heard

    first, *others = [told(seed) for seed in range(20)]
    assert all(each == first for each in others)
