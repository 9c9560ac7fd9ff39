"""`share:<id>` of one person: the shares that they look at, told by the sharers' actors (GEO-22). Pure.

Each subscription is a map of its own with at most one row, kept and resumed as `near` is (RT-8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actors import messages as wire
from actors.effects import Asker, Effect, Refuse, Send
from actors.map_views import MapViews
from actors.protocol import ErrorCode

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
    maps: MapViews = field(default_factory=MapViews)

    @property
    def is_wanted(self) -> bool:
        """Somebody looks, or may come back to it."""
        return bool(self.maps.views or self.maps.kept.by_epoch)

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
    return followed.maps.subscribed(message, asker, gateway, followed.rows(), now_ms, new_id)


def shown(followed: Followed, told: wire.ShareShown) -> list[Effect]:
    """The sharer's actor told what is shown now. What is older than what is known changes nothing."""
    if told.version < followed.version:
        return []
    followed.version, followed.place = told.version, told.place
    return followed.maps.show(lambda _: followed.rows())


def over(state: UserState, followed: Followed) -> list[Effect]:
    """The share has ended for this viewer: the row goes, and then the subscriptions end."""
    del state.shares.followed[followed.share]
    return [
        *followed.maps.show(lambda _: {}),
        *(
            Send(
                view.gateway,
                wire.Unsubscribed(view.channel, state.user, int(ErrorCode.DENIED), "this share has ended"),
            )
            for view in followed.maps.views.values()
        ),
    ]
