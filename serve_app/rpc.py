"""Methods that a client calls by name (`rpc`), each with the shape of what it takes (docs/protocol.md §2)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from actors.protocol import EngineError, ErrorCode
from serve_app import commands
from serve_app.frames import Envelope
from serve_app.names import client_name

if TYPE_CHECKING:
    from serve_app.session import Session


class Nothing(msgspec.Struct):
    """No parameters; what is given all the same is ignored."""


class Echo(msgspec.Struct):
    d: Any = None


@dataclass(frozen=True, slots=True)
class Method:
    """What it takes, and what it answers."""

    parameters: Any
    answer: Callable[["Session", Any], dict[str, Any]]


def _time(session: "Session", _: Nothing) -> dict[str, Any]:
    return {"time": int(session.around.wall_clock() * 1000)}


def _echo(_: "Session", given: Echo) -> dict[str, Any]:
    return {"d": given.d}


def _session(session: "Session", _: Nothing) -> dict[str, Any]:
    connection = session.connection
    return {
        "sid": connection.id,
        "user": connection.user,
        "device": connection.device,
        "since": connection.since_ms,
        "subs": {
            client_name(name): {"n": subscription.channel.n, "mode": subscription.message.mode}
            for name, subscription in connection.subscriptions.items()
        },
    }


METHODS = {
    "time": Method(Nothing, _time),
    "echo": Method(Echo, _echo),
    "session": Method(Nothing, _session),
}


def rpc(session: "Session", frame_id: int, body: commands.Rpc, _: Envelope) -> None:
    """Calls a method and answers with its result."""
    method = METHODS.get(body.method)
    if method is None:
        raise EngineError(ErrorCode.NOT_AVAILABLE, "no method of this name")
    codec = session.connection.codec
    given = body.params if bytes(body.params) else msgspec.Raw(codec.encode({}))
    result = method.answer(session, codec.decode(given, method.parameters))
    session.finish(frame_id, "rpc", {"result": result}, None)
