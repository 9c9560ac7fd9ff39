"""H3 cells: the key for routing, sharding and privacy.

A coarse cell is always reached **by hierarchy** from the position's res 9 cell. H3's parents do not contain
their children exactly, so asking for the coarse cell directly gives another answer for 6-7 % of positions;
with one way only, every coarser cell is a function of the finer one: a region is the region of all its
cells, and a coarser view of a person tells nothing that the finer one did not.
"""

import functools
import math
from collections.abc import Collection
from typing import NewType

import h3

from geo.coordinates import LatLng
from geo.distance import distance_m

Cell = NewType("Cell", str)

RES_FINE = 9
RES_REGION = 5
RES_SPLIT = 6
REGIONS_RADIUS_MAX_M = 20_000.0

# Regions are sought by the res 7 cells around a point. Worldwide, pentagons included, no position is farther
# than this from the centre of its res 7 cell (by hierarchy), and neighbouring centres are never closer than
# that; tests/geo/test_cells.py samples both.
_SEARCH_RES = 7
_SEARCH_CELL_REACH_M = 1_700.0
_SEARCH_RING_STEP_M = 1_400.0


def is_cell(text: str) -> bool:
    """Whether the text names an H3 cell."""
    return bool(h3.is_valid_cell(text))


def cell_of(lat: float, lon: float, res: int) -> Cell:
    """Return the cell of a position at a resolution from 0 to 9, by hierarchy from its res 9 cell."""
    return parent_of(Cell(h3.latlng_to_cell(lat, lon, RES_FINE)), res)


def parent_of(cell: Cell, res: int) -> Cell:
    """Return the ancestor of a cell at a coarser (or the same) resolution."""
    return Cell(h3.cell_to_parent(cell, res))


def children_of(cell: Cell) -> list[Cell]:
    """Return the cells of the next finer resolution within a cell, by hierarchy."""
    return [Cell(child) for child in sorted(h3.cell_to_children(cell))]


def region_of(lat: float, lon: float, split: Collection[str] = ()) -> Cell:
    """Return the region (res 5) that a position belongs to (GEO-6); its res 6 child where that is `split`."""
    return _region_of(Cell(h3.latlng_to_cell(lat, lon, RES_FINE)), split)


def _region_of(cell: Cell, split: Collection[str]) -> Cell:
    region = parent_of(cell, RES_REGION)
    return parent_of(cell, RES_SPLIT) if region in split else region


def resolution_of(cell: Cell) -> int:
    return int(h3.get_resolution(cell))


def centre_of(cell: Cell) -> LatLng:
    lat, lon = h3.cell_to_latlng(cell)
    return LatLng(lat, lon)


def contains(cell: Cell, at: LatLng) -> bool:
    """Whether a position lies within the drawn boundary of a cell (H3's own, not by hierarchy)."""
    return bool(h3.latlng_to_cell(at.lat, at.lon, resolution_of(cell)) == cell)


def boundary_of(cell: Cell) -> list[LatLng]:
    """Return the corners of a cell in order; not closed."""
    return [LatLng(lat, lon) for lat, lon in h3.cell_to_boundary(cell)]


@functools.cache
def edge_m(res: int) -> float:
    """Return the average edge of a cell at a resolution."""
    return float(h3.average_hexagon_edge_length(res, unit="m"))


def regions_within(lat: float, lon: float, radius_m: float, split: Collection[str] = ()) -> set[Cell]:
    """Return every region with a position within `radius_m` (at most 20 km) of this one (GEO-7); of those
    that are `split`, their children.

    None is missed; one whose nearest position is up to 1.7 km farther may be among them.
    """
    if not 0.0 <= radius_m <= REGIONS_RADIUS_MAX_M:
        raise ValueError(f"radius_m must lie in [0, {REGIONS_RADIUS_MAX_M:.0f}]")
    reach_m = radius_m + _SEARCH_CELL_REACH_M
    middle = cell_of(lat, lon, _SEARCH_RES)
    rings = math.ceil((reach_m + _SEARCH_CELL_REACH_M) / _SEARCH_RING_STEP_M)
    regions = {region_of(lat, lon, split)}
    for near in h3.grid_disk(middle, rings):
        region = _region_of(Cell(near), split)
        if region not in regions and distance_m(lat, lon, *h3.cell_to_latlng(near)) <= reach_m:
            regions.add(region)
    return regions
