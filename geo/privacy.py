"""What others may see of a position (GEO-20, GEO-21): cells, never coordinates.

Rounding a true distance hides nothing: an attacker averages it away. So a position becomes a cell before
anything else is computed from it, and `view` is the one function that decides who sees which cell.
"""

import enum
import functools
from collections.abc import Callable
from functools import lru_cache

import msgspec

from geo.cells import Cell, boundary_of, cell_of, centre_of, contains, edge_m, parent_of, resolution_of
from geo.coordinates import LatLng
from geo.outline import Outline, unwrapped

RES_STRANGERS_FINEST = 8
RES_ANONYMITY_COARSEST = 6
STICKY_MS = 60_000
STICKY_EDGES = 0.25


class Coarse(msgspec.Struct, frozen=True):
    """A cell and its centre: the only form of a position that leaves the engine."""

    cell: Cell
    lat: float
    lon: float


class Precision(enum.StrEnum):
    """How finely a person lets others see where they are."""

    EXACT = "exact"  # for live shares and granted fences; as a cell it is res 9
    R9 = "r9"  # ~100 m
    R8 = "r8"  # ~300 m
    R7 = "r7"  # ~1 km
    CITY = "city"  # res 5
    HIDDEN = "hidden"


class Audience(enum.StrEnum):
    """Who may see, each including those before it: a group audience admits matches too."""

    NOBODY = "nobody"
    MATCHES = "matches"
    GROUP = "group"
    EVERYONE = "everyone"


class Visibility(msgspec.Struct, frozen=True):
    """A person's own setting."""

    audience: Audience
    precision: Precision


class Relation(msgspec.Struct, frozen=True):
    """What the viewer is to the subject; the caller looks it up."""

    is_self: bool = False
    blocked: bool = False  # either way
    matched: bool = False
    shares_group: bool = False


class Shown(msgspec.Struct, frozen=True):
    """The cell shown for a person, and since when they have been clearly outside it."""

    cell: Cell
    outside_since_ms: int | None = None


_RESOLUTION = {Precision.EXACT: 9, Precision.R9: 9, Precision.R8: 8, Precision.R7: 7, Precision.CITY: 5}


FINE = frozenset(precision for precision, res in _RESOLUTION.items() if res > RES_STRANGERS_FINEST)
"""Precisions that show matches more than strangers may ever see."""


def snap(lat: float, lon: float, precision: Precision) -> Coarse | None:
    """Return the cell of a position at a precision; None when hidden."""
    if precision is Precision.HIDDEN:
        return None
    return coarse(cell_of(lat, lon, _RESOLUTION[precision]))


def resolution_at(precision: Precision) -> int | None:
    """Return the resolution of the cells of a precision; None when hidden."""
    return _RESOLUTION.get(precision)


def strangers_resolution(precision: Precision) -> int | None:
    """Return the finest resolution at which strangers may know of a person, whatever was asked; None: hidden.

    What strangers can query is built on cells of this resolution, so no query reaches anything finer.
    """
    if precision is Precision.HIDDEN:
        return None
    return min(_RESOLUTION[precision], RES_STRANGERS_FINEST)


@functools.lru_cache(maxsize=65_536)
def coarse(cell: Cell) -> Coarse:
    """Return a cell with its centre."""
    centre = centre_of(cell)
    return Coarse(cell, centre.lat, centre.lon)


def stick(shown: Shown | None, at: LatLng, res: int, now_ms: int) -> Shown:
    """Return the cell to show after a fix: the one shown before, until the person has been more than a
    quarter of an edge outside it for 60 s or more (GEO-21). A walk along an edge then tells nothing.

    `now_ms` is the time of the fix. With nothing shown before, or at another resolution, the cell is new.
    """
    if shown is None or resolution_of(shown.cell) != res:
        return Shown(cell_of(at.lat, at.lon, res))
    if metres_outside(shown.cell, at) <= STICKY_EDGES * edge_m(res):
        return shown if shown.outside_since_ms is None else Shown(shown.cell)
    if shown.outside_since_ms is None:
        return Shown(shown.cell, now_ms)
    if now_ms - shown.outside_since_ms < STICKY_MS:
        return shown
    return Shown(cell_of(at.lat, at.lon, res))


def metres_outside(cell: Cell, at: LatLng) -> float:
    """Return how far a position is from a cell; 0 inside it."""
    return 0.0 if contains(cell, at) else outline_of(cell).distance_m(at.lat, at.lon)


@lru_cache(maxsize=4_096)  # whoever stands outside the cell that is shown asks at each fix
def outline_of(cell: Cell) -> Outline:
    """Return the drawn edges of a cell."""
    corners = boundary_of(cell)
    corners.append(corners[0])
    lons = unwrapped(corner.lon for corner in corners)
    return Outline([[(corner.lat, lon) for corner, lon in zip(corners, lons, strict=True)]])


def audience_admits(audience: Audience, relation: Relation) -> bool:
    """Whether an audience includes a viewer. Blocks overlay every audience; one always sees oneself."""
    if relation.is_self:
        return True
    if relation.blocked:
        return False
    match audience:
        case Audience.NOBODY:
            return False
        case Audience.MATCHES:
            return relation.matched
        case Audience.GROUP:
            return relation.matched or relation.shares_group
        case Audience.EVERYONE:
            return True


def view(
    shown: Cell, visibility: Visibility, relation: Relation, *, k: int, active_users_in: Callable[[Cell], int]
) -> Coarse | None:
    """Return what one viewer may see of a person, or None: nothing (GEO-20).

    `shown` is the subject's sticky cell; the answer is it or an ancestor of it, never finer. Who is not a
    match is a stranger, even in a shared group (anyone may join a place's room): res 8 or coarser whatever
    the subject asked for, and coarser until `k` people active in 24 h share the cell.
    """
    if not audience_admits(visibility.audience, relation):
        return None
    if relation.is_self:
        return coarse(shown)
    if visibility.precision is Precision.HIDDEN:
        return None
    res = min(_RESOLUTION[visibility.precision], resolution_of(shown))
    if relation.matched:
        return coarse(parent_of(shown, res))
    crowded = coarsen_to_k(parent_of(shown, min(res, RES_STRANGERS_FINEST)), active_users_in, k)
    return None if crowded is None else coarse(crowded)


def coarsen_to_k(cell: Cell, active_users_in: Callable[[Cell], int], k: int) -> Cell | None:
    """Return the cell or its nearest ancestor, up to res 6, that holds at least `k` active users.

    Below k at res 6 the person is hidden (None), not shown coarser still. A cell that is coarser than
    res 6 already is shown or hidden by its own count.
    """
    if active_users_in(cell) >= k:
        return cell
    for res in range(resolution_of(cell) - 1, RES_ANONYMITY_COARSEST - 1, -1):
        ancestor = parent_of(cell, res)
        if active_users_in(ancestor) >= k:
            return ancestor
    return None
