"""What the engine's own kernels make of a trace with no engine: admission, shown cell, crossings, stays."""

from collections.abc import Sequence

import numpy as np

from cluster.demo.fences import Fence
from cluster.demo.walks import Route
from cluster.report.trail import COUNTED, Stop, Trail, trail
from cluster.report.words import said
from geo.cells import Cell
from geo.coordinates import LatLng
from geo.crossings import Crossing, Standing, due_ms, elapse, follow, rules_of
from geo.fences import FenceIndex
from geo.fixes import Fix, Reason, admit
from geo.places import RADIUS_MIN_M
from geo.privacy import RES_STRANGERS_FINEST, Shown, stick
from geo.stays import Stay, stays_of

ACCURACY_M = 5.0
"""Where the file tells none."""


def judge(route: Route, fences: Sequence[Fence], resolution: int = RES_STRANGERS_FINEST) -> Trail | None:
    """Return what became of a trace whose fixes come at the times that they tell; None if none of them
    counts. `resolution` is the H3 resolution that strangers may see at best.
    """
    fixes, judged = _admitted(route)
    if not fixes:
        return None
    begin_ms = fixes[0].t_ms
    events = [
        (crossing.at_ms, str(crossing.event), said(fences[int(fence)].name, crossing))
        for fence, crossing in _crossings(fixes, fences)
    ]
    stays = stays_of([(fix.t_ms, fix.lat, fix.lon, fix.acc_m) for fix in fixes])
    return trail(
        route.name, judged, _cells(fixes, resolution), events, [_stop(stay, begin_ms) for stay in stays]
    )


def _admitted(route: Route) -> tuple[list[Fix], list[tuple[Fix, str]]]:
    """The fixes that count, oldest first, and all of them with their outcomes."""
    last: Fix | None = None
    held: Fix | None = None
    accepted: list[Fix] = []
    outcomes: dict[int, tuple[Fix, str]] = {}
    for seq, point in enumerate(route.points):
        fix = Fix(point.lat, point.lon, point.acc_m or ACCURACY_M, point.t_ms, seq)
        admission = admit(fix, last, held, point.t_ms)
        last, held = admission.last, admission.held
        outcomes[seq] = (admission.fix, str(admission.reason or Reason.REPEATED))
        for each in admission.accepted:  # a held one, too, once the next agrees
            outcomes[each.seq] = (each, COUNTED)
            accepted.append(each)
    return accepted, list(outcomes.values())


def _cells(fixes: Sequence[Fix], resolution: int) -> list[tuple[int, Cell]]:
    shown: Shown | None = None
    cells: list[tuple[int, Cell]] = []
    for fix in fixes:
        shown = stick(shown, LatLng(fix.lat, fix.lon), resolution, fix.t_ms)
        if not cells or cells[-1][1] != shown.cell:
            cells.append((fix.t_ms, shown.cell))
    return cells


def _crossings(fixes: Sequence[Fix], fences: Sequence[Fence]) -> list[tuple[str, Crossing]]:
    index = FenceIndex((str(number), fence.shape) for number, fence in enumerate(fences))
    rules = {str(number): rules_of(fence.shape, dwell_s=fence.dwell_s) for number, fence in enumerate(fences)}
    hits: list[set[str]] = [set() for _ in fixes]
    lats, lons = np.array([fix.lat for fix in fixes]), np.array([fix.lon for fix in fixes])
    for position, fence in zip(*index.hits(lats, lons), strict=True):
        hits[int(position)].add(index.ids[int(fence)])
    standings: dict[str, Standing] = {}
    told: list[tuple[str, Crossing]] = []
    for number, fix in enumerate(fixes):
        standings, crossings = follow(standings, fix, hits[number], index, rules, first_ever=number == 0)
        told += crossings
    for fence_id, standing in standings.items():  # what time alone brings after the last fix
        while (at_ms := due_ms(standing, rules[fence_id])) is not None:
            standing, crossings_after = elapse(standing, at_ms, rules[fence_id])  # noqa: PLW2901 - it goes on
            told += [(fence_id, crossing) for crossing in crossings_after]
    return told


def _stop(stay: Stay, begin_ms: int) -> Stop:
    at = stay.centre
    return Stop(
        from_s=round((stay.since_ms - begin_ms) / 1_000, 1),
        to_s=round((stay.last_ms - begin_ms) / 1_000, 1),
        lat=round(at.lat, 6),
        lon=round(at.lon, 6),
        radius_m=round(max(RADIUS_MIN_M, 2 * stay.spread_m), 1),
        text=f"stays {stay.length_ms / 60_000:.1f} min",
    )
