"""A map that an actor shows to several connections, each at its own position: subscriptions, deltas, and how
each goes on after a loss. Pure (RT-8).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors import messages as wire
from actors.effects import Answer, Asker, Effect, Send
from actors.near import KeptViews, NearView
from geo.privacy import Audience
from geo.proximity import MapView


@dataclass(slots=True)
class MapViews:
    """The subscriptions of one map, by connection; and those that were lost a while ago."""

    views: dict[str, NearView] = field(default_factory=dict)
    kept: KeptViews = field(default_factory=KeptViews)
    users: dict[str, str] = field(default_factory=dict)
    """Connection → whose it is."""

    def subscribed(  # noqa: PLR0917
        self,
        message: wire.Subscribe,
        asker: Asker,
        gateway: str,
        rows: Mapping[str, Any],
        now_ms: int,
        new_id: Callable[[], str],
        keeps: Collection[str] = (),
    ) -> list[Effect]:
        """A connection wants the map, which shows `rows` to it; see `show`."""
        result: dict[str, Any] = {
            "mode": "map", "phase": "live", "pubs": [], "recovered": True,
            "was_recovering": message.epoch != "",
        }  # fmt: skip
        view = _view(message, gateway, new_id())
        before = self._continued(message, now_ms)
        self.views[message.conn], self.users[message.conn] = view, message.user
        if message.shadow is not None and message.epoch:
            # The gateway says what this connection holds: go on from there, with deltas.
            held = {key: (None, version) for key, version in message.shadow.items()}
            view.epoch, view.seen = message.epoch, MapView(max(message.offset, 0), held)
            view.floor = view.seen.version
            result |= {"epoch": view.epoch, "offset": view.seen.version}
            return [Answer(asker, result), *_shows(view, rows, keeps)]
        if before is not None:
            view.takes_after(before)
            view.tells(rows)
            changed = view.since(message.offset)
            if changed is not None:
                result |= {"epoch": view.epoch, "offset": view.seen.version}
                return [Answer(asker, result | {"k": changed, "shadow": view.shadow()})]
            view = self.views[message.conn] = _view(message, gateway, new_id())
        view.tells(rows)
        result |= {"epoch": view.epoch, "offset": view.seen.version, "recovered": False}
        return [Answer(asker, result | {"state": view.seen.state()})]

    def show(self, rows_for: Callable[[str], Mapping[str, Any]], keeps: Collection[str] = ()) -> list[Effect]:
        """The map changed: `rows_for` says what a user is shown. Besides, whoever holds one of `keeps` goes
        on holding it: nothing newer is known.
        """
        return [
            effect
            for conn, view in self.views.items()
            for effect in _shows(view, rows_for(self.users[conn]), keeps)
        ]

    def unsubscribed(self, message: wire.Unsubscribe, gateway: str, now_ms: int) -> None:
        """Only of what the connection has through this gateway: another may have taken its session up."""
        view = self.views.get(message.conn)
        if view is not None and view.gateway == gateway:
            self._end(message.conn, None if message.clean else now_ms)

    def gateway_lost(self, gateway: str, now_ms: int) -> None:
        """A gateway's link is gone, and its subscriptions with it."""
        for conn in [conn for conn, view in self.views.items() if view.gateway == gateway]:
            self._end(conn, now_ms)

    def _end(self, conn: str, lost_at_ms: int | None) -> None:
        view = self.views.pop(conn)
        del self.users[conn]
        if lost_at_ms is not None:
            self.kept.keep(view, lost_at_ms)

    def _continued(self, message: wire.Subscribe, now_ms: int) -> NearView | None:
        """The view that a subscription with a position goes on from."""
        if not message.epoch or message.offset < 0 or message.shadow is not None:
            return None
        for view in self.views.values():
            if view.epoch == message.epoch:
                return view
        return self.kept.take(message.epoch, now_ms)


def _view(message: wire.Subscribe, gateway: str, epoch: str) -> NearView:
    return NearView(message.conn, gateway, message.ch, epoch, 0.0, Audience.NOBODY, MapView())


def _shows(view: NearView, rows: Mapping[str, Any], keeps: Collection[str]) -> list[Effect]:
    held = view.seen.rows
    if keeps:
        rows = {key: held[key][0] for key in keeps if key in held} | dict(rows)
    changes = view.tells(rows)
    if not changes:
        return []
    shadow = {change[0]: change[3] if len(change) == 4 else -1 for change in changes}
    push = wire.PushMap(view.channel, view.seen.version, msgspec.json.encode(changes), shadow)
    return [Send(view.gateway, push)]
