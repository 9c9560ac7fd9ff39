"""Nothing that was told to count is lost with a shard; what it decides is decided once (GEO-24, ACT-9)."""

import asyncio
import json
import random

import numpy as np
import pytest
from fencing import BERLIN, fence, square

from actors import messages as wire
from actors.fix_log import logged
from actors.place_keeping import EVERY_MS
from actors.placement import slot_of
from actors.protocol import EngineError
from actors.restoring import grouped, has_news, replayed
from geo.fixes import Fix, admit
from geo.intake import JUMP, LIVE, STALE, rows_of
from geo.privacy import Shown
from geo.table import Location
from storage import positions
from storage.ids import new_id
from storage.positions import ERASED, Place, SlotPlaces, open_valkey

NOW_MS = 1_760_000_000_000
TTL_MS = 900_000


@pytest.fixture
async def valkey(valkey_url):
    client = open_valkey(valkey_url)
    yield client
    await client.flushdb()
    await client.aclose()


def fix(t_s, lat=BERLIN[0], **given):
    t_ms = NOW_MS + round(t_s * 1_000)
    return Fix(lat, BERLIN[1], 5.0, t_ms, given.get("seq", t_ms))


def rows(user, fixes, outcome=LIVE, slot=1, epoch=1, at_ms=NOW_MS + 60_000):
    return logged(user, slot, epoch, at_ms, outcome, rows_of(tuple(fixes)))


# -- replay, pure ------------------------------------------------------------------------------------------


def walk(chance, count):
    """Fixes with jumps, of which some agree, repeats and late ones."""
    fixes, lat, t_s = [], BERLIN[0], 0.0
    for _ in range(count):
        t_s += chance.choice([1, 5, 70, -3])
        if chance.random() < 0.3:
            lat = BERLIN[0] + chance.choice([0.0, 0.001, 0.02, 1.0])
        fixes.append(fix(t_s, lat + chance.uniform(0, 1e-5)))
        if chance.random() < 0.1:
            fixes.append(chance.choice(fixes))
    return fixes


@pytest.mark.parametrize("seed", range(8))
def test_a_snapshot_and_the_log_after_it_or_around_it_give_the_same_state_and_fixes(seed):
    chance = random.Random(seed)
    fixes, now_ms = walk(chance, 60), NOW_MS + 4_000_000
    last = held = None
    accepted, outcomes, states = [], [], []
    for each in fixes:
        admission = admit(each, last, held, now_ms)
        last, held = admission.last, admission.held
        accepted.append(admission.accepted)
        outcomes.append({"live": LIVE, "history": STALE, "held": JUMP}.get(admission.verdict))
        states.append((last, held))
    whole = np.concatenate(
        [rows("u", [f], o, at_ms=now_ms) for f, o in zip(fixes, outcomes, strict=True) if o is not None]
    )
    for snapshot_at in range(0, len(fixes), 7):
        location = Location(_last=states[snapshot_at][0], _held=states[snapshot_at][1])
        again = replayed(location, whole, 8, 10**9)
        assert (location.last, location.held) == (last, held)
        assert [f for f, _ in again] == [f for part in accepted[snapshot_at + 1 :] for f in part]


def test_news_is_what_no_snapshot_has():
    place = Place(*BERLIN, 5.0, NOW_MS, NOW_MS, "", None)
    assert not has_news(rows("u", [fix(-1), fix(0)]), place)
    assert has_news(rows("u", [fix(-1), fix(0)]), None)
    assert has_news(rows("u", [fix(0), fix(1)]), place)
    assert not has_news(rows("u", [fix(-5)], STALE), None)
    held = Place(*BERLIN, 5.0, NOW_MS, NOW_MS, "", None, fix(9))
    assert not has_news(rows("u", [fix(9)], JUMP), held)


# -- the store -----------------------------------------------------------------------------------------------


async def test_the_log_is_read_by_slot_in_the_order_of_epochs(valkey):
    shards = (7_001, 7_002)
    ann, bob = "a" * 36, "b" * 36
    await positions.append(valkey, shards[0], rows(ann, [fix(3)], epoch=2, slot=5).tobytes(), b"0")
    await positions.append(valkey, shards[1], rows(ann, [fix(1), fix(2)], epoch=1, slot=5).tobytes(), b"0")
    await positions.append(valkey, shards[1], rows(bob, [fix(1)], slot=6).tobytes(), b"0")
    read = grouped(await positions.read_logs(valkey, {5}))
    assert read[ann]["t_ms"].tolist() == [NOW_MS + 1_000, NOW_MS + 2_000, NOW_MS + 3_000]
    assert bob not in read
    assert bob in grouped(await positions.read_logs(valkey, {5, 6}))


async def test_what_was_erased_is_not_read_any_more_and_what_comes_later_is(valkey):
    user = new_id()
    for part in (
        rows(user, [fix(1)], slot=9),
        rows(user, [fix(1)], ERASED, slot=9),
        rows(user, [fix(2)], slot=9),
    ):
        await positions.append(valkey, 7_003, part.tobytes(), b"0")
    assert grouped(await positions.read_logs(valkey, {9}))[user]["t_ms"].tolist() == [NOW_MS + 2_000]


async def test_the_log_is_as_long_as_it_must_be(valkey):
    first = await positions.append(valkey, 7_004, rows("x", [fix(1)]).tobytes(), b"0")
    for _ in range(300):
        last = await positions.append(valkey, 7_004, rows("x", [fix(2)]).tobytes(), b"0")
    await positions.append(valkey, 7_004, rows("x", [fix(3)]).tobytes(), last)
    assert await valkey.xlen("hereabouts:fixes:7004") < 250
    assert not await valkey.xrange("hereabouts:fixes:7004", min=first, max=first)


async def test_who_had_the_slot_before_writes_no_snapshot_any_more(valkey):
    new, old = (Place(*BERLIN, 5.0, t_ms, 1, "", None) for t_ms in (2, 1))
    await positions.save(valkey, [SlotPlaces(70_001, 5, {"u": new})])
    await positions.save(valkey, [SlotPlaces(70_001, 4, {"u": old})])
    assert await positions.load_all(valkey, [(70_001, "u")]) == {"u": new}
    await positions.save(valkey, [SlotPlaces(70_001, 6, {"u": old})])
    assert await positions.load_all(valkey, [(70_001, "u")]) == {"u": old}


# -- the engine ----------------------------------------------------------------------------------------------


async def events(small, user):
    found = await small.pool.fetch(
        """SELECT body FROM user_events WHERE user_id = $1 AND stream = 'fences' ORDER BY "offset" """, user
    )
    bodies = [json.loads(row["body"]) for row in found]
    return [(body["event"], body["at_ms"], body.get("entered_at_ms")) for body in bodies]


async def kill(small, number):
    """The process is gone, with all that it had not stored; another one takes its place."""
    await small.shards.pop(number).stop()
    await small.start_shard(number)


def is_decided(small):
    """Whether all fixes are followed and what they decided is stored."""
    return all(
        not shard.hosts["user"]._moved
        and not any(each.crossings or each.recording for each in shard.activations.values())
        for shard in small.shards.values()
    )


def visits(chance):
    """(lat, seconds since the last): in and out of a square about Berlin's middle, with stray fixes."""
    here, away = BERLIN[0], BERLIN[0] + 0.02
    walked = [away]
    for _ in range(5):
        walked += [here] * chance.choice([1, 2, 3]) + [away] * chance.choice([1, 2, 3])
    return [(lat, 40) for lat in walked]


@pytest.mark.parametrize(("seed", "snapshot_ms"), [(1, EVERY_MS), (2, 0), (3, 0)])
async def test_events_are_those_of_a_shard_that_was_never_killed(small, monkeypatch, seed, snapshot_ms):
    """Whether it begins anew from the log alone, or from a snapshot of each tick and what came after it."""
    monkeypatch.setattr("actors.place_keeping.EVERY_MS", snapshot_ms)
    chance = random.Random(seed)
    calm, killed = await small.person(), await small.person()
    owner = await small.person()
    await fence(small, owner, square(*BERLIN))
    steps = visits(chance)
    t_ms = small.shards[0].now_ms() - 1_000 * sum(step for _, step in steps)
    kills = chance.sample(range(2, len(steps)), 4)
    for number, (lat, step_s) in enumerate(steps):
        t_ms += 1_000 * step_s
        assert await small.ask(wire.Position(0, killed, lat, BERLIN[1], 5.0, t_ms)) == {"ok": True}
        if number in kills:
            if chance.random() < 0.5:
                await small.until(lambda: is_decided(small))
            await kill(small, small.router.shard_of(slot_of("user", killed)))
        await small.ask(wire.Position(0, calm, lat, BERLIN[1], 5.0, t_ms))

    await small.ask(wire.NearQuery(0, killed, 500.0, 5))
    await small.until(lambda: is_decided(small))
    assert await events(small, killed) == await events(small, calm)
    assert {event for event, *_ in await events(small, calm)} >= {"enter", "exit"}


async def test_what_a_last_fix_decides_is_decided_though_the_device_says_no_more(small):
    """It was told to count; the shard dies before it is followed; nobody asks for the person again."""
    user, owner = await small.person(), await small.person()
    await fence(small, owner, square(*BERLIN))
    now_ms = small.shards[0].now_ms() - 60_000
    for step, lat in enumerate((BERLIN[0] + 0.01, BERLIN[0], BERLIN[0])):
        await small.ask(wire.Position(0, user, lat, BERLIN[1], 5.0, now_ms + step * 20_000))
    assert await events(small, user) == []
    await kill(small, small.router.shard_of(slot_of("user", user)))
    for _ in range(500):
        if await events(small, user):
            break
        await small.pool.execute("SELECT pg_sleep(0.02)")
    assert await events(small, user) == [("enter", now_ms + 40_000, now_ms + 40_000)]


async def saved(small, valkey, user, t_ms):
    """The person's snapshot as of a fix."""
    for _ in range(500):
        place = (await positions.load_all(valkey, [(slot_of("user", user), user)])).get(user)
        if place is not None and place.t_ms == t_ms:
            return place
        await small.pool.execute("SELECT pg_sleep(0.02)")
    raise AssertionError("not saved")


async def test_what_a_next_fix_is_to_confirm_is_in_the_snapshot(small, valkey, monkeypatch):
    monkeypatch.setattr("actors.place_keeping.EVERY_MS", 0)
    user = await small.person()
    await fence(small, await small.person(), square(*BERLIN))
    now_ms = small.shards[0].now_ms() - 60_000
    away = BERLIN[0] + 0.01
    for step, lat in enumerate((away, BERLIN[0])):
        await small.ask(wire.Position(0, user, lat, BERLIN[1], 5.0, now_ms + step * 20_000))
    await saved(small, valkey, user, now_ms + 20_000)
    await kill(small, small.router.shard_of(slot_of("user", user)))
    await small.ask(wire.Position(0, user, *BERLIN, 5.0, now_ms + 40_000))
    await small.until(lambda: is_decided(small))
    assert await events(small, user) == [("enter", now_ms + 40_000, now_ms + 40_000)]


async def test_the_snapshot_has_a_held_jump_and_the_shown_cell(small, valkey):
    user = await small.person()
    now_ms = small.shards[0].now_ms() - 60_000
    await small.ask(wire.Position(0, user, *BERLIN, 5.0, now_ms))
    with pytest.raises(EngineError, match="jump"):
        await small.ask(wire.Position(0, user, 10.0, BERLIN[1], 5.0, now_ms + 1_000))
    shard = small.shards[small.router.shard_of(slot_of("user", user))]
    activation = shard.activations["user", user]
    shard.hosts["user"]._places.keep(activation)
    shard._tick()
    place = await saved(small, valkey, user, now_ms)
    state = activation.state
    assert (place.lat, place.lon, place.held) == (*BERLIN, state.location.held)
    assert place.held.seq == now_ms + 1_000
    assert Shown(place.cell, place.outside_since_ms) == state.shown


async def test_a_fix_is_answered_when_it_is_in_the_log_and_not_before(small, valkey, monkeypatch):
    user = await small.person()
    now_ms = small.shards[0].now_ms() - 60_000
    await small.ask(wire.Position(0, user, *BERLIN, 5.0, now_ms))
    gate, append = asyncio.Event(), positions.append
    arrived = []

    async def slow(*what, **how):
        arrived.append(what)
        await gate.wait()
        return await append(*what, **how)

    monkeypatch.setattr(positions, "append", slow)
    asked = asyncio.ensure_future(small.ask(wire.Position(0, user, *BERLIN, 5.0, now_ms + 1_000)))
    await small.until(lambda: arrived)
    await small.ask(wire.NearQuery(0, user, 500.0, 5))
    assert not asked.done()
    gate.set()
    assert await asked == {"ok": True}
    read = grouped(await positions.read_logs(valkey, {slot_of("user", user)}))
    assert read[user]["t_ms"].tolist() == [now_ms, now_ms + 1_000]


async def test_a_fix_is_answered_while_valkey_is_away(small, monkeypatch):
    user = await small.person()
    now_ms = small.shards[0].now_ms() - 60_000
    await small.ask(wire.Position(0, user, *BERLIN, 5.0, now_ms))

    async def refuse(*_):
        raise ConnectionError("away")

    for shard in small.shards.values():
        monkeypatch.setattr(shard.valkey, "execute_command", refuse)
        monkeypatch.setattr(shard.valkey.connection_pool, "get_connection", refuse)
    for step in (1, 2):
        reply = await small.ask(wire.Position(0, user, *BERLIN, 5.0, now_ms + step * 1_000))
        assert reply == {"ok": True}
