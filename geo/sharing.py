"""What a live share shows of a position: as precise as the sharer said (GEO-20, GEO-22). Pure."""

from typing import TypedDict

from geo.cells import edge_m, resolution_of
from geo.coordinates import LatLng
from geo.fixes import Fix
from geo.privacy import Precision, Shown, coarse, snap, stick


class SharedPlace(TypedDict):
    """WGS84 degrees, metres (68 %), Unix ms of the fix; a cell's centre unless `precision` is exact."""

    lat: float
    lon: float
    acc_m: float
    t: int
    precision: str


def shared_place(
    fix: Fix, precision: Precision, shown: Shown | None
) -> tuple[SharedPlace | None, Shown | None]:
    """Return what those it is shared with see of a fix, and the sticky cell to go on from; None: nothing.

    Of a cell its centre is told, with an accuracy not finer than its edge: two fixes in one cell look alike.
    """
    if precision is Precision.EXACT:
        return _place(fix.lat, fix.lon, fix.acc_m, fix.t_ms, precision), None
    cell = snap(fix.lat, fix.lon, precision)
    if cell is None:
        return None, None
    res = resolution_of(cell.cell)
    shown = stick(shown, LatLng(fix.lat, fix.lon), res, fix.t_ms)
    place = coarse(shown.cell)
    return _place(place.lat, place.lon, max(fix.acc_m, edge_m(res)), fix.t_ms, precision), shown


def _place(lat: float, lon: float, acc_m: float, t_ms: int, precision: Precision) -> SharedPlace:
    return {"lat": lat, "lon": lon, "acc_m": round(acc_m, 1), "t": t_ms, "precision": precision.value}
