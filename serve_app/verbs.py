"""What each verb of a client does once its body is decoded (docs/protocol.md §2)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from actors import messages as wire
from actors.placement import owner_of
from actors.protocol import RECOVERY_LIMIT, EngineError, ErrorCode
from actors.room import BODY_LIMIT_BYTES
from serve_app import commands, entry, subscribing
from serve_app.frames import Envelope, MalformedError
from serve_app.locating import locate
from serve_app.names import MODES, PASSIVE, internal_name
from serve_app.rpc import rpc

if TYPE_CHECKING:
    from serve_app.session import Session

HISTORY_DEFAULT = 50


def pub(session: "Session", frame_id: int | None, body: commands.Pub, _: Envelope) -> None:
    """Publishes to a room."""
    connection, router = session.connection, session.around.router
    ack = body.ack or ""
    if frame_id is None and ack != "none":
        raise MalformedError("pub needs an id unless its ack is none")
    kind, name = internal_name(body.ch, connection.user, connection.id)
    if body.cid is not None and not body.cid.isprintable():
        raise MalformedError("cid is not printable text")
    d = connection.codec.canonical(body.d)
    if kind != "room":
        raise EngineError(ErrorCode.DENIED, "only the engine writes here")
    session.take(session.publications)
    message = wire.Publish(0, name, connection.user, connection.id, d, body.cid or "", ack)
    if ack == "none":
        router.cast(*owner_of(name), message)
    else:
        session.ask(frame_id, "pub", owner_of(name), message, name)


def hist(session: "Session", frame_id: int, body: commands.Hist, _: Envelope) -> None:
    """Reads a page of a stream."""
    connection = session.connection
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
    session.ask(frame_id, "hist", owner_of(name), message, name)


def pres(session: "Session", frame_id: int, body: commands.Pres, _: Envelope) -> None:
    """Who is in a room now; the room's name and its presence channel's name both do."""
    connection = session.connection
    kind, name = internal_name(body.ch, connection.user, connection.id)
    if kind not in ("room", "presence"):
        raise EngineError(ErrorCode.NOT_AVAILABLE, "this channel shows nobody's presence")
    name = f"presence:{name.removeprefix('presence:')}"
    message = wire.PresenceQuery(0, name, connection.user)
    session.ask(frame_id, "pres", owner_of(name), message, name)


def ephemeral(session: "Session", _: int | None, n: int, envelope: Envelope) -> None:
    """Typing, cursors: to whoever hears the channel now. Only errors are answered; dropped above its rate."""
    connection, around = session.connection, session.around
    if "d" not in envelope:
        raise MalformedError("an ephemeral event needs d")
    d = connection.codec.canonical(envelope["d"])
    if len(d) > BODY_LIMIT_BYTES:
        raise EngineError(ErrorCode.LIMIT, f"an event is at most {BODY_LIMIT_BYTES} bytes")
    channel = around.hub.numbered(n)
    if channel is None or not channel.has(connection) or channel.name.startswith(PASSIVE):
        raise EngineError(ErrorCode.DENIED, "this connection has no channel of this number")
    if session.ephemerals.take(around.clock()):
        return
    message = wire.Ephemeral(0, channel.name, connection.user, connection.id, d)
    around.router.cast(*owner_of(channel.name), message)


def pos(session: "Session", frame_id: int | None, fix: commands.Fix, envelope: Envelope) -> None:
    """A fix of the user's own position. Answered if it has an id."""
    codec = session.connection.codec
    seq = codec.decode(envelope["seq"], commands.Milliseconds | None) if "seq" in envelope else None
    locate(session, frame_id, fix, seq)


def subrefresh(session: "Session", _: int, body: commands.Subrefresh, __: Envelope) -> None:
    """No channel of this release takes a token of its own, so none can run out."""
    internal_name(body.ch, session.connection.user, session.connection.id)
    raise EngineError(ErrorCode.NOT_AVAILABLE, "this channel takes no token of its own")


def later(session: "Session", frame_id: int, body: msgspec.Raw, envelope: Envelope) -> None:  # noqa: ARG001
    """A verb of the protocol that a later release serves."""
    raise EngineError(ErrorCode.NOT_AVAILABLE, "this verb is not served yet")


@dataclass(frozen=True, slots=True)
class Verb:
    """How a verb's body is decoded and what is done with it."""

    handle: Callable[["Session", Any, Any, Envelope], None]
    body: Any
    needs_id: bool = True
    is_paced: bool = True
    """Counted by the general rate; the others have a rate of their own, or come once."""


VERBS: dict[str, Verb] = {
    "connect": Verb(entry.connect, commands.Connect, is_paced=False),
    "refresh": Verb(entry.refresh, commands.Refresh),
    "sub": Verb(subscribing.sub, commands.Sub),
    "unsub": Verb(subscribing.unsub, commands.Unsub),
    "pub": Verb(pub, commands.Pub, needs_id=False, is_paced=False),
    "hist": Verb(hist, commands.Hist),
    "pres": Verb(pres, commands.Pres),
    "e": Verb(ephemeral, commands.ChannelNumber, needs_id=False, is_paced=False),
    "pos": Verb(pos, commands.Fix, needs_id=False, is_paced=False),
    "subrefresh": Verb(subrefresh, commands.Subrefresh),
    "read": Verb(later, msgspec.Raw),
    "dlvd": Verb(later, msgspec.Raw),
    "rpc": Verb(rpc, commands.Rpc),
}
