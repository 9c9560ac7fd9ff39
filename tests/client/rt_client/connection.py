"""One socket: commands with rising ids, replies, pushes, pings (docs/protocol.md §2)."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from rt_client.codec import CODECS, Codec, Frame

COMMAND_TIMEOUT_S = 5.0
"""RT-9: a command that is not answered in this time means the connection is not to be trusted."""


class Refused(Exception):  # noqa: N818 - an answer, named as one
    """A command was answered with `err`."""

    def __init__(self, err: dict[str, Any]) -> None:
        super().__init__(f"{err.get('code')} {err.get('msg')}")
        self.err = err
        self.code: int = err["code"]
        self.temporary: bool = err["temp"]


class Closed(Exception):  # noqa: N818 - an end, named as one
    """The socket is gone; `code` is None where no close frame arrived."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"closed {code} {reason}")
        self.code = code
        self.reason = reason


class Connection:
    """A socket from its upgrade to its close.

    Every frame that arrives is handed to `on_frame` in order, replies before their awaiting command goes
    on; the last 20,000 frames stay in `frames`.
    """

    def __init__(self, socket: ClientConnection, codec: Codec) -> None:
        self.socket = socket
        self.codec = codec
        self.frames: deque[Frame] = deque(maxlen=20_000)
        self.pings = 0
        self.answers_pings = True
        self.on_frame: Callable[[Frame], None] | None = None
        self.closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self._ids = itertools.count(7)
        self._waiting: dict[int, tuple[str, asyncio.Future[Any]]] = {}
        self._arrival = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url: str, codec: str = "json", **options: Any) -> Self:
        """Dials `url`, offering the one subprotocol; `options` go to websockets. Raises OSError."""
        chosen = CODECS[codec]
        try:
            socket = await open_websocket(
                url,
                subprotocols=[Subprotocol(chosen.subprotocol)],
                compression=None,
                ping_interval=None,
                max_size=None,
                max_queue=None,
                proxy=None,
                open_timeout=10,
                close_timeout=2,
                **options,
            )
        except WebSocketException as refused:
            raise ConnectionRefusedError(str(refused)) from refused
        return cls(socket, chosen)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(self, *frames: Frame) -> None:
        """Sends frames in one message, as they are."""
        try:
            await self.socket.send(self.codec.encode(*frames))
        except ConnectionClosed as gone:
            raise _closed_by(gone) from gone

    async def send_raw(self, message: str | bytes) -> None:
        """Sends one message of any content."""
        try:
            await self.socket.send(message)
        except ConnectionClosed as gone:
            raise _closed_by(gone) from gone

    async def command(
        self, verb: str, body: Any, *, timeout_s: float = COMMAND_TIMEOUT_S, **beside: Any
    ) -> Any:
        """Sends a command and returns its reply's body. Raises Refused, Closed or TimeoutError."""
        reply = self.start(verb, body, **beside)
        await self.send(reply[0])
        return await asyncio.wait_for(reply[1], timeout_s)

    def start(self, verb: str, body: Any, **beside: Any) -> tuple[Frame, asyncio.Future[Any]]:
        """A command's frame and the future of its reply, for sending several in one message."""
        number = next(self._ids)
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.closed.done():
            waiter.set_exception(self.closed.result())
        else:
            self._waiting[number] = (verb, waiter)
        return {"id": number, verb: body, **beside}, waiter

    async def connect(self, token: str, **body: Any) -> dict[str, Any]:
        """The first command."""
        answer: dict[str, Any] = await self.command("connect", {"token": token, **body}, timeout_s=10)
        return answer

    async def sub(self, ch: str, **body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.command("sub", {"ch": ch, **body})
        return answer

    async def pub(self, ch: str, d: Any, **body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.command("pub", {"ch": ch, "d": d, **body})
        return answer

    async def hist(self, ch: str, limit: int = 300, **body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.command("hist", {"ch": ch, "limit": limit, **body})
        return answer

    async def until(self, wanted: Callable[[Frame], bool], *, timeout_s: float = 5.0) -> Frame:
        """The first frame, already here or still to come, that is `wanted`."""
        seen = 0
        async with asyncio.timeout(timeout_s):
            while True:
                self._arrival.clear()
                for frame in itertools.islice(self.frames, seen, None):
                    if wanted(frame):
                        return frame
                seen = len(self.frames)
                if self.closed.done():
                    raise self.closed.result()
                await self._arrival.wait()

    def pushes(self, n: int, kind: str | None = None) -> list[Frame]:
        """The pushes of channel number `n` so far, all or those with key `kind`."""
        return [f for f in self.frames if f.get("p") == n and "id" not in f and (kind is None or kind in f)]

    async def wait_closed(self, timeout_s: float = 5.0) -> Closed:
        """How the socket ended."""
        return await asyncio.wait_for(asyncio.shield(self.closed), timeout_s)

    async def close(self, code: int = 1000) -> None:
        """Says goodbye."""
        await self.socket.close(code)
        await self._reader

    async def drop(self) -> None:
        """Loses the socket as a phone in a tunnel does: no close frame."""
        self.socket.transport.abort()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._reader), 2)

    async def _read(self) -> None:
        end = Closed(None, "")
        try:
            while True:
                for frame in self.codec.decode(await self.socket.recv()):
                    await self._receive(frame)
        except ConnectionClosed as gone:
            end = _closed_by(gone)
        except Exception as broken:  # noqa: BLE001 - whatever a server may send ends the connection, visibly
            end = Closed(None, f"unreadable: {broken!r}")
            self.socket.transport.abort()
        finally:
            self.closed.set_result(end)
            self._arrival.set()
            for _, waiter in self._waiting.values():
                if not waiter.done():
                    waiter.set_exception(end)
                    waiter.exception()
            self._waiting.clear()

    async def _receive(self, frame: Frame) -> None:
        if not frame:
            self.pings += 1
            if self.answers_pings:
                with suppress(ConnectionClosed):
                    await self.socket.send(self.codec.encode({}))
            return
        self.frames.append(frame)
        if self.on_frame is not None:
            self.on_frame(frame)
        self._arrival.set()
        verb, waiter = self._waiting.pop(frame.get("id", -1), ("", None))
        if waiter is None or waiter.done():
            return
        if "err" in frame:
            waiter.set_exception(Refused(frame["err"]))
        elif verb in frame:
            waiter.set_result(frame[verb])
        else:
            waiter.set_exception(AssertionError(f"reply to {verb} is {frame}"))


def _closed_by(gone: ConnectionClosed) -> Closed:
    return Closed(gone.rcvd.code, gone.rcvd.reason) if gone.rcvd else Closed(None, "lost")
