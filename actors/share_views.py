"""`share:<id>` of one person: the shares that they look at, told by the sharers' actors (GEO-22). Pure.

Each subscription is a map of its own with at most one row, kept and resumed as `near` is (RT-8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from actors import messages as wire
from actors.effects import Answer, Asker, Effect, Refuse, Send
from actors.near import KeptViews, NearView
from actors.protocol import ErrorCode
from geo.privacy import Audience
from geo.proximity import MapView

if TYPE_CHECKING:
    from actors.person import UserState

PREFIX = "share:"
LOOK_AGAIN_MS = 60_000
"""The sharer's actor is asked again this often, should it have forgotten that somebody looks."""

DOUBT_MS = 3_000
"""And so soon where it did not answer."""


@dataclass(slots=True)
class Followed:
    """One share, for all connections of one viewer."""

    share: str
    sharer: str
    ends_at_ms: int
    place: dict[str, Any] | None
    version: int
    ask_at_ms: int
    views: dict[str, NearView] = field(default_factory=dict)
    """Connection → what it holds."""
    kept: KeptViews = field(default_factory=KeptViews)

    @property
    def is_wanted(self) -> bool:
        """Somebody looks, or may come back to it."""
        return bool(self.views or self.kept.by_epoch)

    def rows(self) -> dict[str, Any]:
        """What the map holds now."""
        return {} if self.place is None else {self.sharer: {"user": self.sharer, **self.place}}


def share_of(channel: str) -> str:
    """The share's id of an internal channel name."""
    return channel.removeprefix(PREFIX).partition("@")[0]


def subscribed(  # noqa: PLR0917
    followed: Followed,
    message: wire.Subscribe,
    asker: Asker,
    gateway: str,
    now_ms: int,
    new_id: Callable[[], str],
) -> list[Effect]:
    """A connection's subscription of a share that it may see."""
    if message.mode != "map":
        return [Refuse(asker, ErrorCode.BAD_REQUEST, "a share is a map")]
    view = _view(message, gateway, new_id())
    result: dict[str, Any] = {
        "ch": PREFIX + followed.share, "mode": "map", "phase": "live", "pubs": [], "recovered": True,
        "was_recovering": message.epoch != "",
    }  # fmt: skip
    before = _continued(followed, message, now_ms)
    followed.views[message.conn] = view
    if message.shadow is not None and message.epoch:
        # The gateway says what this connection holds: go on from there, with deltas.
        held = {key: (None, version) for key, version in message.shadow.items()}
        view.epoch, view.seen = message.epoch, MapView(max(message.offset, 0), held)
        view.floor = view.seen.version
        result |= {"epoch": view.epoch, "offset": view.seen.version}
        return [Answer(asker, result), *_shows(view, followed.rows())]
    if before is not None:
        view.takes_after(before)
        view.tells(followed.rows())
        rows = view.since(message.offset)
        if rows is not None:
            result |= {"epoch": view.epoch, "offset": view.seen.version, "k": rows, "shadow": view.shadow()}
            return [Answer(asker, result)]
        view = followed.views[message.conn] = _view(message, gateway, new_id())
    view.tells(followed.rows())
    result |= {"epoch": view.epoch, "offset": view.seen.version, "recovered": False}
    return [Answer(asker, result | {"state": view.seen.state()})]


def shown(followed: Followed, told: wire.ShareShown) -> list[Effect]:
    """The sharer's actor told what is shown now. What is older than what is known changes nothing."""
    if told.version < followed.version:
        return []
    followed.version, followed.place = told.version, told.place
    return [effect for view in followed.views.values() for effect in _shows(view, followed.rows())]


def over(state: UserState, followed: Followed) -> list[Effect]:
    """The share has ended for this viewer: the row goes, and then the subscriptions end."""
    del state.shares.followed[followed.share]
    effects: list[Effect] = []
    for view in followed.views.values():
        end = wire.Unsubscribed(view.channel, state.user, int(ErrorCode.DENIED), "this share has ended")
        effects += [*_shows(view, {}), Send(view.gateway, end)]
    return effects


def unsubscribed(followed: Followed, message: wire.Unsubscribe, gateway: str, now_ms: int) -> None:
    """Only of what the connection has through this gateway: another may have taken its session up."""
    view = followed.views.get(message.conn)
    if view is not None and view.gateway == gateway:
        del followed.views[message.conn]
        if not message.clean:
            followed.kept.keep(view, now_ms)


def gateway_lost(followed: Followed, gateway: str, now_ms: int) -> None:
    """A gateway's link is gone, and its subscriptions with it."""
    for conn in [conn for conn, view in followed.views.items() if view.gateway == gateway]:
        followed.kept.keep(followed.views.pop(conn), now_ms)


def _view(message: wire.Subscribe, gateway: str, epoch: str) -> NearView:
    return NearView(
        conn=message.conn, gateway=gateway, channel=message.ch, epoch=epoch, radius_m=0.0,
        audience=Audience.NOBODY, seen=MapView(),
    )  # fmt: skip


def _continued(followed: Followed, message: wire.Subscribe, now_ms: int) -> NearView | None:
    """The view that a subscription with a position goes on from."""
    if not message.epoch or message.offset < 0 or message.shadow is not None:
        return None
    for view in followed.views.values():
        if view.epoch == message.epoch:
            return view
    return followed.kept.take(message.epoch, now_ms)


def _shows(view: NearView, rows: dict[str, Any]) -> list[Effect]:
    changes = view.tells(rows)
    if not changes:
        return []
    shadow = {change[0]: change[3] if len(change) == 4 else -1 for change in changes}
    push = wire.PushMap(view.channel, view.seen.version, msgspec.json.encode(changes), shadow)
    return [Send(view.gateway, push)]
