"""One socket's protocol, independent of the library that carries it (docs/protocol.md §1, §2, §5).

`received` is called with each message and never raises for anything that a client sent. What the verbs do
is in verbs.py and entry.py; their replies leave with the hub's next tick.
"""

import asyncio
from collections.abc import Callable, Coroutine
from enum import IntEnum
from functools import partial
from typing import Any

from actors import messages as wire
from actors.metrics import count
from actors.protocol import CloseCode, EngineError, ErrorCode
from serve_app.channel import Channel
from serve_app.connection import HARD_LIMIT_BYTES, STALL_LIMIT_S, Connection, Transport
from serve_app.frames import (
    HEADROOM,
    MESSAGE_LIMIT_BYTES,
    Codec,
    FrameId,
    MalformedError,
    UndecodableError,
    error_body,
)
from serve_app.limits import Bucket
from serve_app.locating import takes_fix
from serve_app.surroundings import Surroundings
from serve_app.verbs import VERBS

__all__ = ["Session", "Stage", "Surroundings"]

EARLY_LIMIT_BYTES = 4 * MESSAGE_LIMIT_BYTES
"""How much may arrive while the token is verified, by somebody who is nobody yet."""

CLEAN_CODES = frozenset({1000, 1001, 1005})
"""A client that closes with one of these has left (1005: a close frame without a code, a browser's
`close()`); any other loss may come back (docs/protocol.md §3)."""


class Stage(IntEnum):
    """The life of a session."""

    NEW = 0
    VERIFYING = 1
    OPEN = 2
    CLOSED = 3


class Session:
    """One socket, from its upgrade to its end."""

    __slots__ = (
        "_commands", "_early", "_in_flight", "_is_replaced", "_malformed", "_on_closed", "_opened_s",
        "_ping_due_s", "_pings", "_pong_due_s", "_pongs_to_mark", "_tasks", "_unanswered", "around",
        "connection", "ephemerals", "expires_s", "key", "late_unsubs", "positions", "publications",
        "spent_key", "stage",
    )  # fmt: skip

    def __init__(
        self,
        around: Surroundings,
        transport: Transport,
        codec: Codec,
        on_closed: Callable[["Session"], None] = lambda _: None,
    ) -> None:
        self.around = around
        self.connection = Connection(around.hub, transport, codec, self)
        self.stage = Stage.NEW
        self.expires_s = 0.0
        """When the token does, by the clock."""
        self.late_unsubs: dict[str, list[int]] = {}
        """Internal channels whose `sub` is unanswered, and the ids of unsubs that came after it."""
        limits, now_s = around.limits, around.clock()
        self.publications = Bucket(limits.pub_per_s, limits.pub_burst, now_s)
        self.positions = Bucket(limits.pos_per_s, limits.pos_burst, now_s)
        self.ephemerals = Bucket(limits.ephemeral_per_s, limits.ephemeral_burst, now_s)
        self._commands = Bucket(limits.commands_per_s, limits.commands_burst, now_s)
        self._on_closed = on_closed
        self._opened_s = now_s
        self._ping_due_s = 0.0
        self._pong_due_s: float | None = None
        self._unanswered = 0
        """Pings whose pong has not come."""
        self._pongs_to_mark = 0
        """So many pongs until the one that proves the positions noted last."""
        self._is_replaced = False
        self.key = b""
        """The digest of the key that takes this session up again."""
        self.spent_key = b""
        """That of the key that did, until the client has shown that it got the next one."""
        self._pings = 0
        self._in_flight = 0
        self._malformed = 0
        self._early: list[tuple[bytes, bool]] = []
        """Messages that came behind `connect` while its token is verified."""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether the session has a user and its socket."""
        return self.stage is Stage.OPEN

    def verifies(self) -> None:
        """The token is looked at: what comes meanwhile waits."""
        self.stage = Stage.VERIFYING

    # -- from the transport ---------------------------------------------------------------------------

    def received(self, payload: bytes, *, is_text: bool) -> None:
        """One whole WebSocket message."""
        if self.stage is Stage.CLOSED or (self.is_open and takes_fix(self, payload, is_text=is_text)):
            return
        if self.stage is Stage.VERIFYING:
            self._keep_for_later(payload, is_text=is_text)
            return
        try:
            frames = self._frames(payload, is_text=is_text)
        except MalformedError as error:
            self._refuse_frame(None, error)
            return
        except UndecodableError as error:
            self.fail(None, MalformedError(str(error)))
            self.close(CloseCode.BAD_REQUEST, str(error))
            return
        for position, frame in enumerate(frames, 1):
            self._frame(frame)
            stage: Stage = self.stage
            if stage is Stage.CLOSED:
                return
            if stage is Stage.VERIFYING and position < len(frames):
                rest = self.connection.codec.message(frames[position:])[HEADROOM:]
                self._keep_for_later(bytes(rest), is_text=is_text)
                return

    def _frames(self, payload: bytes, *, is_text: bool) -> list[bytes]:
        codec = self.connection.codec
        if len(payload) > MESSAGE_LIMIT_BYTES:
            raise MalformedError(f"a message is at most {MESSAGE_LIMIT_BYTES} bytes")
        if is_text is codec.packed:
            raise MalformedError(f"{codec.name} comes in the other kind of message")
        return codec.frames(payload)

    def _keep_for_later(self, payload: bytes, *, is_text: bool) -> None:
        self._early.append((payload, is_text))
        if sum(len(early) + 1 for early, _ in self._early) > EARLY_LIMIT_BYTES:
            self.close(CloseCode.BAD_REQUEST, "too much before the reply to connect")

    def closed(self, code: int | None) -> None:
        """The peer is gone. `code` is the one of its close frame, None where none came."""
        if self.stage is not Stage.CLOSED:
            self.stage = Stage.CLOSED
            self._clean_up(clean=code in CLEAN_CODES)

    def heard(self) -> None:
        """Whatever it says, the client is alive."""
        self._pong_due_s = None

    def paused(self) -> None:
        """The transport holds bytes that the kernel did not take."""
        self.connection.paused(self.around.clock())

    def resumed(self) -> None:
        """The transport holds nothing any more."""
        self.connection.resumed()

    def beat(self, now_s: float) -> None:
        """Called twice a second: deadlines and pings."""
        if self.stage is Stage.CLOSED:
            return
        stalled_since_s = self.connection.stalled_since_s
        is_corked = self.connection.corked and self.connection.pending_bytes > HARD_LIMIT_BYTES
        if is_corked or (stalled_since_s is not None and now_s - stalled_since_s > STALL_LIMIT_S):
            self.slow()
        elif self.stage is not Stage.OPEN:
            if now_s - self._opened_s >= self.around.limits.connect_s:
                self.close(CloseCode.STALE, "no connect in time")
        elif now_s >= self.expires_s:
            self.fail(None, EngineError(ErrorCode.TOKEN_EXPIRED, "the token has expired"))
            self.close(CloseCode.EXPIRED, "the token has expired")
        elif self._pong_due_s is not None and now_s >= self._pong_due_s:
            self.close(CloseCode.NO_PONG, "no pong")
        elif now_s >= self._ping_due_s:
            self._ping(now_s)

    def _ping(self, now_s: float) -> None:
        limits, connection = self.around.limits, self.connection
        self._ping_due_s = now_s + limits.ping_s
        self._pong_due_s = now_s + limits.pong_s
        self._pings += 1
        self._unanswered += 1
        if not self._pongs_to_mark:
            self._pongs_to_mark = self._unanswered
            self.around.hub.marks(connection)
        connection.queue(connection.codec.ping)
        if self._pings % 2 == 0:
            tops = self.around.hub.positions(connection)
            if tops:
                self.send({"tops": tops})

    def _ponged(self) -> None:
        """The client has read all that stood before the ping: its session may go on from there."""
        if not self._unanswered:
            return
        self._unanswered -= 1
        if self._pongs_to_mark != 1:  # it answers another ping than the one that positions were noted before
            self._pongs_to_mark = max(0, self._pongs_to_mark - 1)
            return
        self._pongs_to_mark = 0
        self.spent_key = b""
        for subscription in self.connection.subscriptions.values():
            subscription.held = max(subscription.held, subscription.pinged)
        if self.around.sessions is not None:
            self.around.sessions.confirmed(self)

    # -- from the hub ---------------------------------------------------------------------------------

    def slow(self) -> None:
        """The reader is too far behind: what waits for it is not sent (FAN-4)."""
        if self.stage is not Stage.CLOSED:
            connection = self.connection
            count("drops", reason="slow reader")
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
        else:
            self.send({"p": channel.n, "unsub": {"code": code, "reason": reason}})
            self.subscriptions_changed()

    def replaced(self) -> None:
        """The session goes on through another connection: this one ends, and writes nothing of it."""
        self._is_replaced = True
        if self.around.sessions is not None:
            self.around.sessions.replaced(self)
        self.close(CloseCode.FORCED_RECONNECT, "this session goes on elsewhere")

    # -- the end --------------------------------------------------------------------------------------

    def close(self, code: CloseCode, reason: str, retry_ms: int = 0, to: str = "") -> None:
        """Says `bye` behind what is pending and closes the socket. `to` is a gateway to go to."""
        if self.stage is Stage.CLOSED:
            return
        self.stage = Stage.CLOSED
        count("sockets_closed", code=str(int(code)))
        connection = self.connection
        bye = {"code": int(code), "reason": reason, "retry_ms": retry_ms} | ({"to": to} if to else {})
        connection.corked = False
        self.send({"bye": bye})
        connection.flush()
        connection.transport.close(code, reason)
        self._clean_up(clean=not code.reconnect)

    def _clean_up(self, *, clean: bool) -> None:
        self.connection.discard()
        for task in self._tasks:
            task.cancel()
        self._early.clear()
        if self.expires_s:  # it had begun
            sessions = self.around.sessions
            if sessions is not None and not self._is_replaced:
                (sessions.ended if clean else sessions.lost)(self)
            self.around.hub.dropped(self.connection, clean=clean)
        self._on_closed(self)

    # -- frames ---------------------------------------------------------------------------------------

    def _frame(self, frame: bytes) -> None:
        codec = self.connection.codec
        frame_id: int | None = None
        self.heard()
        try:
            envelope = codec.envelope(frame)
            if not envelope:
                self._ponged()
                return
            if "id" in envelope:
                frame_id = codec.decode(envelope["id"], FrameId)
            names = VERBS.keys() & envelope.keys()
            if len(names) > 1:
                raise MalformedError("a frame has exactly one verb")  # noqa: TRY301
            if not names:
                raise EngineError(ErrorCode.UNKNOWN_VERB, "no verb that is known here")  # noqa: TRY301
            name = names.pop()
            verb = VERBS[name]
            if verb.needs_id and frame_id is None:
                raise MalformedError(f"{name} needs an id")  # noqa: TRY301
            if (name == "connect") is (self.stage is Stage.OPEN):
                self._out_of_turn(frame_id, name)
                return
            if verb.is_paced:
                self.take(self._commands)
            verb.handle(self, frame_id, codec.decode(envelope[name], verb.body), envelope)
        except MalformedError as error:
            self._refuse_frame(frame_id, error)
        except EngineError as error:
            self.fail(frame_id, error)

    def _refuse_frame(self, frame_id: int | None, error: MalformedError) -> None:
        self._malformed += 1
        self.fail(frame_id, error)
        if self._malformed >= self.around.limits.malformed:
            self.close(CloseCode.BAD_REQUEST, "too many malformed frames")

    def _out_of_turn(self, frame_id: int | None, name: str) -> None:
        if name == "connect":
            raise MalformedError("this connection is connected")
        self.fail(frame_id, EngineError(ErrorCode.UNAUTHORIZED, "connect comes first"))
        self.close(CloseCode.STALE, "connect comes first")

    # -- for the verbs ----------------------------------------------------------------------------------

    def send(self, frame: dict[str, Any]) -> None:
        """Sends one frame at the next tick."""
        self.connection.queue(self.connection.codec.encode(frame))

    def fail(self, frame_id: int | None, error: EngineError) -> None:
        """Answers with an error of the table."""
        frame: dict[str, Any] = {} if frame_id is None else {"id": frame_id}
        self.send(frame | {"err": error_body(error)})

    def finish(self, frame_id: int | None, verb: str, result: Any, error: EngineError | None) -> None:
        """Answers a command, or not if it has no id."""
        if error is not None:
            self.fail(frame_id, error)
        elif frame_id is not None:
            self.send({"id": frame_id, verb: result})

    def take(self, bucket: Bucket) -> None:
        """Raises EngineError 111 where something comes too fast."""
        wait_ms = bucket.take(self.around.clock())
        if wait_ms:
            raise EngineError(ErrorCode.TOO_MANY_REQUESTS, "too fast", wait_ms)

    def begins(self) -> None:
        """Counts a command that waits for its actor; `ends` takes it off. Raises EngineError at the limit."""
        if self._in_flight >= self.around.limits.commands_in_flight:
            raise EngineError(ErrorCode.OVERLOADED, "too many commands wait for their reply", 200)
        self._in_flight += 1

    def ends(self) -> None:
        """See `begins`."""
        self._in_flight -= 1

    def ask(
        self, frame_id: int | None, verb: str, owner: tuple[str, str], message: wire.Request, ch: str = ""
    ) -> None:
        """Sends `message` to an actor and its reply to the client, in order with pushes of `ch` (RT-6)."""
        self.begins()
        self.around.router.call(*owner, message, partial(self._answered, frame_id, verb, ch))

    def _answered(
        self, frame_id: int | None, verb: str, ch: str, reply: Any, error: EngineError | None
    ) -> None:
        self.ends()
        if self.stage is Stage.CLOSED:
            return
        channel = self.around.hub.channel(ch)
        if channel is not None:
            channel.settle(self.connection)
        self.finish(frame_id, verb, reply, error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs work until the session ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def begin(self, expires_s: float) -> None:
        """The token is good: the session is open, and the connection has its user."""
        self.stage = Stage.OPEN
        self.expires_s = expires_s
        self._ping_due_s = self.around.clock() + self.around.limits.ping_s
        self.around.hub.opened(self.connection)

    def subscriptions_changed(self, *, at_once: bool = False) -> None:
        """The session is to be remembered by other subscriptions than before."""
        sessions = self.around.sessions
        if sessions is not None and self.is_open:
            if not at_once:
                sessions.changed(self)
            elif self.connection.subscriptions:
                sessions.confirmed(self)

    def take_early(self) -> None:
        """Handles what came while the token was verified."""
        early, self._early = self._early, []
        for payload, is_text in early:
            self.received(payload, is_text=is_text)
