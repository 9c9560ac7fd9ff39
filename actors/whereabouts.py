"""A person's position: which fixes count, and what the regions around are told of it. Pure.

A precise position stays in the person's actor; regions are told the snapped one (GEO-20).
"""

from actors import messages as wire
from actors.effects import Answer, Asker, Refuse
from actors.ghosts import told_cell
from actors.near_people import rewatch, told_resolution
from actors.person import Moved, ToRegion, UserEffect, UserState
from actors.protocol import ErrorCode
from geo.cells import region_of, regions_within
from geo.coordinates import LatLng
from geo.fixes import Fix, Verdict, admit
from geo.privacy import coarse, stick
from geo.proximity import RADIUS_MAX_M

ANNOUNCE_AGAIN_MS = 60_000
"""A place that does not change is told again this often: regions forget what is old."""


def position(state: UserState, message: wire.Position, asker: Asker, now_ms: int) -> list[UserEffect]:
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
    if state.last is None or now_ms - state.last.t_ms > state.position_ttl_ms:
        return []
    precision = state.record.visibility_precision
    resolution = told_resolution(precision)
    state.shown = stick(state.shown, LatLng(state.last.lat, state.last.lon), resolution, state.last.t_ms)
    own = coarse(state.shown.cell)
    state.region = region_of(own.lat, own.lon, state.split)
    cell = told_cell(state, state.shown.cell, resolution, now_ms)
    audience = state.record.visibility_audience
    visible = audience != "nobody" and precision != "hidden" and cell is not None
    told = (str(cell), audience, precision, state.is_online)
    if set(state.announced.values()) == ({told} if visible else set()) and (
        now_ms - state.announced_at_ms < ANNOUNCE_AGAIN_MS or not visible
    ):
        return rewatch(state)
    place = own if cell is None else coarse(cell)
    state.announced_at_ms = now_ms
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
    return effects + rewatch(state)


def announce_again(state: UserState, regions: set[str], now_ms: int) -> list[UserEffect]:
    """These regions begin anew somewhere: tells them all they knew."""
    if not regions & (state.announced.keys() | {state.watching[0]}):
        return []
    state.announced = {}
    state.watching = ("", "", 0.0)
    return placed(state, now_ms)
