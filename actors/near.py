"""One subscription of `near`: what its client holds, and how it goes on after a loss. Pure (RT-8).

A view that lost its connection without a goodbye is kept, with what was removed from it, so that a client
that comes back anywhere with (epoch, offset) gets what changed and not everything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.messages import Subscribe
from geo.privacy import Audience
from geo.proximity import LIMIT_MAX, RADIUS_MAX_M, Change, MapView, changes_to

DEFAULT_RADIUS_M = 2_000.0
HOLD_MS = 15_000
"""So long a view with scores that goes on from a lost activation waits for them."""

SCORED_LIMIT = 200
"""With `min_score`: so many of the nearest are looked at (MATCH-7)."""

KEEP_MS = 120_000
"""How long a lost view can be continued."""

KEPT_LIMIT = 8
"""Lost views of one person; the oldest goes first."""

GONE_LIMIT = 500
"""Removals remembered; who is behind the oldest starts over."""


@dataclass(slots=True)
class NearView:
    """One subscription of `near`."""

    conn: str
    gateway: str
    channel: str
    epoch: str
    radius_m: float
    audience: Audience
    seen: MapView
    online: bool = False
    """Only those who are online."""
    reach_m: float = RADIUS_MAX_M
    """What changes among strangers farther away changes nothing here."""
    holds_until_ms: int = 0
    """Until then a row whose score is not known yet stays as an activation before told it."""
    settles_at_ms: int = 0
    """Until then nobody is taken off: after a hand-over regions may still be hearing who is there."""
    gone: dict[str, int] = field(default_factory=dict)
    """Key → the version at which it was removed, in that order."""
    floor: int = 0
    """The lowest offset from which all changes are known."""
    kept_until_ms: int = 0
    scores: bool = False
    """Rows say how well the two fit, as far as that is known (MATCH-17)."""
    min_score: float | None = None
    """Only those whose score is known, and this or more."""
    wants: tuple[str, ...] = ()
    """Whose scores it was made of, or would have been."""

    @property
    def looks_at(self) -> int:
        """How many of the nearest may matter to it."""
        return LIMIT_MAX if self.min_score is None else SCORED_LIMIT

    def tells(self, shown: Mapping[str, Any]) -> list[Change]:
        """The view shows this now: the rows that tell it."""
        self.seen, changes = changes_to(self.seen, shown)
        for change in changes:
            self.gone.pop(change[0], None)
            if change[1] == "-":
                self.gone[change[0]] = self.seen.version
        while len(self.gone) > GONE_LIMIT:
            oldest = next(iter(self.gone))
            self.floor = self.gone.pop(oldest)
        return changes

    def since(self, offset: int) -> list[Change] | None:
        """What changed after `offset`; None where that is not known any more."""
        if not self.floor <= offset <= self.seen.version:
            return None
        removals: list[Change] = [(key, "-") for key, version in self.gone.items() if version > offset]
        return removals + [
            (key, "+", data, version) for key, (data, version) in sorted(self.seen.rows.items())
            if version > offset
        ]  # fmt: skip

    def takes_after(self, other: "NearView") -> None:
        """Goes on from what another one told. It is the same view only on the same connection, or after it:
        of two that live each has its own epoch from here on, since they change apart.
        """
        self.seen, self.gone, self.floor = other.seen, dict(other.gone), other.floor
        if not other.gateway or other.conn == self.conn:
            self.epoch = other.epoch

    def shadow(self) -> dict[str, int]:
        """Key → version of all that the client holds when it has got everything."""
        return {key: version for key, (_, version) in self.seen.rows.items()}


@dataclass(slots=True)
class KeptViews:
    """Views whose connection was lost, by epoch, oldest first."""

    by_epoch: dict[str, NearView] = field(default_factory=dict)

    def keep(self, near: NearView, now_ms: int) -> None:
        """The connection is gone and may come back."""
        near.gateway, near.kept_until_ms = "", now_ms + KEEP_MS
        self.by_epoch[near.epoch] = near
        if len(self.by_epoch) > KEPT_LIMIT:
            del self.by_epoch[next(iter(self.by_epoch))]

    def take(self, epoch: str, now_ms: int) -> NearView | None:
        """The view of this epoch, if it is still good."""
        near = self.by_epoch.pop(epoch, None)
        return near if near is not None and now_ms < near.kept_until_ms else None

    def expire(self, now_ms: int) -> None:
        """Forgets those whose time is over."""
        for epoch in [e for e, near in self.by_epoch.items() if now_ms >= near.kept_until_ms]:
            del self.by_epoch[epoch]


@dataclass(frozen=True, slots=True)
class NearFilter:
    """What a subscription of `near` asks for."""

    radius_m: float = DEFAULT_RADIUS_M
    audience: Audience = Audience.EVERYONE
    online: bool = False
    scores: bool = False
    min_score: float | None = None

    def view(self, message: Subscribe, gateway: str, epoch: str) -> NearView:
        """A new view for this connection."""
        return NearView(
            message.conn, gateway, message.ch, epoch, self.radius_m, self.audience, MapView(), self.online,
            scores=self.scores, min_score=self.min_score,
        )  # fmt: skip


def near_filter(given: dict[str, Any] | None) -> NearFilter:
    """The filter of a `near` subscription; None is as if left out. Raises ValueError with what is wrong."""
    given = {name: value for name, value in (given or {}).items() if value is not None}
    radius_m = _number(given, "radius_m", DEFAULT_RADIUS_M, "a number of metres")
    if not 0 < radius_m <= RADIUS_MAX_M:
        raise ValueError(f"filter.radius_m must lie in (0, {RADIUS_MAX_M:.0f}]")
    audience = given.get("audience", "everyone")
    if audience not in ("matches", "group", "everyone"):
        raise ValueError("filter.audience must be matches, group or everyone")
    online, scores = _flag(given, "online"), _flag(given, "scores")
    if "min_score" not in given:
        return NearFilter(radius_m, Audience(audience), online, scores)
    min_score = _number(given, "min_score", 0.0, "a number")
    if not 0 <= min_score <= 1:
        raise ValueError("filter.min_score must lie in [0, 1]")
    return NearFilter(radius_m, Audience(audience), online, scores=True, min_score=min_score)


def _number(given: dict[str, Any], name: str, default: float, what: str) -> float:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"filter.{name} must be {what}")  # noqa: TRY004 - the client's error
    return float(value)


def _flag(given: dict[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise ValueError(f"filter.{name} must be true or false")  # noqa: TRY004 - as above
    return value
