"""One socket's protocol (docs/protocol.md §1, §2, §5), against a far side over the real link."""

import asyncio
from typing import Any

import pytest

from actors import messages as wire
from serve_app.frames import JSON, PACKED, Codec
from storage.ids import new_id

ROOM = new_id()
CODECS = pytest.mark.parametrize("codec", [JSON, PACKED], ids=["json", "msgpack"])


@CODECS
async def test_connect_answers_with_the_session(gateway: Any, codec: Codec) -> None:
    user = new_id()
    reply = (await gateway.connected(user, codec)).frames()[0]
    assert reply["id"] == 1
    greeting = reply["connect"]
    assert greeting["user"] == user
    assert greeting["resumed"] is False
    assert greeting["subs"] == {}
    assert (greeting["ping"], greeting["pong"], greeting["exp"]) == (25, 8, 600)
    assert greeting["limits"] == {"frame_bytes": 65536, "subs": 256, "pub_per_s": 100, "pos_per_s": 20}


async def test_each_connect_has_its_own_sid_and_key(gateway: Any) -> None:
    user = new_id()
    first, second = [(await gateway.connected(user)).frames()[0]["connect"] for _ in range(2)]
    assert first["sid"] != second["sid"]
    assert first["key"] != second["key"]


async def test_an_unknown_resume_is_no_error(gateway: Any) -> None:
    connection = await gateway.connected(resume={"sid": "x", "key": "y"})
    assert connection.frames()[0]["connect"]["resumed"] is False


@CODECS
async def test_a_refused_token_is_101_then_3500(gateway: Any, codec: Codec) -> None:
    connection = gateway.wire(codec)
    connection.says({"id": 1, "connect": {"token": "nonsense"}})
    await gateway.until(lambda: connection.ended is not None)
    error, bye = connection.frames()
    assert (error["id"], error["err"]["code"], error["err"]["temp"]) == (1, 101, False)
    assert bye["bye"]["code"] == connection.ended == 3500


async def test_an_expired_token_is_109_then_3005(gateway: Any) -> None:
    token = gateway.token(new_id(), lifetime_s=5)
    gateway.clock.now_s += 6
    connection = gateway.wire()
    connection.says({"id": 1, "connect": {"token": token}})
    await gateway.until(lambda: connection.ended is not None)
    assert connection.frames()[0]["err"]["code"] == 109
    assert connection.ended == 3005


async def test_a_token_that_runs_out_ends_the_connection_unless_refreshed(gateway: Any) -> None:
    user = new_id()
    kept, left = await gateway.connected(user), await gateway.connected(user)
    reply = await gateway.reply(kept, {"id": 2, "refresh": {"token": gateway.token(user, lifetime_s=2000)}})
    assert reply["refresh"] == {"exp": 2000}
    gateway.clock.now_s += 601
    for connection in (kept, left):
        connection.session.beat(gateway.clock.now_s)
    assert kept.ended is None
    assert left.ended == 3005
    assert left.frames()[-2]["err"]["code"] == 109


async def test_a_refresh_with_another_users_token_is_refused(gateway: Any) -> None:
    connection = await gateway.connected()
    reply = await gateway.reply(connection, {"id": 2, "refresh": {"token": gateway.token(new_id())}})
    assert reply["err"]["code"] == 101
    assert connection.ended is None


async def test_without_connect_in_time_it_is_3502(gateway: Any) -> None:
    connection = gateway.wire()
    connection.session.beat(gateway.clock.now_s + 9)
    assert connection.ended is None
    connection.session.beat(gateway.clock.now_s + 10)
    assert connection.ended == 3502


async def test_only_connect_comes_first(gateway: Any) -> None:
    connection = gateway.wire()
    connection.says({"id": 4, "sub": {"ch": "me"}})
    assert connection.frames()[0] == {
        "id": 4, "err": {"code": 101, "msg": "connect comes first", "temp": False}
    }  # fmt: skip
    assert connection.ended == 3502
    assert gateway.far.of(wire.Subscribe) == []


async def test_commands_behind_connect_in_one_message_are_served(gateway: Any) -> None:
    connection = gateway.wire()
    connection.says(
        {"id": 1, "connect": {"token": gateway.token(new_id())}},
        {"id": 2, "sub": {"ch": f"room:{ROOM}"}},
    )
    connection.says({"id": 3, "sub": {"ch": "me"}})
    await gateway.until(lambda: len(connection.frames()) == 3)
    assert [next(iter(frame.keys() - {"id"})) for frame in connection.frames()] == ["connect", "sub", "sub"]


async def test_connect_subs_are_answered_in_the_reply_each_for_itself(gateway: Any) -> None:
    gateway.far.publish(f"room:{ROOM}", "u")
    asked = {
        f"room:{ROOM}": {"epoch": "epoch-1", "offset": 0},
        "me": {},
        "room:nothing": {},
        "share:x": {},
        "bogus": {},
        "near": {"mode": "stream"},
    }
    subs = (await gateway.connected(subs=asked)).frames()[0]["connect"]["subs"]
    room = subs[f"room:{ROOM}"]
    assert (room["recovered"], room["was_recovering"], room["offset"]) == (True, True, 1)
    assert [publication["o"] for publication in room["pubs"]] == [1]
    assert subs["me"]["ch"] == "me"
    codes = {ch: result["err"]["code"] for ch, result in subs.items() if "err" in result}
    assert codes == {"room:nothing": 103, "share:x": 103, "bogus": 102, "near": 107}


async def test_pushes_wait_for_the_reply_to_connect(gateway: Any) -> None:
    far, slow = gateway.far, []

    def answer(message: Any) -> Any:
        if isinstance(message, wire.Subscribe) and message.ch.startswith("me@"):
            slow.append(message)
            return ...
        return far.usual_answer(message)

    far.answer = answer
    connection = gateway.wire()
    token = gateway.token(new_id())
    connection.says({"id": 1, "connect": {"token": token, "subs": {f"room:{ROOM}": {}, "me": {}}}})
    await gateway.until(lambda: len(far.of(wire.Subscribe)) == 2)
    far.publish(f"room:{ROOM}", "u")
    await gateway.settled()
    assert connection.messages == []
    far.reply(slow[0].rid, far.usual_answer(slow[0]))
    await gateway.until(lambda: len(connection.frames()) == 2)
    reply, push = connection.frames()
    assert reply["connect"]["subs"][f"room:{ROOM}"]["n"] == push["p"]
    assert push["m"]["o"] == 1


async def test_a_publication_is_answered_and_its_sender_sees_the_cid(gateway: Any) -> None:
    ana, ben = await gateway.connected(), await gateway.connected(codec=PACKED)
    for connection in (ana, ben):
        await gateway.reply(connection, {"id": 2, "sub": {"ch": f"room:{ROOM}"}})
    reply = await gateway.reply(
        ana, {"id": 3, "pub": {"ch": f"room:{ROOM}", "d": {"text": "hä"}, "cid": "c1", "ack": "relay"}}
    )
    assert reply["pub"] == {"o": 1, "t": 1, "i": "i1", "dup": False}
    await gateway.until(lambda: len(ben.frames()) == 3)
    own, seen = (next(f["m"] for f in c.frames() if "m" in f) for c in (ana, ben))
    assert own == {**seen, "cid": "c1"}
    assert seen["d"] == {"text": "hä"}


async def test_a_publication_without_ack_is_not_answered(gateway: Any) -> None:
    connection = await gateway.connected()
    connection.says({"pub": {"ch": f"room:{ROOM}", "d": 1, "ack": "none"}})
    connection.says({"id": 2, "pub": {"ch": f"room:{ROOM}", "d": 2, "ack": "none"}})
    await gateway.until(lambda: len(gateway.far.of(wire.Publish)) == 2)
    await gateway.settled()
    assert len(connection.frames()) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"ch": "room:x", "d": 1}, 103),
        ({"ch": "me", "d": 1}, 103),
        ({"ch": f"room:{ROOM}"}, 107),
        ({"ch": f"room:{ROOM}", "d": 1, "ack": "soon"}, 107),
        ({"ch": f"room:{ROOM}", "d": 1, "cid": ""}, 107),
        ({"ch": f"room:{ROOM}", "d": 1, "cid": "a\0b"}, 107),
        ({"ch": f"room:{ROOM}", "d": 1, "cid": "x" * 129}, 107),
        ({"ch": "nowhere", "d": 1}, 102),
    ],
)
async def test_a_publication_that_can_not_be_is_refused_here(gateway: Any, body: Any, code: int) -> None:
    connection = await gateway.connected()
    assert (await gateway.reply(connection, {"id": 2, "pub": body}))["err"]["code"] == code
    assert gateway.far.of(wire.Publish) == []


async def test_a_second_subscription_is_105_also_while_the_first_waits(gateway: Any) -> None:
    connection = await gateway.connected()
    connection.says({"id": 2, "sub": {"ch": "me"}}, {"id": 3, "sub": {"ch": "me"}})
    await gateway.until(lambda: len(connection.frames()) == 3)
    assert (await gateway.reply(connection, {"id": 4, "sub": {"ch": "me"}}))["err"]["code"] == 105
    by_id = {frame["id"]: frame for frame in connection.frames()}
    assert by_id[3]["err"]["code"] == 105
    assert by_id[2]["sub"]["ch"] == "me"


async def test_past_the_limit_of_subscriptions_it_is_106(open_gateway: Any) -> None:
    gateway = await open_gateway(subs=2)
    connection = await gateway.connected(subs={"me": {}, "near": {}, "fences": {}})
    assert connection.frames()[0]["connect"]["subs"]["fences"]["err"]["code"] == 106
    await gateway.reply(connection, {"id": 2, "unsub": {"ch": "near"}})
    assert "sub" in await gateway.reply(connection, {"id": 3, "sub": {"ch": "fences"}})


async def test_an_unsub_behind_an_unanswered_sub_follows_it(gateway: Any) -> None:
    connection = await gateway.connected()
    connection.says({"id": 2, "sub": {"ch": "me"}}, {"id": 3, "unsub": {"ch": "me"}})
    await gateway.until(lambda: len(connection.frames()) == 3)
    assert [frame["id"] for frame in connection.frames()] == [1, 2, 3]
    assert connection.frames()[2]["unsub"] == {}
    await gateway.until(lambda: len(gateway.far.of(wire.Unsubscribe)) == 1)


async def test_every_actor_error_reaches_the_client_with_its_code(gateway: Any) -> None:
    from actors.protocol import EngineError, ErrorCode  # noqa: PLC0415

    connection = await gateway.connected()
    for number, code in enumerate(ErrorCode, 2):
        if code is ErrorCode.MOVED:  # the router's own: tried again, never seen
            continue

        def answer(_: Any, code: ErrorCode = code) -> Any:
            raise EngineError(code, "why", 7)

        gateway.far.answer = answer
        reply = await gateway.reply(connection, {"id": number, "hist": {"ch": "me"}})
        assert reply["err"] == {"code": code, "msg": "why", "temp": code.temporary, "retry_ms": 7}
    gateway.far.answer = gateway.far.usual_answer


async def test_positions_go_to_the_users_own_actor(gateway: Any) -> None:
    user = new_id()
    connection = await gateway.connected(user)
    assert (await gateway.reply(connection, {"id": 2, "pos": [1, 2.5, 10, 99], "seq": 5}))["pos"] == {
        "ok": True
    }
    connection.says({"pos": [1, 2, 10, 100, 1.5, None, "later"]})
    await gateway.settled()
    first, second = [m for m in gateway.far.of(wire.Position) if m.user == user]
    assert (first.lat, first.lon, first.acc_m, first.t_ms, first.seq) == (1, 2.5, 10, 99, 5)
    assert (second.speed_mps, second.heading_deg, second.seq, second.rid) == (1.5, None, 100, 0)
    assert len(connection.frames()) == 2


async def test_rates_are_limited_with_a_time_to_come_back(open_gateway: Any) -> None:
    gateway = await open_gateway(pub_per_s=10, pub_burst=2, pos_per_s=1, pos_burst=1)
    connection = await gateway.connected()
    codes = []
    for number in range(2, 5):
        reply = await gateway.reply(connection, {"id": number, "pub": {"ch": f"room:{ROOM}", "d": 1}})
        codes.append(reply.get("err"))
    assert codes[:2] == [None, None]
    assert codes[2] == {"code": 111, "msg": "too fast", "temp": True, "retry_ms": 100}
    gateway.clock.now_s += 0.1
    assert "pub" in await gateway.reply(connection, {"id": 5, "pub": {"ch": f"room:{ROOM}", "d": 1}})
    await gateway.reply(connection, {"id": 6, "pos": [1, 1, 1, 1]})
    connection.says({"pos": [1, 1, 1, 2]})
    reply = await gateway.reply(connection, {"id": 7, "pos": [1, 1, 1, 3]})
    assert (reply["err"]["code"], reply["err"]["retry_ms"]) == (111, 1000)


async def test_other_commands_have_a_rate_too(open_gateway: Any) -> None:
    gateway = await open_gateway(commands_per_s=10, commands_burst=1)
    connection = await gateway.connected(subs={"me": {}, "fences": {}})
    assert "unsub" in await gateway.reply(connection, {"id": 2, "unsub": {"ch": "me"}})
    assert (await gateway.reply(connection, {"id": 3, "hist": {"ch": "me"}}))["err"]["code"] == 111
    gateway.clock.now_s += 0.1
    assert (await gateway.reply(connection, {"id": 4, "hist": {"ch": "me"}}))["err"]["code"] == 108


async def test_who_is_nobody_yet_can_not_fill_the_memory(gateway: Any) -> None:
    connection = gateway.wire()
    connection.says({"id": 1, "connect": {"token": gateway.token(new_id())}})
    for _ in range(5):
        connection.session.received(b" " * 60_000, is_text=True)
    assert connection.ended == 3501


async def test_a_large_ephemeral_is_refused(gateway: Any) -> None:
    connection = await gateway.connected(subs={f"room:{ROOM}": {}})
    connection.says({"e": 1, "d": "x" * 9_000})
    await gateway.until(lambda: len(connection.frames()) == 2)
    assert connection.frames()[1]["err"]["code"] == 106
    assert gateway.far.of(wire.Ephemeral) == []


async def test_too_many_unanswered_commands_are_120(open_gateway: Any) -> None:
    gateway = await open_gateway(commands_in_flight=256)
    connection = await gateway.connected()
    gateway.far.answer = lambda _: ...
    connection.says(*({"id": number, "hist": {"ch": "me"}} for number in range(2, 259)))
    await gateway.until(lambda: len(connection.frames()) == 2)
    assert connection.frames()[1]["id"] == 258
    assert connection.frames()[1]["err"]["code"] == 120


async def test_pings_come_every_25_s_with_tops_at_every_second(gateway: Any) -> None:
    gateway.far.publish(f"room:{ROOM}", "u")
    connection = await gateway.connected(subs={f"room:{ROOM}": {}, "near": {}})
    n = connection.frames()[0]["connect"]["subs"][f"room:{ROOM}"]["n"]
    now_s = gateway.clock.now_s
    for beat in (1, 2):
        connection.session.beat(now_s + 25 * beat)
        connection.says({})
    await gateway.until(lambda: len(connection.frames()) == 4)
    assert connection.frames()[1:] == [{}, {}, {"tops": {str(n): 1}}]


async def test_without_a_pong_in_8_s_it_is_3012(gateway: Any) -> None:
    silent, alive = await gateway.connected(), await gateway.connected()
    for connection in (silent, alive):
        connection.session.beat(gateway.clock.now_s + 25)
    alive.says({})
    for connection in (silent, alive):
        connection.session.beat(gateway.clock.now_s + 32.9)
        assert connection.ended is None
        connection.session.beat(gateway.clock.now_s + 33)
    assert (silent.ended, alive.ended) == (3012, None)


@pytest.mark.parametrize("verb", ["read", "dlvd"])
async def test_what_is_not_served_yet_is_108(gateway: Any, verb: str) -> None:
    connection = await gateway.connected()
    assert (await gateway.reply(connection, {"id": 2, verb: {}}))["err"]["code"] == 108


async def test_ephemerals_reach_the_others_and_never_the_sender(gateway: Any) -> None:
    ana, ben = await gateway.connected(), await gateway.connected()
    n = 0
    for connection in (ana, ben):
        n = (await gateway.reply(connection, {"id": 2, "sub": {"ch": f"room:{ROOM}"}}))["sub"]["n"]
    ana.says({"e": n, "d": {"typing": True}})
    await gateway.until(lambda: len(ben.frames()) == 3)
    assert ben.frames()[2]["p"] == n
    assert ben.frames()[2]["e"]["d"] == {"typing": True}
    assert len(ana.frames()) == 2


async def test_ephemerals_need_a_subscription_of_ones_own(gateway: Any) -> None:
    ana, eve = await gateway.connected(), await gateway.connected()
    n = (await gateway.reply(ana, {"id": 2, "sub": {"ch": f"room:{ROOM}"}}))["sub"]["n"]
    eve.says({"e": n, "d": 1})
    await gateway.until(lambda: len(eve.frames()) == 2)
    assert eve.frames()[1]["err"]["code"] == 103
    assert gateway.far.of(wire.Ephemeral) == []


@pytest.mark.parametrize(
    ("code", "clean"), [(1000, True), (1001, True), (1005, True), (None, False), (1006, False)]
)
async def test_only_a_goodbye_shows_the_leave_at_once(gateway: Any, code: int | None, clean: bool) -> None:
    connection = await gateway.connected(subs={f"room:{ROOM}": {}})
    connection.session.closed(code)
    await gateway.until(lambda: len(gateway.far.of(wire.Unsubscribe)) == 1)
    assert gateway.far.of(wire.Unsubscribe)[0].clean is clean
    assert gateway.roster.sessions == set()


async def test_replies_that_come_after_the_end_go_nowhere(gateway: Any) -> None:
    far = gateway.far
    connection = await gateway.connected()
    far.answer = lambda _: ...
    connection.says({"id": 2, "sub": {"ch": f"room:{ROOM}"}}, {"id": 3, "hist": {"ch": "me"}})
    await gateway.until(lambda: far.of(wire.Subscribe) and far.of(wire.History))
    connection.session.closed(1000)
    far.answer = far.usual_answer
    for message in (far.of(wire.Subscribe)[0], far.of(wire.History)[0]):
        far.reply(message.rid, {"epoch": "e", "offset": 0, "recovered": False, "pubs": []})
    # Told when the socket went, and again now: the first may have been lost while the subscription was not.
    await gateway.until(lambda: len(far.of(wire.Unsubscribe)) == 2)
    assert len(connection.frames()) == 1


async def test_draining_sends_everybody_away_with_a_spread_time_to_come_back(gateway: Any) -> None:
    connections = [await gateway.connected() for _ in range(20)]
    await asyncio.wait_for(gateway.roster.drain(), 5)
    byes = [connection.frames()[-1]["bye"] for connection in connections]
    assert {bye["code"] for bye in byes} == {3001}
    assert len({bye["retry_ms"] for bye in byes}) > 10
    late = gateway.wire()
    assert late.ended == 3001
