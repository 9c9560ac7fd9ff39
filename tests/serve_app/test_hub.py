"""Local fan-out: order, sharing, skips (RT-3, RT-6, FAN-1), over the real link."""

import asyncio
import random
from typing import Any

import pytest

from actors import messages as wire
from actors.protocol import EngineError, ErrorCode
from serve_app import frames
from serve_app.frames import JSON, PACKED
from storage.ids import new_id

ROOM = f"room:{new_id()}"


def offsets(pushes: list[dict[str, Any]]) -> list[int]:
    """What a client counts: publications and skips."""
    return [push["m"]["o"] if "m" in push else push["skip"] for push in pushes]


async def test_members_are_handed_the_very_same_message(gateway: Any) -> None:
    members = [(await gateway.subscribed(ROOM))[0] for _ in range(3)]
    gateway.far.publish(ROOM, "somebody")
    await gateway.until(lambda: all(len(member.sent) == 2 for member in members))
    assert members[0].sent[1] is members[1].sent[1] is members[2].sent[1]


async def test_what_comes_together_leaves_in_one_message_per_socket(gateway: Any) -> None:
    ana, n = await gateway.subscribed(ROOM)
    ben, _ = await gateway.subscribed(ROOM, PACKED)
    for _ in range(20):
        gateway.far.publish(ROOM, "somebody")
    await gateway.until(lambda: len(ana.pushes(n)) == len(ben.pushes(n)) == 20)
    assert len(ana.messages) == len(ben.messages) == 2


async def test_several_channels_share_a_write(gateway: Any) -> None:
    connection = await gateway.connected(subs={ROOM: {}, "me": {}})
    far = gateway.far
    user = far.of(wire.Subscribe)[-1].user
    far.publish(ROOM, "somebody")
    far.publish(f"me@{user}", "")
    await gateway.until(lambda: len(connection.frames()) == 3)
    assert len(connection.messages) == 2


async def test_a_publication_is_transcoded_once_for_all_and_only_if_somebody_wants_it(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []
    transcode = frames.PACKED.from_json
    monkeypatch.setattr(frames.PACKED, "from_json", lambda text: made.append(text) or transcode(text))
    members = [(await gateway.subscribed(ROOM))[0] for _ in range(3)]
    gateway.far.publish(ROOM, "somebody")
    await gateway.until(lambda: all(len(member.messages) == 2 for member in members))
    assert made == []
    packed = [(await gateway.subscribed(ROOM, PACKED))[0] for _ in range(3)]
    gateway.far.publish(ROOM, "somebody")
    await gateway.until(lambda: all(len(member.messages) == 2 for member in packed))
    assert len(made) == 1


async def test_one_number_names_a_channel_for_everybody_here(gateway: Any) -> None:
    numbers = {(await gateway.subscribed(ROOM))[1] for _ in range(3)}
    other = (await gateway.subscribed(f"room:{new_id()}"))[1]
    assert len(numbers) == 1
    assert other not in numbers


async def test_who_may_not_see_a_publication_gets_a_skip(gateway: Any) -> None:
    user = new_id()
    ana, n = await gateway.subscribed(ROOM)
    ben, _ = await gateway.subscribed(ROOM, user=user)
    eve, _ = await gateway.subscribed(ROOM, PACKED, user=user)
    gateway.far.publish(ROOM, "somebody", hide=[user])
    gateway.far.publish(ROOM, "somebody")
    await gateway.until(lambda: all(len(w.pushes(n)) == 2 for w in (ana, ben, eve)))
    assert ben.pushes(n)[0] == eve.pushes(n)[0] == {"p": n, "skip": 1}
    assert offsets(ana.pushes(n)) == offsets(ben.pushes(n)) == [1, 2]


async def test_only_the_senders_own_connections_see_the_cid(gateway: Any) -> None:
    user = new_id()
    own = [await gateway.subscribed(ROOM, codec, user) for codec in (JSON, PACKED)]
    other, n = await gateway.subscribed(ROOM)
    gateway.far.publish(ROOM, user, cid='c"1')
    await gateway.until(lambda: len(other.pushes(n)) == 1 and all(len(w.pushes(n)) == 1 for w, _ in own))
    assert [w.pushes(n)[0]["m"].get("cid") for w, _ in own] == ['c"1', 'c"1']
    assert "cid" not in other.pushes(n)[0]["m"]


async def test_a_reply_and_pushes_of_one_channel_keep_their_order(gateway: Any) -> None:
    """RT-6: the actor pushes, answers, pushes, all in one batch."""
    far = gateway.far
    connection, n = await gateway.subscribed(ROOM)

    def answer(message: Any) -> Any:
        if isinstance(message, wire.History):
            far.publish(ROOM, "x")
            far.reply(message.rid, {"pubs": [], "epoch": "epoch-1", "offset": 1, "more": False})
            far.publish(ROOM, "x")
            return ...
        return far.usual_answer(message)

    far.answer = answer
    await gateway.reply(connection, {"id": 2, "hist": {"ch": ROOM}})
    await gateway.until(lambda: len(connection.frames()) == 4)
    order = [frame["id"] if "id" in frame else frame["m"]["o"] for frame in connection.frames()[1:]]
    assert order == [1, 2, 2]
    assert "hist" in connection.frames()[2]
    assert n == connection.frames()[1]["p"]


async def test_nothing_of_a_channel_follows_the_reply_to_unsub(gateway: Any) -> None:
    connection, n = await gateway.subscribed(ROOM)
    gateway.far.publish(ROOM, "x")
    await asyncio.sleep(0)
    connection.says({"id": 2, "unsub": {"ch": ROOM}})
    gateway.far.publish(ROOM, "x")
    await gateway.settled()
    assert connection.frames()[-1] == {"id": 2, "unsub": {}}
    assert len(connection.pushes(n)) <= 1


async def test_a_reply_that_is_ahead_of_the_others_is_followed_by_nothing_older(gateway: Any) -> None:
    far = gateway.far
    ana, n = await gateway.subscribed(ROOM)
    stream = far.stream(ROOM)
    far.answer = lambda message: (
        far.usual_answer(message) | {"offset": 2} if isinstance(message, wire.Subscribe) else {}
    )
    ben, _ = await gateway.subscribed(ROOM)
    assert stream.top == 0
    for _ in range(3):
        far.publish(ROOM, "x")
    await gateway.until(lambda: len(ana.pushes(n)) == 3 and bool(ben.pushes(n)))
    assert offsets(ana.pushes(n)) == [1, 2, 3]
    assert offsets(ben.pushes(n)) == [3]


async def test_a_reply_that_is_behind_the_others_is_asked_for_again(gateway: Any) -> None:
    far = gateway.far
    ana, n = await gateway.subscribed(ROOM)
    far.publish(ROOM, "x")
    await gateway.until(lambda: len(ana.pushes(n)) == 1)
    late = iter([0, 1])

    def answer(message: Any) -> Any:
        return far.usual_answer(message) | {"offset": next(late)}

    far.answer = answer
    ben = await gateway.connected(subs={ROOM: {"limit": 5}})
    assert ben.frames()[0]["connect"]["subs"][ROOM]["offset"] == 1
    assert next(late, "none left") == "none left"


async def test_who_joins_between_two_pushes_of_a_tick_gets_the_later_ones_only(gateway: Any) -> None:
    """RT-3: the actor pushes, answers `sub`, pushes, all in one batch."""
    far = gateway.far
    ana, n = await gateway.subscribed(ROOM)

    def answer(message: Any) -> Any:
        if isinstance(message, wire.Subscribe):
            far.publish(ROOM, "x")
            far.reply(message.rid, far.usual_answer(message))
            far.publish(ROOM, "x")
            return ...
        return far.usual_answer(message)

    far.answer = answer
    ben, _ = await gateway.subscribed(ROOM)
    await gateway.until(lambda: len(ana.pushes(n)) == 2 and bool(ben.pushes(n)))
    assert ben.frames()[0]["connect"]["subs"][ROOM]["offset"] == 1
    assert offsets(ben.pushes(n)) == [2]
    assert offsets(ana.pushes(n)) == [1, 2]


async def test_what_waits_for_the_tick_goes_out_before_a_hole_is_filled(gateway: Any) -> None:
    far = gateway.far
    connection, n = await gateway.subscribed(ROOM)
    far.publish(ROOM, "x")
    links, far._shard_links = far._shard_links, []
    far.publish(ROOM, "x")
    far._shard_links = links
    far.publish(ROOM, "x")
    await gateway.until(lambda: len(connection.pushes(n)) == 3)
    assert offsets(connection.pushes(n)) == [1, 2, 3]


async def test_a_hole_in_the_pushes_is_filled_before_anything_goes_on(gateway: Any) -> None:
    far = gateway.far
    connection, n = await gateway.subscribed(ROOM)
    links, far._shard_links = far._shard_links, []
    far.publish(ROOM, "x")
    far._shard_links = links
    far.publish(ROOM, "x")
    far.publish(ROOM, "x")
    await gateway.until(lambda: len(connection.pushes(n)) == 3)
    assert offsets(connection.pushes(n)) == [1, 2, 3]


async def test_an_actor_ends_a_subscription(gateway: Any) -> None:
    user = new_id()
    ana, n = await gateway.subscribed(ROOM, user=user)
    ben, _ = await gateway.subscribed(ROOM)
    gateway.far.push(wire.Unsubscribed(ROOM, user, ErrorCode.DENIED, "no longer a member"))
    gateway.far.publish(ROOM, "x")
    await gateway.until(lambda: len(ben.pushes(n)) == 1)
    assert ana.pushes(n) == [{"p": n, "unsub": {"code": 103, "reason": "no longer a member"}}]
    gateway.far.push(wire.Unsubscribed(ROOM, ben.session.connection.user, 3503, "banned"))
    await gateway.until(lambda: ben.ended == 3503)


async def test_the_last_to_leave_takes_the_channel_with_it(gateway: Any) -> None:
    ana, _ = await gateway.subscribed(ROOM)
    ben, _ = await gateway.subscribed(ROOM)
    await gateway.reply(ana, {"id": 2, "unsub": {"ch": ROOM}})
    ben.session.closed(None)
    assert gateway.hub.channels == {}
    assert gateway.hub._by_number == {}
    gateway.far.publish(ROOM, "x")
    await gateway.settled()


async def test_no_stream_has_a_hole_or_a_double_whatever_comes_between(gateway: Any) -> None:
    """RT-3 and RT-4 from the client's side, over 60 random schedules of joining, leaving, publishing, hiding,
    cut links and slow readers."""
    for seed in range(60):
        chance = random.Random(seed)
        room = f"room:{new_id()}"
        members: list[tuple[Any, int]] = []
        for _ in range(25):
            match chance.choice(
                ["join", "publish", "publish", "publish", "hide", "leave", "slow", "wait", "cut"]
            ):
                case "join":
                    members.append(await gateway.subscribed(room, chance.choice([JSON, PACKED])))
                case "publish":
                    for _ in range(chance.randrange(1, 4)):
                        gateway.far.publish(
                            room,
                            chance.choice(members)[0].session.connection.user if members else "",
                            cid="c",
                        )
                case "hide" if members:
                    gateway.far.publish(room, "x", hide=[chance.choice(members)[0].session.connection.user])
                case "leave" if members:
                    members.pop(chance.randrange(len(members)))[0].session.closed(1000)
                case "slow" if members:
                    connection = chance.choice(members)[0]
                    connection.full = not connection.full
                    if not connection.full:
                        connection.takes()
                case "wait":
                    await gateway.settled()
                case "cut" if chance.random() < 0.3:
                    for link in list(gateway.far._shard_links):
                        link.abort()
        for connection, _ in members:
            connection.takes()
        await gateway.until(lambda r=room, m=members: _all_at(gateway, r, m))
        for connection, n in members:
            start = connection.frames()[0]["connect"]["subs"][room]["offset"]
            seen = offsets([p for p in connection.pushes(n) if "e" not in p])
            assert connection.ended is None
            assert seen == sorted(set(seen)), seed
            position = start
            for push in connection.pushes(n):
                at = offsets([push])[0]
                assert at == position + 1 or "skip" in push, (seed, start, seen)
                position = at
            connection.session.closed(1000)


def _all_at(gateway: Any, room: str, members: list[tuple[Any, int]]) -> bool:
    top = gateway.far.stream(room).top
    return all(
        top == connection.frames()[0]["connect"]["subs"][room]["offset"]
        or offsets(connection.pushes(n))[-1:] == [top]
        for connection, n in members
    )


# -- maps ------------------------------------------------------------------------------------------------


async def test_a_map_sends_one_conflated_frame_a_tick(gateway: Any) -> None:
    connection, n = await gateway.subscribed("near")
    near = next(iter(gateway.hub.channels))
    for offset, row in enumerate([b'["k","+",1,1]', b'["k","~",2,2]', b'["j","-"]'], 1):
        gateway.far.push(wire.PushMap(near, offset, b"[%s]" % row, {}))
    await gateway.until(lambda: len(connection.pushes(n)) == 1)
    assert connection.pushes(n) == [{"p": n, "o": 3, "k": [["k", "+", 2, 2], ["j", "-"]]}]


async def test_each_connection_has_a_near_of_its_own(gateway: Any) -> None:
    user = new_id()
    first, n = await gateway.subscribed("near", user=user)
    second, m = await gateway.subscribed("near", user=user, filter={"radius_m": 500, "unknown": True})
    assert n != m
    asked = gateway.far.of(wire.Subscribe)
    assert {message.ch for message in asked} == {
        f"near@{user}#{connection.session.connection.id}" for connection in (first, second)
    }
    assert asked[1].filter == {"radius_m": 500, "unknown": True}


async def test_a_failing_actor_call_leaves_no_trace(gateway: Any) -> None:
    far = gateway.far

    def answer(_: Any) -> Any:
        raise EngineError(ErrorCode.DENIED, "no")

    far.answer = answer
    connection = await gateway.connected(subs={ROOM: {}})
    assert connection.frames()[0]["connect"]["subs"][ROOM]["err"]["code"] == 103
    assert gateway.hub.channels == {}
    assert connection.session.connection.subscriptions == {}
    far.answer = far.usual_answer
    assert "sub" in await gateway.reply(connection, {"id": 2, "sub": {"ch": ROOM}})


async def test_a_reply_that_is_older_than_what_was_pushed_meanwhile_is_asked_for_again(gateway: Any) -> None:
    """RT-3: the owner before answers, and the new one has pushed already, while nobody here could take it."""
    far = gateway.far
    asked = []

    def answer(message: Any) -> Any:
        reply = far.usual_answer(message)
        if isinstance(message, wire.Subscribe) and message.ch == ROOM:
            asked.append(message)
            if len(asked) == 1:
                far.publish(ROOM, "x")
                far.publish(ROOM, "x")
        return reply

    far.answer = answer
    connection = await gateway.connected(subs={ROOM: {}})
    assert connection.frames()[0]["connect"]["subs"][ROOM]["offset"] == 2
    assert len(asked) == 2
