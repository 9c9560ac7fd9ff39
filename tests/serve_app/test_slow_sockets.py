"""Slow, stalled and half-open clients over real sockets: they are bounded and hurt nobody (FAN-4)."""

import asyncio
from typing import Any

import pytest

from actors import messages as wire
from actors.protocol import CloseCode
from serve_app.connection import HARD_LIMIT_BYTES, SOFT_LIMIT_BYTES, STALL_LIMIT_S
from serve_app.frames import MESSAGE_LIMIT_BYTES
from serve_app.tick import REST_FACTOR, TICK_S, Tick
from storage.ids import new_id

ROOM = f"room:{new_id()}"
BODY = b'"%s"' % (b"x" * 7_900)


async def member(gateway: Any) -> tuple[Any, Any]:
    """A real client in the room, and its connection on the gateway's side."""
    user = new_id()
    client = await gateway.client("json", user, subs={ROOM: {}})
    (session,) = [each for each in gateway.roster.sessions if each.connection.user == user]
    return client, session.connection


async def filled(gateway: Any, connection: Any, wanted_bytes: int) -> None:
    """Publishes until so much waits for the client that does not read."""
    async with asyncio.timeout(30):
        while connection.stalled_since_s is None or connection.backlog_bytes <= wanted_bytes:
            gateway.far.publish(ROOM, "x", BODY)
            await asyncio.sleep(0)
            if gateway.far.stream(ROOM).top % 20 == 0:
                await gateway.settled()
        await gateway.settled()


def offsets(client: Any) -> list[int]:
    return [frame["m"]["o"] for frame in client.frames if "m" in frame]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_a_slow_reader_keeps_streams_loses_ephemerals_and_gets_conflated_maps(
    gateway: Any, codec: str
) -> None:
    """Above the soft limit, and back: no publication is missing, the map's rows are the newest."""
    user = new_id()
    slow = await gateway.client(codec, user, subs={ROOM: {}, "near": {}})
    (session,) = gateway.roster.sessions
    connection = session.connection
    healthy = await gateway.client("json", new_id(), subs={ROOM: {}})
    slow.socket.transport.pause_reading()
    await filled(gateway, connection, SOFT_LIMIT_BYTES)
    assert SOFT_LIMIT_BYTES < connection.backlog_bytes <= HARD_LIMIT_BYTES + MESSAGE_LIMIT_BYTES
    gateway.far.push(wire.PushEphemeral(ROOM, b'{"u":"x","d":"typing"}', "somebody"))
    near = f"near@{user}#{connection.id}"
    for version in range(2, 30):
        gateway.far.push(
            wire.PushMap(near, version, b'[["a","~",{"user":"a"},%d]]' % version, {"a": version})
        )
    await gateway.settled()
    slow.socket.transport.resume_reading()
    top = gateway.far.publish(ROOM, "x", b'"last"')
    await slow.until(lambda frame: frame.get("m", {}).get("o") == top, timeout_s=20)
    await slow.until(lambda frame: "k" in frame, timeout_s=5)
    assert offsets(slow) == list(range(1, top + 1))
    assert not [frame for frame in slow.frames if "e" in frame]
    assert [frame["k"] for frame in slow.frames if "k" in frame] == [[["a", "~", {"user": "a"}, 29]]]
    await healthy.until(lambda frame: frame.get("m", {}).get("o") == top, timeout_s=20)
    assert offsets(healthy) == list(range(1, top + 1))
    assert [frame["e"] for frame in healthy.frames if "e" in frame]
    assert connection.backlog_bytes == 0
    await slow.close()
    await healthy.close()


async def test_a_stalled_reader_is_sent_3008_without_what_waited_for_it(gateway: Any) -> None:
    stalled, connection = await member(gateway)
    stalled.socket.transport.pause_reading()
    await filled(gateway, connection, SOFT_LIMIT_BYTES)
    top = gateway.far.stream(ROOM).top
    gateway.clock.now_s += STALL_LIMIT_S + 0.1
    for session in list(gateway.roster.sessions):
        session.beat(gateway.clock())
    assert not gateway.roster.sessions
    assert (connection.backlog, connection.backlog_bytes, connection.pending) == (None, 0, None)
    stalled.socket.transport.resume_reading()
    closed = await stalled.wait_closed(20)
    assert closed.code == CloseCode.SLOW
    got = offsets(stalled)
    assert got == list(range(1, len(got) + 1))
    assert len(got) < top  # what the kernel held, and nothing of the backlog


async def test_many_that_stop_reading_are_cut_off_and_cost_a_bounded_share(gateway: Any) -> None:
    """The backlog is shared: ten readers that stop hold the messages of one."""
    stopped = [await member(gateway) for _ in range(10)]
    healthy, _ = await member(gateway)
    for client, _ in stopped:
        client.socket.transport.pause_reading()
    most = 0
    async with asyncio.timeout(60):
        while len(gateway.roster.sessions) > 1:
            for _ in range(10):
                gateway.far.publish(ROOM, "x", BODY)
            await gateway.settled()
            for _, connection in stopped:
                assert connection.backlog_bytes <= HARD_LIMIT_BYTES + 2 * MESSAGE_LIMIT_BYTES
            held = {id(m): len(m) for _, connection in stopped for m in connection.backlog or ()}
            most = max(most, sum(held.values()))
    assert most <= 3 * HARD_LIMIT_BYTES
    top = gateway.far.publish(ROOM, "x", b'"last"')
    await healthy.until(lambda frame: frame.get("m", {}).get("o") == top, timeout_s=20)
    assert offsets(healthy) == list(range(1, top + 1))
    for client, _ in stopped:
        client.socket.transport.resume_reading()
        assert (await client.wait_closed(20)).code == CloseCode.SLOW
    await healthy.close()


async def test_a_half_open_socket_is_given_up_and_leaves_nothing(gateway: Any) -> None:
    """The peer is gone without a word: it neither reads nor answers, and no FIN ever comes."""
    gone, connection = await member(gateway)
    gone.answers_pings = False
    gone.socket.transport.pause_reading()
    limits = gateway.around.limits
    for wait_s in (limits.ping_s + 0.1, limits.pong_s + 0.1):
        gateway.clock.now_s += wait_s
        for session in list(gateway.roster.sessions):
            session.beat(gateway.clock())
    assert not gateway.roster.sessions
    assert gateway.hub.channels == {}
    await gateway.settled()
    left = next(m for m in gateway.far.of(wire.Unsubscribe) if m.ch == ROOM)
    assert left.clean is False  # its people are shown for 15 s: it may come back
    transport = connection.transport._ws.underlying_transport
    await gateway.until(transport.is_closing, timeout_s=10)
    gone.socket.transport.resume_reading()
    assert (await gone.wait_closed(10)).code == CloseCode.NO_PONG


async def test_what_waits_for_the_reply_to_connect_has_a_bound(gateway: Any) -> None:
    """One subscription is answered and busy, another one is not answered: the socket is corked meanwhile."""
    other = f"room:{new_id()}"
    far = gateway.far
    far.answer = lambda message: ... if getattr(message, "ch", "") == other else far.usual_answer(message)
    wire_ = gateway.wire()
    wire_.says({"id": 1, "connect": {"token": gateway.token(new_id()), "subs": {ROOM: {}, other: {}}}})
    connection = wire_.session.connection
    await gateway.until(
        lambda: gateway.hub.channel(ROOM) is not None and bool(gateway.hub.channel(ROOM).users)
    )
    while connection.pending_bytes <= HARD_LIMIT_BYTES:
        far.publish(ROOM, "x", BODY)
        await gateway.settled()
    wire_.session.beat(gateway.clock())
    assert wire_.ended == CloseCode.SLOW
    assert connection.pending is None


async def test_a_push_waits_for_others_at_most_one_tick() -> None:
    """After a long flush the next one is due TICK_S later, after a short one sooner."""

    class Taking:
        """A channel that takes a while to write."""

        is_dirty, size = False, 0

        def __init__(self) -> None:
            self.takes_s = 0.0

        def spill(self, _: list[Any]) -> None:
            self.is_dirty = False
            clock.now_s += self.takes_s

    class Clock:
        now_s = 100.0

        def __call__(self) -> float:
            return self.now_s

    clock, channel = Clock(), Taking()
    tick = Tick(clock)
    for takes_s, bound_s in ((0.0, 0.0), (0.0001, REST_FACTOR * 0.0001), (0.05, TICK_S)):
        channel.takes_s = takes_s
        tick.soils(channel)  # type: ignore[arg-type]
        tick.flush()
        assert tick._rests_until_s - clock.now_s == pytest.approx(bound_s)
    assert TICK_S <= 0.005
