"""Whom a person sees near them: the subscriptions of `near`, kept live from what their region tells. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

import msgspec

from actors import messages as wire
from actors.effects import Answer, Asker, Refuse, Send
from actors.near import HOLD_MS, NearView, near_filter
from actors.person import Look, UserEffect, UserState, WantScores
from actors.protocol import ErrorCode
from actors.score_book import ScoreBook
from actors.vicinity import Seen, Vicinity, Walk
from geo.cells import Cell, parent_of
from geo.distance import distance_m as metres_between
from geo.privacy import (
    Audience,
    Precision,
    Relation,
    Visibility,
    coarse,
    strangers_resolution,
    view,
)
from geo.proximity import LIMIT_MAX, RADIUS_MAX_M, MapView, band_of

SETTLE_MS = 2_000
RES_CITY = strangers_resolution(Precision.CITY) or 0
BAND_WIDEST = band_of(9_999.0)


@dataclass(frozen=True, slots=True)
class Around:
    """Who is around a viewer, as far as it is known."""

    people: Vicinity
    is_complete: bool
    """All regions within reach have told who is there."""


_HIDDEN_RESOLUTION = 8
"""Who is hidden still looks around from a snapped place."""


def told_resolution(precision: str) -> int:
    """What regions are told: res 8 or coarser, whatever the person shows to matches."""
    return _RESOLUTIONS[precision]


_RESOLUTIONS = {p.value: strangers_resolution(p) or _HIDDEN_RESOLUTION for p in Precision}


def looks_from(state: UserState) -> Cell | None:
    """The snapped place that the person looks around from; None before their first fix."""
    if state.shown is None:
        return None
    resolution = told_resolution(state.record.visibility_precision)
    return parent_of(state.shown.cell, RES_CITY if state.probing.is_limited else resolution)


def rewatch(state: UserState) -> list[UserEffect]:
    """Says from where the person looks, where that changed; or that they do not look any more."""
    wanted = str(looks_from(state) or "") if state.views else ""
    if wanted == state.watching:
        return []
    state.watching = wanted
    return [Look(wanted)]


def subscribed(  # noqa: PLR0917
    state: UserState,
    message: wire.Subscribe,
    asker: Asker,
    gateway: str,
    now_ms: int,
    new_id: Callable[[], str],
    around: Around,
) -> list[UserEffect]:
    """A subscription of `near`, from what is known of the regions around by now."""
    try:
        wanted = near_filter(message.filter)
    except ValueError as error:
        return [Refuse(asker, ErrorCode.BAD_REQUEST, str(error))]
    if message.mode != "map":
        return [Refuse(asker, ErrorCode.BAD_REQUEST, "near is a map")]
    near = wanted.view(message, gateway, new_id())
    if near.scores and state.book is None:
        state.book = ScoreBook()
    result: dict[str, Any] = {"ch": "near", "mode": "map", "was_recovering": message.epoch != "", "pubs": []}
    result |= {"phase": "live", "recovered": True}
    if message.shadow is not None and message.epoch:
        # The gateway says what this connection holds: go on from there, with deltas.
        held = {key: (None, version) for key, version in message.shadow.items()}
        near.epoch, near.seen = message.epoch, MapView(max(message.offset, 0), held)
        near.floor = near.seen.version
        near.settles_at_ms = now_ms + SETTLE_MS
        near.holds_until_ms = now_ms + HOLD_MS if near.scores else 0
        state.views[message.conn] = near
        result |= {"epoch": near.epoch, "offset": near.seen.version}
        return [Answer(asker, result), *_shows(state, near, now_ms, around), *rewatch(state)]
    before = _continued(state, message, now_ms)
    state.views[message.conn] = near
    if before is not None:
        near.takes_after(before)
        near.tells(_shown(state, near, around))
        rows = near.since(message.offset)
        if rows is not None:
            result |= {"epoch": near.epoch, "offset": near.seen.version, "k": rows, "shadow": near.shadow()}
            return [Answer(asker, result), *rewatch(state), *_asks(state, near)]
        near = state.views[message.conn] = wanted.view(message, gateway, new_id())
    near.tells(_shown(state, near, around))
    result |= {"epoch": near.epoch, "offset": near.seen.version, "recovered": False}
    result["state"] = near.seen.state()
    return [Answer(asker, result), *rewatch(state), *_asks(state, near)]


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


def reviewed(state: UserState, now_ms: int, around: Around) -> list[UserEffect]:
    """Who is around or relations changed: tells each view what is new. Who was blocked is gone at once
    (CONN-6).
    """
    return [effect for near in state.views.values() for effect in _shows(state, near, now_ms, around)]


def visible_rows(
    state: UserState,
    around: Vicinity,
    radius_m: float,
    audience: Audience,
    limit: int = LIMIT_MAX,
    *,
    online: bool = False,
) -> tuple[dict[str, dict[str, Any]], float]:
    """What this viewer may see, nearest `limit` by snapped distance, ties by user, by the one policy (GEO-11,
    GEO-20); and how far away a change among strangers may matter to it.
    """
    place = looks_from(state)
    if place is None:
        return {}, 0.0
    if state.probing.is_limited:
        return _in_the_city(state, around, place, audience, limit, online=online), RADIUS_MAX_M
    found = [
        each
        for each in _acquainted(state, around, place, audience)
        if each.distance_m <= radius_m and (each.online or not online)
    ]
    if audience is Audience.EVERYONE:
        known = len(found)
        found += _strangers(state, around.strangers(place), radius_m, limit, online=online)
        if known:
            found.sort(key=_order)
    else:
        found.sort(key=_order)
    reach_m = radius_m if len(found) < limit else found[limit - 1].distance_m
    return {each.user: each.data for each in found[:limit]}, reach_m


def _strangers(state: UserState, walk: Walk, radius_m: float, limit: int, *, online: bool) -> list[Seen]:
    """The nearest strangers to the viewer, in order, at most `limit`."""
    record = state.record
    unseen = {state.user, *record.blocked, *record.matched}
    if not online:
        page = walk.first(limit + len(unseen))
        return [each for each in page if each.user not in unseen and each.distance_m <= radius_m][:limit]
    seen = (each for each in walk if each.online and each.user not in unseen)
    return list(islice(takewhile(lambda each: each.distance_m <= radius_m, seen), limit))


def _in_the_city(
    state: UserState, around: Vicinity, city: Cell, audience: Audience, limit: int, *, online: bool
) -> dict[str, dict[str, Any]]:
    """What somebody sees who can't be where they say: who is in the same city, nothing nearer (GEO-23)."""
    found = {each.user: each for each in _acquainted(state, around, city, audience, everywhere=True)}
    if audience is Audience.EVERYONE:
        hidden = state.record.blocked | state.record.matched | {state.user}
        found |= {each.user: each for each in around.all_strangers() if each.user not in hidden}
    there = sorted(
        user
        for user, each in found.items()
        if parent_of(each.data["cell"], RES_CITY) == city and (each.online or not online)
    )
    return {user: {"user": user, "cell": city, "band": BAND_WIDEST} for user in there[:limit]}


def _acquainted(
    state: UserState, around: Vicinity, place: Cell, audience: Audience, *, everywhere: bool = False
) -> Iterator[Seen]:
    """Those around whom the viewer sees as something else than a stranger does: there may be thousands of
    strangers nearer.
    """
    record, people = state.record, around.people
    if not record.matched and not record.group_mates:
        return
    wanted = people.keys() & record.matched
    if audience is Audience.GROUP:
        wanted |= people.keys() & record.group_mates
    elif audience is Audience.EVERYONE:
        wanted |= around.for_mates & record.group_mates
    middle = coarse(place)
    for user in wanted - {state.user}:
        row, matched = people[user], user in record.matched
        cell = row.cell if matched else row.open
        if not cell:
            continue
        relation = Relation(
            blocked=user in record.blocked, matched=matched, shares_group=user in record.group_mates
        )
        visibility = Visibility(Audience(row.audience), Precision(row.precision))
        # The region has coarsened what strangers see until enough people share it, so k is met here.
        seen = view(Cell(cell), visibility, relation, k=1, active_users_in=lambda _: 1)
        if seen is not None:
            distance_m = round(metres_between(middle.lat, middle.lon, seen.lat, seen.lon), 3)
            if distance_m <= RADIUS_MAX_M or everywhere:
                band = BAND_WIDEST if everywhere else band_of(distance_m)
                data = {"user": user, "cell": seen.cell, "band": band}
                yield Seen(distance_m, user, data, row.online)


def _order(seen: Seen) -> tuple[float, str]:
    return seen.distance_m, seen.user


def _shown(state: UserState, near: NearView, around: Around) -> dict[str, Any]:
    """What a view is to show now. While a region around is not known yet, nobody else than the blocked is
    taken off, nor after a hand-over, while regions may still be hearing who is there.
    """
    shown, near.reach_m = visible_rows(
        state, around.people, near.radius_m, near.audience, near.looks_at, online=near.online
    )
    if not around.is_complete:
        kept = {key: row[0] for key, row in near.seen.rows.items() if key not in state.record.blocked}
        shown = kept | shown
    if not near.scores:
        return shown
    return _with_scores(state, near, shown, LIMIT_MAX if around.is_complete else len(shown))


def _with_scores(state: UserState, near: NearView, shown: dict[str, Any], limit: int) -> dict[str, Any]:
    """The rows with what is known of scores, nearest first; those that have too low a one left out."""
    near.wants = tuple(shown)
    book = state.book or ScoreBook()
    held = near.seen.rows if near.holds_until_ms else {}
    rows: dict[str, Any] = {}
    for user, data in shown.items():
        if data is None or (user not in book.known and user in held and held[user][0] is None):
            rows[user] = None  # as an activation before showed it, until it is known
        elif (row := with_score(book, data, near.min_score)) is not None:
            rows[user] = row
        if len(rows) == limit:
            break
    return rows


def with_score(book: ScoreBook, data: dict[str, Any], min_score: float | None) -> dict[str, Any] | None:
    """A row of somebody with their score, as far as it is known; None where it is to be higher, or known."""
    row = {"user": data["user"], "cell": data["cell"], "band": data["band"]}
    score = book.known.get(data["user"])
    if score is not None and score >= (min_score or 0.0):
        return row | {"score": score, "model": book.model}
    return row if min_score is None else None


def _asks(state: UserState, near: NearView) -> list[UserEffect]:
    """Asks for scores that a view lacks."""
    lacks = near.scores and state.book is not None and state.book.lacks(near.wants)
    return [WantScores()] if lacks else []


def _shows(state: UserState, near: NearView, now_ms: int, around: Around) -> list[UserEffect]:
    if near.settles_at_ms > now_ms:
        around = Around(around.people, is_complete=False)
    changes = near.tells(_shown(state, near, around))
    asks = _asks(state, near)
    if not changes:
        return asks
    shadow = {change[0]: change[3] if len(change) == 4 else -1 for change in changes}
    push = wire.PushMap(near.channel, near.seen.version, msgspec.json.encode(changes), shadow)
    return [Send(near.gateway, push), *asks]
