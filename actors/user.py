"""A person: position, what others see of it, whom they see near, and their own streams. The pure step.

Their presence (online.py), position and crossings change in one order, this actor's (PRE-5).
"""

from actors import messages as wire
from actors.announcing import checked
from actors.effects import Answer, Asker, Refuse
from actors.near_people import rewatch
from actors.person import UserEffect, UserState
from actors.protocol import ErrorCode
from actors.whereabouts import position


def step(  # noqa: PLR0911 - one line per kind of message
    state: UserState, message: wire.Request, asker: Asker, gateway: str, now_ms: int
) -> list[UserEffect]:
    """One message to the person's actor; subscriptions of `near` are its host's (near_host.py)."""
    if isinstance(message, wire.Position):
        return position(state, message, asker, now_ms)
    if isinstance(message, wire.RegionCheck):
        return [*checked(state, message, now_ms), Answer(asker, {})]
    if isinstance(message, wire.Unsubscribe):
        return [*_unsubscribe(state, message, gateway, now_ms), Answer(asker, {})]
    name = message.ch.partition("@")[0] if isinstance(message, wire.Subscribe | wire.History) else ""
    if isinstance(message, wire.Subscribe) and name in state.streams:
        if message.mode not in ("stream", "cache"):
            return [Refuse(asker, ErrorCode.BAD_REQUEST, f"{name} is a stream")]
        state.listeners[name][message.conn] = gateway
        stream = state.streams[name]
        result = stream.subscribed(
            message.user,
            epoch=message.epoch,
            offset=message.offset,
            limit=message.limit,
            wanted=message.filter,
            mode=message.mode,
        )
        return [Answer(asker, result | {"ch": name})]
    if isinstance(message, wire.Publish | wire.Ephemeral):
        return [Refuse(asker, ErrorCode.DENIED, "only the engine writes here")]
    return [Refuse(asker, ErrorCode.NOT_AVAILABLE, "this channel does not do this")]


def _unsubscribe(state: UserState, message: wire.Unsubscribe, gateway: str, now_ms: int) -> list[UserEffect]:
    """Only of what the connection has through this gateway: another may have taken its session up."""
    name, conn = message.ch.partition("@")[0], message.conn
    if name == "near":
        near = state.views.get(conn)
        if near is not None and near.gateway == gateway:
            del state.views[conn]
            if not message.clean:
                state.kept.keep(near, now_ms)
        return rewatch(state)
    listeners = state.listeners.get(name, {})
    if listeners.get(conn) == gateway:
        del listeners[conn]
    return []


def gateway_lost(state: UserState, gateway: str, now_ms: int) -> list[UserEffect]:
    """A gateway's link is gone, and its subscriptions with it."""
    for conn in [conn for conn, near in state.views.items() if near.gateway == gateway]:
        state.kept.keep(state.views.pop(conn), now_ms)
    for listeners in state.listeners.values():
        for conn in [conn for conn, peer in listeners.items() if peer == gateway]:
            del listeners[conn]
    if state.matches is not None:
        state.matches.listeners.lost(gateway)
    return rewatch(state)
