"""Fixes that come together are judged together, and nobody can tell (GEO-4, GEO-5, ACT-6)."""

import asyncio

from actors import messages as wire
from actors.placement import slot_of
from actors.position_messages import RECORD, RECORD_BYTES, unpacked
from actors.protocol import EngineError, ErrorCode
from geo.fixes import Fix

BERLIN = (52.5200, 13.4050)


def position(user, t_ms, lat=BERLIN[0], **given):
    return wire.Position(0, user, lat, BERLIN[1], 5.0, t_ms, **given)


def all_at_once(small, positions):
    """Asked in one go, so that they share a frame; an error stands for itself."""
    asked = [small.ask(each) for each in positions]
    return asyncio.gather(*asked, return_exceptions=True)


def states(small):
    return {
        key: activation.state
        for shard in small.shards.values()
        for (kind, key), activation in shard.activations.items()
        if kind == "user"
    }


def batches(small, monkeypatch):
    """How many fixes each batch had that was judged as columns."""
    seen = []

    def counting(judge):
        def judged(records, people):
            seen.append(len(people))
            return judge(records, people)

        return judged

    for shard in small.shards.values():
        monkeypatch.setattr(shard.intake, "_judge", counting(shard.intake._judge))
    return seen


def test_a_fix_is_packed_and_unpacked():
    assert RECORD.itemsize == RECORD_BYTES
    given = [
        wire.Position(7, "u" * 36, 1.5, -2.5, 3.0, 4, 0.5, None, 6),
        wire.Position(0, "x", -90.0, 180.0, 1e12, -(2**53), None, 359.0, 2**53),
    ]
    batch = wire.Positions(bytearray())
    for each in given:
        batch.add(each)
    assert [unpacked(row) for row in batch.rows()] == given


async def test_fixes_of_many_people_come_as_columns_and_each_is_answered(small, monkeypatch):
    people = [await small.person() for _ in range(20)]
    now = small.shards[0].now_ms() - 60_000
    first = await all_at_once(small, [position(user, now) for user in people])
    assert first == [{"ok": True}] * 20
    sizes = batches(small, monkeypatch)
    fixes = [
        position(user, now + 1_000 * step, BERLIN[0] + 1e-5 * step) for step in (1, 2, 3) for user in people
    ]
    assert await all_at_once(small, fixes) == [{"ok": True}] * 60
    assert max(sizes) > 10
    assert sum(sizes) == 60
    for user, state in states(small).items():
        assert state.last == Fix(BERLIN[0] + 3e-5, BERLIN[1], 5.0, now + 3_000, now + 3_000), user
        assert state.shown is not None
        assert state.announced


async def test_what_does_not_count_is_refused_with_the_same_words_either_way(small, monkeypatch):
    user, now = await small.person(), small.shards[0].now_ms() - 60_000
    wrong = [
        position(user, now + 5_000),
        position(user, now + 5_000),
        position(user, now + 1_000),
        position(user, now + 6_000, lat=10.0),
        position(user, now + 7_000, lat=91.0),
        wire.Position(0, user, *BERLIN, 0.0, now + 8_000),
    ]
    await small.ask(position(user, now))
    sizes = batches(small, monkeypatch)
    together = await all_at_once(small, wrong)
    assert sum(sizes) == len(wrong)
    other = await small.person()
    await small.ask(position(other, now))
    singly = []
    for each in wrong:
        each.user = other
        shard = small.shards[small.router.shard_of(slot_of("user", other))]
        done = asyncio.get_running_loop().create_future()
        shard.deliver_local(each, lambda *reply, done=done: done.set_result(reply))
        singly.append(await done)
    for reply, (ok, error) in zip(together, singly, strict=True):
        if error is None:
            assert reply == ok == {"ok": True}
        else:
            assert (reply.code, reply.message) == (error.code, error.message)
    codes = [getattr(reply, "code", None) for reply in together]
    assert codes == [
        None, None, ErrorCode.STALE_POSITION, ErrorCode.STALE_POSITION, ErrorCode.BAD_REQUEST,
        ErrorCode.BAD_REQUEST,
    ]  # fmt: skip


async def test_somebody_who_is_not_active_or_busy_is_told_the_ordinary_way(small, monkeypatch):
    ann, bob = await small.person(), await small.person()
    now = small.shards[0].now_ms() - 60_000
    await small.ask(position(bob, now))
    sizes = batches(small, monkeypatch)
    shard = small.shards[small.router.shard_of(slot_of("user", bob))]
    gate = asyncio.Event()
    shard.turn(shard.activations["user", bob], gate.wait())
    asked = all_at_once(small, [position(who, now + t) for t in (1_000, 2_000) for who in (ann, bob)])
    waiting = asyncio.ensure_future(asked)
    await small.until(lambda: len(shard.activations["user", bob].mailbox) == 2)
    assert sizes == []
    gate.set()
    assert await waiting == [{"ok": True}] * 4
    assert states(small)[bob].last.t_ms == now + 2_000
    assert states(small)[ann].last.t_ms == now + 2_000


async def test_what_is_said_behind_a_fix_is_heard_behind_it(small):
    """The near page that is asked for in the same frame knows the fix (ACT-6)."""
    user, now = await small.person(), small.shards[0].now_ms() - 60_000
    await small.ask(position(user, now))
    shard = small.shards[small.router.shard_of(slot_of("user", user))]
    seen = []
    handle = shard.hosts["user"].handle

    def watched(activation, waiting):
        seen.append((type(waiting.message), activation.state.last.t_ms - now))
        return handle(activation, waiting)

    shard.hosts["user"].handle = watched
    asked = [small.ask(position(user, now + 1_000)), small.ask(wire.NearQuery(0, user, 500.0, 5))]
    asked += [small.ask(position(user, now + 2_000)), small.ask(wire.NearQuery(0, user, 500.0, 5))]
    await asyncio.gather(*asked)
    assert [t_ms for kind, t_ms in seen if kind is wire.NearQuery] == [1_000, 2_000]


async def test_a_row_of_the_table_is_given_back_with_its_person(small):
    user, now = await small.person(), small.shards[0].now_ms() - 60_000
    await small.ask(position(user, now))
    shard = small.shards[small.router.shard_of(slot_of("user", user))]
    activation = shard.activations["user", user]
    assert len(shard.intake.table) == 1
    shard.deactivate(activation)
    assert len(shard.intake.table) == 0
    assert activation.state.last.t_ms == now
    await small.ask(position(user, now + 1_000))
    assert len(shard.intake.table) == 1


async def test_no_fix_with_an_id_goes_unanswered_when_its_shard_dies(small):
    people = [await small.person() for _ in range(10)]
    now = small.shards[0].now_ms() - 60_000
    await all_at_once(small, [position(user, now) for user in people])
    asked = asyncio.ensure_future(all_at_once(small, [position(user, now + 1_000) for user in people]))
    await asyncio.sleep(0)
    await small.shards.pop(0).stop()
    await small.start_shard(0)
    replies = await asked
    assert all(reply == {"ok": True} or isinstance(reply, EngineError) for reply in replies)
    assert replies.count({"ok": True}) == 10
