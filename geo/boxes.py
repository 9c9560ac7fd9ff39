"""Which boxes hold which positions, in batches: grids by size instead of a tree.

Boxes of like size share a grid whose cells are as wide as the widest of them, so each lies in at most four
cells; a position looks into one cell of each grid. All of it is arithmetic on arrays, where a tree of shapely
takes an object for every position.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geo.distance import Floats

Indexes = npt.NDArray[np.intp]

_SIZE_STEP = 8.0
_FINEST_DEG = 1e-4
_FEW_PART = 8
_WHOLE_TURN_DEG = 360.0
# In one go; more are divided by position.
_CANDIDATES_MAX = 1 << 20


class _Grid(NamedTuple):
    """Boxes of one size, by the cells that they touch."""

    pitch_deg: float
    columns: int
    cells: npt.NDArray[np.int64]
    """Cells that any box touches, ascending."""
    starts: npt.NDArray[np.int64]
    """Where each one's boxes begin in `members`; one more entry ends the last."""
    members: npt.NDArray[np.int32]

    def cell_of(self, lats: Floats, lons: Floats) -> npt.NDArray[np.int64]:
        """Return the cell of each position. It never falls as a coordinate grows: whatever lies between the
        edges of a box lies between their cells.
        """
        rows, columns = np.floor((lats + 90.0) / self.pitch_deg), np.floor((lons + 180.0) / self.pitch_deg)
        cells: npt.NDArray[np.int64] = (rows * self.columns + columns).astype(np.int64)
        return cells


class BoxIndex:
    """Boxes in degrees (west, south, east, north), one a row, none across ±180. Never changed."""

    __slots__ = ("_grids", "_sides")

    def __init__(self, boxes: Floats) -> None:
        self._sides: Floats = np.ascontiguousarray(boxes.T, dtype=np.float64)
        west, south, east, north = self._sides
        sizes = np.maximum(np.maximum(east - west, north - south), _FINEST_DEG)
        levels = np.ceil(np.log(sizes / _FINEST_DEG) / math.log(_SIZE_STEP)).astype(int)
        self._grids: list[_Grid] = []
        waiting: Indexes = np.empty(0, dtype=np.intp)
        sized = [(level, np.flatnonzero(levels == level)) for level in np.unique(levels).tolist()]
        for (level, which), (_, larger) in pairwise([*sized, (0, waiting)]):
            waiting = np.concatenate([waiting, which])
            # A few small ones among many larger ones are no grid of their own: each costs a look.
            if _FEW_PART * waiting.size >= larger.size:
                self._grids.append(self._grid(waiting, _FINEST_DEG * _SIZE_STEP**level))
                waiting = waiting[:0]

    def holding(self, lats: Floats, lons: Floats) -> tuple[Indexes, Indexes]:
        """Return (position indexes, box indexes) of positions within boxes, edges included; in no order."""
        found = [part for grid in self._grids for part in self._holding(grid, lats, lons, 0)]
        positions = np.concatenate([np.empty(0, np.intp), *(each[0] for each in found)])
        return positions, np.concatenate([np.empty(0, np.intp), *(each[1] for each in found)])

    def _holding(self, grid: _Grid, lats: Floats, lons: Floats, first: int) -> list[tuple[Indexes, Indexes]]:
        cells = grid.cell_of(lats, lons)
        at = np.searchsorted(grid.cells, cells)
        at[at == grid.cells.size] = 0
        positions = np.flatnonzero(grid.cells[at] == cells)
        at = at[positions]
        counts = grid.starts[at + 1] - grid.starts[at]
        total = int(counts.sum())
        if total > _CANDIDATES_MAX and lats.size > 1:
            half = lats.size // 2
            return [
                *self._holding(grid, lats[:half], lons[:half], first),
                *self._holding(grid, lats[half:], lons[half:], first + half),
            ]
        before = np.cumsum(counts) - counts
        positions = np.repeat(positions, counts)
        boxes = grid.members[np.arange(total) + np.repeat(grid.starts[at] - before, counts)]
        west, south, east, north = self._sides
        for low, high, at_deg in ((west, east, lons), (south, north, lats)):
            here = at_deg.take(positions)
            holds = np.flatnonzero((low.take(boxes) <= here) & (here <= high.take(boxes)))
            positions, boxes = positions[holds], boxes[holds]
        return [(positions + first, boxes.astype(np.intp))]

    def _grid(self, which: Indexes, pitch_deg: float) -> _Grid:
        columns = int(_WHOLE_TURN_DEG / pitch_deg) + 2
        empty = _Grid(pitch_deg, columns, np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int32))
        west, south, east, north = self._sides[:, which]
        low, high = empty.cell_of(south, west), empty.cell_of(north, east)
        wide, tall = high % columns - low % columns + 1, high // columns - low // columns + 1
        counts = wide * tall
        nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        wide = np.repeat(wide, counts)
        cells = np.repeat(low, counts) + nth // wide * columns + nth % wide
        order = np.argsort(cells, kind="stable")
        touched, starts = np.unique(cells[order], return_index=True)
        members = np.repeat(which, counts)[order].astype(np.int32)
        return _Grid(pitch_deg, columns, touched, np.append(starts, cells.size), members)
