"""Whom a person sees near them: the subscriptions of `near`, kept live from what their region tells. Pure."""

from collections.abc import Callable
from typing import Any

import msgspec

from actors import messages as wire
from actors.effects import Answer, Asker, Refuse, Send
from actors.near import NearView, near_filter
from actors.person import ToRegion, UserEffect, UserState
from actors.protocol import ErrorCode
from geo.cells import Cell, parent_of
from geo.privacy import (
    Audience,
    Precision,
    Relation,
    Visibility,
    audience_admits,
    coarse,
    strangers_resolution,
    view,
)
from geo.proximity import LIMIT_MAX, MapView, band_of

SETTLE_MS = 2_000

_HIDDEN_RESOLUTION = 8
"""Who is hidden still looks around from a snapped place."""


def told_resolution(precision: str) -> int:
    """What regions are told: res 8 or coarser, whatever the person shows to matches."""
    return _RESOLUTIONS[precision]


_RESOLUTIONS = {p.value: strangers_resolution(p) or _HIDDEN_RESOLUTION for p in Precision}


def wanted_watch(state: UserState, radius_m: float = 0.0) -> wire.RegionWatch | None:
    """What the region should watch for, with one more view of `radius_m`; None without a place."""
    if state.shown is None or not state.region:
        return None
    radius_m = max([radius_m, *(near.radius_m for near in state.views.values())])
    place = coarse(parent_of(state.shown.cell, told_resolution(state.record.visibility_precision)))
    return wire.RegionWatch(0, state.region, state.user, place.lat, place.lon, radius_m)


def rewatch(state: UserState) -> list[UserEffect]:
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


def subscribed(  # noqa: PLR0917
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
        return [Answer(asker, result), *_shows(state, near, now_ms), *rewatch(state)]
    before = _continued(state, message, now_ms)
    state.views[message.conn] = near
    shown = visible_rows(state, state.rows, radius_m, audience, online=online)
    if before is not None:
        near.takes_after(before)
        near.tells(shown)
        rows = near.since(message.offset)
        if rows is not None:
            result |= {"epoch": near.epoch, "offset": near.seen.version, "k": rows, "shadow": near.shadow()}
            return [Answer(asker, result), *rewatch(state)]
        near = state.views[message.conn] = NearView(
            message.conn, gateway, message.ch, new_id(), radius_m, audience, MapView(), online
        )
    near.tells(shown)
    result |= {"epoch": near.epoch, "offset": near.seen.version, "recovered": False}
    result["state"] = near.seen.state()
    return [Answer(asker, result), *rewatch(state)]


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


def candidates(state: UserState, message: wire.RegionCandidates, now_ms: int) -> list[UserEffect]:
    if message.region != state.region:
        return [ToRegion(wire.RegionWatch(0, message.region, state.user, 0.0, 0.0, 0.0))]
    if not state.views:
        return rewatch(state)
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
