"""Coming in: subprotocols, tokens, the first frame, heartbeats (docs/protocol.md §1, §2, §5)."""

import asyncio
import time
from collections.abc import Callable

import pytest
from rt_client.codec import CODECS
from rt_client.connection import Closed, Connection, Refused
from rt_client.town import Town, dev_users
from websockets.asyncio.client import connect as open_websocket
from websockets.typing import Subprotocol


async def test_both_doors_are_named_and_open(town: Town, codec: str) -> None:
    """`/rt` stands on the gateway's own listener and on Serve's port."""
    answer = await town.http("GET", "/v1/rt")
    assert answer.body["protocols"] == ["rt.v1.json", "rt.v1.msgpack"]
    for url in (answer.body["url"], answer.body["fallback"]):
        async with await Connection.open(url, codec) as connection:
            assert connection.socket.subprotocol == CODECS[codec].subprotocol
            me = town.person()
            hello = await connection.connect(me.token)
            assert hello["user"] == me.user


async def test_the_answer_to_connect_has_every_field(town: Town, codec: str) -> None:
    connection = await town.socket(codec)
    me = town.person()
    hello = await connection.connect(me.token, device="phone-1", sdk="rt-client/1.0")
    assert hello["user"] == me.user
    assert hello["ping"] == 25
    assert hello["pong"] == 8
    assert hello["resumed"] is False
    assert hello["subs"] == {}
    assert 0 < hello["exp"] <= 86_400
    assert abs(hello["time"] - time.time() * 1000) < 60_000
    assert {"frame_bytes", "subs", "pub_per_s", "pos_per_s"} <= hello["limits"].keys()
    assert hello["limits"]["frame_bytes"] == 65_536
    assert hello["sid"]
    assert hello["key"]
    assert hello["node"]


async def test_the_first_known_subprotocol_is_selected(town: Town) -> None:
    offers = [Subprotocol(each) for each in ("rt.v9", "rt.v1.msgpack", "rt.v1.json")]
    async with open_websocket(await town.door(), subprotocols=offers, proxy=None) as socket:
        assert socket.subprotocol == "rt.v1.msgpack"
    async with open_websocket(await town.door(), proxy=None) as socket:
        assert socket.subprotocol is None
        connection = Connection(socket, CODECS["json"])
        assert (await connection.connect(town.person().token))["resumed"] is False
        await connection.close()


async def test_an_unknown_resume_is_no_error(town: Town, codec: str) -> None:
    connection = await town.socket(codec)
    hello = await connection.connect(town.person().token, resume={"sid": "nobody", "key": "nothing"})
    assert hello["resumed"] is False


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
async def test_a_refused_token_is_101_then_3500(town: Town, token: str, codec: str) -> None:
    connection = await town.socket(codec)
    with pytest.raises(Refused) as refused:
        await connection.connect(token)
    assert (refused.value.code, refused.value.temporary) == (101, False)
    assert (await connection.wait_closed()).code == 3500


async def test_a_token_signed_by_nobody_here_is_101(town: Town) -> None:
    head, body, signature = town.person().token.split(".")
    forged = f"{head}.{body}.{signature[:-6]}{'A' * 6}"
    connection = await town.socket()
    with pytest.raises(Refused) as refused:
        await connection.connect(forged)
    assert refused.value.code == 101
    assert (await connection.wait_closed()).code == 3500


async def test_no_token_is_refused(town: Town) -> None:
    connection = await town.socket()
    with pytest.raises(Refused) as refused:
        await connection.command("connect", {})
    assert refused.value.code == 101
    assert (await connection.wait_closed()).code == 3500


async def test_a_token_lives_its_time(town: Town) -> None:
    """Expired at connect: 109 then 3005. Expired in use: closed 3005. Another's token refreshes nothing."""
    short, other = await asyncio.to_thread(dev_users, town.data, 2, "--ttl", "3")
    stranger = town.person()
    dying = [await town.connected(short, codec) for codec in CODECS]
    kept = await town.connected(other)
    with pytest.raises(Refused) as refused:
        await kept.command("refresh", {"token": stranger.token})
    assert refused.value.code == 101
    for connection in dying:
        assert (await connection.wait_closed(timeout_s=10)).code == 3005
    for codec in CODECS:
        late = await town.socket(codec)
        with pytest.raises(Refused) as refused:
            await late.connect(short.token)
        assert (refused.value.code, refused.value.temporary) == (109, False)
        assert (await late.wait_closed()).code == 3005


@pytest.mark.parametrize(
    "frame",
    [{"id": 1, "sub": {"ch": "me"}}, {"id": 1, "hist": {"ch": "me", "limit": 1}}, {"pos": [1, 2, 3, 4]}],
    ids=["sub", "hist", "pos"],
)
async def test_nothing_is_served_before_connect(town: Town, frame: dict[str, object], codec: str) -> None:
    connection = await town.socket(codec)
    await connection.send(frame)
    closed = await connection.wait_closed(timeout_s=12)
    assert closed.code in {3501, 3502}
    assert all("err" in frame or "bye" in frame for frame in connection.frames)


async def test_a_second_connect_is_a_bad_request(town: Town, codec: str) -> None:
    connection = await town.socket(codec)
    me = town.person()
    await connection.connect(me.token)
    with pytest.raises((Refused, Closed)) as wrong:
        await connection.connect(me.token)
    if isinstance(wrong.value, Refused):
        assert wrong.value.code == 107
    else:
        assert wrong.value.code == 3501


async def test_256_commands_may_be_in_flight(town: Town, codec: str) -> None:
    """Ids start anywhere; each is answered under its own."""
    me = town.person()
    room = await town.room(me)
    connection = await town.connected(me, codec)
    started = [connection.start("hist", {"ch": room, "limit": 1}) for _ in range(256)]
    await connection.send(*[frame for frame, _ in started])
    answers = await asyncio.wait_for(asyncio.gather(*[waiter for _, waiter in started]), 20)
    assert all(answer["pubs"] == [] for answer in answers)


async def test_one_message_may_hold_connect_and_what_follows(town: Town, codec: str) -> None:
    me = town.person()
    room = await town.room(me)
    connection = await town.socket(codec)
    frames = [
        connection.start("connect", {"token": me.token}),
        connection.start("sub", {"ch": room}),
        connection.start("pub", {"ch": room, "d": {"text": "at once"}, "ack": "durable"}),
    ]
    await connection.send(*[frame for frame, _ in frames])
    _, sub, pub = await asyncio.wait_for(asyncio.gather(*[waiter for _, waiter in frames]), 10)
    assert (sub["offset"], pub["o"]) == (0, 1)
    await connection.until(lambda frame: frame.get("p") == sub["n"] and frame["m"]["o"] == 1)


async def test_a_foreign_web_page_is_not_let_in(town: Town) -> None:
    with pytest.raises(Exception, match=r"403|rejected"):
        await town.socket(origin="https://evil.example")


async def keep_silent(town: Town) -> None:
    me = town.person()
    room = await town.room(me)
    mute = await town.socket()
    lively = [await town.connected(me, codec, subs={room: {}}) for codec in CODECS]
    deaf = [await town.connected(me, codec) for codec in CODECS]
    for connection in deaf:
        connection.answers_pings = False
    assert (await mute.wait_closed(timeout_s=15)).code == 3502
    for connection in deaf:
        assert (await connection.wait_closed(timeout_s=45)).code == 3012
        assert connection.pings >= 1
    for connection in lively:
        assert connection.pings >= 1
        assert not connection.closed.done()
        await connection.pub(room, {"text": "alive"})


@pytest.mark.timeout(100)
@pytest.mark.beside(scenario=keep_silent)
def test_silence_is_closed(beside: Callable[..., None]) -> None:
    """10 s without `connect` close 3502. A ping comes each 25 s; 8 s without a pong close 3012, and who
    answers stays."""
    beside(keep_silent)
