"""The answer that carries an event stream: what it says, and a reader that takes nothing (FAN-4)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from serve_app.frames import JSON
from serve_app.transports.sse import EventStream
from storage.ids import new_id


class Reader:
    """An HTTP client that takes so many pieces of an answer, and then no more."""

    def __init__(self, gateway: Any, takes: int) -> None:
        self.taken: list[dict[str, Any]] = []
        self.gone: list[str] = []
        self.stream = EventStream("s", self.gone.append)
        self.stream.session = gateway.roster.open(self.stream, JSON)
        self._room = asyncio.Semaphore(takes)
        self.leaves = asyncio.Event()
        self.task = asyncio.create_task(self.stream({}, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def _send(self, piece: Any) -> None:
        await self._room.acquire()
        self.taken.append(piece)

    def says(self, *frames: Any) -> None:
        self.stream.session.received("\n".join(map(json.dumps, frames)).encode(), is_text=True)

    @property
    def text(self) -> str:
        return b"".join(piece.get("body", b"") for piece in self.taken).decode()


@pytest.fixture
async def reads(gateway: Any) -> AsyncIterator[Callable[[int], Reader]]:
    readers: list[Reader] = []

    def another(takes: int) -> Reader:
        readers.append(Reader(gateway, takes))
        return readers[-1]

    yield another
    for reader in readers:
        reader.leaves.set()
        await asyncio.gather(reader.task, return_exceptions=True)


async def test_frames_of_one_moment_are_lines_of_one_event(gateway: Any, reads: Any) -> None:
    reader = reads(100)
    reader.says(
        {"id": 1, "connect": {"token": gateway.token(new_id())}},
        {"id": 2, "rpc": {"method": "time"}},
    )
    await gateway.until(lambda: reader.text.count("\n\n") == 2)
    opening, event, rest = reader.text.split("\n\n")
    assert opening == 'event: open\ndata: {"stream":"s"}'
    lines = event.split("\n")
    assert [json.loads(line.removeprefix("data: "))["id"] for line in lines] == [1, 2]
    assert rest == ""
    assert reader.taken[0]["status"] == 200
    headers = dict(reader.taken[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")


async def test_who_takes_nothing_is_cut_off_at_1_mib(gateway: Any, far: Any, reads: Any) -> None:
    ch = f"room:{new_id()}"
    reader, sink = reads(3), await gateway.subscribed(ch)
    reader.says({"id": 1, "connect": {"token": gateway.token(new_id()), "subs": {ch: {}}}})
    await gateway.until(lambda: len(reader.taken) == 3)
    assert reader.stream.session.is_open
    body = b'"%s"' % (b"x" * 8000)
    for _ in range(180):
        far.publish(ch, "u", body)
        await asyncio.sleep(0)
    await gateway.until(lambda: not reader.stream.session.is_open)
    assert sink[0].ended is None
    assert len(reader.taken) == 3


async def test_who_takes_nothing_for_5_s_is_cut_off(gateway: Any, reads: Any) -> None:
    reader = reads(2)
    reader.says({"id": 1, "connect": {"token": gateway.token(new_id())}})
    await gateway.until(lambda: reader.stream.session.connection.stalled_since_s is not None)
    reader.stream.session.beat(gateway.clock.now_s + 4.9)
    assert reader.stream.session.connection.stalled_since_s is not None
    reader.stream.session.beat(gateway.clock.now_s + 5.1)
    assert reader.stream.session.connection.stalled_since_s is None
    assert not reader.stream.session.is_open


async def test_a_client_that_goes_leaves_nothing_behind(gateway: Any, reads: Any) -> None:
    reader = reads(100)
    reader.says({"id": 1, "connect": {"token": gateway.token(new_id())}})
    await gateway.until(lambda: "connect" in reader.text)
    reader.leaves.set()
    await asyncio.wait_for(reader.task, 5)
    assert reader.gone == ["s"]
    assert gateway.roster.sessions == set()
