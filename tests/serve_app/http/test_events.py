"""The real-time protocol over server-sent events and requests (docs/protocol.md §1), over real HTTP."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn
from fastapi import FastAPI

from serve_app import events
from serve_app.app import build_app
from storage.ids import new_id

Serve = Callable[[FastAPI], Any]


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Its URL."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await serving


class Client:
    """An event source, and the requests beside it."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self.http = http
        self.url = url
        self.up = url
        self.name = ""
        self.messages: list[str] = []
        self.is_over = False
        self._seen = asyncio.Event()
        self._reading: asyncio.Task[None]

    async def open(self) -> "Client":
        self._reading = asyncio.create_task(self._read())
        await self.until(lambda: self.name)
        return self

    async def _read(self) -> None:
        event, data = "message", list[str]()
        async with self.http.stream("GET", f"{self.url}/v1/rt/sse") as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    event = value
                elif field == "data":
                    data.append(value)
                elif not line and data:
                    if event == "open":
                        self.name = json.loads("\n".join(data))["stream"]
                    else:
                        self.messages.append("\n".join(data))
                    event, data = "message", []
                self._seen.set()
        self.is_over = True
        self._seen.set()

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(line) for message in self.messages for line in message.split("\n")]

    async def until(self, fact: Callable[[], Any], timeout_s: float = 10) -> Any:
        async with asyncio.timeout(timeout_s):
            while not (found := fact()):
                self._seen.clear()
                await self._seen.wait()
            return found

    async def emit(self, *frames: Any, status: int = 202) -> httpx.Response:
        body = "\n".join(frame if isinstance(frame, str) else json.dumps(frame) for frame in frames)
        headers = {"Rt-Stream": self.name.encode("latin-1")}
        answer = await self.http.post(f"{self.up}/v1/rt/emit", content=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer

    async def reply(self, number: int) -> dict[str, Any]:
        def find() -> Any:
            return next((frame for frame in self.frames if frame.get("id") == number), None)

        found: dict[str, Any] = await self.until(find)
        return found

    async def connect(self, token: str, **body: Any) -> dict[str, Any]:
        await self.emit({"id": 1, "connect": {"token": token, **body}})
        greeting: dict[str, Any] = (await self.reply(1))["connect"]
        return greeting

    async def goodbye(self, status: int = 204) -> None:
        answer = await self.http.delete(f"{self.up}/v1/rt/sse", headers={"Rt-Stream": self.name})
        assert answer.status_code == status

    async def lose(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def url(engine: Any, stack: AsyncExitStack) -> str:
    return await stack.enter_async_context(served(engine.app))


@pytest.fixture
async def opens(url: str, stack: AsyncExitStack) -> Callable[[], Any]:
    """Clients with an open stream."""

    async def another(at: str = url) -> Client:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=10))
        client = await Client(http, at).open()
        stack.push_async_callback(client.lose)
        return client

    return another


async def person(engine: Any) -> tuple[Any, str]:
    someone = await engine.person()
    return someone, someone.client.headers["authorization"].removeprefix("Bearer ")


async def room_of(owner: Any, *members: Any) -> str:
    body = {"name": "r", "kind": "group", "members": [each.user for each in members]}
    return f"room:{(await owner.post('/v1/rooms', body))['id']}"


async def test_a_conversation(engine: Any, opens: Any) -> None:
    (ann, ann_token), (bob, bob_token) = await person(engine), await person(engine)
    ch = await room_of(ann, bob)
    one, two = await opens(), await opens()
    assert ann_token not in str(one.name)
    greeting = await one.connect(ann_token, subs={ch: {}})
    assert greeting["resumed"] is False
    n = greeting["subs"][ch]["n"]
    assert (await two.connect(bob_token))["user"] == bob.user
    await two.emit(
        *({"id": number, "pub": {"ch": ch, "d": {"text": f"line\n{number}"}}} for number in range(2, 7))
    )
    offsets = [(await two.reply(number))["pub"]["o"] for number in range(2, 7)]
    await one.until(lambda: sum("m" in frame for frame in one.frames) == 5)
    heard = [frame["m"] for frame in one.frames if frame.get("p") == n and "m" in frame]
    assert [m["o"] for m in heard] == offsets
    assert [m["d"]["text"] for m in heard] == [f"line\n{number}" for number in range(2, 7)]
    await one.emit("{}", "not json", "{}")
    assert (await one.until(lambda: [f for f in one.frames if "err" in f]))[0]["err"]["code"] == 107


async def test_any_process_takes_what_a_stream_sends(engine: Any, opens: Any, stack: AsyncExitStack) -> None:
    second = build_app(engine.app.state.services.config)
    await stack.enter_async_context(second.router.lifespan_context(second))
    other_url = await stack.enter_async_context(served(second))
    (_, token) = await person(engine)
    client = await opens()
    client.up = other_url
    assert (await client.connect(token, subs={"me": {}}))["subs"]["me"]["mode"] == "stream"
    await client.emit({"id": 2, "rpc": {"method": "echo", "params": {"d": " a  b "}}})
    assert (await client.reply(2))["rpc"]["result"] == {"d": " a  b "}
    await client.goodbye()
    await client.until(lambda: client.is_over)


async def test_a_goodbye_ends_the_session_and_a_loss_does_not(engine: Any, opens: Any) -> None:
    someone, token = await person(engine)
    ch = await room_of(someone)
    for clean in (False, True):
        client = await opens()
        greeting = await client.connect(token, subs={ch: {}})
        if clean:
            await client.goodbye()
            await client.until(lambda client=client: client.is_over)
            await client.goodbye(status=404)
        else:
            await client.lose()
        said = (await someone.post(f"/v1/rooms/{ch[5:]}/messages", {"d": {"text": "x"}}))["o"]
        resume = {"sid": greeting["sid"], "key": greeting["key"]}
        back = await (await opens()).connect(token, resume=resume)
        assert back["resumed"] is not clean
        if not clean:
            assert [m["o"] for m in back["subs"][ch]["pubs"]] == [said]


async def test_bye_ends_the_stream(opens: Any) -> None:
    client = await opens()
    await client.emit({"id": 1, "connect": {"token": "nonsense"}})
    await client.until(lambda: client.is_over)
    assert (client.frames[0]["err"]["code"], client.frames[-1]["bye"]["code"]) == (101, 3500)
    await client.emit("{}", status=404)


async def test_what_belongs_to_no_stream_is_not_found(opens: Any) -> None:
    client = await opens()
    own = client.name
    for name in ("x", f"{new_id()}.abc", own.partition(".")[0] + ".guess", own + "x", "ü"):
        client.name = name
        await client.emit("{}", status=404)
    client.name = own
    await client.emit("x" * 300_000, status=413)


async def test_a_message_that_is_too_long_is_answered_as_on_a_websocket(opens: Any) -> None:
    client = await opens()
    await client.emit("x" * 70_000)
    assert (await client.until(lambda: client.frames))[0]["err"]["code"] == 107


async def test_so_many_streams_and_no_more(opens: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STREAMS_LIMIT", 1)
    client = await opens()
    async with httpx.AsyncClient() as http:
        refused = await http.get(f"{url}/v1/rt/sse")
        assert (refused.status_code, refused.json()["code"]) == (503, 120)
        await client.lose()
        async with asyncio.timeout(10):
            while True:
                async with http.stream("GET", f"{url}/v1/rt/sse") as again:
                    if again.status_code == 200:
                        break
                await asyncio.sleep(0.01)


async def test_a_foreign_page_opens_none(url: str) -> None:
    async with httpx.AsyncClient() as http:
        refused = await http.get(f"{url}/v1/rt/sse", headers={"Origin": "https://evil.example"})
        assert refused.status_code == 404
