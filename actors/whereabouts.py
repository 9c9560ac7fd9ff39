"""A person's position: which fixes count, and what the regions around are told of it. Pure.

A precise position stays in the person's actor; regions are told the snapped one (GEO-20).
"""

from actors import messages as wire
from actors.effects import Answer, Asker, Refuse
from actors.ghosts import told_cell
from actors.near_people import rewatch, told_resolution
from actors.person import Moved, NotLive, ToRegion, UserEffect, UserState
from actors.position_messages import OK, refusal
from geo.cells import region_of, regions_within
from geo.coordinates import LatLng
from geo.fixes import Fix, admit
from geo.intake import OUTCOME_OF
from geo.privacy import coarse, stick
from geo.proximity import RADIUS_MAX_M

ANNOUNCE_AGAIN_MS = 60_000
"""A place that does not change is told again this often: regions forget what is old."""


def position(state: UserState, message: wire.Position, asker: Asker, now_ms: int) -> list[UserEffect]:
    seq = message.t_ms if message.seq is None else message.seq
    fix = Fix(
        message.lat, message.lon, message.acc_m, message.t_ms, seq, message.speed_mps, message.heading_deg
    )
    location = state.location
    admission = admit(fix, location.last, location.held, now_ms)
    location.held = admission.held
    error = refusal(OUTCOME_OF[admission.verdict, admission.reason])
    if error is not None:
        return [NotLive(admission.verdict, admission.reason), Refuse(asker, error.code, error.message)]
    if not admission.accepted:
        return [Answer(asker, OK)]
    location.last = admission.last
    return [Moved(admission.accepted, asker), *placed(state, now_ms)]


def placed(state: UserState, now_ms: int) -> list[UserEffect]:
    """The position or its visibility may have changed: tells the regions what they may know."""
    last = state.last
    if last is None or now_ms - last.t_ms > state.position_ttl_ms:
        return []
    precision = state.record.visibility_precision
    resolution = told_resolution(precision)
    before = state.shown
    shown = stick(before, LatLng(last.lat, last.lon), resolution, last.t_ms)
    if shown is not before:
        state.location.shown = shown
    own = coarse(shown.cell)
    state.region = region_of(own.lat, own.lon, state.split)
    cell = told_cell(state, shown.cell, resolution, now_ms)
    audience = state.record.visibility_audience
    visible = audience != "nobody" and precision != "hidden" and cell is not None
    told = (str(cell), audience, precision, state.is_online)
    if set(state.announced.values()) == ({told} if visible else set()) and not (
        visible and is_due(state, last.t_ms, now_ms)
    ):
        return rewatch(state)
    place = own if cell is None else coarse(cell)
    state.announced_at_ms, state.announced_fix_ms = now_ms, last.t_ms
    regions = regions_within(place.lat, place.lon, RADIUS_MAX_M, state.split) if visible else set()
    effects: list[UserEffect] = [
        ToRegion(wire.RegionLeave(0, region, state.user)) for region in state.announced.keys() - regions
    ]
    for region in regions:
        enter = wire.RegionEnter(
            0, region, state.user, place.cell, place.lat, place.lon, audience, precision, last.t_ms,
            state.is_online,
        )  # fmt: skip
        effects.append(ToRegion(enter))
    state.announced = dict.fromkeys(regions, told)
    return effects + rewatch(state)


def known_before(state: UserState) -> dict[str, tuple[str, str, str, bool | None]]:
    """Regions that may still know of somebody who begins anew with a place: what these were told is not known
    any more, so they are told again, or that the person has left.
    """
    cells = {cell for cell in (state.shown and state.shown.cell, state.haunt.cell) if cell is not None}
    regions: set[str] = set()
    for place in map(coarse, cells):
        regions |= regions_within(place.lat, place.lon, RADIUS_MAX_M, state.split)
    return dict.fromkeys(regions, ("", "", "", None))


def is_due(state: UserState, fix_ms: int, now_ms: int) -> bool:
    """Whether regions are to be told that a place is still the person's, because of newer fixes."""
    return now_ms - state.announced_at_ms >= ANNOUNCE_AGAIN_MS and fix_ms != state.announced_fix_ms


def expired(state: UserState, now_ms: int) -> list[UserEffect]:
    """Once a second: a place that is too old is nobody's, one that does not change is told again."""
    if not state.announced:
        return []
    t_ms = state.location.t_ms
    if now_ms - t_ms <= state.position_ttl_ms:
        return placed(state, now_ms) if is_due(state, t_ms, now_ms) else []
    leaving: list[UserEffect] = [
        ToRegion(wire.RegionLeave(0, region, state.user)) for region in state.announced
    ]
    state.announced = {}
    state.location.look()
    return leaving


def announce_again(state: UserState, regions: set[str], now_ms: int) -> list[UserEffect]:
    """These regions begin anew somewhere: tells them all they knew."""
    if not regions & (state.announced.keys() | {state.watching[0]}):
        return []
    state.announced = {}
    state.watching = ("", "", 0.0)
    return placed(state, now_ms)
