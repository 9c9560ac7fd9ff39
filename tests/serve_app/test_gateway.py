"""The listeners: WebSocket as it comes from real sockets, and the whole service on its database."""

import asyncio
import base64
import json
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, WebSocket
from rt_client.connection import Connection as Client
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from actors.directory import Directory, DirectoryConfig
from actors.site import Site
from identity.keys import ensure_signing_key
from identity.tokens import issue_access_token
from serve_app.frames import MESSAGE_LIMIT_BYTES
from serve_app.gateway import GatewayConfig, GatewayService
from serve_app.origins import origin_allowed
from serve_app.transports import asgi, picows
from storage.ids import new_id

ROOM = f"room:{new_id()}"


class Raw:
    """A socket that speaks WebSocket byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self.reader = reader
        self.writer = writer
        self.head = head

    @classmethod
    async def open(cls, port: int, *headers: str, path: str = "/rt", connection: str = "Upgrade") -> "Raw":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket", f"Connection: {connection}",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *headers, "", "",
        ]  # fmt: skip
        writer.write("\r\n".join(lines).encode())
        return cls(reader, writer, (await reader.readuntil(b"\r\n\r\n")).decode())

    def send(self, opcode: int, payload: bytes, *, fin: bool = True, flags: int = 0) -> None:
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + struct.pack("!H", size)
        self.writer.write(bytes([(0x80 if fin else 0) | flags | opcode]) + length + bytes(4) + payload)

    async def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        first, length = await self.reader.readexactly(2)
        if length == 126:
            (length,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 0xF, await self.reader.readexactly(length)

    async def close_code(self) -> int:
        """The code of the close frame that is coming."""
        while True:
            opcode, payload = await asyncio.wait_for(self.receive(), 5)
            if opcode == 8:
                self.writer.close()
                return int.from_bytes(payload[:2])


@pytest.fixture
async def port(gateway: Any) -> int:
    await gateway.listening()
    return int(gateway.port)


@pytest.fixture
async def raw(port: int) -> AsyncIterator[Any]:
    opened: list[Raw] = []

    async def open_one(*headers: str, **given: Any) -> Raw:
        opened.append(await Raw.open(port, *headers, **given))
        return opened[-1]

    yield open_one
    for each in opened:
        each.writer.close()


# -- the upgrade -------------------------------------------------------------------------------------------


async def test_a_list_in_the_connection_header_is_an_upgrade_too(raw: Any) -> None:
    """Firefox sends it so; RFC 6455 §4.2.1 wants the token in the list."""
    assert (await raw(connection="keep-alive, Upgrade")).head.startswith("HTTP/1.1 101")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("rt.v1.json", "rt.v1.json"),
        ("rt.v9, rt.v1.msgpack, rt.v1.json", "rt.v1.msgpack"),
        ("something", None),
        (None, None),
    ],
)
async def test_the_first_known_subprotocol_is_chosen(
    raw: Any, offered: str | None, chosen: str | None
) -> None:
    opened = await raw(*([f"Sec-WebSocket-Protocol: {offered}"] if offered else []))
    told = [line for line in opened.head.lower().split("\r\n") if line.startswith("sec-websocket-protocol")]
    assert told == ([f"sec-websocket-protocol: {chosen}"] if chosen else [])


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://app.example", 101),
        ("https://evil.example", 403),
        ("http://127.0.0.1:8000", 101),
        ("http://localhost:3000", 101),
        ("null", 403),
        ("https://app.example.evil", 403),
    ],
)
async def test_a_browsers_page_must_be_allowed(raw: Any, origin: str, status: int) -> None:
    assert (await raw(f"Origin: {origin}")).head.startswith(f"HTTP/1.1 {status}")


def test_pages_of_this_machine_are_not_let_in_to_a_public_host() -> None:
    assert not origin_allowed("http://localhost:3000", "rt.example", ())
    assert origin_allowed("https://rt.example", "rt.example:8443", ())
    assert not origin_allowed("https://other.example", "rt.example", ())
    assert not origin_allowed("http://[", "rt.example", ())
    assert origin_allowed(None, "rt.example", ())


@pytest.mark.parametrize("path", ["/", "/rt/", "/rtx", "/v1/rt", "/%2e"])
async def test_there_is_one_path(raw: Any, path: str) -> None:
    assert (await raw(path=path)).head.startswith("HTTP/1.1 404")


async def test_a_query_behind_the_path_does_not_matter(raw: Any) -> None:
    assert (await raw(path="/rt?v=1")).head.startswith("HTTP/1.1 101")


# -- messages ----------------------------------------------------------------------------------------------


async def test_a_message_may_come_in_fragments_with_a_ping_between(raw: Any, gateway: Any) -> None:
    opened = await raw()
    text = json.dumps({"id": 1, "connect": {"token": gateway.token(new_id())}}).encode()
    opened.send(1, text[:10], fin=False)
    opened.send(0, text[10:20], fin=False)
    opened.send(9, b"hello")
    opened.send(0, text[20:])
    assert await opened.receive() == (10, b"hello")
    opcode, payload = await opened.receive()
    assert opcode == 1
    assert "connect" in json.loads(payload)


@pytest.mark.parametrize(
    "frames",
    [
        [(0, b"{}", True, 0)],
        [(1, b"{", False, 0), (1, b"{}", True, 0)],
        [(1, b"{}", True, 0x40)],
        [(3, b"", True, 0)],
        [(9, b"", False, 0)],
    ],
    ids=[
        "a continuation of nothing",
        "a message in a message",
        "a reserved bit",
        "a reserved opcode",
        "a ping in parts",
    ],
)
async def test_a_violation_of_websocket_is_1002(raw: Any, frames: list[Any]) -> None:
    opened = await raw()
    for opcode, payload, fin, flags in frames:
        opened.send(opcode, payload, fin=fin, flags=flags)
    assert await opened.close_code() == 1002


async def test_text_that_is_no_utf8_is_3501(raw: Any) -> None:
    opened = await raw()
    opened.send(1, b'{"a":"\xff"}')
    assert await opened.close_code() == 3501


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_the_other_kind_of_message_is_malformed(gateway: Any, codec: str) -> None:
    client = await gateway.client(codec, new_id())
    await client.send_raw(b"\x80" if codec == "json" else "{}")
    assert (await client.until(lambda frame: "err" in frame))["err"]["code"] == 107
    await client.close()


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_ten_malformed_frames_are_3501_and_nine_are_not(gateway: Any, codec: str) -> None:
    client = await gateway.client(codec, new_id())
    for _ in range(9):
        await client.send({"id": 1, "sub": 5})
    await client.until(lambda _: len(client.frames) == 10)
    assert {frame["err"]["code"] for frame in client.frames if "err" in frame} == {107}
    await client.send([])
    assert (await client.wait_closed()).code == 3501


async def test_an_oversize_message_is_107_and_a_huge_one_1009(gateway: Any) -> None:
    client = await gateway.client("json", new_id())
    await client.send_raw(" " * MESSAGE_LIMIT_BYTES + "{}")
    assert (await client.until(lambda frame: "err" in frame))["err"]["code"] == 107
    await client.send_raw(" " * (MESSAGE_LIMIT_BYTES - 2) + "{}")
    await client.send_raw(" " * (picows.FRAME_LIMIT_BYTES + 1))
    assert (await client.wait_closed()).code == 1009


async def test_a_huge_message_in_fragments_is_1009_too(raw: Any) -> None:
    opened = await raw()
    opened.send(1, b" " * 60_000, fin=False)
    for _ in range(5):
        opened.send(0, b" " * 60_000, fin=False)
    assert await opened.close_code() == 1009


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
async def test_a_close_is_answered_with_its_code(raw: Any, gateway: Any, code: int) -> None:
    opened = await raw()
    opened.send(8, code.to_bytes(2, "big"))
    assert await opened.close_code() == code
    await gateway.until(lambda: not gateway.roster.sessions)


async def test_the_close_code_arrives_although_the_client_goes_on_sending(raw: Any, gateway: Any) -> None:
    opened = await raw()
    opened.send(1, b'{"id":1,"sub":{"ch":"me"}}')
    for _ in range(2_000):
        opened.send(1, b'{"id":1,"sub":{"ch":"me"}}')
    assert await opened.close_code() == 3502
    await gateway.until(lambda: not gateway.roster.sessions)


async def test_a_reader_that_stops_is_told_3008_when_it_reads_again(gateway: Any) -> None:
    client = await gateway.client("json", new_id(), subs={ROOM: {}})
    client.socket.transport.pause_reading()
    body = b'"%s"' % (b"x" * 8_000)
    async with asyncio.timeout(20):
        while gateway.roster.sessions:
            for _ in range(50):
                gateway.far.publish(ROOM, "x", body)
            await gateway.settled()
    client.socket.transport.resume_reading()
    assert (await client.wait_closed(20)).code == 3008


async def test_two_gateways_listen_on_one_port_and_one_may_go(gateway: Any, port: int) -> None:
    second = await picows.listen("127.0.0.1", port, allowed_origins=(), open_session=gateway.roster.open)
    second.close()
    await second.wait_closed()
    client = await gateway.client("json", new_id())
    await client.close()


# -- the other transport -----------------------------------------------------------------------------------


@pytest.fixture
async def asgi_url(gateway: Any) -> AsyncIterator[str]:
    app = FastAPI()

    @app.websocket("/rt")
    async def rt(websocket: WebSocket) -> None:
        await asgi.serve(
            websocket, allowed_origins=("https://app.example",), open_session=gateway.roster.open
        )

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", lifespan="off", ws="websockets-sansio")
        )
        serving = asyncio.create_task(server.serve([listener]))
        await gateway.until(lambda: server.started)
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/rt"
        server.should_exit = server.force_exit = True
        await serving


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_the_same_session_runs_over_serves_port(gateway: Any, asgi_url: str, codec: str) -> None:
    user = new_id()
    client = await Client.open(asgi_url, codec)
    await client.connect(gateway.token(user))
    n = (await client.sub(ROOM))["n"]
    assert (await client.pub(ROOM, {"text": "hä"}, cid="c"))["o"] == 1
    push = await client.until(lambda frame: frame.get("p") == n)
    assert (push["m"]["d"], push["m"]["cid"]) == ({"text": "hä"}, "c")
    await client.send({"id": 1, "sub": 5})
    assert (await client.until(lambda frame: "err" in frame))["err"]["code"] == 107
    await client.close(1001)
    await gateway.until(lambda: not gateway.roster.sessions)


async def test_close_codes_reach_clients_of_serves_port(asgi_url: str) -> None:
    client = await Client.open(asgi_url, "json")
    await client.send({"id": 1, "connect": {"token": "wrong"}})
    assert (await client.wait_closed()).code == 3500
    assert [next(iter(frame.keys() - {"id"})) for frame in client.frames] == ["err", "bye"]
    with pytest.raises(InvalidStatus):
        await connect(asgi_url, origin="https://evil.example", proxy=None)


async def test_a_slow_reader_of_serves_port_is_cut_off(gateway: Any, asgi_url: str) -> None:
    client = await Client.open(asgi_url, "json")
    await client.connect(gateway.token(new_id()), subs={ROOM: {}})
    client.socket.transport.pause_reading()
    body = b'"%s"' % (b"x" * 8_000)
    async with asyncio.timeout(20):
        while gateway.roster.sessions:
            for _ in range(50):
                gateway.far.publish(ROOM, "x", body)
            await gateway.settled()
    client.socket.transport.abort()


# -- the service -------------------------------------------------------------------------------------------


async def test_the_service_listens_verifies_with_keys_of_the_database_and_drains(
    database_url: str, pool: Any, run_dir: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = Directory(DirectoryConfig(run_dir, database_url, 1))
    await directory.start()
    service = GatewayService(GatewayConfig(run_dir, "127.0.0.1", port, database_url, (), Site("n1")))
    await service.start()
    try:
        key = await ensure_signing_key(pool, "secret" * 10)
        client = await Client.open(service.url, "json")
        user = new_id()
        greeting = await client.connect(issue_access_token(key, user=user, now_s=time.time()))
        assert (greeting["user"], greeting["node"]) == (user, "n1")
        service.check_health()
        async with asyncio.timeout(5):
            while service.url not in directory.view().gateways.values():
                await asyncio.sleep(0.01)
    finally:
        await service.stop()
        await directory.stop()
    assert (await client.wait_closed()).code == 3001
    with pytest.raises(ConnectionRefusedError):
        await Client.open(service.url, "json")
