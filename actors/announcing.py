"""What the engine is told of where a person is: their home region, snapped, if they may be seen. Pure.

A precise position stays in the person's actor; regions are told the snapped one (GEO-20).
"""

from actors import messages as wire
from actors.ghosts import told_cell, told_fine
from actors.near_people import rewatch, told_resolution
from actors.person import ToRegion, UserEffect, UserState
from geo.cells import RES_FINE, RES_REGION, Cell, parent_of, region_of
from geo.coordinates import LatLng
from geo.privacy import FINE, coarse, stick

ANNOUNCE_AGAIN_MS = 60_000
"""A place that does not change is told again this often: regions forget what is old."""

Told = tuple[str, str, str, bool | None, str]


def placed(state: UserState, now_ms: int) -> list[UserEffect]:
    """The position or its visibility may have changed: tells the region what it may know."""
    last = state.last
    if last is None or now_ms - last.t_ms > state.position_ttl_ms:
        return []
    precision, audience = state.record.visibility_precision, state.record.visibility_audience
    resolution, before = told_resolution(precision), state.shown
    shown = stick(before, LatLng(last.lat, last.lon), resolution, last.t_ms)
    if shown is not before:
        state.location.shown = shown
    _refine(state)
    cell = told_cell(state, shown.cell, resolution, now_ms)
    if audience == "nobody" or precision == "hidden" or cell is None:
        return [*withdrawn(state, now_ms), *rewatch(state)]
    home = home_of(cell, state.split)
    fine = told_fine(state, now_ms)
    told: Told = (str(cell), audience, precision, state.is_online, fine)
    if state.announced == {home: told} and not is_due(state, last.t_ms, now_ms):
        return rewatch(state)
    state.announced_at_ms, state.announced_fix_ms = now_ms, last.t_ms
    effects: list[UserEffect] = [
        ToRegion(wire.RegionLeave(0, region, state.user, _stamp(state, now_ms), moved=True))
        for region in state.announced.keys() - {home}
    ]
    enter = wire.RegionEnter(
        0, home, state.user, cell, audience, precision, last.t_ms, state.is_online, fine,
        _stamp(state, now_ms), counts=not state.probing.is_limited,
    )  # fmt: skip
    state.announced = {home: told}
    return [*effects, ToRegion(enter), *rewatch(state)]


def home_of(cell: Cell, split: frozenset[str]) -> str:
    """The region that a cell lies in."""
    place = coarse(cell)
    return str(region_of(place.lat, place.lon, split))


def known_before(state: UserState) -> dict[str, Told]:
    """Regions that may still know of somebody who begins anew with a place: what these were told is not known
    any more, so they are told again, or that the person has left.
    """
    shown = None if state.shown is None else state.shown.cell
    cells = {cell for cell in (shown, state.haunt.cell) if cell is not None}
    return {home_of(cell, state.split): ("", "", "", None, "") for cell in cells}


def is_due(state: UserState, fix_ms: int, now_ms: int) -> bool:
    """Whether regions are to be told that a place is still the person's, because of newer fixes."""
    return now_ms - state.announced_at_ms >= ANNOUNCE_AGAIN_MS and fix_ms != state.announced_fix_ms


def expired(state: UserState, now_ms: int) -> list[UserEffect]:
    """Once a second: a place that is too old is nobody's, one that does not change is told again, and what
    matches are shown is brought up to date.
    """
    if not state.announced:
        return []
    t_ms = state.location.t_ms
    if now_ms - t_ms <= state.position_ttl_ms:
        return placed(state, now_ms) if is_due(state, t_ms, now_ms) or _refine(state) else []
    state.location.look()
    return withdrawn(state, now_ms)


def withdrawn(state: UserState, now_ms: int) -> list[UserEffect]:
    """Nobody is to see the person any more: tells it wherever they may be known."""
    known = set(state.announced)
    # A region that was split a moment ago may be on its way to passing them on.
    known |= {str(parent_of(Cell(region), RES_REGION)) for region in known}
    state.announced = {}
    stamp = _stamp(state, now_ms) if known else 0
    return [ToRegion(wire.RegionLeave(0, region, state.user, stamp)) for region in sorted(known)]


def checked(state: UserState, check: wire.RegionCheck, now_ms: int) -> list[UserEffect]:
    """A region that shows the person asks whether they are there: it is told if they are not. What it knows
    of their place counts where this actor knows none.
    """
    wished = (state.record.visibility_audience, state.record.visibility_precision)
    if check.region in state.announced or (
        state.last is None and wished == (check.audience, check.precision)
    ):
        return []
    return [ToRegion(wire.RegionLeave(0, check.region, state.user, _stamp(state, now_ms)))]


def announce_again(state: UserState, regions: set[str], now_ms: int) -> list[UserEffect]:
    """These regions begin anew somewhere, or are split: tells them, or their children, what they knew."""
    if not regions & state.announced.keys():
        return []
    state.announced = dict.fromkeys(state.announced, ("", "", "", None, ""))
    return placed(state, now_ms)


def _refine(state: UserState) -> bool:
    """Follows the cell that matches are shown who are granted res 9; whether it is another one now."""
    before = state.fine
    if state.record.visibility_precision not in FINE or (last := state.last) is None:
        state.fine = None
    else:
        state.fine = stick(before, LatLng(last.lat, last.lon), RES_FINE, last.t_ms)
    return (before and before.cell) != (state.fine and state.fine.cell)


def _stamp(state: UserState, now_ms: int) -> int:
    """Rises with every announcement, also over activations of this person's actor."""
    state.stamp = max(now_ms, state.stamp + 1)
    return state.stamp
