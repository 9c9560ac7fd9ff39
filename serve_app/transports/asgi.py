"""The same session over Serve's port: an ASGI WebSocket (Starlette), for places where one port must do."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from serve_app.connection import Transport
from serve_app.frames import HEADROOM, Codec, chosen_codec
from serve_app.origins import origin_allowed
from serve_app.session import Session

OpenSession = Callable[[Transport, Codec], Session]


class _Socket:
    """A session's transport: one task writes, so that the session never waits."""

    def __init__(self, websocket: WebSocket, codec: Codec) -> None:
        self._websocket = websocket
        self._codec = codec
        self._queue: deque[bytearray | tuple[int, str]] = deque()
        self._wanted = asyncio.Event()
        self._is_paused = False
        self.session: Session

    def send(self, message: bytearray) -> None:
        self._queue.append(message)
        self._wanted.set()
        if not self._is_paused:
            self._is_paused = True
            self.session.paused()

    def close(self, code: int, reason: str) -> None:
        self._queue.append((code, reason))
        self._wanted.set()

    def abort(self) -> None:
        self._queue.clear()
        self.close(1011, "")

    async def write(self) -> None:
        """Sends what is queued until the socket is closed."""
        websocket = self._websocket
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            while True:
                while self._queue:
                    item = self._queue.popleft()
                    if isinstance(item, tuple):
                        await websocket.close(item[0], item[1])
                        return
                    payload = bytes(item[HEADROOM:])
                    if self._codec.packed:
                        await websocket.send_bytes(payload)
                    else:
                        await websocket.send_text(payload.decode())
                self._wanted.clear()
                if self._is_paused:
                    self._is_paused = False
                    self.session.resumed()
                if not self._queue:
                    await self._wanted.wait()


async def serve(websocket: WebSocket, *, allowed_origins: Collection[str], open_session: OpenSession) -> None:
    """Runs one WebSocket from its upgrade to its end."""
    headers = websocket.headers
    if not origin_allowed(headers.get("origin"), headers.get("host"), allowed_origins):
        await websocket.close(1008)
        return
    codec, subprotocol = chosen_codec(websocket.scope.get("subprotocols", ()))
    await websocket.accept(subprotocol)
    own = _Socket(websocket, codec)
    own.session = session = open_session(own, codec)
    writer = asyncio.get_running_loop().create_task(own.write())
    code: int | None = None
    try:
        while websocket.application_state is not WebSocketState.DISCONNECTED:
            event = await websocket.receive()
            if event["type"] == "websocket.disconnect":
                code = event.get("code")
                break
            text, data = event.get("text"), event.get("bytes")
            if text is not None:
                session.received(text.encode("utf-8", "surrogatepass"), is_text=True)
            else:
                session.received(data or b"", is_text=False)
    except (RuntimeError, OSError):
        pass  # the socket is gone
    finally:
        session.closed(code)
        writer.cancel()
        with suppress(asyncio.CancelledError):
            await writer
