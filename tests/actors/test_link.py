"""Links between processes: framing, and who may open one from another node."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from actors import handshake
from actors import messages as wire
from actors.link import Link, Listener, dial, listen
from actors.site import Address, Site, address_of, parse

HOME = Site("a", "127.0.0.1", "the secret")
AWAY = Site("b", "127.0.0.1", "the secret")


class End:
    """Keeps what arrives, and sends queries back as replies."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.received: list[Any] = []
        self.closed = asyncio.Event()
        self.arrived = asyncio.Event()

    def link_opened(self, link: Link) -> None:
        self.links.append(link)

    def link_received(self, link: Link, view_version: int, messages: list[Any]) -> None:
        self.received += messages
        self.arrived.set()
        for message in messages:
            if isinstance(message, wire.StatusQuery):
                link.send(wire.Reply(message.rid, view_version))

    def link_closed(self, link: Link) -> None:  # noqa: ARG002
        self.closed.set()


@pytest.fixture
async def listening(tmp_path: Path) -> AsyncIterator[tuple[Listener, End]]:
    end = End()
    listener = await listen(address_of(str(tmp_path), "shard-0", HOME), end, HOME)
    yield listener, end
    listener.close()
    for link in end.links:
        link.abort()
    await asyncio.sleep(0)


async def answered(address: str, site: Site) -> tuple[End, Link]:
    end = End()
    link = await dial(address, end, site)
    link.view_version = 7
    link.send(wire.StatusQuery(3))
    await asyncio.wait_for(end.arrived.wait(), 5)
    assert end.received == [wire.Reply(3, 7)]
    return end, link


async def test_another_node_comes_over_tcp_and_proves_itself(listening: tuple[Listener, End]) -> None:
    listener, _ = listening
    _, link = await answered(listener.address, AWAY)
    assert link._transport is not None
    assert link._transport.get_extra_info("peername")[1] == parse(listener.address).port
    link.abort()


async def test_the_same_node_takes_the_unix_socket(listening: tuple[Listener, End]) -> None:
    listener, _ = listening
    _, link = await answered(listener.address, HOME)
    assert link._transport is not None
    assert link._transport.get_extra_info("sockname") == ""
    link.abort()


async def test_a_node_without_the_secret_opens_no_link(listening: tuple[Listener, End]) -> None:
    listener, end = listening
    with pytest.raises(ConnectionRefusedError):
        await dial(listener.address, End(), Site("b", "127.0.0.1", "another secret"))
    assert end.links == []


async def raw(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    found = parse(address)
    return await asyncio.open_connection(found.host, found.port)


async def test_a_dialler_that_can_not_prove_it_is_cut_before_any_frame(
    listening: tuple[Listener, End],
) -> None:
    """It even has the listener's own proof to play back."""
    listener, end = listening
    reader, writer = await raw(listener.address)
    writer.write(b"HBL1" + os.urandom(32))
    answer = await reader.readexactly(64)
    writer.write(answer[32:])
    writer.write((2).to_bytes(4, "little") + b"\x92\x00")
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    assert end.links == []
    writer.close()


async def test_a_listener_that_can_not_prove_it_is_told_nothing() -> None:
    """Who took over the port gets the nonce and no proof, and no frame."""
    got = bytearray()
    ended = asyncio.Event()

    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readexactly(36))
        writer.write(os.urandom(64))
        with suppress(ConnectionResetError):
            got.extend(await reader.read())
        writer.close()
        ended.set()

    server = await asyncio.start_server(impostor, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await dial(str(Address("", "127.0.0.1", port, "a")), End(), AWAY)
    await asyncio.wait_for(ended.wait(), 5)
    assert len(got) == 36
    server.close()
    await server.wait_closed()


async def test_who_says_nothing_is_cut_at_the_deadline(
    listening: tuple[Listener, End], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "HANDSHAKE_LIMIT_S", 0.05)
    reader, writer = await raw(listening[0].address)
    with suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_strangers_are_bounded_and_do_not_keep_peers_out(
    listening: tuple[Listener, End], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "STRANGERS_LIMIT", 3)
    listener, _ = listening
    strangers = [await raw(listener.address) for _ in range(5)]
    for reader, _ in strangers[3:]:
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
    for _, writer in strangers:
        writer.close()
        with suppress(ConnectionResetError, BrokenPipeError):
            await writer.wait_closed()
    _, link = await answered(listener.address, AWAY)
    link.abort()


async def test_a_frame_may_arrive_in_any_pieces() -> None:
    end = End()
    sent, pieces = End(), []

    class Wire(asyncio.Transport):
        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
            pass

        def writelines(self, list_of_data: Any) -> None:
            pieces.append(b"".join(list_of_data))

    sender, receiver = Link(sent), Link(end)
    sender.connection_made(Wire())
    messages = [wire.Publish(n, "room:1", "u", "c", b'"%d"' % n) for n in range(5)]
    for message in messages:
        sender.send(message)
        sender._flush()
    stream = b"".join(pieces)
    for size in (1, 3, 7, 64, len(stream) - 1, len(stream)):
        end.received.clear()
        for start in range(0, len(stream), size):
            receiver.data_received(stream[start : start + size])
        assert end.received == messages, size


def test_an_address_says_what_it_was_made_of() -> None:
    text = address_of("/run/x", "shard-3", HOME, 5)
    assert text == "unix:/run/x/shard-3.sock,tcp:127.0.0.1:5,node:a"
    assert parse(text) == Address("/run/x/shard-3.sock", "127.0.0.1", 5, "a")
    assert address_of("/run/x", "shard-3") == "unix:/run/x/shard-3.sock"
    with pytest.raises(ValueError, match="no link address"):
        parse("http://example")
