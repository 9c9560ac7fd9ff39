"""What others may see of a position (GEO-20, GEO-21): cells, never coordinates.

Rounding a true distance hides nothing: an attacker averages it away. So a position becomes a cell before
anything else is computed from it, and `view` is the one function that decides who sees which cell.
"""

import enum
from collections.abc import Callable

import msgspec

from geo.cells import Cell, boundary_of, cell_of, centre_of, edge_m, parent_of, resolution_of
from geo.coordinates import LatLng

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
