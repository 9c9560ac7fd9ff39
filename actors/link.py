"""The framed link between processes: batches of messages over a Unix socket, or TCP between nodes.

A frame is a 4-byte little-endian length and one MessagePack value `[view_version, [message, …]]`. All
that is sent within a tick leaves in one frame: a process boundary costs per frame, not per message
(decision D3). Order on a link is the order of `send`.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol, cast

import msgspec

from actors.handshake import dial_tcp, listen_tcp
from actors.messages import Message
from actors.metrics import count
from actors.site import HERE, Site, parse

log = logging.getLogger("hereabouts.link")

FRAME_LIMIT_BYTES = 64 * 1024 * 1024
QUEUE_LIMIT = 100_000
"""Messages waiting for a peer that does not read. Past it the link is cut: the peer starts over."""

TICK_S = 0.001

_HEADER_BYTES = 4
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, list[Message]])


class Endpoint(Protocol):
    """Who handles what arrives on a link."""

    def link_opened(self, link: "Link") -> None:
        """The link is up; nothing has arrived yet."""

    def link_received(self, link: "Link", view_version: int, messages: list[Message]) -> None:
        """A batch arrived, in the order it was sent."""

    def link_closed(self, link: "Link") -> None:
        """The link is gone; what was not received is lost."""


class Link(asyncio.Protocol):
    """One end of a link. `send` queues; a frame leaves at most once a tick."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._queue: list[Message] = []
        self._scheduled = False
        self._paused = False
        self._last_flush_s = 0.0
        self.flushed = 0
        """Frames that have left: what was queued before the last one can't be added to any more."""
        self.view_version = 0
        """Stamped on each outgoing frame, so that the peer learns of a newer view (ACT-3)."""

    @property
    def is_open(self) -> bool:
        """Whether messages sent now can leave."""
        return self._transport is not None

    def send(self, message: Message) -> None:
        """Queues `message` for the next frame. Sending on a closed link loses it, as a cut would."""
        queue = self._queue
        queue.append(message)
        if self._scheduled or self._paused:
            if len(queue) > QUEUE_LIMIT:
                count("drops", len(queue), reason="link not read")
                self.abort()
            return
        self._scheduled = True
        wait_s = self._last_flush_s + TICK_S - self._loop.time()
        if wait_s > 0:
            self._loop.call_later(wait_s, self._flush)
        else:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._transport is None:
            self._queue.clear()
            return
        if not self._queue or self._paused:
            return
        batch, self._queue = self._queue, []
        self.flushed += 1
        try:
            payload = _encoder.encode((self.view_version, batch))
        except (OverflowError, TypeError, ValueError):
            payload = _encoder.encode((self.view_version, _encodable(batch)))
        self._last_flush_s = self._loop.time()
        self._transport.writelines((len(payload).to_bytes(_HEADER_BYTES, "little"), payload))

    def abort(self) -> None:
        """Cuts the link at once."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.set_write_buffer_limits(high=8 * 1024 * 1024)
        self._endpoint.link_opened(self)

    def data_received(self, data: bytes) -> None:
        received: bytes | bytearray = data
        if self._received:
            self._received += data
            received = self._received
        start, end = 0, len(received)
        with memoryview(received) as view:
            while end - start >= _HEADER_BYTES:
                size = int.from_bytes(view[start : start + _HEADER_BYTES], "little")
                if size > FRAME_LIMIT_BYTES:
                    self.abort()
                    return
                if end - start - _HEADER_BYTES < size:
                    break
                start += _HEADER_BYTES
                try:
                    view_version, messages = _decoder.decode(view[start : start + size])
                except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
                    self.abort()
                    return
                start += size
                self._endpoint.link_received(self, view_version, messages)
        if received is data:
            self._received = bytearray(data[start:]) if start < end else self._received
        else:
            del self._received[:start]

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._queue and not self._scheduled:
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the cause does not matter
        self._transport = None
        self._queue.clear()
        self._endpoint.link_closed(self)


def _encodable(batch: list[Message]) -> list[Message]:
    """The batch without what MessagePack can't hold: one bad message must not take the others with it."""
    kept = []
    for message in batch:
        try:
            _encoder.encode(message)
        except (OverflowError, TypeError, ValueError) as error:
            log.error("a %s can't be sent: %s", type(message).__name__, error)  # noqa: TRY400 - no stack is needed
        else:
            kept.append(message)
    return kept


class Listener:
    """Accepts links until it is closed. `address` is where, with the port that was found."""

    def __init__(self, address: str, servers: list[asyncio.AbstractServer]) -> None:
        self.address = address
        self._servers = servers

    def close(self) -> None:
        """Accepts no more; links that are open stay so."""
        for server in self._servers:
            server.close()


async def listen(address: str, endpoint: Endpoint, site: Site = HERE) -> Listener:
    """Accepts links at `address`. A socket file left by a dead process is replaced."""
    found = parse(address)
    loop = asyncio.get_running_loop()
    servers: list[asyncio.AbstractServer] = []
    if found.path:
        with suppress(FileNotFoundError):
            os.unlink(found.path)  # noqa: PTH108 - one system call, before anybody is served
        servers.append(await loop.create_unix_server(lambda: Link(endpoint), found.path))
        os.chmod(found.path, 0o600)  # noqa: PTH101 - the mode must hold before the first peer connects
    if found.host:
        server = await listen_tcp(found.host, found.port, site.secret, lambda: Link(endpoint))
        servers.append(server)
        found = replace(found, port=server.sockets[0].getsockname()[1])
    return Listener(str(found), servers)


async def dial(address: str, endpoint: Endpoint, site: Site = HERE) -> Link:
    """Opens a link: on the same node over the Unix socket. Raises OSError while nobody listens."""
    found = parse(address)
    link = Link(endpoint)
    if found.is_near(site):
        await asyncio.get_running_loop().create_unix_connection(lambda: link, found.path)
    else:
        await dial_tcp(found.host, found.port, site.secret, lambda: link)
    return link


async def dial_until(
    address: Callable[[], str | None],
    endpoint: Endpoint,
    site: Site = HERE,
    *,
    retry_s: float = 0.05,
    limit_s: float = 0.5,
) -> Link:
    """Dials again and again, a little slower each time, until somebody answers.

    `address` is asked before each try; None means: nobody is known to listen yet.
    """
    wait_s = retry_s
    while True:
        target = address()
        if target is not None:
            with suppress(OSError):
                return await dial(target, endpoint, site)
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 1.5, limit_s)
