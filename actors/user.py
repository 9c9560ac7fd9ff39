"""A person: position, what others see of it, whom they see near, and their own streams. State and pure step.

Their presence (online.py), position and crossings change in one order, this actor's (PRE-5). A precise
position stays in here; regions are told the snapped one (GEO-20).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors import messages as wire
from actors.effects import Answer, Asker, Effect, Refuse, Send
from actors.matches import MatchesView
from actors.near import KeptViews, NearView, near_filter
from actors.protocol import ErrorCode
from actors.region import PLACE_TTL_MS
from actors.stream import Stream
from geo.cells import Cell, parent_of, region_of, regions_within
from geo.coordinates import LatLng
from geo.crossings import Standing
from geo.fixes import Fix, Verdict, admit
from geo.privacy import (
    Audience,
    Precision,
    Relation,
    Shown,
    Visibility,
    audience_admits,
    coarse,
    stick,
    strangers_resolution,
    view,
)
from geo.proximity import LIMIT_MAX, RADIUS_MAX_M, MapView, band_of
from storage.streams import UserRecord

SETTLE_MS = 2_000
ANNOUNCE_AGAIN_MS = 60_000
"""A place that does not change is told again this often: regions forget what is old."""

_HIDDEN_RESOLUTION = 8
"""Who is hidden still looks around from a snapped place."""


@dataclass(frozen=True, slots=True)
class ToRegion:
    """A message to a region."""

    message: wire.RegionEnter | wire.RegionLeave | wire.RegionWatch


@dataclass(frozen=True, slots=True)
class Moved:
    """The fixes that now count, oldest first: to the fences and to the snapshot."""

    fixes: tuple[Fix, ...]


UserEffect = Effect | ToRegion | Moved


@dataclass(slots=True)
class UserState:
    """One person's live state."""

    user: str
    record: UserRecord
    last: Fix | None = None
    held: Fix | None = None
    shown: Shown | None = None
    region: str = ""
    split: frozenset[str] = frozenset()
    announced: dict[str, tuple[str, str, str, bool | None]] = field(default_factory=dict)
    """Regions that know of this person, and as what: cell, audience, precision, online."""
    announced_at_ms: int = 0
    watching: tuple[str, str, float] = ("", "", 0.0)
    """What the region watches for: region, own cell, radius."""
    rows: list[wire.CandidateRow] = field(default_factory=list)
    views: dict[str, NearView] = field(default_factory=dict)
    kept: KeptViews = field(default_factory=KeptViews)
    streams: dict[str, Stream] = field(default_factory=dict)
    listeners: dict[str, dict[str, str]] = field(default_factory=lambda: {"me": {}, "fences": {}})
    """Stream → connection → gateway."""
    fences: dict[str, Standing] = field(default_factory=dict)
    visits: dict[str, int] = field(default_factory=dict)
    located: bool = False
    """A fix of theirs counted before: a fence then hears of an `enter`, not of an initial `inside`."""
    is_online: bool | None = None
    """As others may know it by now (online_host.py); None: not known yet."""
    matches: MatchesView | None = None
    """Of `presence:matches`, where somebody listens."""
    said: int = 0
    """The number of its last push, as a room's (`actors.attendance.Attendance.said`)."""

    @property
    def is_idle(self) -> bool:
        """No subscription, and no place that regions would show."""
        listened = self.views or self.matches is not None or any(self.listeners.values())
        return not listened and not self.announced


def step(  # noqa: PLR0911, PLR0917 - one line per kind of message
    state: UserState,
    message: wire.Request,
    asker: Asker,
    gateway: str,
    now_ms: int,
    new_id: Callable[[], str],
) -> list[UserEffect]:
    """One message to the person's actor."""
    if isinstance(message, wire.Position):
        return _position(state, message, asker, now_ms)
    if isinstance(message, wire.RegionCandidates):
        return _candidates(state, message, now_ms)
    if isinstance(message, wire.Unsubscribe):
        return [*_unsubscribe(state, message, gateway, now_ms), Answer(asker, {})]
    name = message.ch.partition("@")[0] if isinstance(message, wire.Subscribe | wire.History) else ""
    if isinstance(message, wire.Subscribe) and name == "near":
        return _near(state, message, asker, gateway, now_ms, new_id)
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
        return _watch(state)
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
    return _watch(state)


# -- position ------------------------------------------------------------------------------------------


def _position(state: UserState, message: wire.Position, asker: Asker, now_ms: int) -> list[UserEffect]:
    seq = message.t_ms if message.seq is None else message.seq
    fix = Fix(
        message.lat, message.lon, message.acc_m, message.t_ms, seq, message.speed_mps, message.heading_deg
    )
    admission = admit(fix, state.last, state.held, now_ms)
    state.held = admission.held
    if admission.verdict is Verdict.REFUSED:
        return [Refuse(asker, ErrorCode.BAD_REQUEST, f"this is not a fix: {admission.reason}")]
    if not admission.ok:
        return [Refuse(asker, ErrorCode.STALE_POSITION, f"this fix does not count: {admission.reason}")]
    effects: list[UserEffect] = [Answer(asker, {"ok": True})]
    if admission.accepted:
        state.last = admission.last
        effects += [Moved(admission.accepted), *placed(state, now_ms)]
    return effects


def placed(state: UserState, now_ms: int) -> list[UserEffect]:
    """The position or its visibility may have changed: tells the regions what they may know."""
    if state.last is None or now_ms - state.last.t_ms > PLACE_TTL_MS:
        return []
    precision = state.record.visibility_precision
    resolution = _resolution(precision)
    state.shown = stick(state.shown, LatLng(state.last.lat, state.last.lon), resolution, state.last.t_ms)
    audience = state.record.visibility_audience
    visible = audience != "nobody" and precision != "hidden"
    told = (str(state.shown.cell), audience, precision, state.is_online)
    if set(state.announced.values()) == ({told} if visible else set()) and (
        now_ms - state.announced_at_ms < ANNOUNCE_AGAIN_MS or not visible
    ):
        return _watch(state) if not state.watching[0] else []
    place = coarse(state.shown.cell)
    state.announced_at_ms = now_ms
    state.region = region_of(place.lat, place.lon, state.split)
    regions = regions_within(place.lat, place.lon, RADIUS_MAX_M, state.split) if visible else set()
    effects: list[UserEffect] = [
        ToRegion(wire.RegionLeave(0, region, state.user)) for region in state.announced.keys() - regions
    ]
    for region in regions:
        enter = wire.RegionEnter(
            0, region, state.user, place.cell, place.lat, place.lon, audience, precision, state.last.t_ms,
            state.is_online,
        )  # fmt: skip
        effects.append(ToRegion(enter))
    state.announced = dict.fromkeys(regions, told)
    return effects + _watch(state)


def _resolution(precision: str) -> int:
    """What regions are told: res 8 or coarser, whatever the person shows to matches."""
    return _RESOLUTIONS[precision]


_RESOLUTIONS = {p.value: strangers_resolution(p) or _HIDDEN_RESOLUTION for p in Precision}


def announce_again(state: UserState, regions: set[str], now_ms: int) -> list[UserEffect]:
    """These regions begin anew somewhere: tells them all they knew."""
    if not regions & (state.announced.keys() | {state.watching[0]}):
        return []
    state.announced = {}
    state.watching = ("", "", 0.0)
    return placed(state, now_ms)


# -- near ------------------------------------------------------------------------------------------------


def wanted_watch(state: UserState, radius_m: float = 0.0) -> wire.RegionWatch | None:
    """What the region should watch for, with one more view of `radius_m`; None without a place."""
    if state.shown is None or not state.region:
        return None
    radius_m = max([radius_m, *(near.radius_m for near in state.views.values())])
    place = coarse(parent_of(state.shown.cell, _resolution(state.record.visibility_precision)))
    return wire.RegionWatch(0, state.region, state.user, place.lat, place.lon, radius_m)


def _watch(state: UserState) -> list[UserEffect]:
    """Asks the region for what the views need, where that changed; stops a watch that nobody needs."""
    if not state.views and not state.watching[0]:
        return []
    watch = wanted_watch(state)
    if watch is None:
        return []
    region, _, radius_m = state.watching
    assert state.shown is not None
    wanted = (watch.region, str(state.shown.cell), watch.radius_m)
    if wanted == state.watching or (watch.radius_m == 0 and radius_m == 0):
        return []
    effects: list[UserEffect] = []
    if region and region != watch.region:
        effects.append(ToRegion(wire.RegionWatch(0, region, state.user, 0.0, 0.0, 0.0)))
    state.watching = wanted if watch.radius_m > 0 else ("", "", 0.0)
    return [*effects, ToRegion(watch)]


def _near(  # noqa: PLR0917
    state: UserState,
    message: wire.Subscribe,
    asker: Asker,
    gateway: str,
    now_ms: int,
    new_id: Callable[[], str],
) -> list[UserEffect]:
    try:
        radius_m, audience, online = near_filter(message.filter)
    except ValueError as error:
        return [Refuse(asker, ErrorCode.BAD_REQUEST, str(error))]
    if message.mode != "map":
        return [Refuse(asker, ErrorCode.BAD_REQUEST, "near is a map")]
    near = NearView(message.conn, gateway, message.ch, new_id(), radius_m, audience, MapView(), online)
    result: dict[str, Any] = {"ch": "near", "mode": "map", "was_recovering": message.epoch != "", "pubs": []}
    result |= {"phase": "live", "recovered": True}
    if message.shadow is not None and message.epoch:
        # The gateway says what this connection holds: go on from there, with deltas.
        held = {key: (None, version) for key, version in message.shadow.items()}
        near.epoch, near.seen = message.epoch, MapView(max(message.offset, 0), held)
        near.floor = near.seen.version
        near.settles_at_ms = now_ms + SETTLE_MS
        state.views[message.conn] = near
        result |= {"epoch": near.epoch, "offset": near.seen.version}
        return [Answer(asker, result), *_shows(state, near, now_ms), *_watch(state)]
    before = _continued(state, message, now_ms)
    state.views[message.conn] = near
    shown = visible_rows(state, state.rows, radius_m, audience, online=online)
    if before is not None:
        near.takes_after(before)
        near.tells(shown)
        rows = near.since(message.offset)
        if rows is not None:
            result |= {"epoch": near.epoch, "offset": near.seen.version, "k": rows, "shadow": near.shadow()}
            return [Answer(asker, result), *_watch(state)]
        near = state.views[message.conn] = NearView(
            message.conn, gateway, message.ch, new_id(), radius_m, audience, MapView(), online
        )
    near.tells(shown)
    result |= {"epoch": near.epoch, "offset": near.seen.version, "recovered": False}
    result["state"] = near.seen.state()
    return [Answer(asker, result), *_watch(state)]


def _continued(state: UserState, message: wire.Subscribe, now_ms: int) -> NearView | None:
    """The view that a subscription with a position goes on from: a lost one, or one whose loss nobody has
    noticed yet.
    """
    if not message.epoch or message.offset < 0:
        return None
    for near in state.views.values():
        if near.epoch == message.epoch:
            return near
    return state.kept.take(message.epoch, now_ms)


def _candidates(state: UserState, message: wire.RegionCandidates, now_ms: int) -> list[UserEffect]:
    if message.region != state.region:
        return [ToRegion(wire.RegionWatch(0, message.region, state.user, 0.0, 0.0, 0.0))]
    if not state.views:
        return _watch(state)
    state.rows = message.rows
    return reviewed(state, now_ms)


def reviewed(state: UserState, now_ms: int) -> list[UserEffect]:
    """Rows or relations changed: tells each view what is new. Who was blocked is gone at once (CONN-6)."""
    return [effect for near in state.views.values() for effect in _shows(state, near, now_ms)]


def settled(state: UserState, now_ms: int) -> list[UserEffect]:
    """Views that were handed over show from now on just what is there."""
    effects: list[UserEffect] = []
    for near in state.views.values():
        if 0 < near.settles_at_ms <= now_ms:
            near.settles_at_ms = 0
            effects += _shows(state, near, now_ms)
    return effects


def visible_rows(
    state: UserState,
    rows: list[wire.CandidateRow],
    radius_m: float,
    audience: Audience,
    *,
    online: bool = False,
) -> dict[str, dict[str, Any]]:
    """What this viewer may see of the candidates, nearest 50, by the one policy (GEO-11, GEO-20)."""
    shown: dict[str, dict[str, Any]] = {}
    record = state.record
    for row in rows:
        if row.distance_m > radius_m or len(shown) >= LIMIT_MAX:
            break
        if online and not row.online:
            continue
        relation = Relation(
            blocked=row.user in record.blocked,
            matched=row.user in record.matched,
            shares_group=row.user in record.group_mates,
        )
        visibility = Visibility(Audience(row.audience), Precision(row.precision))
        # The region has coarsened the cell until enough people share it, so k is met here.
        seen = view(Cell(row.cell), visibility, relation, k=1, active_users_in=lambda _: 1)
        if seen is not None and audience_admits(audience, relation):
            shown[row.user] = {"user": row.user, "cell": seen.cell, "band": band_of(row.distance_m)}
    return shown


def _shows(state: UserState, near: NearView, now_ms: int) -> list[UserEffect]:
    shown = visible_rows(state, state.rows, near.radius_m, near.audience, online=near.online)
    if near.settles_at_ms > now_ms:
        kept = {key: row[0] for key, row in near.seen.rows.items() if key not in state.record.blocked}
        shown = kept | shown
    changes = near.tells(shown)
    if not changes:
        return []
    shadow = {change[0]: change[3] if len(change) == 4 else -1 for change in changes}
    push = wire.PushMap(near.channel, near.seen.version, msgspec.json.encode(changes), shadow)
    return [Send(near.gateway, push)]
