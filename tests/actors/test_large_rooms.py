"""Presence of large rooms: a sampled page and counts, never the whole set (PRE-4)."""

import msgspec
import pytest
from crowd import Crowd

from actors import attendance, room
from actors import messages as wire
from actors.attendance import COMPLETE_BELOW, SAMPLE, SAMPLED_ABOVE
from actors.effects import NOBODY, Answer, Fan
from actors.room import RoomState
from actors.stream import Stream


def nobody_is_dead(_: str) -> bool:
    return False


def asked(state: RoomState, message: wire.Request) -> dict:
    (answer,) = [e for e in room.step(state, message, NOBODY, "g", 1) if isinstance(e, Answer)]
    return answer.ok


def test_above_10_000_nobody_is_given_the_whole_set() -> None:
    """And each diff costs nothing: a second's worth of them is one count."""
    people = [f"u{number}" for number in range(SAMPLED_ABOVE + 5)]
    state = RoomState("r", True, Stream("e"), dict.fromkeys(["a", *people], "member"))
    watch = wire.Subscribe(1, "presence:room:r", "a", "w", "d", 0, "map", birth=1)
    assert len(asked(state, watch)["state"]) == 0
    pushed = 0
    for number, user in enumerate(people):
        subscribe = wire.Subscribe(1, "room:r", user, f"c{number}", "d", 0, birth=number + 2)
        effects = room.step(state, subscribe, NOBODY, "g", 1)
        pushed += sum(isinstance(e, Fan) for e in effects)
    assert pushed == SAMPLED_ABOVE
    page = asked(state, wire.PresenceQuery(1, "room:r", "a"))
    assert (page["count"], page["sampled"], len(page["metas"])) == (SAMPLED_ABOVE + 5, True, SAMPLE)
    positions = sorted(int(meta["ref"][1:]) for meta in page["metas"])
    assert positions[-1] > SAMPLED_ABOVE * 0.9  # of all of them, not the first
    state_of_watch = asked(state, watch)
    assert (len(state_of_watch["state"]), state_of_watch["count"]) == (SAMPLE, SAMPLED_ABOVE + 5)
    (fan,) = [e for e in room.expire(state, 2, nobody_is_dead) if isinstance(e, Fan)]
    said = state.attendance.said
    assert fan.message == wire.PushPeople("presence:room:r", SAMPLED_ABOVE + 5, True, said)
    assert len(msgspec.msgpack.encode(fan.message)) < 100
    assert room.expire(state, 3, nobody_is_dead) == []
    for number in range(int(SAMPLED_ABOVE * (1 - COMPLETE_BELOW)) + 6):
        gone = wire.Unsubscribe(1, "room:r", people[number], f"c{number}", True, number + 2)
        room.step(state, gone, NOBODY, "g", 4)
    (fan,) = [e for e in room.expire(state, 5, nobody_is_dead) if isinstance(e, Fan)]
    assert not fan.message.sampled
    assert "sampled" not in asked(state, wire.PresenceQuery(1, "room:r", "a"))


async def test_a_room_that_grows_and_shrinks_is_a_count_meanwhile(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a real gateway: diffs, then counts, then everybody again from nothing."""
    monkeypatch.setattr(attendance, "SAMPLED_ABOVE", 6)
    monkeypatch.setattr(attendance, "SAMPLE", 3)
    first, second = await crowd.open_gateway(), await crowd.open_gateway()
    ann, bob = await crowd.small.person(), await crowd.small.person()
    chat = await crowd.small.room(ann, bob)
    watcher = await crowd.watches(second, ann, chat)
    connection = watcher.connection
    sids = [await crowd.comes(first, bob, chat) for _ in range(6)]
    await crowd.small.until(lambda: watcher.refs == set(sids))
    sids += [await crowd.comes(first, bob, chat) for _ in range(4)]
    frame = await connection.until(lambda f: f.get("sampled") is True and f.get("count") == 10)
    assert "j" not in frame
    assert len(watcher.refs) == 6
    answer = await connection.command("pres", {"ch": f"room:{chat}"})
    assert (answer["count"], answer["sampled"], len(answer["metas"])) == (10, True, 3)
    late = await crowd.connected(second, ann)
    reply = await late.sub(f"presence:room:{chat}")
    assert (reply["count"], reply["sampled"], len(reply["state"])) == (10, True, 3)
    watcher.metas.clear()
    for sid in sids[:6]:
        await crowd.goes(sid)
    await connection.until(lambda f: f.get("sampled") is False)
    await crowd.small.until(lambda: watcher.refs == set(sids[6:]))
    await late.until(lambda f: {meta["ref"] for meta in f.get("j", [])} == set(sids[6:]))
    assert "sampled" not in await connection.command("pres", {"ch": f"room:{chat}"})
