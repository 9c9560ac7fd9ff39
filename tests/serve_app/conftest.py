"""A gateway in this process, and the far side of its links: a Directory and one shard that do as told.

The far side speaks the real messages over the real link; its streams are the engine's own. What it leaves
out is Postgres, so that a test can say what an actor answers, and when.
"""

import asyncio
import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgpack
import pytest
from rt_client.connection import Connection as Client

from actors import messages as wire
from actors.link import Link, Listener, listen
from actors.placement import SLOTS
from actors.position_messages import unpacked
from actors.protocol import EngineError, ErrorCode
from actors.router import Router, RouterConfig
from actors.site import address_of
from actors.stream import Publication, Stream
from identity.keys import _generate
from identity.tokens import Claims, TokenVerifier, issue_access_token
from serve_app.frames import HEADROOM, JSON, Codec
from serve_app.hub import Hub
from serve_app.limits import Limits
from serve_app.roster import Roster
from serve_app.session import Session, Surroundings
from serve_app.tick import Tick
from serve_app.transports import picows
from storage.ids import new_id

KEY = _generate()


class FarSide:
    """Directory and shard 0. `answer` may be replaced: it returns a reply, raises EngineError, or returns
    `...` to leave the request unanswered."""

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self.view = wire.View(1, {}, [0] * SLOTS, [1] * SLOTS, {})
        self.streams: dict[str, Stream] = {}
        self.presence: dict[str, list[dict[str, Any]]] = {}
        self.received: list[Any] = []
        self.answer: Callable[[Any], Any] = self.usual_answer
        self._servers: list[Listener] = []
        self._directory_links: list[Link] = []
        self._shard_links: list[Link] = []

    async def start(self) -> None:
        self._servers.append(
            await listen(address_of(self.run_dir, "directory"), _End(self._directory_links, self))
        )
        await self.start_shard()

    async def start_shard(self) -> None:
        address = address_of(self.run_dir, "shard-0")
        self._servers.append(await listen(address, _End(self._shard_links, self)))
        self.view = wire.View(
            self.view.version + 1, {0: address}, [0] * SLOTS, [self.view.version] * SLOTS, {}
        )
        for link in self._directory_links:
            link.send(self.view)

    async def stop_shard(self) -> None:
        """As a kill: links are cut, nobody listens."""
        self._servers.pop().close()
        for link in list(self._shard_links):
            link.abort()
        self.view = wire.View(self.view.version + 1, {}, [0] * SLOTS, self.view.epochs, {})
        for link in self._directory_links:
            link.send(self.view)
        while self._shard_links:
            await asyncio.sleep(0)

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for link in [*self._shard_links, *self._directory_links]:
            link.abort()
        await asyncio.sleep(0)

    def took(self, link: Link, message: Any) -> None:
        if isinstance(message, wire.Hello):
            link.send(self.view)
            return
        self.received.append(message)
        if isinstance(message, wire.Told):
            return
        try:
            reply = self.answer(message)
        except EngineError as error:
            link.send(wire.Failure(message.rid, error.code, error.message, error.retry_ms))
            return
        if reply is not ... and message.rid:
            link.send(wire.Reply(message.rid, reply))

    def reply(self, rid: int, ok: Any) -> None:
        """Answers a request that was left unanswered."""
        for link in self._shard_links:
            link.send(wire.Reply(rid, ok))

    def stream(self, ch: str) -> Stream:
        return self.streams.setdefault(ch, Stream("epoch-1"))

    def usual_answer(self, message: Any) -> Any:
        if isinstance(message, wire.Subscribe):
            if message.ch.startswith("presence:"):
                state = self.presence.get(message.ch, [])
                return {
                    "mode": "map",
                    "epoch": "p",
                    "offset": 0,
                    "recovered": False,
                    "pubs": [],
                    "state": state,
                }
            if message.ch.startswith("near@"):
                result = {"mode": "map", "epoch": "n", "offset": 0, "recovered": message.shadow is not None}
                return (
                    result | {"pubs": []} | ({} if message.shadow else {"state": [["a", {"user": "a"}, 1]]})
                )
            return {
                "mode": "stream",
                **self.stream(message.ch).subscribed(
                    message.user, epoch=message.epoch, offset=message.offset, limit=message.limit
                ),
            }
        if isinstance(message, wire.Publish):
            offset = self.publish(message.ch, message.user, message.d, message.cid)
            return {"o": offset, "t": 1, "i": f"i{offset}", "dup": False}
        if isinstance(message, wire.Ephemeral):
            self.push(
                wire.PushEphemeral(
                    message.ch, b'{"u":"%s","d":%s}' % (message.user.encode(), message.d), message.conn
                )
            )
            return {}
        if isinstance(message, wire.PresenceQuery):
            metas = self.presence.get(message.ch, [])
            return {"metas": metas, "count": len(metas)}
        if isinstance(message, wire.Position):
            return {"ok": True}
        if isinstance(message, wire.Unsubscribe | wire.Vacant):
            return {}
        raise EngineError(ErrorCode.NOT_AVAILABLE, "not here")

    def publish(
        self, ch: str, user: str, d: bytes = b"{}", cid: str = "", hide: list[str] | None = None
    ) -> int:
        """The next publication of a stream, pushed to whoever is there."""
        stream = self.stream(ch)
        publication = Publication(stream.top + 1, 1, f"i{stream.top + 1}", user, cid, d)
        stream.append(publication)
        self.push(wire.Push(ch, publication.offset, publication.wire(), user, cid, hide))
        return publication.offset

    def push(self, message: Any) -> None:
        for link in self._shard_links:
            link.send(message)

    def of(self, kind: type[Any]) -> list[Any]:
        """What was received of one type."""
        return [message for message in self.received if isinstance(message, kind)]


def unpacked_of(message: Any) -> list[Any]:
    """Fixes that came together, each as a message."""
    return [unpacked(row) for row in message.rows()] if isinstance(message, wire.Positions) else [message]


class _End:
    def __init__(self, links: list[Link], far: FarSide) -> None:
        self._links = links
        self._far = far

    def link_opened(self, link: Link) -> None:
        self._links.append(link)

    def link_received(self, link: Link, view_version: int, messages: list[Any]) -> None:  # noqa: ARG002
        for message in messages:
            for each in unpacked_of(message):
                self._far.took(link, each)

    def link_closed(self, link: Link) -> None:
        self._links.remove(link)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Verifier:
    """The real verifier, of one key."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._verifier = TokenVerifier({KEY.kid: KEY.public_jwk})

    async def verify(self, token: str) -> Claims:
        return self._verifier.verify(token, self._clock())


class Wire:
    """A transport that keeps what it is given; `full` makes it a socket whose kernel buffer takes no more."""

    def __init__(self, codec: Codec = JSON) -> None:
        self.codec = codec
        self.messages: list[bytes] = []
        self.sent: list[bytearray] = []
        self.ended: int | None = None
        self.full = False
        self.room: int | None = None
        self.session: Session

    def send(self, message: bytearray) -> None:
        self.sent.append(message)
        self.messages.append(bytes(message[HEADROOM:]))
        if self.room is not None:
            self.room -= 1
            self.full = self.room <= 0
        if self.full:
            self.session.paused()

    def close(self, code: int, reason: str) -> None:  # noqa: ARG002
        self.ended = code

    def abort(self) -> None:
        self.ended = 1006

    def frames(self) -> list[dict[str, Any]]:
        """All frames that were sent."""
        if self.codec.packed:
            unpacker = msgpack.Unpacker()
            unpacker.feed(b"".join(self.messages))
            return list(unpacker)
        return [json.loads(line) for message in self.messages for line in message.split(b"\n")]

    def pushes(self, n: int) -> list[dict[str, Any]]:
        """Pushes of a channel."""
        return [frame for frame in self.frames() if frame.get("p") == n]

    def takes(self, messages: int | None = None) -> None:
        """The kernel takes bytes again: so many messages, or all."""
        self.full, self.room = False, messages
        self.session.resumed()

    def says(self, *frames: Any) -> None:
        """The client sends frames in one message."""
        if self.codec.packed:
            self.session.received(b"".join(msgpack.packb(frame) for frame in frames), is_text=False)
        else:
            self.session.received("\n".join(json.dumps(frame) for frame in frames).encode(), is_text=True)


class Gateway:
    """Hub, router and sessions against a far side."""

    def __init__(self, far: FarSide, limits: Limits) -> None:
        self.far = far
        self.clock = Clock()
        self.router = Router(RouterConfig(far.run_dir, "gateway", "g1", "ws://test"))
        self.hub = Hub(self.router, Tick(tick_s=0.001))
        self.router.on_push = self.hub.pushed
        self.router.on_slots_moved = self.hub.slots_moved
        self.around = Surroundings(
            self.hub, self.router, Verifier(self.clock), "n1", limits, self.clock, self.clock
        )
        self.roster = Roster(self.around)
        self.port = 0
        self._server: asyncio.AbstractServer | None = None

    def token(self, user: str, lifetime_s: float = 600) -> str:
        return issue_access_token(KEY, user=user, now_s=self.clock.now_s, lifetime_s=lifetime_s)

    def wire(self, codec: Codec = JSON) -> Wire:
        """A new socket, before its connect."""
        wire_ = Wire(codec)
        wire_.session = self.roster.open(wire_, codec)
        return wire_

    async def connected(self, user: str | None = None, codec: Codec = JSON, **body: Any) -> Wire:
        wire_ = self.wire(codec)
        user = user or new_id()
        wire_.says({"id": 1, "connect": {"token": self.token(user), **body}})
        await self.until(lambda: bool(wire_.messages))
        return wire_

    async def reply(self, wire_: Wire, frame: dict[str, Any]) -> dict[str, Any]:
        """Sends a command and waits for its reply."""
        wire_.says(frame)
        await self.until(lambda: any(f.get("id") == frame["id"] for f in wire_.frames()))
        return next(f for f in wire_.frames() if f.get("id") == frame["id"])

    async def subscribed(
        self, ch: str, codec: Codec = JSON, user: str | None = None, **body: Any
    ) -> tuple[Wire, int]:
        """A new connection with one subscription, and the channel's number."""
        wire_ = await self.connected(user, codec, subs={ch: body})
        result = wire_.frames()[0]["connect"]["subs"][ch]
        return wire_, result["n"]

    async def until(self, fact: Callable[[], bool], timeout_s: float = 5) -> None:
        async with asyncio.timeout(timeout_s):
            while not fact():
                await asyncio.sleep(0.001)

    async def settled(self) -> None:
        """What is on its way over the link and the tick has arrived."""
        asked = self.router.request("user", new_id(), wire.Position(0, "x", 0, 0, 1, 0))
        await asked
        await asyncio.sleep(0.003)

    async def listening(self) -> str:
        """The URL of a real listener."""
        if self._server is None:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            self._server = await picows.listen(
                "127.0.0.1",
                self.port,
                allowed_origins=("https://app.example",),
                open_session=self.roster.open,
            )
        return f"ws://127.0.0.1:{self.port}/rt"

    async def client(self, codec: str = "json", user: str | None = None, **body: Any) -> Client:
        """A real client over a real socket, connected if `user` is given."""
        client = await Client.open(await self.listening(), codec)
        if user is not None:
            await client.connect(self.token(user), **body)
        return client

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for session in list(self.roster.sessions):
            session.connection.transport.abort()
        await self.router.stop()


@pytest.fixture
def run_dir() -> Any:
    folder = tempfile.mkdtemp(prefix="hb-gw-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def far(run_dir: str) -> AsyncIterator[FarSide]:
    far = FarSide(run_dir)
    await far.start()
    yield far
    await far.stop()


@pytest.fixture
async def open_gateway(far: FarSide) -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    opened: list[Gateway] = []

    async def open_one(**limits: Any) -> Gateway:
        gateway = Gateway(far, Limits(**limits))
        opened.append(gateway)
        await gateway.router.start()
        await gateway.settled()
        return gateway

    yield open_one
    for gateway in opened:
        await gateway.stop()


@pytest.fixture
async def gateway(open_gateway: Callable[..., Awaitable[Gateway]]) -> Gateway:
    return await open_gateway()
