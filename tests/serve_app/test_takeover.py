"""When a shard dies and another activation answers: what members are told (RT-2, RT-5, PRE-3)."""

from typing import Any

import msgspec
import pytest

from actors import messages as wire
from actors.protocol import EngineError, ErrorCode
from actors.stream import Publication, Stream
from serve_app import takeover
from serve_app.frames import PACKED
from storage.ids import new_id

ROOM = f"room:{new_id()}"
PRESENCE = f"presence:{ROOM}"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "PRESENCE_SETTLES_S", 0.2)
    monkeypatch.setattr(takeover, "RETRY_S", 0.02)


def stored(far: Any, user: str = "x") -> None:
    """A publication that was committed and never pushed."""
    stream = far.stream(ROOM)
    stream.append(Publication(stream.top + 1, 1, f"i{stream.top + 1}", user, "", b"{}"))


async def test_members_get_what_they_missed_and_go_on(gateway: Any) -> None:
    far = gateway.far
    members = [await gateway.subscribed(ROOM), await gateway.subscribed(ROOM, PACKED)]
    far.publish(ROOM, "x")
    await far.stop_shard()
    stored(far)
    stored(far)
    await far.start_shard()
    for connection, n in members:
        await gateway.until(lambda c=connection, n=n: len(c.pushes(n)) == 3)
    far.publish(ROOM, "x")
    for connection, n in members:
        await gateway.until(lambda c=connection, n=n: len(c.pushes(n)) == 4)
        assert [push["m"]["o"] for push in connection.pushes(n)] == [1, 2, 3, 4]
        assert connection.ended is None


async def test_what_a_member_may_not_see_is_skipped(gateway: Any) -> None:
    far = gateway.far
    connection, n = await gateway.subscribed(ROOM)
    await far.stop_shard()
    for user in ("x", "hidden", "x", "hidden"):
        stored(far, user)

    def answer(message: Any) -> Any:
        reply = far.usual_answer(message)
        if isinstance(message, wire.Subscribe):
            reply["pubs"] = [publication for publication in reply["pubs"] if publication["u"] != "hidden"]
        return reply

    far.answer = answer
    await far.start_shard()
    await gateway.until(lambda: len(connection.pushes(n)) == 4)
    told = [push.get("skip") or push["m"]["o"] for push in connection.pushes(n)]
    assert told == [1, 2, 3, 4]
    assert [("skip" in push) for push in connection.pushes(n)] == [False, True, False, True]


async def test_who_was_ahead_of_the_others_recovers_from_there(gateway: Any) -> None:
    far = gateway.far
    ana, n = await gateway.subscribed(ROOM)
    far.answer = lambda message: far.usual_answer(message) | {"offset": 2}
    ben, _ = await gateway.subscribed(ROOM)
    await far.stop_shard()
    for _ in range(3):
        stored(far)
    far.answer = far.usual_answer
    await far.start_shard()
    await gateway.until(lambda: len(ana.pushes(n)) == 3 and bool(ben.pushes(n)))
    assert [push["m"]["o"] for push in ben.pushes(n)] == [3]


async def test_a_position_that_is_lost_ends_the_connection_with_3010(gateway: Any) -> None:
    far = gateway.far
    connection, _ = await gateway.subscribed(ROOM)
    other, _ = await gateway.subscribed("me")
    await far.stop_shard()
    far.streams[ROOM] = Stream("epoch-2")
    await far.start_shard()
    await gateway.until(lambda: connection.ended is not None)
    assert connection.ended == 3010
    await gateway.settled()
    assert other.ended is None


async def test_a_replaced_activation_of_a_room_in_memory_is_not_taken_for_its_successor(gateway: Any) -> None:
    """RT-5: its shard hung while another took over; its next offset is the one that is expected."""
    far = gateway.far
    connection, n = await gateway.subscribed(ROOM)
    far.publish(ROOM, "x")
    late = Publication(2, 1, "i2", "x", "", b'"of another life"')
    far.push(wire.Push(ROOM, 2, late.wire(), "x", "", None, "epoch-0"))
    far.publish(ROOM, "x", b'"this one"')
    await gateway.until(lambda: len(connection.pushes(n)) == 2)
    assert [push["m"]["d"] for push in connection.pushes(n)] == [{}, "this one"]


async def test_a_temporary_refusal_is_asked_again(gateway: Any) -> None:
    far = gateway.far
    connection, n = await gateway.subscribed(ROOM)
    await far.stop_shard()
    stored(far)
    refusals = iter([ErrorCode.INTERNAL, ErrorCode.OVERLOADED])

    def answer(message: Any) -> Any:
        code = next(refusals, None)
        if code is not None:
            raise EngineError(code, "later")
        return far.usual_answer(message)

    far.answer = answer
    await far.start_shard()
    await gateway.until(lambda: len(connection.pushes(n)) == 1)


async def test_who_is_no_member_any_more_is_told_so(gateway: Any) -> None:
    far = gateway.far
    connection, n = await gateway.subscribed(ROOM)
    await far.stop_shard()

    def answer(_: Any) -> Any:
        raise EngineError(ErrorCode.DENIED, "no such channel, or not yours")

    far.answer = answer
    await far.start_shard()
    await gateway.until(lambda: bool(connection.pushes(n)))
    assert connection.pushes(n)[0]["unsub"]["code"] == 103
    assert connection.ended is None
    far.answer = far.usual_answer
    assert "sub" in await gateway.reply(connection, {"id": 2, "sub": {"ch": ROOM}})


async def test_leaving_while_the_shard_is_away_leaves_nothing_behind(gateway: Any) -> None:
    far = gateway.far
    gone, _ = await gateway.subscribed(ROOM)
    stays, n = await gateway.subscribed(ROOM)
    await far.stop_shard()
    gone.session.closed(1000)
    await gateway.reply(stays, {"id": 2, "unsub": {"ch": ROOM}})
    await far.start_shard()
    await gateway.settled()
    assert gateway.hub.channels == {}
    assert stays.pushes(n) == []


async def test_a_map_goes_on_from_what_the_member_holds(gateway: Any) -> None:
    far = gateway.far
    connection, n = await gateway.subscribed("near", filter={"radius_m": 900})
    near = next(iter(gateway.hub.channels))
    far.push(wire.PushMap(near, 4, b'[["a","-"],["b","+",1,4]]', {"a": -1, "b": 4}))
    await gateway.until(lambda: len(connection.pushes(n)) == 1)
    await far.stop_shard()
    far.received.clear()
    await far.start_shard()
    await gateway.until(lambda: bool(far.of(wire.Subscribe)))
    again = far.of(wire.Subscribe)[0]
    assert (again.ch, again.epoch, again.offset, again.shadow) == (near, "n", 4, {"b": 4})
    assert again.filter == {"radius_m": 900}
    far.push(wire.PushMap(near, 5, b'[["b","-"]]', {"b": -1}))
    await gateway.until(lambda: len(connection.pushes(n)) == 2)


# -- presence --------------------------------------------------------------------------------------------


def meta(user: str, ref: str) -> dict[str, Any]:
    return {"u": user, "ref": ref, "device": "d", "since": 1}


def diff(joins: str = "[]", leaves: str = "[]", user: str = "u", hide: list[str] | None = None) -> Any:
    return wire.PushPresence(PRESENCE, user, joins.encode(), leaves.encode(), hide)


def text(*metas: dict[str, Any]) -> str:
    import json  # noqa: PLC0415

    return json.dumps(metas)


async def test_a_new_activation_shows_nobody_leaving_and_coming_back(gateway: Any) -> None:
    far = gateway.far
    far.presence[PRESENCE] = [meta("a", "1"), meta("b", "2")]
    connection, n = await gateway.subscribed(PRESENCE)
    await far.stop_shard()
    far.presence[PRESENCE] = []
    await far.start_shard()
    await gateway.settled()
    for each in (meta("a", "1"), meta("b", "2")):
        far.push(diff(text(each), user=each["u"]))
        far.presence[PRESENCE].append(each)
    far.received.clear()
    await gateway.until(lambda: bool(far.of(wire.PresenceQuery)))
    await gateway.settled()
    assert connection.pushes(n) == []


async def test_who_left_or_came_while_the_shard_was_away_is_told_once(gateway: Any) -> None:
    far = gateway.far
    far.presence[PRESENCE] = [meta("a", "1"), meta("b", "2")]
    members = [await gateway.subscribed(PRESENCE), await gateway.subscribed(PRESENCE, PACKED)]
    await far.stop_shard()
    far.presence[PRESENCE] = [meta("b", "2"), meta("c", "3")]
    await far.start_shard()
    for connection, n in members:
        await gateway.until(lambda c=connection, n=n: len(c.pushes(n)) == 2)
        assert connection.pushes(n) == [{"p": n, "j": [meta("c", "3")]}, {"p": n, "l": [meta("a", "1")]}]


async def test_a_blocked_person_is_hidden_in_every_diff(gateway: Any) -> None:
    far = gateway.far
    ana, n = await gateway.subscribed(PRESENCE)
    ben, _ = await gateway.subscribed(PRESENCE)
    eve = ben.session.connection.user
    far.push(diff(text(meta("a", "1")), user="a", hide=[eve]))
    far.push(diff(leaves=text(meta("a", "1")), user="a", hide=[eve]))
    await gateway.until(lambda: len(ana.pushes(n)) == 2)
    assert ben.pushes(n) == []


async def test_the_leave_of_a_hidden_person_is_not_shown_after_a_takeover_either(gateway: Any) -> None:
    far = gateway.far
    ana, n = await gateway.subscribed(PRESENCE)
    ben, _ = await gateway.subscribed(PRESENCE)
    blocked = ben.session.connection.user
    far.push(diff(text(meta("a", "1")), user="a", hide=[blocked]))
    await gateway.until(lambda: len(ana.pushes(n)) == 1)
    await far.stop_shard()
    await far.start_shard()
    await gateway.until(lambda: len(ana.pushes(n)) == 2)
    assert ana.pushes(n)[1] == {"p": n, "l": [meta("a", "1")]}
    await gateway.settled()
    assert ben.pushes(n) == []


async def test_who_came_later_and_may_not_see_a_person_is_not_told_of_their_leave(gateway: Any) -> None:
    far = gateway.far
    ana, n = await gateway.subscribed(PRESENCE)
    far.push(diff(text(meta("a", "1")), user="a"))
    await gateway.until(lambda: len(ana.pushes(n)) == 1)
    ben, _ = await gateway.subscribed(PRESENCE)  # the state that ben is given is without `a`
    await far.stop_shard()
    await far.start_shard()
    await gateway.until(lambda: len(ana.pushes(n)) == 2)
    await gateway.settled()
    assert ben.pushes(n) == []


async def test_who_is_hidden_from_one_and_there_for_another_has_not_left(gateway: Any) -> None:
    """Each is asked about as somebody who may see them."""
    far = gateway.far
    ben, n = await gateway.subscribed(PRESENCE)
    ana, _ = await gateway.subscribed(PRESENCE)
    blocked = ben.session.connection.user
    far.push(diff(text(meta("b", "2")), user="b"))
    far.push(diff(text(meta("a", "1")), user="a", hide=[blocked]))
    await gateway.until(lambda: len(ana.pushes(n)) == 2)

    def answer(message: Any) -> Any:
        if isinstance(message, wire.PresenceQuery):
            metas = [meta("b", "2")] + ([] if message.user == blocked else [meta("a", "1")])
            return {"metas": metas, "count": len(metas)}
        return far.usual_answer(message)

    far.answer = answer
    await far.stop_shard()
    await far.start_shard()
    await gateway.until(lambda: len(far.of(wire.PresenceQuery)) == 2)
    await gateway.settled()
    assert [len(ana.pushes(n)), len(ben.pushes(n))] == [2, 1]


async def test_who_may_see_a_person_again_is_told_when_they_leave(gateway: Any) -> None:
    far = gateway.far
    user = new_id()
    ana, n = await gateway.subscribed(PRESENCE)
    far.push(diff(text(meta("a", "1")), user="a", hide=[user]))
    await gateway.until(lambda: len(ana.pushes(n)) == 1)
    far.presence[PRESENCE] = [meta("a", "1")]
    ben, _ = await gateway.subscribed(PRESENCE, user=user)
    far.presence[PRESENCE] = []
    await far.stop_shard()
    await far.start_shard()
    await gateway.until(lambda: len(ben.pushes(n)) == 1)
    assert ben.pushes(n) == [{"p": n, "l": [meta("a", "1")]}]


async def test_who_left_is_forgotten(gateway: Any) -> None:
    far = gateway.far
    connection, n = await gateway.subscribed(PRESENCE)
    far.push(diff(text(meta("a", "1")), user="a"))
    far.push(diff(leaves=text(meta("a", "1")), user="a"))
    far.push(diff(leaves=text(meta("a", "1")), user="a"))
    await gateway.until(lambda: len(connection.pushes(n)) == 2)
    assert gateway.hub.channel(PRESENCE).shown == {}


async def test_a_new_block_takes_people_out_of_each_others_sight_only(gateway: Any) -> None:
    far = gateway.far
    far.presence[PRESENCE] = [meta("a", "1")]
    ana, n = await gateway.subscribed(PRESENCE)
    ben, _ = await gateway.subscribed(PRESENCE)
    others = [ana.session.connection.user]
    far.push(diff(leaves=text(meta("a", "1")), user="a", hide=others))  # ben alone may not see `a` now
    await gateway.until(lambda: len(ben.pushes(n)) == 1)
    far.push(diff(leaves=text(meta("a", "1")), user="a", hide=[ben.session.connection.user]))
    await gateway.until(lambda: len(ana.pushes(n)) == 1)
    await gateway.settled()
    assert len(ben.pushes(n)) == 1


async def test_changed_information_is_a_leave_and_a_join_in_one(gateway: Any) -> None:
    far = gateway.far
    connection, n = await gateway.subscribed(PRESENCE)
    far.push(diff(text(meta("a", "1")), user="a"))
    newer = {**meta("a", "2"), "prev": "1"}
    far.push(diff(text(newer), text(meta("a", "1")), user="a"))
    await gateway.until(lambda: len(connection.pushes(n)) == 2)
    assert connection.pushes(n)[1] == {"p": n, "j": [newer], "l": [meta("a", "1")]}


def said(number: int, joins: list | None = None, leaves: list | None = None) -> wire.PushPresence:
    encode = msgspec.json.encode
    return wire.PushPresence(PRESENCE, "x", encode(joins or []), encode(leaves or []), None, number)


async def test_a_presence_push_that_an_owner_before_sent_late_changes_nothing(gateway: Any) -> None:
    """PRE-3: two owners' links have no common order; the leave was told first."""
    far = gateway.far
    connection, n = await gateway.subscribed(PRESENCE)
    one, other = {"u": "x", "ref": "one"}, {"u": "x", "ref": "other"}
    far.push(said(1))
    far.push(said(3, leaves=[one]))
    far.push(said(2, joins=[one]))
    far.push(said(4, joins=[other]))
    await gateway.until(lambda: any(push.get("j") == [other] for push in connection.pushes(n)))
    assert not any(push.get("j") == [one] for push in connection.pushes(n))


async def test_where_a_presence_push_is_missing_the_actor_is_asked_again(gateway: Any) -> None:
    far = gateway.far
    connection, n = await gateway.subscribed(PRESENCE)
    missed = {"u": "x", "ref": "missed"}
    far.push(said(1))
    far.presence[PRESENCE] = [missed]
    far.push(said(3))
    await gateway.until(lambda: any(push.get("j") == [missed] for push in connection.pushes(n)))
