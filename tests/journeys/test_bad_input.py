"""Nothing a client sends may crash a gateway, or show anybody what is not theirs (docs/protocol.md §5)."""

import asyncio
import json
import math
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rt_client.codec import CODECS
from rt_client.connection import Closed, Connection, Refused
from rt_client.town import Town, pids

LIMIT_BYTES = 65_536


async def error_of(connection: Connection, frame: dict[str, Any]) -> dict[str, Any]:
    """The `err` that answers a frame."""
    connection.frames.clear()
    await connection.send(frame)
    answer = await connection.until(lambda frame: "err" in frame)
    if type(frame.get("id")) is int and 0 <= frame["id"] < 2**32:
        assert answer["id"] == frame["id"]
    else:
        assert "id" not in answer
    err: dict[str, Any] = answer["err"]
    assert set(err) <= {"code", "msg", "temp", "retry_ms"}
    assert isinstance(err["temp"], bool)
    return err


MALFORMED: list[tuple[str, Any, set[int]]] = [
    ("verb without id", {"sub": {"ch": "me"}}, {107}),
    ("id is text", {"id": "1", "sub": {"ch": "me"}}, {107}),
    ("id is negative", {"id": -1, "sub": {"ch": "me"}}, {107}),
    ("id past uint32", {"id": 2**32, "sub": {"ch": "me"}}, {107}),
    ("id is a fraction", {"id": 1.5, "sub": {"ch": "me"}}, {107}),
    ("id is true", {"id": True, "sub": {"ch": "me"}}, {107}),
    ("id is null", {"id": None, "sub": {"ch": "me"}}, {107}),
    ("only an id", {"id": 11}, {104, 107}),
    ("two verbs", {"id": 12, "sub": {"ch": "me"}, "unsub": {"ch": "me"}}, {107}),
    ("unknown verb", {"id": 13, "fly": {}}, {104}),
    ("body is a number", {"id": 14, "sub": 7}, {107}),
    ("body is null", {"id": 15, "sub": None}, {107}),
    ("channel is a list", {"id": 16, "sub": {"ch": ["me"]}}, {107}),
    ("offset is negative", {"id": 17, "sub": {"ch": "me", "epoch": "e", "offset": -1}}, {107}),
    ("offset is huge", {"id": 18, "sub": {"ch": "me", "epoch": "e", "offset": 2**60}}, {107}),
    ("offset is text", {"id": 19, "sub": {"ch": "me", "epoch": "e", "offset": "5"}}, {107}),
    ("limit is negative", {"id": 20, "hist": {"ch": "me", "limit": -5}}, {107}),
    ("mode is unknown", {"id": 21, "sub": {"ch": "me", "mode": "telepathy"}}, {107}),
    ("filter is a list", {"id": 22, "sub": {"ch": "near", "mode": "map", "filter": [1]}}, {107}),
    (
        "radius is text",
        {"id": 23, "sub": {"ch": "near", "mode": "map", "filter": {"radius_m": "far"}}},
        {107},
    ),
    (
        "radius is negative",
        {"id": 24, "sub": {"ch": "near", "mode": "map", "filter": {"radius_m": -1}}},
        {106, 107},
    ),
    ("refresh without token", {"id": 25, "refresh": {}}, {107}),
    ("unsub of nothing", {"id": 26, "unsub": {"ch": "me"}}, {102, 103, 107}),
    ("ephemeral without number", {"e": None, "d": 1}, {107}),
]


async def test_malformed_frames_get_the_error_of_the_table(town: Town, codec: str) -> None:
    found = []
    for index in range(0, len(MALFORMED), 6):
        connection = await town.connected(town.person(), codec)
        for name, frame, _ in MALFORMED[index : index + 6]:
            try:
                found.append((name, (await error_of(connection, frame))["code"]))
            except TimeoutError:
                found.append((name, None))
    wrong = [
        (name, code)
        for (name, code), (_, _, allowed) in zip(found, MALFORMED, strict=True)
        if code not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("fix", "codes"),
    [
        ([91.0, 0.0, 10, 1], {107, 124}),
        ([-90.001, 0.0, 10, 1], {107, 124}),
        ([0.0, 0.0, 0, 1], {107, 124}),
        ([0.0, 0.0, -3, 1], {107, 124}),
        ([0.0, 0.0, 5001, 1], {107, 124}),
        ([0.0, 0.0], {107}),
        ([], {107}),
        (["0", "0", "10", "1"], {107}),
        ([None, None, None, None], {107}),
        ({"lat": 0, "lon": 0}, {107}),
        ("here", {107}),
    ],
)
async def test_an_impossible_position_is_refused(town: Town, fix: Any, codes: set[int], codec: str) -> None:
    connection = await town.connected(town.person(), codec)
    err = await error_of(connection, {"id": 500, "pos": fix})
    assert err["code"] in codes
    await error_of(connection, {"id": 501, "sub": {"ch": "nonsense"}})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2, 4])
async def test_not_a_number_is_no_coordinate(town: Town, number: float, place: int) -> None:
    """MessagePack can carry NaN and infinities; JSON cannot, so there the frame is malformed."""
    fix = [1.0, 1.0, 10.0, 1_700_000_000_000, 1.0]
    fix[place] = number
    binary = await town.connected(town.person(), "msgpack")
    assert (await error_of(binary, {"id": 500, "pos": fix}))["code"] in {107, 124}
    text = await town.connected(town.person(), "json")
    await text.send({"id": 500, "pos": fix})
    assert (await text.until(lambda frame: "err" in frame))["err"]["code"] == 107


async def test_ten_malformed_frames_close_the_connection(town: Town, codec: str) -> None:
    connection = await town.connected(town.person(), codec)
    for number in range(9):
        assert (await error_of(connection, {"id": number, "sub": 7}))["code"] == 107
    assert not connection.closed.done()
    await connection.send({"id": 9, "sub": 7})
    assert (await connection.wait_closed()).code == 3501


UNDECODABLE: list[tuple[str, str | bytes]] = [
    ("json", "{"),
    ("json", "not json"),
    ("json", '{"id":1,"sub":{"ch":"me"}} trailing'),
    ("json", "\x00"),
    ("json", "[" * 20_000),
    ("json", '{"id":1,"pub":{"ch":"x","d":' + '{"a":' * 8_000),
    ("json", '{"id":1,"pos":[NaN,0,1,1]}'),
    ("json", b"\x82\xa2id\x01\xa3sub\x80"),
    ("json", b"\xff\xfe"),
    ("msgpack", b"\xc1"),
    ("msgpack", b"\x82\xa2id"),
    ("msgpack", b"\xdf\xff\xff\xff\xff"),
    ("msgpack", b"\xdd\xff\xff\xff\xff"),
    ("msgpack", b"\x91" * 20_000),
    ("msgpack", b"\x81\xa2id\xc4\x02ab"),
    ("msgpack", '{"id":1,"sub":{"ch":"me"}}'),
]


@pytest.mark.parametrize(("codec", "message"), UNDECODABLE, ids=[f"{c}-{m[:12]!r}" for c, m in UNDECODABLE])
async def test_what_cannot_be_read_is_107_or_ends_the_connection(
    town: Town, codec: str, message: str | bytes
) -> None:
    """A line that is no JSON is a malformed frame, bytes after which nothing can be trusted end it; ten times
    either ends it.
    """
    connection = await town.connected(town.person(), codec)
    for _ in range(10):
        if connection.closed.done():
            break
        await connection.send_raw(message)
        await asyncio.wait([connection.closed], timeout=0.05)
    assert (await connection.wait_closed()).code == 3501
    assert {frame["err"]["code"] for frame in connection.frames if "err" in frame} <= {107}


async def test_what_is_no_frame_is_malformed(town: Town, codec: str) -> None:
    """Values that decode but are no map."""
    for value in (1, "x", None, [], [{}], True):
        connection = await town.connected(town.person(), codec)
        raw: str | bytes = json.dumps(value) if codec == "json" else msgpack.packb(value)
        await connection.send_raw(raw)
        with suppress(Closed):
            assert (await connection.until(lambda frame: "err" in frame))["err"]["code"] == 107
        if connection.closed.done():
            assert connection.closed.result().code == 3501


async def test_an_oversize_message_is_refused(town: Town, codec: str) -> None:
    """64 KiB is the most: more gets an error, or closes (3501, or 1009 of the WebSocket standard)."""
    me = town.person()
    room = await town.room(me)
    connection = await town.connected(me, codec)
    with pytest.raises(Refused):
        await connection.pub(room, "x" * 60_000, ack="relay")
    for size in (LIMIT_BYTES, 3 * 2**20):
        connection = await town.connected(me, codec)
        await connection.send({"id": 900, "pub": {"ch": room, "d": "x" * size}})
        await asyncio.wait([connection.closed], timeout=1)
        if connection.closed.done():
            assert connection.closed.result().code in {1009, 3501}
        else:
            assert connection.frames[-1]["err"]["code"] in {106, 107}
            assert (await connection.hist(room, 1))["pubs"] == []


async def test_a_broken_websocket_frame_harms_nobody(town: Town) -> None:
    """Below the protocol: reserved bits, an unmasked frame, a huge length, a cut upgrade."""
    bystander = await town.connected(town.person())
    before = await asyncio.to_thread(pids, town.data, "hereabouts-gateway")
    for raw in (
        b"\xf1\x80\0\0\0\0",
        b"\x81\x02{}",
        b"\x81\xff" + struct.pack("!Q", 2**62) + b"\0\0\0\0",
        b"\x8f\x80\0\0\0\0",
        b"\x00\x80\0\0\0\0",
        b"\x88\x81\0\0\0\0\x03",
        bytes(range(256)) * 8,
    ):
        connection = await town.connected(town.person())
        connection.socket.transport.write(raw)
        await connection.wait_closed()
    url = await town.door()
    host, port = url.split("/")[2].split(":")
    for raw in (b"GET /rt HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n", b"\r\n" * 5000):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(raw)
        await writer.drain()
        writer.close()
    assert (await bystander.command("hist", {"ch": "me", "limit": 1}))["pubs"] == []
    assert await asyncio.to_thread(pids, town.data, "hereabouts-gateway") == before


# -- fuzz ------------------------------------------------------------------------------------------------

leaf = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=20),
    st.sampled_from(["me", "near", "fences", "room:", "stream", "map", "durable"]),
)  # fmt: skip
value = st.recursive(
    leaf,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
verb = st.sampled_from(
    [
        "connect",
        "sub",
        "unsub",
        "refresh",
        "pub",
        "hist",
        "pres",
        "rpc",
        "pos",
        "e",
        "d",
        "id",
        "p",
        "m",
        "bye",
    ]
)
field_name = st.sampled_from(
    [
        "ch",
        "mode",
        "epoch",
        "offset",
        "limit",
        "token",
        "filter",
        "cursor",
        "d",
        "cid",
        "ack",
        "since",
        "reverse",
        "o",
    ]
)
almost = st.builds(
    lambda verbs, beside: {**verbs, **beside},
    st.dictionaries(verb, st.dictionaries(field_name, value, max_size=5) | value, max_size=3),
    st.fixed_dictionaries({}, optional={"id": st.integers(0, 2**32 - 1) | leaf, "d": value}),
)
frame_batch = st.lists(almost, min_size=1, max_size=4)


def as_message(codec: str, frames: list[dict[str, Any]]) -> str | bytes:
    if codec == "json":
        return "\n".join(json.dumps(frame) for frame in frames)
    return b"".join(msgpack.packb(frame) for frame in frames)


message = st.one_of(
    st.tuples(st.just("json"), st.text(max_size=200)),
    st.tuples(st.just("json"), st.binary(max_size=200)),
    st.tuples(st.just("msgpack"), st.binary(max_size=200)),
    st.tuples(st.just("json"), frame_batch.map(lambda frames: as_message("json", frames))),
    st.tuples(st.just("msgpack"), frame_batch.map(lambda frames: as_message("msgpack", frames))),
)


@pytest.mark.timeout(120)
async def test_a_gateway_outlives_whatever_it_is_sent(town: Town, tell: Callable[[str], None]) -> None:
    """Random bytes and almost valid frames, before and after `connect`, on living connections. The gateway
    stays the same process, and a bystander who follows everything of theirs receives nothing at all."""
    quiet, fuzzer = town.persons(2)
    quiet_room = await town.room(quiet)
    bystander = await town.connected(quiet, "msgpack")
    for ch in (quiet_room, "me", "fences"):
        await bystander.sub(ch)
    await bystander.sub(f"presence:{quiet_room}", mode="map")
    bystander.frames.clear()
    gateways = await asyncio.to_thread(pids, town.data, "hereabouts-gateway")
    room = await town.room(fuzzer)
    loop = asyncio.get_running_loop()
    open_ones: dict[tuple[str, bool], Connection] = {}
    endings: dict[int | None, int] = {}
    sent = 0

    async def living(codec: str, connected: bool) -> Connection:
        known = open_ones.get((codec, connected))
        if known is None or known.closed.done():
            if known is not None:
                code = known.closed.result().code
                endings[code] = endings.get(code, 0) + 1
            known = await Connection.open(await town.door(), codec)
            if connected:
                await known.connect(fuzzer.token, subs={room: {}})
            open_ones[codec, connected] = known
        return known

    async def throw(codec: str, content: str | bytes, connected: bool) -> None:
        nonlocal sent
        connection = await living(codec, connected)
        try:
            await connection.send_raw(content)
            sent += 1
            if sent % 10 == 0:
                await asyncio.wait([connection.closed], timeout=0.02)
        except Closed:
            pass

    @settings(
        max_examples=150,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(message, min_size=1, max_size=4), st.booleans())
    def fuzz(messages: list[tuple[str, str | bytes]], connected: bool) -> None:
        for codec, content in messages:
            asyncio.run_coroutine_threadsafe(throw(codec, content, connected), loop).result(20)

    await asyncio.to_thread(fuzz)
    for connection in open_ones.values():
        await connection.drop()
    assert await asyncio.to_thread(pids, town.data, "hereabouts-gateway") == gateways
    assert list(bystander.frames) == []
    assert {code for code in endings if code not in {3501, 3502, 3500, 3005, 1002, 1003, 1007, 1009}} == set()
    assert (await bystander.pub(quiet_room, {"text": "still mine"}, ack="durable"))["o"] == 1
    for codec in CODECS:
        await (await town.connected(town.person(), codec)).close()
    tell(f"fuzz: {sent} messages, connections ended by code {endings}")
