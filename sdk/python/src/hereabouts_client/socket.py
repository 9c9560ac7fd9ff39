"""One WebSocket: frames out in few messages, frames in, and how it ended."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from hereabouts_client.codec import Codec, Encoding, codec_of
from hereabouts_client.door import Proxy, gateways
from hereabouts_client.effects import Frame

MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024
"""Of the engine's messages: a page of history may be long."""
CLOSE_S = 2.0
BACKLOG_LIMIT = 256
"""Frames that the network does not take. Beyond it those without an answer are dropped: pos, e, ack none."""

Received = Callable[[list[Any]], None]
Closed = Callable[[int | None, str], None]


class Socket:
    """An open socket. `received` and `closed` are called until `hang_up`."""

    def __init__(self, web: ClientConnection, codec: Codec, received: Received, closed: Closed) -> None:
        self._web = web
        self._codec = codec
        self._received = received
        self._closed = closed
        self._backlog: list[Frame] = []
        self._wake = asyncio.Event()
        self._is_over = False
        self._works = [asyncio.ensure_future(self._read()), asyncio.ensure_future(self._write())]

    def send(self, frame: Frame) -> None:
        """Sends a frame; those of one turn of the loop share a message."""
        if len(self._backlog) >= BACKLOG_LIMIT and frame and "id" not in frame:
            return
        self._backlog.append(frame)
        self._wake.set()

    async def hang_up(self, code: int) -> None:
        """Closes, behind what was sent. Nothing is heard of it any more."""
        self._is_over = True
        with suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._flush()
        await self._web.close(code)
        for work in self._works:
            work.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)

    async def _write(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._flush()

    async def _flush(self) -> None:
        backlog, self._backlog = self._backlog, []
        for message in self._codec.encode(backlog):
            await self._web.send(message)

    async def _read(self) -> None:
        reason = ""
        try:
            async for message in self._web:
                if self._is_over:
                    return
                self._received(self._codec.decode(message))
        except ConnectionClosed:
            pass
        except ValueError as wrong:
            reason = f"unreadable: {wrong}"
            self._web.transport.abort()
        if not self._is_over:
            self._is_over = True
            self._works[1].cancel()
            self._closed(self._web.close_code, reason or self._web.close_reason or "")


class Dialler:
    """Opens sockets to an engine; its addresses take turns. `misses`: attempts since the last welcome."""

    def __init__(self, url: str, encoding: Encoding, proxy: Proxy) -> None:
        self.misses = 0
        self._url = url
        self._codec = codec_of(encoding)
        self._proxy = proxy

    async def open(self, to: str | None, received: Received, closed: Closed) -> Socket:
        """Opens a socket, to `to` if that is given. Raises OSError or a WebSocketException."""
        urls = [to] if to is not None else await gateways(self._url, self._proxy)
        self.misses += 1
        web = await connect(
            urls[(self.misses - 1) % len(urls)],
            subprotocols=[Subprotocol(self._codec.subprotocol)],
            compression=None,
            ping_interval=None,
            max_size=MESSAGE_LIMIT_BYTES,
            open_timeout=None,
            close_timeout=CLOSE_S,
            proxy=self._proxy,
        )
        return Socket(web, self._codec, received, closed)
