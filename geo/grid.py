"""H3 cells in batches: numbers for arrays, and disks by snapped distance.

Cells are H3's 64-bit indexes here (`geo.cells.Cell` is the same as text). A coarser cell comes by hierarchy
only, as everywhere: in arrays that is arithmetic on bits. Converting a position is the one call per position
(0.5 µs); who follows moving people keeps their cells as `geo.neighbours` does.
"""

import functools
import itertools
import math
from typing import NamedTuple

import h3.api.basic_int as h3
import numpy as np
import numpy.typing as npt

from geo.cells import Cell, edge_m
from geo.distance import Floats, distances_m

CellNumbers = npt.NDArray[np.int32]
CellIndexes = npt.NDArray[np.uint64]

RADIUS_MAX_M = 10_000.0

# Worldwide, in average edges: no corner is farther from its cell's centre (1.106 found), and no cell in
# ring k has its centre nearer than k of these to the middle one's (1.045 found). tests/geo/test_grid.py
# samples both.
CIRCUMRADIUS_MAX_EDGES = 1.12
RING_STEP_MIN_EDGES = 1.03

# The layout of an index (h3geo.org, "Bit layout"): four bits of resolution from bit 52, then three bits for
# each digit, resolution 15's lowest; digits finer than the resolution are all ones.
_RESOLUTION_SHIFT = np.uint64(52)
_DIGIT_BITS = 3
_FINEST = 15


def cells_of(lats: Floats, lons: Floats, res: int) -> CellIndexes:
    """Return the cell of each position at a resolution, by H3's own geometry.

    For res 9 that is the cell; for what is shown or routed take `parents_of(cells_of(…, 9), res)`.
    """
    found = map(h3.latlng_to_cell, lats.tolist(), lons.tolist(), itertools.repeat(res))
    return np.fromiter(found, dtype=np.uint64, count=len(lats))


def parents_of(cells: CellIndexes, res: int) -> CellIndexes:
    """Return the ancestor of each cell, none of them coarser than `res`, at that resolution."""
    coarser = ~np.uint64(0b1111 << 52) & cells | np.uint64(res) << _RESOLUTION_SHIFT
    unused = (1 << _DIGIT_BITS * (_FINEST - res)) - 1
    return coarser | np.uint64(unused)


def cell_texts(cells: CellIndexes) -> list[Cell]:
    """Return cells as text."""
    return [Cell(format(cell, "x")) for cell in cells.tolist()]


def cells_from_texts(texts: list[Cell]) -> CellIndexes:
    """Return cells from their text."""
    return np.fromiter((int(text, 16) for text in texts), dtype=np.uint64, count=len(texts))


def centres_of(cells: CellIndexes) -> tuple[Floats, Floats]:
    """Return latitudes and longitudes of the centres, in degrees."""
    centres = np.array([h3.cell_to_latlng(cell) for cell in cells.tolist()], dtype=np.float64).reshape(-1, 2)
    return centres[:, 0].copy(), centres[:, 1].copy()


class CellIds:
    """Dense numbers for cells, in the order of their first appearance: what arrays are indexed by.

    20 bytes a cell; nothing is ever forgotten, so whoever keeps one for long makes a new one now and then.
    """

    __slots__ = ("_numbers", "_sorted", "cells")

    def __init__(self) -> None:
        self.cells: CellIndexes = np.empty(0, dtype=np.uint64)
        """Number → cell."""
        self._sorted: CellIndexes = self.cells
        self._numbers: CellNumbers = np.empty(0, dtype=np.int32)

    def __len__(self) -> int:
        return self.cells.size

    @property
    def nbytes(self) -> int:
        """The memory of its arrays."""
        return self.cells.nbytes + self._sorted.nbytes + self._numbers.nbytes

    def find(self, cells: CellIndexes) -> CellNumbers:
        """Return each cell's number; -1 where it has none."""
        if not self.cells.size:
            return np.full(cells.shape, -1, dtype=np.int32)
        at = np.searchsorted(self._sorted, cells)
        at[at == self.cells.size] = 0
        return np.where(self._sorted[at] == cells, self._numbers[at], np.int32(-1))

    def number(self, cells: CellIndexes) -> CellNumbers:
        """Return each cell's number, giving new cells the next ones."""
        numbers = self.find(cells)
        unknown = numbers < 0
        if unknown.any():
            self._add(np.unique(cells[unknown]))
            numbers[unknown] = self.find(cells[unknown])
        return numbers

    def _add(self, cells: CellIndexes) -> None:
        """Add distinct cells, ascending, that have no number."""
        numbers = np.arange(self.cells.size, self.cells.size + cells.size, dtype=np.int32)
        at = np.searchsorted(self._sorted, cells)
        self._sorted = np.insert(self._sorted, at, cells)
        self._numbers = np.insert(self._numbers, at, numbers)
        self.cells = np.concatenate([self.cells, cells])


class Surroundings(NamedTuple):
    """The cells of one resolution around a centre, nearest first, those equally near by index."""

    cells: CellIndexes
    metres: Floats
    """From the centre to each cell's centre, to the millimetre."""


@functools.lru_cache(maxsize=2_048)
def surroundings(cell: Cell, radius_m: float, res: int) -> Surroundings:
    """Return every cell of resolution `res` whose centre lies within `radius_m` of the centre of `cell`.

    `cell` may have any resolution. The distance is that of `geo.proximity.nearest`: who is shown in one of
    these cells is as far from who is shown in `cell`. Raises ValueError beyond 10 km.
    """
    if not 0.0 <= radius_m <= RADIUS_MAX_M:
        raise ValueError(f"radius_m must lie in [0, {RADIUS_MAX_M:.0f}]")
    lat, lon = h3.cell_to_latlng(int(cell, 16))
    reach_m = radius_m + CIRCUMRADIUS_MAX_EDGES * edge_m(res)
    rings = math.floor(reach_m / (RING_STEP_MIN_EDGES * edge_m(res)))
    cells = np.array(sorted(h3.grid_disk(h3.latlng_to_cell(lat, lon, res), rings)), dtype=np.uint64)
    # To the millimetre, so that rounding in the arithmetic cannot order two equal distances.
    metres = np.round(distances_m(lat, lon, *centres_of(cells)), 3)
    order = np.lexsort([cells, metres])
    order = order[metres[order] <= radius_m]
    found = Surroundings(cells[order], metres[order])
    found.cells.flags.writeable = found.metres.flags.writeable = False  # every caller gets the same arrays
    return found
