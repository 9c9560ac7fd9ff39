"""A fence as its owner and apps see it: what happened there, and who is inside. State and pure step (ACT-1).

Crossings are decided and stored where the people are (crossings.py); this reads them from the fence's log,
in its order, and tells whoever listens. A name is told only where the person grants it (GEO-14), which is
looked up each time, so what was withdrawn is hidden in what is read again, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors import messages as wire
from actors.effects import Answer, Asker, Effect, Send
from actors.map_views import MapViews
from actors.protocol import RECOVERY_LIMIT
from actors.stream import Publication, Stream
from storage.fence_events import FenceEvent, FenceHead

COUNT = "#count"
"""The key of the map's row that counts everybody."""


@dataclass(slots=True)
class FenceState:
    """One fence's live state; all of it is read from the stores."""

    fence: str
    owner: str
    epoch: str
    top: int
    """The newest event that was told."""
    inside: int
    named: dict[str, int] = field(default_factory=dict)
    """Who is inside and may be known to the owner → entered_at_ms; read for the first map."""
    listeners: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Connection → (gateway, user) of the stream's subscriptions."""
    maps: MapViews = field(default_factory=MapViews)
    hidden: dict[str, frozenset[str]] = field(default_factory=dict)
    """Person → those of the map's users with whom a block stands."""
    is_behind: bool = False
    """A turn that reads what is new is on its way."""

    @classmethod
    def of(cls, fence: str, head: FenceHead) -> "FenceState":
        return cls(fence, head.owner, head.epoch, head.top, head.inside)

    @property
    def channel(self) -> str:
        return f"fence:{self.fence}"

    @property
    def is_idle(self) -> bool:
        """Nobody listens."""
        return not self.listeners and not self.maps.views

    def viewers(self) -> set[str]:
        """Everybody who listens, but the owner: with those a block may stand that is none of the owner's."""
        users = {user for _, user in self.listeners.values()} | set(self.maps.users.values())
        return users - {self.owner}

    def rows(self, viewer: str) -> Mapping[str, Any]:
        """The map as a viewer sees it."""
        shown: dict[str, Any] = {COUNT: {"inside": self.inside}}
        shown |= {
            user: {"user": user, "entered_at_ms": entered_at_ms}
            for user, entered_at_ms in self.named.items()
            if viewer not in self.hidden.get(user, ())
        }
        return shown


def subscribed(  # noqa: PLR0917
    state: FenceState,
    message: wire.Subscribe,
    asker: Asker,
    gateway: str,
    head: FenceHead,
    found: list[FenceEvent],
) -> list[Effect]:
    """A connection wants the stream; `found` are the newest events, oldest first, as its user sees them."""
    state.listeners[message.conn] = gateway, message.user
    stream = Stream(head.epoch, head.top)
    stream.window.extend(publication(event) for event in found)
    result = stream.subscribed(
        message.user,
        epoch=message.epoch,
        offset=message.offset,
        limit=message.limit,
        wanted=message.filter,
        mode=message.mode,
    )
    return [Answer(asker, result | {"ch": state.channel})]


def happened(
    state: FenceState, events: list[FenceEvent], hidden: Mapping[str, frozenset[str]]
) -> list[Effect]:
    """New events of the log, in order. `hidden` says with which viewers a block stands."""
    effects: list[Effect] = []
    gateways = sorted({gateway for gateway, _ in state.listeners.values()})
    for event in events:
        if event.offset <= state.top:
            continue
        state.top, state.inside = event.offset, event.inside
        if event.user and event.event in ("enter", "inside"):
            state.named[event.user] = event.at_ms
        elif event.event == "exit":
            state.named.pop(event.person, None)
        hide = sorted(hidden.get(event.user, ())) or None
        push = wire.Push(state.channel, event.offset, publication(event).wire(), "", "", hide)
        effects += [Send(gateway, push) for gateway in gateways]
    return effects


def map_changed(
    state: FenceState, named: dict[str, int] | None = None, hidden: dict[str, frozenset[str]] | None = None
) -> list[Effect]:
    """Who is inside, or who may know, is new: tells the maps."""
    if named is not None:
        state.named = named
    if hidden is not None:
        state.hidden = hidden
    return state.maps.show(state.rows)


def map_subscribed(  # noqa: PLR0917
    state: FenceState,
    message: wire.Subscribe,
    asker: Asker,
    gateway: str,
    now_ms: int,
    new_id: Callable[[], str],
) -> list[Effect]:
    """A connection wants the map."""
    return state.maps.subscribed(message, asker, gateway, state.rows(message.user), now_ms, new_id)


def unsubscribed(state: FenceState, message: wire.Unsubscribe, gateway: str, now_ms: int) -> None:
    """Only of what the connection has through this gateway."""
    if message.ch != state.channel:
        state.maps.unsubscribed(message, gateway, now_ms)
    elif state.listeners.get(message.conn, ("", ""))[0] == gateway:
        del state.listeners[message.conn]


def gateway_lost(state: FenceState, gateway: str, now_ms: int) -> None:
    """A gateway's link is gone, and its subscriptions with it."""
    state.maps.gateway_lost(gateway, now_ms)
    for conn in [conn for conn, (peer, _) in state.listeners.items() if peer == gateway]:
        del state.listeners[conn]


def wanted_events(message: wire.Subscribe, head: FenceHead, window: int) -> int:
    """How many of the newest events a subscription may need."""
    if message.epoch and message.offset >= 0 and message.mode == "stream":
        missed = head.top - message.offset
        return missed if message.epoch == head.epoch and 0 < missed <= RECOVERY_LIMIT else 0
    if message.filter is not None or message.mode == "cache":
        return window
    return min(message.limit, RECOVERY_LIMIT)


def publication(event: FenceEvent) -> Publication:
    """An event as its stream has it."""
    return Publication(event.offset, event.at_ms, event.id, "", "", event.body.encode())


def page(head: FenceHead, found: list[FenceEvent], limit: int) -> dict[str, Any]:
    """A page of history, of which one event more was read than was asked for."""
    pubs = [
        {"o": each.offset, "t": each.at_ms, "i": each.id, "u": "", "d": msgspec.json.decode(each.body)}
        for each in found[:limit]
    ]
    return {"pubs": pubs, "epoch": head.epoch, "offset": head.top, "more": len(found) > limit > 0}
