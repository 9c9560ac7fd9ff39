"""Slow readers: what is kept for them, what is dropped, when they are cut off (FAN-4)."""

import asyncio
from typing import Any

from actors import messages as wire
from serve_app.connection import HARD_LIMIT_BYTES, SOFT_LIMIT_BYTES, STALL_LIMIT_S
from storage.ids import new_id

ROOM = f"room:{new_id()}"
BIG = b'{"text":"%s"}' % (b"x" * 7_000)


def offsets(pushes: list[dict[str, Any]]) -> list[int]:
    """The publications that a client got."""
    return [push["m"]["o"] for push in pushes]


async def test_a_slow_reader_gets_everything_in_order_once_it_reads(gateway: Any) -> None:
    slow, n = await gateway.subscribed(ROOM)
    fast, _ = await gateway.subscribed(ROOM)
    slow.full = True
    for _ in range(5):
        gateway.far.publish(ROOM, "x", BIG)
        await gateway.settled()
    assert offsets(fast.pushes(n)) == [1, 2, 3, 4, 5]
    assert offsets(slow.pushes(n)) == [1]
    backlog = slow.session.connection.backlog
    assert backlog[0] is fast.sent[2]
    slow.takes()
    assert offsets(slow.pushes(n)) == [1, 2, 3, 4, 5]
    assert slow.session.connection.backlog_bytes == 0


async def test_a_reader_that_takes_a_little_gets_a_little(gateway: Any) -> None:
    slow, n = await gateway.subscribed(ROOM)
    slow.full = True
    for _ in range(4):
        gateway.far.publish(ROOM, "x")
        await gateway.settled()
    slow.takes(2)
    assert offsets(slow.pushes(n)) == [1, 2, 3]
    gateway.far.publish(ROOM, "x")
    await gateway.settled()
    assert offsets(slow.pushes(n)) == [1, 2, 3]
    slow.takes()
    assert offsets(slow.pushes(n)) == [1, 2, 3, 4, 5]


async def test_past_the_soft_limit_ephemerals_are_dropped_and_stream_frames_kept(gateway: Any) -> None:
    slow, n = await gateway.subscribed(ROOM)
    fast, _ = await gateway.subscribed(ROOM)
    slow.full = True
    count = SOFT_LIMIT_BYTES // len(BIG) + 15
    for _ in range(count):
        gateway.far.publish(ROOM, "x", BIG)
    await gateway.settled()
    gateway.far.publish(ROOM, "x")
    gateway.far.push(wire.PushEphemeral(ROOM, b'{"u":"x","d":1}', "nobody"))
    gateway.far.publish(ROOM, "x")
    await gateway.until(lambda: len(fast.pushes(n)) == count + 3)
    slow.takes()
    assert offsets(slow.pushes(n)) == list(range(1, count + 3))


async def test_past_the_soft_limit_map_rows_are_conflated(gateway: Any) -> None:
    connection = await gateway.connected(subs={"near": {}, ROOM: {}})
    near = next(iter(name for name in gateway.hub.channels if name.startswith("near@")))
    n = connection.frames()[0]["connect"]["subs"]["near"]["n"]
    connection.full = True
    for _ in range(SOFT_LIMIT_BYTES // len(BIG) + 15):
        gateway.far.publish(ROOM, "x", BIG)
    await gateway.settled()
    rows = [b'["k","+",1,1]', b'["k","~",2,2]', b'["l","+",1,3]', b'["l","-"]', b'["k","~",3,5]']
    for offset, row in enumerate(rows, 1):
        gateway.far.push(wire.PushMap(near, offset, b"[%s]" % row, {}))
        await gateway.settled()
    connection.takes()
    await gateway.until(lambda: len(connection.pushes(n)) == 1)
    assert connection.pushes(n)[0] == {"p": n, "o": 5, "k": [["k", "+", 3, 5], ["l", "-"]]}


async def test_past_the_hard_limit_a_reader_is_cut_off_and_hurts_nobody(gateway: Any) -> None:
    slow, n = await gateway.subscribed(ROOM)
    fast, _ = await gateway.subscribed(ROOM)
    slow.full = True
    count = HARD_LIMIT_BYTES // len(BIG) + 30
    for _ in range(count):
        gateway.far.publish(ROOM, "x", BIG)
    await gateway.until(lambda: slow.ended is not None)
    assert slow.ended == 3008
    assert slow.frames()[-1]["bye"]["code"] == 3008
    assert len(slow.pushes(n)) < 12
    await gateway.until(lambda: len(fast.pushes(n)) == count)
    await gateway.until(lambda: any(m.clean is False for m in gateway.far.of(wire.Unsubscribe)))


async def test_a_write_that_stalls_is_cut_off(gateway: Any) -> None:
    slow, _ = await gateway.subscribed(ROOM)
    slow.full = True
    gateway.far.publish(ROOM, "x")
    await gateway.until(lambda: slow.session.connection.stalled_since_s is not None)
    since_s = gateway.clock.now_s
    slow.session.beat(since_s + STALL_LIMIT_S)
    assert slow.ended is None
    slow.session.beat(since_s + STALL_LIMIT_S + 0.1)
    assert slow.ended == 3008


async def test_one_large_reply_cuts_nobody_off(gateway: Any) -> None:
    connection = await gateway.connected()
    connection.full = True
    page = [{"o": o, "d": "x" * 7_000} for o in range(300)]
    gateway.far.answer = lambda _: {"pubs": page, "epoch": "e", "offset": 300, "more": False}
    for number in (2, 3):
        connection.says({"id": number, "hist": {"ch": "me"}})
        await asyncio.sleep(0.05)
    gateway.far.answer = gateway.far.usual_answer
    connection.takes()
    await gateway.until(lambda: len(connection.frames()) == 3)
    assert connection.ended is None
