"""Where strangers may know people to be: cells that enough people share, as places with a reach (GEO-21)."""

from collections.abc import Sequence

import numpy as np

from geo.cells import Cell, centre_of, edge_m, parent_of, resolution_of
from geo.privacy import RES_ANONYMITY_COARSEST, Precision, strangers_resolution
from matching.arrays import Floats

CELL_REACH = 1.2
"""No corner of a cell is farther from its middle, in mean edges of its resolution."""


def shown_to_strangers(cell: str | None, precision: str) -> Cell | None:
    """Return the cell that somebody's precision shows to strangers, of the one that is known."""
    finest = strangers_resolution(Precision(precision))
    if cell is None or finest is None:
        return None
    known = Cell(cell)
    return parent_of(known, min(finest, resolution_of(known)))


def whereabouts(shown: Sequence[Cell | None], k: int) -> tuple[Floats, Floats, Floats]:
    """Return the middle of the cell that strangers may know of each (degrees; nan: none), and how many metres
    from it they can be.

    A cell with fewer than `k` people is not told: the next coarser one that has so many is, down to
    RES_ANONYMITY_COARSEST.
    """
    crowd: dict[Cell, int] = {}
    for cell in filter(None, shown):
        for res in range(RES_ANONYMITY_COARSEST, resolution_of(cell) + 1):
            wider = parent_of(cell, res)
            crowd[wider] = crowd.get(wider, 0) + 1
    lat, lon, blur_m = (np.full(len(shown), np.nan) for _ in range(3))
    for number, known in enumerate(shown):
        told = _common(known, crowd, k)
        if told is not None:
            centre = centre_of(told)
            lat[number], lon[number] = centre.lat, centre.lon
            blur_m[number] = CELL_REACH * edge_m(resolution_of(told))
    return lat, lon, blur_m


def _common(cell: Cell | None, crowd: dict[Cell, int], k: int) -> Cell | None:
    while cell is not None and crowd.get(cell, k) < k:
        res = resolution_of(cell)
        cell = parent_of(cell, res - 1) if res > RES_ANONYMITY_COARSEST else None
    return cell
