"""Modes cache and passive, filters and calls by name (docs/protocol.md §2)."""

import asyncio
from itertools import count
from typing import Any

import pytest

from actors import messages as wire
from serve_app.frames import JSON, PACKED, Codec
from storage.ids import new_id

CODECS = pytest.mark.parametrize("codec", [JSON, PACKED], ids=["json", "msgpack"])


@pytest.fixture
def room() -> str:
    return f"room:{new_id()}"


def counted(far: Any, subs: int = 3) -> None:
    """The far side knows the modes."""
    usual = far.usual_answer

    def answer(message: Any) -> Any:
        if isinstance(message, wire.Subscribe) and message.mode != "map":
            stream = far.stream(message.ch)
            if message.mode == "passive":
                counts = {"subs": subs, "offset": stream.top}
                return {"mode": "passive", "epoch": stream.epoch, "offset": stream.top, "pubs": [],
                        "recovered": False, "was_recovering": False, "counts": counts}  # fmt: skip
            return stream.subscribed(
                message.user, epoch=message.epoch, offset=message.offset, limit=message.limit,
                wanted=message.filter, mode=message.mode,
            )  # fmt: skip
        return usual(message)

    far.answer = answer


# -- filters ------------------------------------------------------------------------------------------------


@CODECS
async def test_what_a_filter_leaves_out_is_skipped(gateway: Any, far: Any, room: str, codec: Codec) -> None:
    counted(far)
    wire_, n = await gateway.subscribed(room, codec, filter={"type": ["edit", None]})
    plain, m = await gateway.subscribed(room, codec)
    for body in (b'{"type":"edit"}', b'{"type":"join"}', b"{}", b"7"):
        far.publish(room, "u", body)
    await gateway.until(lambda: len(plain.pushes(m)) == 4)
    assert [f.get("skip") or f["m"]["o"] for f in wire_.pushes(n)] == [1, 2, 3, 4]
    assert [f["skip"] for f in wire_.pushes(n) if "skip" in f] == [2, 4]
    assert all("m" in f for f in plain.pushes(m))


async def test_a_takeover_tells_only_what_the_filter_wants(gateway: Any, far: Any, room: str) -> None:
    counted(far)
    wire_, n = await gateway.subscribed(room, filter={"type": "a"})
    await far.stop_shard()
    for kind in (b"b", b"a", b"b"):
        far.publish(room, "u", b'{"type":"%s"}' % kind)
    await far.start_shard()
    await gateway.until(lambda: len(wire_.pushes(n)) == 3)
    assert [f.get("skip") or f["m"]["o"] for f in wire_.pushes(n)] == [1, 2, 3]
    assert "m" in wire_.pushes(n)[1]
    assert wire_.ended is None


async def test_a_filter_ends_with_its_subscription(gateway: Any, far: Any, room: str) -> None:
    counted(far)
    wire_, n = await gateway.subscribed(room, filter={"type": "a"})
    other, _ = await gateway.subscribed(room)
    await gateway.reply(wire_, {"id": 2, "unsub": {"ch": room}})
    again = (await gateway.reply(wire_, {"id": 3, "sub": {"ch": room}}))["sub"]
    assert again["n"] == n
    far.publish(room, "u", b'{"type":"b"}')
    await gateway.until(lambda: len(wire_.pushes(n)) == 1)
    assert "m" in wire_.pushes(n)[0]
    assert other.ended is None


@pytest.mark.parametrize(
    ("ch", "body"),
    [
        ("presence", {"filter": {"u": "x"}}),
        ("room", {"filter": {"a": []}}),
        ("room", {"filter": {"a": [2**70]}}),
        ("near", {"filter": {"radius_m": 2**70}}),
        ("room", {"filter": {"a": {"b": 1}}}),
        ("room", {"mode": "passive", "filter": {"a": 1}}),
        ("room", {"mode": "map"}),
        ("me", {"mode": "passive"}),
        ("near", {"mode": "cache"}),
        ("presence", {"mode": "passive"}),
    ],
)
async def test_what_a_channel_does_not_do_is_107(gateway: Any, room: str, ch: str, body: Any) -> None:
    name = {"room": room, "presence": f"presence:{room}"}.get(ch, ch)
    connection = await gateway.connected()
    assert (await gateway.reply(connection, {"id": 2, "sub": {"ch": name, **body}}))["err"]["code"] == 107


# -- cache --------------------------------------------------------------------------------------------------


@CODECS
async def test_a_cache_gives_the_newest_value_then_what_comes(
    gateway: Any, far: Any, room: str, codec: Codec
) -> None:
    counted(far)
    for _ in range(3):
        far.publish(room, "u")
    connection = await gateway.connected(codec=codec)
    body = {"ch": room, "mode": "cache", "epoch": "old", "offset": 1}
    result = (await gateway.reply(connection, {"id": 2, "sub": body}))["sub"]
    assert (result["mode"], result["offset"], result["recovered"]) == ("cache", 3, False)
    assert [m["o"] for m in result["pubs"]] == [3]
    far.publish(room, "u")
    await gateway.until(lambda: len(connection.pushes(result["n"])) == 1)
    assert connection.pushes(result["n"])[0]["m"]["o"] == 4


async def test_a_cache_survives_an_epoch_with_its_newest_value(gateway: Any, far: Any, room: str) -> None:
    counted(far)
    far.publish(room, "u")
    far.publish(room, "u")
    cached, n = await gateway.subscribed(room, mode="cache")
    stream, _ = await gateway.subscribed(room)
    await far.stop_shard()
    far.streams.pop(room)
    far.stream(room).epoch = "epoch-2"
    far.publish(room, "u", b'"new"')
    await far.start_shard()
    await gateway.until(lambda: stream.ended is not None)
    await gateway.until(lambda: len(cached.pushes(n)) == 1)
    assert (stream.ended, cached.ended) == (3010, None)
    assert (cached.pushes(n)[0]["m"]["o"], cached.pushes(n)[0]["m"]["d"]) == (1, "new")
    far.publish(room, "u")
    await gateway.until(lambda: len(cached.pushes(n)) == 2)


async def test_a_takeover_that_brings_a_cache_nothing_new_says_nothing(
    gateway: Any, far: Any, room: str
) -> None:
    counted(far)
    far.publish(room, "u")
    cached, n = await gateway.subscribed(room, mode="cache")
    await far.stop_shard()
    await far.start_shard()
    await gateway.until(lambda: len(far.of(wire.Subscribe)) == 2)
    await gateway.settled()
    far.publish(room, "u")
    await gateway.until(lambda: bool(cached.pushes(n)))
    assert [f["m"]["o"] for f in cached.pushes(n)] == [2]


# -- passive ------------------------------------------------------------------------------------------------


@CODECS
async def test_the_passive_get_counters_and_nothing_else(
    gateway: Any, far: Any, room: str, codec: Codec
) -> None:
    counted(far)
    connection = await gateway.connected(codec=codec)
    result = (await gateway.reply(connection, {"id": 2, "sub": {"ch": room, "mode": "passive"}}))["sub"]
    assert (result["mode"], result["counts"], result["pubs"]) == ("passive", {"subs": 3, "offset": 0}, [])
    other, m = await gateway.subscribed(room)
    assert m != result["n"]
    far.publish(room, "u")
    far.push(wire.PushCounts(room, 4, 1))
    await gateway.until(lambda: bool(connection.pushes(result["n"])) and bool(other.pushes(m)))
    await gateway.settled()
    assert connection.pushes(result["n"]) == [{"p": result["n"], "counts": {"subs": 4, "offset": 1}}]
    assert [set(f) for f in other.pushes(m)] == [{"p", "m"}]


async def test_one_subscription_a_channel_whatever_its_mode(gateway: Any, far: Any, room: str) -> None:
    counted(far)
    connection = await gateway.connected()
    modes, ids = ("passive", "stream", "cache"), count(2)

    async def ask(verb: str, **body: Any) -> dict[str, Any]:
        found: dict[str, Any] = await gateway.reply(connection, {"id": next(ids), verb: {"ch": room, **body}})
        return found

    for mode in modes:
        assert (await ask("sub", mode=mode))["sub"]["mode"] == mode
        for other in modes:
            assert (await ask("sub", mode=other))["err"]["code"] == 105
        assert (await ask("unsub"))["unsub"] == {}
    await gateway.settled()
    assert {(m.ch, m.clean) for m in far.of(wire.Unsubscribe)} == {(room, True)}


async def test_the_passive_are_told_anew_by_a_new_activation_and_hear_of_the_end(
    gateway: Any, far: Any, room: str
) -> None:
    counted(far)
    user = new_id()
    connection, n = await gateway.subscribed(room, user=user, mode="passive")
    await far.stop_shard()
    await far.start_shard()
    await gateway.until(lambda: bool(connection.pushes(n)))
    assert connection.pushes(n) == [{"p": n, "counts": {"subs": 3, "offset": 0}}]
    far.push(wire.Unsubscribed(room, user, 103, "no longer a member"))
    await gateway.until(lambda: any("unsub" in f for f in connection.frames()))
    assert connection.session.connection.subscriptions == {}


async def test_the_passive_send_no_ephemerals(gateway: Any, far: Any, room: str) -> None:
    counted(far)
    connection, n = await gateway.subscribed(room, mode="passive")
    connection.says({"e": n, "d": 1})
    await gateway.until(lambda: any("err" in f for f in connection.frames()))
    assert far.of(wire.Ephemeral) == []


# -- calls --------------------------------------------------------------------------------------------------


@CODECS
async def test_methods_are_called_by_name(gateway: Any, far: Any, room: str, codec: Codec) -> None:
    counted(far)
    connection = await gateway.connected(
        codec=codec, device="phone", subs={room: {"mode": "passive"}, "me": {}}
    )

    async def call(number: int, **body: Any) -> Any:
        return await gateway.reply(connection, {"id": number, "rpc": body})

    assert (await call(2, method="time"))["rpc"] == {"result": {"time": 1_000_000}}
    d = [1, {"a": None}]
    assert (await call(3, method="echo", params={"d": d}))["rpc"]["result"] == {"d": d}
    about = (await call(4, method="session", params={}))["rpc"]["result"]
    assert about["sid"] == connection.frames()[0]["connect"]["sid"]
    assert (about["device"], about["subs"][room]["mode"], about["subs"]["me"]["mode"]) == (
        "phone", "passive", "stream",
    )  # fmt: skip
    assert (await call(5, method="nothing"))["err"]["code"] == 108
    assert (await call(6, method="echo", params=[1]))["err"]["code"] == 107
    assert (await call(7))["err"]["code"] == 107


async def test_no_channel_takes_a_token_of_its_own(gateway: Any, room: str) -> None:
    connection = await gateway.connected()
    refused = await gateway.reply(connection, {"id": 2, "subrefresh": {"ch": room, "token": "x"}})
    assert refused["err"]["code"] == 108
    unknown = await gateway.reply(connection, {"id": 3, "subrefresh": {"ch": "bogus", "token": "x"}})
    assert unknown["err"]["code"] == 102


async def test_every_second_ping_brings_the_tops_of_streams(gateway: Any, far: Any, room: str) -> None:
    counted(far)
    connection = await gateway.connected(subs={room: {}, "near": {}})
    n = connection.frames()[0]["connect"]["subs"][room]["n"]
    for _ in range(3):
        far.publish(room, "u")
    await gateway.until(lambda: len(connection.pushes(n)) == 3)
    for beat in range(1, 5):
        gateway.clock.now_s += 25
        connection.session.beat(gateway.clock.now_s)
        await asyncio.sleep(0.01)
        tops = [f["tops"] for f in connection.frames() if "tops" in f]
        assert tops == [{str(n): 3}] * (beat // 2)
        connection.says({})
