"""Server-sent events and requests through Serve's own port, and a session that changes the way (§1)."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import pytest
from rt_client.town import Town

pytestmark = pytest.mark.timeout(60)


async def frames(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Everything that a stream brings; the opening event first."""
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


async def test_a_session_moves_from_events_to_a_websocket_and_back(town: Town) -> None:
    ann, bob = town.persons(2)
    ch = await town.room(ann, bob)
    talking = await town.connected(bob)
    http = await town.stack.enter_async_context(httpx.AsyncClient(base_url=town.url, timeout=20))

    async def through_events(first: dict[str, Any], then: Any) -> list[dict[str, Any]]:
        """Sends `connect`, then what `then` says at each frame that comes, until that is None."""
        heard: list[dict[str, Any]] = []
        async with asyncio.timeout(20), http.stream("GET", "/v1/rt/sse") as answer:
            assert answer.status_code == 200
            coming = frames(answer)
            headers = {"Rt-Stream": (await anext(coming))["stream"]}
            said: Any = {"id": 1, "connect": {"token": ann.token, **first}}
            while said is not None:
                if said:
                    sent = await http.post("/v1/rt/emit", content=json.dumps(said), headers=headers)
                    assert sent.status_code == 202
                heard.append(await anext(coming))
                said = then(heard[-1])
        return heard

    async def later() -> None:
        await talking.pub(ch, {"text": "live"})

    pending: list[asyncio.Task[None]] = []

    def begin(frame: dict[str, Any]) -> Any:
        if "connect" in frame:
            pending.append(asyncio.create_task(later()))
            return {}
        return None if "m" in frame else {}

    heard = await through_events({"subs": {ch: {}}}, begin)
    greeting = heard[0]["connect"]
    assert heard[-1]["m"]["d"] == {"text": "live"}
    await talking.pub(ch, {"text": "meanwhile"})
    socket = await town.socket()
    resume = {"sid": greeting["sid"], "key": greeting["key"]}
    position = {"epoch": greeting["subs"][ch]["epoch"], "offset": heard[-1]["m"]["o"]}
    second = await socket.connect(ann.token, resume=resume, subs={ch: position})
    assert second["resumed"] is True
    assert [m["d"]["text"] for m in second["subs"][ch]["pubs"]] == ["meanwhile"]
    await socket.drop()
    resume = {"sid": second["sid"], "key": second["key"]}
    [again] = await through_events({"resume": resume}, lambda _: None)
    assert again["connect"]["resumed"] is True
    assert again["connect"]["sid"] == greeting["sid"]


async def test_events_come_at_once_and_not_when_a_buffer_is_full(town: Town) -> None:
    ann = town.person()
    ch = await town.room(ann)
    async with (
        asyncio.timeout(30),
        httpx.AsyncClient(base_url=town.url, timeout=20) as http,
        http.stream("GET", "/v1/rt/sse") as answer,
    ):
        coming = frames(answer)
        headers = {"Rt-Stream": (await anext(coming))["stream"]}

        async def say(**frame: Any) -> dict[str, Any]:
            sent = await http.post("/v1/rt/emit", content=json.dumps(frame), headers=headers)
            assert sent.status_code == 202
            while True:
                reply = await anext(coming)
                if reply.get("id") == frame["id"]:
                    return reply

        assert "connect" in await say(id=1, connect={"token": ann.token, "subs": {ch: {}}})
        for number in range(2, 22):
            assert (await say(id=number, pub={"ch": ch, "d": number}))["pub"]["o"] == number - 1
        left = await http.delete("/v1/rt/sse", headers=headers)
        assert left.status_code == 204
        assert [frame async for frame in coming if frame] == []  # and it ends
