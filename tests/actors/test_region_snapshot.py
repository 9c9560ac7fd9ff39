"""A region that begins anew starts from its snapshot, without anybody's actor (ACT-9)."""

from typing import Any

import msgspec
import pytest

from actors import messages as wire
from actors.placement import slot_of
from geo.cells import cell_of, region_of
from storage import region_places
from storage.region_places import RegionChanges, RegionPlace

BERLIN = (52.5200, 13.4050)
REGION = str(region_of(*BERLIN))
PLACE = RegionPlace("881f1d4887fffff", "everyone", "r8", 1)


async def shown(small: Any) -> set[str]:
    """Whom the region tells of."""
    news = await small.ask(wire.RegionFollow(0, REGION, 0))
    return {row.user for row in msgspec.convert(news, wire.RegionNews).rows}


async def restart(small: Any, valkey: Any, *, meanwhile: str = "", who: str = "") -> None:
    """All shards are killed when the snapshot is written; the people's own places and fixes are lost."""
    for shard in small.shards.values():
        await small.until(lambda shard=shard: not shard.hosts["region"].keeping._saving)
        await shard.stop()
    async for key in valkey.scan_iter():
        if not key.startswith((b"hereabouts:region:", b"hereabouts:crowd:")):
            await valkey.delete(key)
    if meanwhile:
        await small.pool.execute(meanwhile, who)
    for number in list(small.shards):
        await small.start_shard(number)


async def arrive(small: Any, count: int) -> list[str]:
    people = [await small.person() for _ in range(count)]
    now = small.shards[0].now_ms() - 1_000
    for person in people:
        await small.ask(wire.Position(0, person, *BERLIN, 5.0, now))
    region = small.shards[small.router.shard_of(slot_of("region", REGION))]
    await small.until(lambda: ("region", REGION) in region.activations)
    assert await shown(small) == set(people)
    return people


async def test_a_killed_region_shows_the_same_people_and_nobody_was_activated(
    small: Any, valkey: Any
) -> None:
    people = await arrive(small, 3)
    await restart(small, valkey)
    assert await shown(small) == set(people)
    live = [key for shard in small.shards.values() for key in shard.activations]
    assert live == [("region", REGION)]


@pytest.mark.parametrize(
    "wish",
    [
        "UPDATE users SET visibility_audience = 'nobody' WHERE id = $1",
        "UPDATE users SET visibility_precision = 'hidden' WHERE id = $1",
        "UPDATE users SET status = 'deleting' WHERE id = $1",
    ],
)
async def test_who_hid_while_the_region_was_away_is_not_shown_again(
    small: Any, valkey: Any, wish: str
) -> None:
    ann, bob = await arrive(small, 2)
    await restart(small, valkey, meanwhile=wish, who=ann)
    assert await shown(small) == {bob}


async def test_who_hides_or_leaves_for_good_later_is_taken_off_though_not_live(
    small: Any, valkey: Any
) -> None:
    ann, bob, cem = await arrive(small, 3)
    await restart(small, valkey)
    assert await shown(small) == {ann, bob, cem}
    region = small.shards[small.router.shard_of(slot_of("region", REGION))].activations["region", REGION]
    await small.pool.execute("UPDATE users SET visibility_audience = 'nobody' WHERE id = $1", ann)
    await small.pool.execute("UPDATE users SET status = 'deleting' WHERE id = $1", bob)
    for user in (ann, bob, cem):
        await small.pool.execute("SELECT pg_notify('hereabouts', 'user:' || $1)", user)
    await small.until(lambda: set(region.state.places) == {cem})


async def test_an_older_activation_writes_nothing_and_reads_nothing(valkey: Any) -> None:
    await region_places.save(valkey, [RegionChanges("r", 3, {"a": PLACE, "b": PLACE})], 60)
    assert await region_places.claim(valkey, "r", 4, 60) == {"a": PLACE, "b": PLACE}
    await region_places.save(valkey, [RegionChanges("r", 3, {"a": None, "c": PLACE})], 60)
    assert await region_places.claim(valkey, "r", 3, 60) == {}
    await region_places.save(valkey, [RegionChanges("r", 4, {"b": None})], 60)
    assert await region_places.claim(valkey, "r", 5, 60) == {"a": PLACE}


async def test_many_rows_are_written_in_several_commands(valkey: Any) -> None:
    rows: dict[str, RegionPlace | None] = {f"u{number}": PLACE for number in range(1_234)}
    await region_places.save(valkey, [RegionChanges("r", 1, rows)], 60)
    assert await region_places.claim(valkey, "r", 1, 60) == rows
    assert 0 < await valkey.ttl("hereabouts:region:r") <= 60


async def test_changes_that_nobody_was_told_of_are_found_when_all_may_have_changed(
    small: Any, valkey: Any
) -> None:
    ann, bob, cem = await arrive(small, 3)
    await restart(small, valkey)
    assert await shown(small) == {ann, bob, cem}
    await small.pool.execute("UPDATE users SET visibility_audience = 'nobody' WHERE id = $1", ann)
    await small.pool.execute("UPDATE users SET status = 'deleting' WHERE id = $1", bob)
    shard = small.shards[small.router.shard_of(slot_of("region", REGION))]
    shard.changed("user", "*")
    state = shard.activations["region", REGION].state
    await small.until(lambda: set(state.places) == {cem})
    assert ("user", cem) not in shard.activations


@pytest.mark.usefixtures("valkey")
async def test_a_crowd_outlives_its_region_and_those_who_made_it(small: Any) -> None:
    """GEO-21: two were here within a day, so the one who is left is shown, also after a kill."""
    for shard in small.shards.values():
        object.__setattr__(shard.config, "privacy_k", 2)
    ann = await small.person()
    eve = await small.person("nobody")
    now = small.shards[0].now_ms() - 1_000
    for user in (ann, eve):
        await small.ask(wire.Position(0, user, *BERLIN, 5.0, now))

    async def seen() -> list[str]:
        answer = await small.ask(wire.NearQuery(0, eve, 5_000.0, 50))
        return [row["cell"] for row in answer["items"]]

    assert await seen() == []
    bob = await small.person()
    await small.ask(wire.Position(0, bob, *BERLIN, 5.0, now))
    assert await seen() == [cell_of(*BERLIN, 8)] * 2
    await small.pool.execute("UPDATE users SET visibility_audience = 'nobody' WHERE id = $1", bob)
    await small.router.refresh("user", bob)
    assert await seen() == [cell_of(*BERLIN, 8)]
    keeping = [shard.hosts["region"].keeping for shard in small.shards.values()]
    await small.until(lambda: not any(each._saving for each in keeping))
    for number in list(small.shards):
        await small.shards[number].stop()
        await small.start_shard(number)
        object.__setattr__(small.shards[number].config, "privacy_k", 2)
    assert await seen() == [cell_of(*BERLIN, 8)]
