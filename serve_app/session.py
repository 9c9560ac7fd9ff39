"""One socket's protocol, independent of the library that carries it (docs/protocol.md §1, §2, §5).

`received` is called with each message and never raises for anything that a client sent. Commands go to
virtual actors through the router, with callbacks; their replies leave with the hub's next tick.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import Any, Protocol

import msgspec

from actors import messages as wire
from actors.protocol import RECOVERY_LIMIT, CloseCode, EngineError, ErrorCode
from actors.router import Router, owner_of
from identity.tokens import Claims, TokenExpired, TokenInvalid
from serve_app import commands
from serve_app.channel import Channel
from serve_app.connection import STALL_LIMIT_S, Connection, Transport
from serve_app.frames import (
    HEADROOM,
    MESSAGE_LIMIT_BYTES,
    Codec,
    Envelope,
    FrameId,
    Malformed,
    Undecodable,
    error_body,
)
from serve_app.hub import Hub
from serve_app.limits import Bucket, Limits
from serve_app.names import MODES, Kind, internal_name
from storage.ids import new_id

log = logging.getLogger("hereabouts.session")

EARLY_LIMIT = 64
"""Messages that may arrive while the token is verified."""

HISTORY_DEFAULT = 50
CLEAN_CODES = frozenset({1000, 1001})
"""A client that closes with one of these has left; any other loss may come back (docs/protocol.md §3)."""


class Stage(IntEnum):
    """The life of a session."""

    NEW = 0
    VERIFYING = 1
    OPEN = 2
    CLOSED = 3


class Verifier(Protocol):
    """Verifies access tokens."""

    async def verify(self, token: str) -> Claims:
        """Who the token speaks for. Raises TokenExpired or TokenInvalid."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of a gateway share."""

    hub: Hub
    router: Router
    verifier: Verifier
    node: str
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time


class Session:
    """One socket, from its upgrade to its end."""

    __slots__ = (
        "_around",
        "_early",
        "_ephemerals",
        "_expires_s",
        "_in_flight",
        "_malformed",
        "_on_closed",
        "_opened_s",
        "_ping_due_s",
        "_pings",
        "_pong_due_s",
        "_positions",
        "_publications",
        "_tasks",
        "_unsubs",
        "connection",
        "stage",
    )  # fmt: skip

    def __init__(
        self,
        around: Surroundings,
        transport: Transport,
        codec: Codec,
        on_closed: Callable[["Session"], None] = lambda _: None,
    ) -> None:
        self._around = around
        self._on_closed = on_closed
        self.connection = Connection(around.hub, transport, codec, self)
        self.stage = Stage.NEW
        self._opened_s = around.clock()
        self._expires_s = 0.0
        self._ping_due_s = 0.0
        self._pong_due_s: float | None = None
        self._pings = 0
        self._in_flight = 0
        self._malformed = 0
        self._early: list[tuple[bytes, bool]] | None = None
        self._unsubs: dict[str, list[int]] | None = None
        """Channels whose `sub` is still unanswered, and the unsubs that came after it."""
        self._tasks: set[asyncio.Task[None]] = set()
        limits, now_s = around.limits, self._opened_s
        self._publications = Bucket(limits.pub_per_s, limits.pub_burst, now_s)
        self._positions = Bucket(limits.pos_per_s, limits.pos_burst, now_s)
        self._ephemerals = Bucket(limits.ephemeral_per_s, limits.ephemeral_burst, now_s)

    # -- from the transport ---------------------------------------------------------------------------

    def received(self, payload: bytes, *, is_text: bool) -> None:
        """One whole WebSocket message."""
        if self.stage is Stage.CLOSED:
            return
        if self.stage is Stage.VERIFYING:
            assert self._early is not None
            if len(self._early) >= EARLY_LIMIT:
                self.close(CloseCode.BAD_REQUEST, "too much before the reply to connect")
            self._early.append((payload, is_text))
            return
        codec = self.connection.codec
        if len(payload) > MESSAGE_LIMIT_BYTES:
            self._refuse_frame(None, Malformed(f"a message is at most {MESSAGE_LIMIT_BYTES} bytes"))
            return
        if is_text is codec.packed:
            self._refuse_frame(None, Malformed(f"{codec.name} comes in the other kind of message"))
            return
        try:
            frames = codec.frames(payload)
        except Undecodable as error:
            self._fail(None, Malformed(str(error)))
            self.close(CloseCode.BAD_REQUEST, str(error))
            return
        for position, frame in enumerate(frames):
            self._frame(frame)
            if self.stage is not Stage.OPEN:
                if self.stage is Stage.VERIFYING and position + 1 < len(frames):
                    rest = bytes(codec.message(frames[position + 1 :]))[HEADROOM:]
                    self._early = [(rest, is_text)]
                if self.stage is not Stage.NEW:
                    return

    def closed(self, code: int | None) -> None:
        """The peer is gone. `code` is the one of its close frame, None where none came."""
        if self.stage is Stage.CLOSED:
            return
        self.stage = Stage.CLOSED
        self._clean_up(clean=code in CLEAN_CODES)

    def paused(self) -> None:
        """The transport holds bytes that the kernel did not take."""
        self.connection.paused()

    def resumed(self) -> None:
        """The transport holds nothing any more."""
        self.connection.resumed()

    def beat(self, now_s: float) -> None:
        """Called twice a second: deadlines and pings."""
        if self.stage is Stage.CLOSED:
            return
        stalled_since_s = self.connection.stalled_since_s
        if stalled_since_s is not None and now_s - stalled_since_s > STALL_LIMIT_S:
            self.slow()
        elif self.stage is not Stage.OPEN:
            if now_s - self._opened_s >= self._around.limits.connect_s:
                self.close(CloseCode.STALE, "no connect in time")
        elif now_s >= self._expires_s:
            self._fail(None, EngineError(ErrorCode.TOKEN_EXPIRED, "the token has expired"))
            self.close(CloseCode.EXPIRED, "the token has expired")
        elif self._pong_due_s is not None and now_s >= self._pong_due_s:
            self.close(CloseCode.NO_PONG, "no pong")
        elif now_s >= self._ping_due_s:
            self._ping(now_s)

    def _ping(self, now_s: float) -> None:
        limits, connection = self._around.limits, self.connection
        self._ping_due_s = now_s + limits.ping_s
        self._pong_due_s = now_s + limits.pong_s
        self._pings += 1
        connection.queue(connection.codec.ping)
        if self._pings % 2 == 0:
            tops = self._around.hub.positions(connection)
            if tops:
                connection.queue(connection.codec.encode({"tops": tops}))

    # -- from the hub ---------------------------------------------------------------------------------

    def slow(self) -> None:
        """The reader is too far behind: what waits for it is not sent (FAN-4)."""
        connection = self.connection
        if self.stage is not Stage.CLOSED:
            connection.discard()
            connection.write = connection.transport.send
            self.close(CloseCode.SLOW, "too slow")

    def lost(self, reason: str) -> None:
        """A subscription can't go on: the client must start it anew."""
        self.close(CloseCode.INSUFFICIENT_STATE, reason)

    def ended(self, channel: Channel, code: int, reason: str) -> None:
        """An actor ended a subscription."""
        if code >= CloseCode.SHUTDOWN:
            self.close(CloseCode(code), reason)
            return
        self._send({"p": channel.n, "unsub": {"code": code, "reason": reason}})

    # -- the end --------------------------------------------------------------------------------------

    def close(self, code: CloseCode, reason: str, retry_ms: int | None = None) -> None:
        """Says `bye` behind what is pending and closes the socket."""
        if self.stage is Stage.CLOSED:
            return
        self.stage = Stage.CLOSED
        connection = self.connection
        bye: dict[str, Any] = {"code": int(code), "reason": reason}
        bye["retry_ms"] = retry_ms if retry_ms is not None else (0 if code.reconnect else -1)
        connection.corked = False
        connection.queue(connection.codec.encode({"bye": bye}))
        connection.flush()
        connection.transport.close(code, reason)
        self._clean_up(clean=not code.reconnect)

    def _clean_up(self, *, clean: bool) -> None:
        self.connection.discard()
        for task in self._tasks:
            task.cancel()
        self._early = None
        if self.connection.id:
            self._around.hub.dropped(self.connection, clean=clean)
        self._on_closed(self)

    # -- frames ---------------------------------------------------------------------------------------

    def _frame(self, frame: bytes) -> None:
        codec = self.connection.codec
        frame_id: int | None = None
        self._pong_due_s = None  # whatever it says, the client is alive
        try:
            envelope = codec.envelope(frame)
            if not envelope:
                return
            if "id" in envelope:
                frame_id = codec.decode(envelope["id"], FrameId)
            verbs = VERBS.keys() & envelope.keys()
            if len(verbs) > 1:
                raise Malformed("a frame has exactly one verb")  # noqa: TRY301
            if not verbs:
                raise EngineError(ErrorCode.UNKNOWN_VERB, "no verb that is known here")  # noqa: TRY301
            verb = verbs.pop()
            handle, body_type, needs_id = VERBS[verb]
            if needs_id and frame_id is None:
                raise Malformed(f"{verb} needs an id")  # noqa: TRY301
            if (verb == "connect") is (self.stage is Stage.OPEN):
                self._out_of_turn(frame_id, verb)
                return
            handle(self, frame_id, codec.decode(envelope[verb], body_type), envelope)
        except Malformed as error:
            self._refuse_frame(frame_id, error)
        except EngineError as error:
            self._fail(frame_id, error)

    def _refuse_frame(self, frame_id: int | None, error: Malformed) -> None:
        self._malformed += 1
        self._fail(frame_id, error)
        if self._malformed >= self._around.limits.malformed:
            self.close(CloseCode.BAD_REQUEST, "too many malformed frames")

    def _out_of_turn(self, frame_id: int | None, verb: str) -> None:
        if verb == "connect":
            raise Malformed("this connection is connected")
        self._fail(frame_id, EngineError(ErrorCode.UNAUTHORIZED, "connect comes first"))
        self.close(CloseCode.STALE, "connect comes first")

    def _send(self, frame: dict[str, Any]) -> None:
        self.connection.queue(self.connection.codec.encode(frame))

    def _reply(self, frame_id: int | None, verb: str, result: Any) -> None:
        if frame_id is not None:
            self._send({"id": frame_id, verb: result})

    def _fail(self, frame_id: int | None, error: EngineError) -> None:
        frame: dict[str, Any] = {} if frame_id is None else {"id": frame_id}
        self._send(frame | {"err": error_body(error)})

    # -- connect and refresh ----------------------------------------------------------------------------

    def _connect(self, frame_id: int, body: commands.Connect, _: Envelope) -> None:
        self.stage = Stage.VERIFYING
        self._early = []
        self._spawn(self._verify_connect(frame_id, body))

    async def _verify_connect(self, frame_id: int, body: commands.Connect) -> None:
        try:
            claims = await self._around.verifier.verify(body.token)
        except TokenExpired:
            self._fail(frame_id, EngineError(ErrorCode.TOKEN_EXPIRED, "the token has expired"))
            self.close(CloseCode.EXPIRED, "the token has expired")
            return
        except TokenInvalid:
            self._fail(frame_id, EngineError(ErrorCode.UNAUTHORIZED, "this token is not valid here"))
            self.close(CloseCode.INVALID_TOKEN, "this token is not valid here")
            return
        except Exception:
            log.exception("the token could not be verified")
            self._fail(frame_id, EngineError(ErrorCode.INTERNAL, "the token can't be verified now", 1000))
            self.close(CloseCode.FORCED_RECONNECT, "the token can't be verified now", 1000)
            return
        if self.stage is Stage.VERIFYING:
            self._open(frame_id, body, claims)

    def _open(self, frame_id: int, body: commands.Connect, claims: Claims) -> None:
        around, connection = self._around, self.connection
        now_s = around.clock()
        left_s = claims.expires_at_s - around.wall_clock()
        self._expires_s = now_s + left_s
        self._ping_due_s = now_s + around.limits.ping_s
        connection.user = claims.user
        connection.id = new_id()
        connection.device = body.device or connection.id
        connection.since_ms = int(around.wall_clock() * 1000)
        connection.corked = True
        around.hub.opened(connection)
        self.stage = Stage.OPEN
        limits = around.limits
        result: dict[str, Any] = {
            "sid": connection.id,
            "key": secrets.token_urlsafe(18),
            "user": claims.user,
            "node": around.node,
            "ping": limits.ping_s,
            "pong": limits.pong_s,
            "exp": int(left_s),
            "resumed": False,
            "subs": {},
            "limits": {
                "frame_bytes": MESSAGE_LIMIT_BYTES,
                "subs": limits.subs,
                "pub_per_s": limits.pub_per_s,
                "pos_per_s": limits.pos_per_s,
            },
            "time": connection.since_ms,
        }
        _Opening(self, frame_id, result, body.subs or {}).begin()
        early, self._early = self._early or [], None
        for payload, is_text in early:
            self.received(payload, is_text=is_text)

    def opened(self, frame_id: int, result: dict[str, Any]) -> None:
        """All of `connect.subs` are answered: the reply to `connect` leaves, and what waited behind it."""
        if self.stage is Stage.OPEN:
            self.connection.uncork(self.connection.codec.encode({"id": frame_id, "connect": result}))

    def _refresh(self, frame_id: int, body: commands.Refresh, _: Envelope) -> None:
        self._spawn(self._verify_refresh(frame_id, body.token))

    async def _verify_refresh(self, frame_id: int, token: str) -> None:
        around = self._around
        try:
            claims = await around.verifier.verify(token)
        except TokenExpired:
            error = EngineError(ErrorCode.TOKEN_EXPIRED, "the token has expired")
        except TokenInvalid:
            error = EngineError(ErrorCode.UNAUTHORIZED, "this token is not valid here")
        except Exception:
            log.exception("the token could not be verified")
            error = EngineError(ErrorCode.INTERNAL, "the token can't be verified now", 1000)
        else:
            if claims.user == self.connection.user:
                left_s = claims.expires_at_s - around.wall_clock()
                self._expires_s = around.clock() + left_s
                self._reply(frame_id, "refresh", {"exp": int(left_s)})
                return
            error = EngineError(ErrorCode.UNAUTHORIZED, "this token is another user's")
        if self.stage is Stage.OPEN:
            self._fail(frame_id, error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- subscriptions ----------------------------------------------------------------------------------

    def subscribe(
        self,
        ch: str,
        options: commands.SubscriptionOptions,
        done: Callable[[Any, EngineError | None], None],
    ) -> None:
        """Subscribes to a client's channel; `done` gets the `sub` result. Raises EngineError."""
        connection = self.connection
        kind, name = internal_name(ch, connection.user, connection.id)
        if name in connection.subscriptions:
            raise EngineError(ErrorCode.ALREADY_SUBSCRIBED, "this connection is subscribed to it")
        if len(connection.subscriptions) >= self._around.limits.subs:
            raise EngineError(ErrorCode.LIMIT, f"a connection has at most {self._around.limits.subs} subs")
        self._check_options(kind, options)
        message = wire.Subscribe(
            0, name, connection.user, connection.id, connection.device, connection.since_ms,
            mode=MODES[kind],
            epoch=options.epoch or "",
            offset=-1 if options.offset is None else options.offset,
            limit=min(options.limit or 0, RECOVERY_LIMIT),
            filter=options.filter,
        )  # fmt: skip
        self._starts()
        if self._unsubs is None:
            self._unsubs = {}
        self._unsubs[name] = []
        self._around.hub.subscribe(connection, message, partial(self._subscribed, ch, name, done))

    @staticmethod
    def _check_options(kind: Kind, options: commands.SubscriptionOptions) -> None:
        mode = options.mode or MODES[kind]
        if mode != MODES[kind]:
            if kind == "room" and mode != "map":
                raise EngineError(ErrorCode.NOT_AVAILABLE, f"mode {mode} is not served yet")
            raise EngineError(ErrorCode.BAD_REQUEST, f"this channel's mode is {MODES[kind]}")
        if bool(options.epoch) is (options.offset is None):
            raise EngineError(ErrorCode.BAD_REQUEST, "a position is both epoch and offset")
        if options.cursor is not None:
            raise EngineError(ErrorCode.NOT_AVAILABLE, "a map's state comes as one page: there is no cursor")
        if options.filter and kind != "near":
            raise EngineError(ErrorCode.NOT_AVAILABLE, "only near takes a filter yet")

    def _subscribed(
        self,
        ch: str,
        name: str,
        done: Callable[[Any, EngineError | None], None],
        reply: Any,
        error: EngineError | None,
    ) -> None:
        self._in_flight -= 1
        if self.stage is Stage.CLOSED:
            return
        if error is None:
            channel = self._around.hub.channel(name)
            assert channel is not None
            done({"n": channel.n, **reply, "ch": ch}, None)
        else:
            done(None, error)
        for frame_id in (self._unsubs or {}).pop(name, ()):
            try:
                self._leave(frame_id, name)
            except EngineError as refused:
                self._fail(frame_id, refused)

    def _sub(self, frame_id: int, body: commands.Sub, _: Envelope) -> None:
        self.subscribe(body.ch, body, partial(self._finish, frame_id, "sub"))

    def _unsub(self, frame_id: int, body: commands.Unsub, _: Envelope) -> None:
        _, name = internal_name(body.ch, self.connection.user, self.connection.id)
        if self._unsubs is not None and name in self._unsubs:
            self._unsubs[name].append(frame_id)
            return
        self._leave(frame_id, name)

    def _leave(self, frame_id: int, name: str) -> None:
        if not self._around.hub.unsubscribe(self.connection, name, clean=True):
            raise EngineError(ErrorCode.BAD_REQUEST, "this connection is not subscribed to it")
        self._reply(frame_id, "unsub", {})

    # -- commands to actors -------------------------------------------------------------------------------

    def _pub(self, frame_id: int | None, body: commands.Pub, _: Envelope) -> None:
        connection = self.connection
        ack = body.ack or "durable"
        if frame_id is None and ack != "none":
            raise Malformed("pub needs an id unless its ack is none")
        kind, name = internal_name(body.ch, connection.user, connection.id)
        if body.cid is not None and not body.cid.isprintable():
            raise Malformed("cid is not printable text")
        d = connection.codec.canonical(body.d)
        if kind != "room":
            raise EngineError(ErrorCode.DENIED, "only the engine writes here")
        self._take(self._publications)
        message = wire.Publish(0, name, connection.user, connection.id, d, body.cid or "", ack)
        if ack == "none":
            self._around.router.cast(*owner_of(name), message)
        else:
            self._ask(frame_id, "pub", name, message)

    def _hist(self, frame_id: int, body: commands.Hist, _: Envelope) -> None:
        connection = self.connection
        kind, name = internal_name(body.ch, connection.user, connection.id)
        if MODES[kind] != "stream":
            raise EngineError(ErrorCode.BAD_REQUEST, "a map has no history")
        message = wire.History(
            0, name, connection.user,
            limit=min(HISTORY_DEFAULT if body.limit is None else body.limit, RECOVERY_LIMIT),
            epoch=body.since.epoch if body.since else "",
            offset=body.since.offset if body.since else -1,
            reverse=bool(body.reverse),
        )  # fmt: skip
        self._ask(frame_id, "hist", name, message)

    def _pres(self, frame_id: int, body: commands.Pres, _: Envelope) -> None:
        connection = self.connection
        kind, name = internal_name(body.ch, connection.user, connection.id)
        if kind not in ("room", "presence"):
            raise EngineError(ErrorCode.NOT_AVAILABLE, "this channel shows nobody's presence")
        name = f"presence:{name.removeprefix('presence:')}"
        self._ask(frame_id, "pres", name, wire.PresenceQuery(0, name, connection.user))

    def _e(self, _: int | None, n: int, envelope: Envelope) -> None:
        connection = self.connection
        if "d" not in envelope:
            raise Malformed("an ephemeral event needs d")
        d = connection.codec.canonical(envelope["d"])
        channel = self._around.hub.numbered(n)
        if channel is None or not channel.has(connection) or self._ephemerals.take(self._around.clock()):
            return
        message = wire.Ephemeral(0, channel.name, connection.user, connection.id, d)
        self._around.router.cast(*owner_of(channel.name), message)

    def _pos(self, frame_id: int | None, fix: commands.Fix, envelope: Envelope) -> None:
        user, codec = self.connection.user, self.connection.codec
        seq = codec.decode(envelope["seq"], commands.Milliseconds | None) if "seq" in envelope else None
        wait_ms = self._positions.take(self._around.clock())
        if wait_ms and frame_id is None:
            return
        if wait_ms:
            raise EngineError(ErrorCode.TOO_MANY_REQUESTS, "too many positions", wait_ms)
        message = wire.Position(
            0, user, fix.lat, fix.lon, fix.acc_m, fix.t_ms, fix.speed_mps, fix.heading_deg, seq
        )
        if frame_id is None:
            self._around.router.cast("user", user, message)
        else:
            self._ask_actor(frame_id, "pos", "", ("user", user), message)

    def _later(self, _: int, __: Any, ___: Envelope) -> None:
        raise EngineError(ErrorCode.NOT_AVAILABLE, "this verb is not served yet")

    def _take(self, bucket: Bucket) -> None:
        wait_ms = bucket.take(self._around.clock())
        if wait_ms:
            raise EngineError(ErrorCode.TOO_MANY_REQUESTS, "too many publications", wait_ms)

    def _ask(self, frame_id: int | None, verb: str, name: str, message: wire.Request) -> None:
        self._ask_actor(frame_id, verb, name, owner_of(name), message)

    def _ask_actor(
        self, frame_id: int | None, verb: str, name: str, owner: tuple[str, str], message: wire.Request
    ) -> None:
        self._starts()
        self._around.router.call(*owner, message, partial(self._answered, frame_id, verb, name))

    def _starts(self) -> None:
        if self._in_flight >= self._around.limits.commands_in_flight:
            raise EngineError(ErrorCode.OVERLOADED, "too many commands wait for their reply", 200)
        self._in_flight += 1

    def _answered(
        self, frame_id: int | None, verb: str, name: str, reply: Any, error: EngineError | None
    ) -> None:
        self._in_flight -= 1
        if self.stage is Stage.CLOSED:
            return
        channel = self._around.hub.channel(name)
        if channel is not None:
            channel.settle(self.connection)
        self._finish(frame_id, verb, reply, error)

    def _finish(self, frame_id: int | None, verb: str, reply: Any, error: EngineError | None) -> None:
        if error is None:
            self._reply(frame_id, verb, reply)
        else:
            self._fail(frame_id, error)


class _Opening:
    """Gathers the results of `connect.subs` for the reply to `connect`."""

    __slots__ = ("_frame_id", "_left", "_result", "_session", "_subs")

    def __init__(
        self,
        session: Session,
        frame_id: int,
        result: dict[str, Any],
        subs: dict[str, commands.SubscriptionOptions],
    ) -> None:
        self._session = session
        self._frame_id = frame_id
        self._result = result
        self._subs = subs
        self._left = 1

    def begin(self) -> None:
        for ch, options in self._subs.items():
            self._left += 1
            try:
                self._session.subscribe(ch, options, partial(self._one_done, ch))
            except EngineError as error:
                self._one_done(ch, None, error)
        self._finish_one()

    def _one_done(self, ch: str, result: Any, error: EngineError | None) -> None:
        self._result["subs"][ch] = result if error is None else {"err": error_body(error)}
        self._finish_one()

    def _finish_one(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._session.opened(self._frame_id, self._result)


_Handler = Callable[[Session, Any, Any, Envelope], None]

VERBS: dict[str, tuple[_Handler, Any, bool]] = {
    "connect": (Session._connect, commands.Connect, True),
    "sub": (Session._sub, commands.Sub, True),
    "unsub": (Session._unsub, commands.Unsub, True),
    "pub": (Session._pub, commands.Pub, False),
    "hist": (Session._hist, commands.Hist, True),
    "pres": (Session._pres, commands.Pres, True),
    "refresh": (Session._refresh, commands.Refresh, True),
    "e": (Session._e, commands.ChannelNumber, False),
    "pos": (Session._pos, commands.Fix, False),
    "subrefresh": (Session._later, msgspec.Raw, True),
    "read": (Session._later, msgspec.Raw, True),
    "dlvd": (Session._later, msgspec.Raw, True),
    "rpc": (Session._later, msgspec.Raw, True),
}
"""Verb → handler, what its body is decoded as, whether it needs an id."""
