"""A network between a client and the gateway that a test can break."""

import asyncio
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit


class Tunnel:
    """Carries TCP to the host and port of a `ws` address; `url` is the address that leads through it."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._path = parts.path
        self._open: set[asyncio.StreamWriter] = set()
        self._carried: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self.is_black_hole = False
        """Takes bytes and hands on none, in both directions."""

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}{self._path}"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Takes connections, on the same port as before."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuses connections, and loses those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        await asyncio.gather(*self._carried, return_exceptions=True)

    def cut(self) -> None:
        """Loses every connection as a network does: no close frame."""
        for writer in self._open:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carried = asyncio.current_task()
        assert carried is not None
        self._carried.add(carried)
        carried.add_done_callback(self._carried.discard)
        self._open.add(writer)
        with suppress(OSError):
            there_reader, there = await asyncio.open_connection(*self._target)
            self._open.add(there)
            ways = [
                asyncio.ensure_future(self._way(reader, there)),
                asyncio.ensure_future(self._way(there_reader, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            there.transport.abort()
            writer.transport.abort()
            await asyncio.gather(*ways)
            self._open.discard(there)
        writer.transport.abort()
        self._open.discard(writer)

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                if not self.is_black_hole:
                    writer.write(piece)
                    await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
