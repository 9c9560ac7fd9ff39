"""Sessions over server-sent events in an Api process (docs/protocol.md §1).

A stream lives in one process; what its client sends may arrive at any. Its name says which gateway holds it:
another process passes the request on through Valkey, where each gateway listens for notices.
"""

import asyncio
import secrets
from contextlib import suppress

from actors.protocol import EngineError, ErrorCode
from actors.router import RouterConfig
from actors.site import Site
from identity.keys import ReloadingVerifier
from serve_app.face import Face
from serve_app.frames import JSON
from serve_app.limits import Limits
from serve_app.transports.sse import EventStream
from storage.ids import is_id, new_id

STREAMS_LIMIT = 400
"""In one process: each holds one of the requests that Serve lets a replica have."""

START_PATIENCE_S = 5.0
LISTEN_PATIENCE_S = 2.0
_GOODBYE = 1000


class Events:
    """The event streams of one process. What holds them is started with the first."""

    def __init__(
        self, run_dir: str, site: Site, verifier: ReloadingVerifier, limits: Limits, redis_url: str
    ) -> None:
        # The Api's own router is no gateway. This one is, without an address that clients could dial.
        self._config = RouterConfig(run_dir, "gateway", f"events-{new_id()[-6:]}", "", site)
        self._verifier = verifier
        self._limits = limits
        self._redis_url = redis_url
        self._face: Face | None = None
        self._starting: asyncio.Task[None] | None = None
        self._streams: dict[str, EventStream] = {}

    async def open(self) -> EventStream:
        """A new stream, before its `connect`. Raises EngineError."""
        if len(self._streams) >= STREAMS_LIMIT:
            raise EngineError(ErrorCode.OVERLOADED, "too many event streams here", 1000)
        face = await self._started()
        stream = EventStream(f"{face.router.incarnation}.{secrets.token_urlsafe(18)}", self._gone)
        stream.session = face.roster.open(stream, JSON)
        self._streams[stream.name] = stream
        return stream

    async def emit(self, name: str, payload: bytes) -> None:
        """What the client of a stream sends. Raises EngineError."""
        if not self._take(name, payload):
            await self._pass_on("emit", name, payload)

    async def leave(self, name: str) -> None:
        """The client of a stream says goodbye. Raises EngineError."""
        if not self._leave(name):
            await self._pass_on("leave", name, b"")

    async def stop(self) -> None:
        """Sends everybody away."""
        if self._starting is not None:
            self._starting.cancel()
        if self._face is not None:
            await self._face.roster.drain()
            await self._face.settled()
            await self._face.stop()

    def _gone(self, name: str) -> None:
        self._streams.pop(name, None)

    def _take(self, name: str, payload: bytes) -> bool:
        stream = self._streams.get(name)
        if stream is None:
            return False
        stream.session.received(payload, is_text=True)
        return True

    def _leave(self, name: str) -> bool:
        stream = self._streams.get(name)
        if stream is None:
            return False
        stream.session.closed(_GOODBYE)
        stream.close(_GOODBYE, "")
        return True

    def _emitted(self, name: bytes, payload: bytes) -> None:
        self._take(name.decode(errors="replace"), payload)

    def _left(self, name: bytes, _: bytes) -> None:
        self._leave(name.decode(errors="replace"))

    async def _pass_on(self, kind: str, name: str, payload: bytes) -> None:
        gateway, _, _ = name.partition(".")
        own = "" if self._face is None else self._face.router.incarnation
        if gateway == own or not (is_id(gateway) and name.isascii()):
            raise EngineError(ErrorCode.DENIED, "no such stream")
        sessions = (await self._started()).sessions
        heard = await sessions.tell(gateway, kind, name, payload) if sessions is not None else 0
        if heard is None:
            raise EngineError(ErrorCode.INTERNAL, "the stream's process can't be reached now", 500)
        if heard == 0:
            raise EngineError(ErrorCode.DENIED, "no such stream")

    async def _started(self) -> Face:
        if self._starting is None or (self._starting.done() and self._face is None):
            self._starting = asyncio.get_running_loop().create_task(self._start())
        try:
            async with asyncio.timeout(START_PATIENCE_S):
                await asyncio.shield(self._starting)
        except TimeoutError:
            raise EngineError(ErrorCode.INTERNAL, "event streams can't be served yet", 500) from None
        assert self._face is not None
        return self._face

    async def _start(self) -> None:
        face = Face(self._config, self._verifier, self._limits, self._redis_url, self._verifier.departed)
        await face.start()
        if face.sessions is not None:
            face.sessions.on_notice["emit"] = self._emitted
            face.sessions.on_notice["leave"] = self._left
            with suppress(TimeoutError):  # without Valkey streams work within their own process
                async with asyncio.timeout(LISTEN_PATIENCE_S):
                    await face.sessions.listening.wait()
        self._face = face
