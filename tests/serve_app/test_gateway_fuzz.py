"""Nothing that a client sends crashes the gateway or shows anybody what is not theirs (protocol §5).

Random bytes and almost valid frames, over real sockets, against real sessions. The far side answers, so
valid commands go all the way.
"""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rt_client.connection import Closed, Connection

from actors import messages as wire
from serve_app.verbs import VERBS
from storage.ids import new_id

ROOM = f"room:{new_id()}"

leaves = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=12)
    | st.sampled_from([ROOM, "me", "near", f"presence:{ROOM}", "room:x", "stream", "map", "durable"])
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)
fields = st.sampled_from(
    ["ch", "mode", "epoch", "offset", "limit", "token", "filter", "cursor", "d", "cid", "ack", "since",
     "reverse",
     "subs", "resume", "device", "o", "method", "params"]
)  # fmt: skip
bodies = st.dictionaries(fields, values, max_size=5) | values
likely = st.fixed_dictionaries(
    {"ch": st.sampled_from([ROOM, "me", "near", "fences", f"presence:{ROOM}"])},
    optional={
        "d": values,
        "ack": st.sampled_from(["none", "relay", "durable"]),
        "cid": st.text(max_size=5),
        "limit": st.integers(0, 10**9),
        "epoch": st.text(max_size=3),
        "offset": st.integers(0, 2**54),
        "filter": st.dictionaries(st.text(max_size=4), values, max_size=3),
    },
)
almost = st.builds(
    lambda verbs, beside: {**verbs, **beside},
    st.dictionaries(st.sampled_from([*VERBS, "unknown"]), bodies | likely, max_size=2),
    st.fixed_dictionaries(
        {}, optional={"id": st.integers(0, 2**32 - 1) | leaves, "d": values, "seq": values}
    ),
)
plain = st.recursive(
    st.none()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=12)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
number = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60)
valid = st.one_of(
    st.builds(
        lambda verb, body, number: {"id": number, verb: {"d": 1, **body}},
        st.sampled_from(["sub", "unsub", "pub", "hist", "pres"]), likely, st.integers(0, 2**32 - 1),
    ),
    st.builds(
        lambda d, ack, cid, number: {"id": number, "pub": {"ch": ROOM, "d": d, "ack": ack, "cid": cid}},
        plain, st.sampled_from(["none", "relay"]), st.none() | st.just("c"), st.integers(0, 2**32 - 1),
    ),
    st.builds(
        lambda since, limit: {"id": 7, "hist": {"ch": ROOM, "since": since, "limit": limit}},
        st.none() | st.fixed_dictionaries({"epoch": st.text(max_size=3), "offset": st.integers(0, 2**52)}),
        st.integers(0, 10**9),
    ),
    st.builds(lambda n, d: {"e": n, "d": d}, st.integers(0, 9), values),
    st.builds(
        lambda fix, seq: {"pos": fix, "seq": seq},
        st.lists(number, min_size=4, max_size=7), st.integers(-(2**60), 2**60),
    ),
    st.just({}),
)  # fmt: skip
frame = st.sampled_from([valid, valid, valid, almost]).flatmap(lambda kind: kind)
batches = st.lists(frame, min_size=1, max_size=8)


def packed(frames: list[Any]) -> bytes:
    return b"".join(msgpack.packb(each) for each in frames)


def text(frames: list[Any]) -> str:
    return "\n".join(json.dumps(each) for each in frames)


json_messages = st.sampled_from([batches.map(text)] * 4 + [st.text(max_size=60), st.binary(max_size=60)])
packed_messages = st.sampled_from([batches.map(packed)] * 4 + [st.binary(max_size=60), st.text(max_size=60)])
messages = st.one_of(
    st.tuples(st.just("json"), json_messages.flatmap(lambda kind: kind)),
    st.tuples(st.just("msgpack"), packed_messages.flatmap(lambda kind: kind)),
)


class Fuzzed:
    """A fuzzer's connections, opened anew as they are closed, and somebody else who must notice nothing."""

    def __init__(self, gateway: Any) -> None:
        self.gateway = gateway
        self.user = new_id()
        self.bystander: Connection
        self.open: dict[tuple[str, bool], Connection] = {}

    async def start(self) -> None:
        self.bystander = await self.gateway.client(
            "msgpack", new_id(), subs={"me": {}, "near": {}, "fences": {}}
        )

    async def connection(self, codec: str, connected: bool) -> Connection:
        known = self.open.get((codec, connected))
        if known is None or known.closed.done():
            user = self.user if connected else None
            known = self.open[codec, connected] = await self.gateway.client(codec, user)
        return known


@pytest.fixture
async def fuzzed(gateway: Any) -> AsyncIterator[Fuzzed]:
    fuzzed = Fuzzed(gateway)
    await fuzzed.start()
    yield fuzzed
    # Enough of it was valid to reach the actors.
    reached = {type(message) for message in gateway.far.received}
    assert {wire.Subscribe, wire.Unsubscribe, wire.Publish, wire.History, wire.Position} <= reached


@settings(
    max_examples=120, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(sent=st.lists(messages, min_size=2, max_size=6), connected=st.sampled_from([True, True, True, False]))
async def test_whatever_is_sent_is_answered_or_ends_that_connection_only(
    fuzzed: Fuzzed, caplog: pytest.LogCaptureFixture, sent: list[tuple[str, str | bytes]], connected: bool
) -> None:
    for codec, message in sent:
        connection = await fuzzed.connection(codec, connected)
        try:
            await connection.send_raw(message)
        except Closed:
            continue
    await fuzzed.gateway.settled()
    fuzzed.gateway.clock.now_s += 0.1
    for connection in fuzzed.open.values():
        if connection.closed.done():
            # A code of ours or of WebSocket's: a socket that is lost without one would be a crash.
            assert connection.closed.result().code in {1002, 1007, 1009, 3500, 3501, 3502}
    assert (await fuzzed.bystander.command("pos", [1, 1, 1, 1]))["ok"]
    assert [each for each in fuzzed.bystander.frames if "id" not in each] == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
