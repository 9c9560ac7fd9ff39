"""Bodies over 1 MiB are refused while they come in, whatever their headers claim (docs/protocol.md §6)."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LIMIT_BYTES = 1024 * 1024


class BodyLimit:
    """ASGI middleware. Counts what arrives; raises 413 from `receive`."""

    def __init__(self, app: ASGIApp, limit_bytes: int = LIMIT_BYTES) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        claimed = Headers(scope=scope).get("content-length", "")
        if claimed.isdigit() and int(claimed[:20]) > self._limit_bytes:
            raise HTTPException(413)
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._limit_bytes:
                    raise HTTPException(413)
            return message

        await self._app(scope, receive_counted, send)
