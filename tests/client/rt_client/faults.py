"""A bad network between a client and its gateway: a TCP proxy that is late, tears what it carries into
pieces, carries slowly, swallows everything, or resets.
"""

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_READ_BYTES = 64 * 1024
_SMALL_BUFFER_BYTES = 16 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Faults:
    """One client's way to wherever `door` says. All faults can be changed at any time, on open connections
    too; without any, it only carries.
    """

    def __init__(self, door: Callable[[], Awaitable[str]], *, chance: random.Random | None = None) -> None:
        self.latency_s = (0.0, 0.0)
        """Each piece is held for something between the two; order stays."""
        self.piece_bytes = 0
        """What is carried is torn into pieces of 1 … this many bytes; 0: as it came."""
        self.carries = asyncio.Event()
        """Cleared: nothing passes in either direction, and nobody is told (a tunnel, a half-open socket)."""
        self.carries.set()
        self.down_carries = asyncio.Event()
        """Cleared: nothing passes to the client, who does not read any more."""
        self.down_carries.set()
        self.opened = 0
        self.ended_by_server = 0
        self._door = door
        self._chance = chance or random.Random(0)
        self._server: asyncio.Server | None = None
        self._upstream = ("", 0)
        self._ways: set[asyncio.Task[None]] = set()
        self._ends: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for way in list(self._ways):
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def door(self) -> str:
        """What the engine says, led through here."""
        assert self._server is not None
        parts = urlsplit(await self._door())
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        host, port = self._server.sockets[0].getsockname()[:2]
        return urlunsplit(parts._replace(netloc=f"{host}:{port}"))

    def reset(self) -> None:
        """Ends all connections with RST, on both sides."""
        for end in self._ends:
            known = end.get_extra_info("socket")
            if known is not None:
                known.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            end.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._ways.add(task)
        task.add_done_callback(self._ways.discard)
        with suppress(OSError, asyncio.CancelledError):
            await self._carry(reader, writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up = socket.socket()
        up.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER_BYTES)
        up.setblocking(False)
        await asyncio.get_running_loop().sock_connect(up, self._upstream)
        up_reader, up_writer = await asyncio.open_connection(sock=up, limit=_SMALL_BUFFER_BYTES)
        self.opened += 1
        ends = [writer, up_writer]
        self._ends += ends
        outward = asyncio.create_task(self._pump(reader, up_writer, None))
        inward = asyncio.create_task(self._pump(up_reader, writer, self.down_carries))
        try:
            await asyncio.wait((outward, inward), return_when=asyncio.FIRST_COMPLETED)
            self.ended_by_server += inward.done()
        finally:
            for way in (outward, inward):
                way.cancel()
            await asyncio.gather(outward, inward, return_exceptions=True)
            for end in ends:
                self._ends.remove(end)
                end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, also: asyncio.Event | None
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                while data:
                    await self.carries.wait()
                    if also is not None:
                        await also.wait()
                    size = self._chance.randint(1, self.piece_bytes) if self.piece_bytes else len(data)
                    if self.latency_s[1]:
                        await asyncio.sleep(self._chance.uniform(*self.latency_s))
                    writer.write(data[:size])
                    await writer.drain()
                    data = data[size:]
