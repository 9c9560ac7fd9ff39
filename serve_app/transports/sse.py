"""The same session over HTTP, where WebSocket is blocked: server-sent events down, requests up (§1).

An event is what a WebSocket message would be; the standard's `data:` lines keep the newlines between frames
(HTML Living Standard, 9.2). Frames are JSON.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from serve_app.frames import HEADROOM
from serve_app.session import Session

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]

CLOSE_GRACE_S = 15.0
"""How long a reader that has not taken yet what stands before the end has for it."""


class EventStream:
    """A session's transport, and the ASGI answer that carries it. `gone` is called once, at its end."""

    def __init__(self, name: str, gone: Callable[[str], None]) -> None:
        self.name = name
        self.session: Session
        self._gone = gone
        self._queue: deque[bytearray | None] = deque()
        self._wanted = asyncio.Event()
        self._is_paused = False
        self._writing: asyncio.Task[None] | None = None

    # -- what a session calls -----------------------------------------------------------------------------

    def send(self, message: bytearray) -> None:
        self._queue.append(message)
        self._wanted.set()
        if not self._is_paused:
            self._is_paused = True
            self.session.paused()

    def close(self, code: int, reason: str) -> None:  # noqa: ARG002 - `bye` has said it
        self._queue.append(None)
        self._wanted.set()
        asyncio.get_running_loop().call_later(CLOSE_GRACE_S, self.abort)

    def abort(self) -> None:
        if self._writing is not None:
            self._writing.cancel()

    # -- the answer -----------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        loop = asyncio.get_running_loop()
        self._writing = loop.create_task(self._write(send))
        leaving = loop.create_task(_left(receive))
        try:
            await asyncio.wait((self._writing, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._gone(self.name)
            self.session.closed(None)
            for task in (self._writing, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError, OSError, RuntimeError):
                    await task

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        opening = b'event: open\ndata: {"stream":"%s"}\n\n' % self.name.encode()
        await send({"type": "http.response.body", "body": opening, "more_body": True})
        while True:
            while self._queue:
                message = self._queue.popleft()
                if message is None:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
                event = b"data: " + bytes(message[HEADROOM:]).replace(b"\n", b"\ndata: ") + b"\n\n"
                await send({"type": "http.response.body", "body": event, "more_body": True})
            self._wanted.clear()
            if self._is_paused:
                self._is_paused = False
                self.session.resumed()
            if not self._queue:
                await self._wanted.wait()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
