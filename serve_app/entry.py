"""`connect` and `refresh`: whose connection it is, and for how long (docs/protocol.md §1, §2)."""

import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from actors.placement import slot_of
from actors.protocol import CloseCode, EngineError, ErrorCode
from identity.tokens import Claims, TokenExpired, TokenInvalid
from serve_app import commands
from serve_app.frames import MESSAGE_LIMIT_BYTES, Envelope, error_body
from serve_app.resuming import beginning, merged, take_up
from serve_app.sessions import digest_of
from serve_app.subscribing import subscribe
from storage.ids import new_id
from storage.live_sessions import LiveSession

if TYPE_CHECKING:
    from serve_app.session import Session

log = logging.getLogger("hereabouts.session")

_RETRY_MS = 1000


def connect(session: "Session", frame_id: int, body: commands.Connect, _: Envelope) -> None:
    """The first command: verifies the token, then answers with the session and all resubscriptions."""
    session.verifies()
    session.spawn(_connect(session, frame_id, body))


def refresh(session: "Session", frame_id: int, body: commands.Refresh, _: Envelope) -> None:
    """A newer token of the same user keeps the connection."""
    session.spawn(_refresh(session, frame_id, body.token))


async def _claims(session: "Session", token: str) -> Claims | tuple[EngineError, CloseCode]:
    """Who the token speaks for; or why it does not, and how a connection ends that came with it."""
    try:
        return await session.around.verifier.verify(token)
    except TokenExpired:
        return EngineError(ErrorCode.TOKEN_EXPIRED, "the token has expired"), CloseCode.EXPIRED
    except TokenInvalid:
        return EngineError(ErrorCode.UNAUTHORIZED, "this token is not valid here"), CloseCode.INVALID_TOKEN
    except Exception:
        log.exception("a token could not be verified")
        error = EngineError(ErrorCode.INTERNAL, "tokens can't be verified now", _RETRY_MS)
        return error, CloseCode.FORCED_RECONNECT


async def _connect(session: "Session", frame_id: int, body: commands.Connect) -> None:
    claims = await _claims(session, body.token)
    if isinstance(claims, tuple):
        error, code = claims
        session.fail(frame_id, error)
        session.close(code, error.message, error.retry_ms or 0)
        return
    around, connection = session.around, session.connection
    left_s = claims.expires_at_s - around.wall_clock()
    key = secrets.token_urlsafe(18)
    session.key = digest_of(key)
    connection.user, connection.slot = claims.user, slot_of("user", claims.user)
    record = await take_up(session, body.resume)
    is_resumed = record is not None
    if record is None:
        connection.id = new_id()
        record = LiveSession(connection.id, int(around.wall_clock() * 1000))
    connection.device = body.device or record.device
    connection.since_ms = record.since_ms
    subs = merged(record.subs, body.subs or {})
    if around.sessions is not None and not await around.sessions.opened(session, beginning(session, subs)):
        error = EngineError(ErrorCode.LIMIT, "this user has too many connections")
        session.fail(frame_id, error)
        session.close(CloseCode.CONNECTION_LIMIT, error.message)
        return
    connection.corked = True
    session.begin(around.clock() + left_s)
    greeting = _greeting(session, left_s) | {"key": key, "resumed": is_resumed}
    _Opening(session, frame_id, greeting, subs).begin()
    session.take_early()


def _greeting(session: "Session", left_s: float) -> dict[str, Any]:
    limits, connection = session.around.limits, session.connection
    return {
        "sid": connection.id,
        "user": connection.user,
        "node": session.around.node,
        "ping": _number(limits.ping_s),
        "pong": _number(limits.pong_s),
        "exp": max(0, int(left_s)),
        "subs": {},
        "limits": {
            "frame_bytes": MESSAGE_LIMIT_BYTES,
            "subs": limits.subs,
            "pub_per_s": _number(limits.pub_per_s),
            "pos_per_s": _number(limits.pos_per_s),
        },
        "time": int(session.around.wall_clock() * 1000),
    }


def _number(value: float) -> float:
    """Whole numbers as such: "ping":25, for readers that tell the two apart."""
    return int(value) if value == int(value) else value


class _Opening:
    """Gathers the results of `connect.subs` for the reply to `connect`."""

    __slots__ = ("_frame_id", "_greeting", "_left", "_session", "_subs")

    def __init__(
        self,
        session: "Session",
        frame_id: int,
        greeting: dict[str, Any],
        subs: dict[str, commands.SubscriptionOptions],
    ) -> None:
        self._session = session
        self._frame_id = frame_id
        self._greeting = greeting
        self._subs = subs
        self._left = 1

    def begin(self) -> None:
        """Asks for all of them at once."""
        for ch, options in self._subs.items():
            self._left += 1
            try:
                subscribe(self._session, ch, options, partial(self._one_done, ch))
            except EngineError as error:
                self._one_done(ch, None, error)
        self._finish_one()

    def _one_done(self, ch: str, result: Any, error: EngineError | None) -> None:
        self._greeting["subs"][ch] = result if error is None else {"err": error_body(error)}
        self._finish_one()

    def _finish_one(self) -> None:
        self._left -= 1
        if self._left == 0:
            connection = self._session.connection
            self._session.subscriptions_changed(at_once=True)
            connection.uncork(connection.codec.encode({"id": self._frame_id, "connect": self._greeting}))


async def _refresh(session: "Session", frame_id: int, token: str) -> None:
    claims = await _claims(session, token)
    if isinstance(claims, tuple):
        session.fail(frame_id, claims[0])
        return
    if claims.user != session.connection.user:
        session.fail(frame_id, EngineError(ErrorCode.UNAUTHORIZED, "this token is another user's"))
        return
    left_s = claims.expires_at_s - session.around.wall_clock()
    session.expires_s = session.around.clock() + left_s
    session.finish(frame_id, "refresh", {"exp": max(0, int(left_s))}, None)
