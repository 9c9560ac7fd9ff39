"""Live shares between two people's actors, on two shards (GEO-22)."""

from datetime import UTC, datetime

import pytest
from sharing import BERLIN, apart, ends, ends_told, kinds, me, move, rows, share, types, until_told

from actors import messages as wire
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from geo.cells import cell_of, centre_of
from geo.coordinates import LatLng
from identity.connections import Action
from identity.pairs import act
from storage.ids import new_id
from storage.shares import end_share, leave_share, tell


async def test_who_is_shared_with_follows_and_nobody_else(small):
    ann = await apart(small)
    bob, eve = await apart(small, [ann]), await small.person()
    now = small.shards[0].now_ms() - 60_000
    lat = await move(small, ann, 0, now, 4.0)
    one = await share(small, ann, bob)
    page = await small.subscribe(f"share:{one}@{bob}#b", bob, "b")
    assert page["recovered"] is False
    [[key, data, version]] = page["state"]
    assert (key, version) == (ann, 1)
    assert data == {
        "user": ann, "lat": lat, "lon": BERLIN[1], "acc_m": 4.0, "t": now, "precision": "exact",
    }  # fmt: skip
    further = await move(small, ann, 100, now + 10_000)
    await small.until(lambda: rows(small, "b"))
    [[key, op, data, version]] = rows(small, "b")
    assert (key, op, data["lat"], data["t"], version) == (ann, "~", further, now + 10_000, 2)
    for stranger, channel in [(eve, f"share:{one}@{eve}#e"), (bob, f"share:{new_id()}@{bob}#x")]:
        with pytest.raises(EngineError) as refused:
            await small.subscribe(channel, stranger)
        assert refused.value.code == ErrorCode.DENIED
    with pytest.raises(EngineError) as refused:
        await small.subscribe(f"share:{one}@{bob}#b", eve)
    assert refused.value.code == ErrorCode.DENIED


async def test_a_coarse_share_shows_a_cell_s_centre(small):
    ann = await small.person("nobody")
    bob = await small.person("nobody")
    now = small.shards[0].now_ms() - 60_000
    lat = await move(small, ann, 0, now)
    one = await share(small, ann, bob, precision="r7")
    page = await small.subscribe(f"share:{one}@{bob}#b", bob, "b")
    shown = page["state"][0][1]
    assert abs(shown["lat"] - lat) > 1e-6
    assert shown["acc_m"] > 1_000
    await move(small, ann, 30, now + 5_000)
    await small.until(lambda: rows(small, "b"))
    later = rows(small, "b")[0][2]
    assert {**later, "t": 0} == {**shown, "t": 0}


async def test_a_coarse_share_begins_with_the_cell_that_others_see(small):
    """GEO-21: just over an edge, near shows the cell before; another one in a share would tell of it."""
    ann = await small.person()
    bob = await apart(small, [ann])
    cem = await apart(small, [ann])
    now = small.shards[0].now_ms() - 300_000
    await move(small, ann, 0, now)
    home = cell_of(*BERLIN, 8)
    over_m = next(m for m in range(0, 2_000, 10) if cell_of(BERLIN[0] + m / 111_200, BERLIN[1], 8) != home)
    lat = await move(small, ann, over_m + 10, now + 60_000)
    assert cell_of(lat, BERLIN[1], 8) != home
    for other, precision in ((bob, "r8"), (cem, "r8"), (bob, "r7"), (cem, "r7")):
        one = await share(small, ann, other, precision=precision)
        page = await small.subscribe(f"share:{one}@{other}#{one}", other, one)
        shown = page["state"][0][1]
        cell = home if precision == "r8" else cell_of(lat, BERLIN[1], 7)
        assert LatLng(shown["lat"], shown["lon"]) == centre_of(cell)


async def test_the_sharer_is_told_once_of_each_viewer_and_knows_who_looks(small):
    ann = await apart(small)
    bob = await apart(small, [ann])
    one = await share(small, ann, bob)
    await small.subscribe(f"share:{one}@{bob}#b", bob, "b")
    await until_told(small, ann, "share.viewed")
    assert list((await small.ask(wire.WatchersQuery(0, ann)))[one]) == [bob]
    await small.ask(wire.Unsubscribe(0, f"share:{one}@{bob}#b", bob, "b"))
    await small.subscribe(f"share:{one}@{bob}#c", bob, "c")
    await small.ask(wire.Unsubscribe(0, f"share:{one}@{bob}#c", bob, "c"))

    async def watchers():
        return (await small.ask(wire.WatchersQuery(0, ann)))[one]

    for _ in range(1_500):
        if not await watchers():
            break
        await small.pool.execute("SELECT pg_sleep(0.02)")
    assert await watchers() == {}
    assert [t for t in await types(small, ann) if t == "share.viewed"] == ["share.viewed"]
    assert (await me(small, ann))[-1] == {"type": "share.viewed", "v": 1, "share": one, "user": bob}


async def test_a_revoked_share_loses_its_row_and_then_the_subscription(small):
    ann = await apart(small)
    bob = await apart(small, [ann])
    now = small.shards[0].now_ms() - 60_000
    await move(small, ann, 0, now)
    one = await share(small, ann, bob)
    await small.subscribe(f"share:{one}@{bob}#b", bob, "b")
    async with small.pool.acquire() as connection, connection.transaction():
        await tell(connection, await end_share(connection, one, ann, "revoked"))
    await small.router.refresh("user", ann)
    await small.until(lambda: ends(small, "b"))
    assert kinds(small, "b") == ["PushMap", "Unsubscribed"]
    assert rows(small, "b") == [[ann, "-"]]
    assert ends(small, "b")[0].code == ErrorCode.DENIED
    ended = {"type": "share.ended", "v": 1, "share": one, "user": ann, "reason": "revoked"}
    assert (await me(small, bob))[-1] == ended
    with pytest.raises(EngineError):
        await small.subscribe(f"share:{one}@{bob}#b2", bob, "b2")
    await move(small, ann, 50, now + 1_000)
    assert (await small.ask(wire.WatchersQuery(0, ann))) == {}


async def test_a_share_ends_by_its_reminder(small):
    ann = await apart(small)
    bob = await apart(small, [ann])
    await move(small, ann, 0, small.shards[0].now_ms() - 1_000)
    one = await share(small, ann, bob, lasts_s=1.5)
    await small.subscribe(f"share:{one}@{bob}#b", bob, "b")
    await small.until(lambda: ends(small, "b"))
    assert rows(small, "b")[-1] == [ann, "-"]
    await until_told(small, bob, "share.ended")
    assert {body["reason"] for body in await me(small, bob)} == {"expired"}
    assert await ends_told(small, ann) == ["share.ended"]


@pytest.mark.parametrize("blocker", ["sharer", "viewer"])
async def test_a_block_cuts_both_directions_for_good(small, blocker):
    ann = await apart(small)
    bob = await apart(small, [ann])
    now = small.shards[0].now_ms() - 60_000
    for user in (ann, bob):
        await move(small, user, 0, now)
    one, two = await share(small, ann, bob), await share(small, bob, ann)
    await small.subscribe(f"share:{one}@{bob}#b", bob, "b")
    held = await small.subscribe(f"share:{two}@{ann}#a", ann, "a")
    me_, other = (ann, bob) if blocker == "sharer" else (bob, ann)
    _, touches = await act(small.pool, me_, other, Action.BLOCK, datetime.now(UTC))
    for kind, key in touches:
        await small.router.refresh(kind, key)
    await small.until(lambda: ends(small, "a") and ends(small, "b"))
    assert rows(small, "a") == [[bob, "-"]]
    assert rows(small, "b") == [[ann, "-"]]
    await act(small.pool, me_, other, Action.UNBLOCK, datetime.now(UTC))
    for user in (ann, bob):
        await small.router.refresh("user", user)
    for ch, user in [(f"share:{one}@{bob}#b", bob), (f"share:{two}@{ann}#a", ann)]:
        with pytest.raises(EngineError):
            await small.subscribe(ch, user, "x", epoch=held["epoch"], offset=held["offset"])
    # Neither is told of a block: to the receiver it is a share that ended, to the sharer one who left.
    assert {"share.ended", "share.left"} <= set(await types(small, bob))


async def test_who_leaves_sees_nothing_any_more_and_the_last_one_ends_it(small):
    ann, bob, cem = [await small.person() for _ in range(3)]
    now = small.shards[0].now_ms() - 60_000
    await move(small, ann, 0, now)
    one = await share(small, ann, bob, cem)
    await small.subscribe(f"share:{one}@{bob}#b", bob, "b")
    await small.subscribe(f"share:{one}@{cem}#c", cem, "c")

    async def leave(user):
        async with small.pool.acquire() as connection, connection.transaction():
            await tell(connection, await leave_share(connection, one, user))
        await small.router.refresh("user", ann)

    await leave(bob)
    await small.until(lambda: ends(small, "b"))
    await move(small, ann, 40, now + 5_000)
    await small.until(lambda: rows(small, "c"))
    assert not ends(small, "c")
    assert await ends_told(small, ann) == ["share.left"]
    await leave(cem)
    await small.until(lambda: ends(small, "c"))
    assert await ends_told(small, ann) == ["share.left", "share.left", "share.ended"]
    assert await small.pool.fetchval("SELECT ended_at IS NOT NULL FROM shares WHERE id = $1", one)


async def test_a_lost_connection_goes_on_from_its_position(small):
    ann, bob = await small.person(), await small.person()
    now = small.shards[0].now_ms() - 60_000
    await move(small, ann, 0, now)
    one = await share(small, ann, bob)
    ch = f"share:{one}@{bob}#b"
    page = await small.subscribe(ch, bob, "b")
    await small.ask(wire.Unsubscribe(0, ch, bob, "b", clean=False))
    lat = await move(small, ann, 80, now + 5_000)
    again = await small.subscribe(ch, bob, "b", epoch=page["epoch"], offset=page["offset"])
    assert (again["recovered"], again["epoch"]) == (True, page["epoch"])
    await small.until(lambda: [row[2]["lat"] for row in [*again["k"], *rows(small, "b")]][-1:] == [lat])
    other = await small.subscribe(f"share:{one}@{bob}#z", bob, "z", epoch="gone", offset=3)
    assert (other["recovered"], other["state"][0][0]) == (False, ann)


@pytest.mark.parametrize("whose", ["sharer", "viewer"])
async def test_a_share_goes_on_when_a_shard_is_killed(small, whose):
    """ACT-9: of the sharer's, the viewer's actor looks again; of the viewer's, the gateway does."""
    ann = await apart(small)
    bob = await apart(small, [ann])
    now = small.shards[0].now_ms() - 60_000
    lat = await move(small, ann, 0, now)
    one = await share(small, ann, bob)
    ch = f"share:{one}@{bob}#b"
    page = await small.subscribe(ch, bob, "b")
    number = small.router.shard_of(slot_of("user", ann if whose == "sharer" else bob))
    people = small.shards[number].hosts["user"]
    await small.until(lambda: not (people._moved or people._places._unsaved or people._places._saving))
    await small.shards[number].stop()
    await small.start_shard(number)
    if whose == "viewer":
        again = await small.subscribe(
            ch, bob, "b", epoch=page["epoch"], offset=page["offset"], shadow={ann: 1}
        )
        assert (again["recovered"], again["offset"]) == (True, page["offset"])
    for step in range(1, 100):  # until it is known again that somebody looks
        lat = await move(small, ann, step, now + step * 1_000)
        await small.pool.execute("SELECT pg_sleep(0.1)")
        if [row[2]["lat"] for row in rows(small, "b")][-1:] == [lat]:
            break
    else:
        raise AssertionError("the share does not go on")
    assert [row[1] for row in rows(small, "b")][:1] == ["~"]


async def test_a_handed_over_sharer_knows_who_looks(small):
    """ACT-5: shares travel with the person."""
    ann = await apart(small)
    bob = await apart(small, [ann])
    now = small.shards[0].now_ms() - 60_000
    await move(small, ann, 0, now)
    one = await share(small, ann, bob)
    await small.subscribe(f"share:{one}@{bob}#b", bob, "b")
    number = small.router.shard_of(slot_of("user", ann))
    await small.retire_shard(number)
    lat = await move(small, ann, 70, now + 5_000)
    await small.until(lambda: rows(small, "b"))
    assert rows(small, "b")[-1][2]["lat"] == lat


async def test_nothing_of_somebody_who_is_erased_stays_shared(small):
    ann, bob, cem = [await small.person() for _ in range(3)]
    await move(small, ann, 0, small.shards[0].now_ms() - 1_000)
    given, got = await share(small, ann, bob), await share(small, cem, ann)
    await small.subscribe(f"share:{given}@{bob}#b", bob, "b")
    await small.pool.execute("UPDATE users SET status = 'deleting' WHERE id = $1", ann)
    await small.router.refresh("user", ann)
    await small.until(lambda: ends(small, "b"))
    open_ = await small.pool.fetch("SELECT id::text FROM shares WHERE ended_at IS NULL")
    assert open_ == []
    assert await ends_told(small, cem) == ["share.left", "share.ended"]
    assert got


async def test_a_person_without_a_fresh_place_is_not_shown(small):
    ann, bob = await small.person(), await small.person()
    await move(small, ann, 0, small.shards[0].now_ms() - 3_600_000)
    one = await share(small, ann, bob)
    assert (await small.subscribe(f"share:{one}@{bob}#b", bob, "b"))["state"] == []
