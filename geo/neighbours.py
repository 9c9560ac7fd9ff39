"""Who is within a radius, exactly, of many who move (GEO-4, GEO-8, GEO-9).

One batch a tick: `update` takes the fixes, `within` says who is near each of those who moved. Nothing here
is a Python object per person: 40 bytes of arrays a row, and what the cells in use take.

A position's cell is kept while the position stays near enough to its centre that the disk cannot miss
anybody (`CellTable.hold_m`); then it is the nearest cell known around; H3 itself is asked only for who is in
neither. So cells here are for seeking only: what is shown or routed is `geo.cells`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geo import neighbour_kernels
from geo.cell_table import CellTable
from geo.distance import Floats, distance_m, distances_m
from geo.earth import cartesian
from geo.grid import CellNumbers, cells_of
from geo.neighbour_kernels import Drawn, Pairs, Rows, Runs
from geo.reach import disk_for

# More of all rows than one in so many, and they are arranged anew.
_FEW_PART = 64
# Straight lines from 32-bit floats, with their curvature, and `distance_m` agree to this.
_ROUNDING = 1e-6
_ROUNDING_M = 2e-3
_SAME_M = 1e-6
# Straight lines through the ellipsoid and ways on it are in the same order to this part.
_ORDER_MARGIN = 0.02


class Found(NamedTuple):
    """Those within the radius: of the i-th who asked, the entries from `offsets[i]` to `offsets[i + 1]`."""

    offsets: npt.NDArray[np.int64]
    rows: Rows
    metres: Floats


class Kernels(NamedTuple):
    """The inner loops, in numpy or compiled."""

    arrange: Callable[[CellNumbers, int], tuple[Rows, Rows]]
    near_pairs: Callable[[Rows, CellNumbers, float, Runs, Drawn], Pairs]


NUMPY = Kernels(neighbour_kernels.arrange, neighbour_kernels.near_pairs)


@functools.cache
def fastest() -> Kernels:
    """Return the compiled kernels where the extra `numba` is installed, else numpy's."""
    try:
        from geo import neighbour_kernels_numba as compiled  # noqa: PLC0415 - half a second, for who asks
    except ImportError:
        return NUMPY
    return Kernels(compiled.arrange, compiled.near_pairs)


class Neighbours:
    """Up to `capacity` positions by row, to be asked for radii up to `radius_m` (at most 6,500 m)."""

    __slots__ = ("_cells", "_kernels", "_lats", "_lons", "_radius_m", "_runs", "_slots", "_table")

    def __init__(self, capacity: int, radius_m: float, kernels: Kernels | None = None) -> None:
        self._kernels = kernels or fastest()
        self._radius_m = radius_m
        self._table = CellTable(disk_for(radius_m), radius_m)
        self._lats, self._lons = np.zeros(capacity), np.zeros(capacity)
        self._cells: CellNumbers = np.full(capacity, -1, dtype=np.int32)
        self._slots: Rows = np.zeros(capacity, dtype=np.int32)
        self._runs = Runs(np.zeros(1, np.int32), np.empty(0, np.int32), np.empty((3, 0), np.float32))

    def __len__(self) -> int:
        return self._runs.rows.size

    @property
    def nbytes(self) -> int:
        """The memory of all arrays."""
        own = (self._lats, self._lons, self._cells, self._slots, *self._runs)
        return sum(each.nbytes for each in own) + self._table.nbytes

    def update(self, rows: npt.NDArray[np.integer], lats: Floats, lons: Floats) -> None:
        """Move rows, each named once, to positions in degrees, or bring them in."""
        points = np.column_stack(cartesian(lats, lons))
        before = self._cells[rows]
        cells = self._settle(before, points, lats, lons)
        self._lats[rows], self._lons[rows] = lats, lons
        changed = np.flatnonzero(cells != before)
        if changed.size:
            self._rearrange(rows[changed], cells[changed])
        # One after the other: each axis lies in one piece.
        slots, centres = self._slots[rows], self._table.centres
        for axis in range(3):
            self._runs.offsets[axis, slots] = points[:, axis] - centres[cells, axis]

    def remove(self, rows: npt.NDArray[np.integer]) -> None:
        """Take rows out; one that is not in is none."""
        there = rows[self._cells[rows] >= 0]
        if there.size:
            self._rearrange(there, np.full(there.size, -1, dtype=np.int32))

    def within(self, rows: npt.NDArray[np.integer], radius_m: float) -> Found:
        """Return everybody within the radius of each row asked, all of them in; nobody is near themselves.

        By `distance_m`: at most the radius is within. Metres are true to a centimetre. In no order.
        """
        if not 0.0 < radius_m <= self._radius_m:
            raise ValueError(f"radius_m must lie in (0, {self._radius_m:g}]")
        table, asked = self._table, np.asarray(rows, dtype=np.int32)
        if (self._cells[asked] < 0).any():
            raise ValueError("a row has no position")
        slack_m = _ROUNDING_M + _ROUNDING * (radius_m + 2.0 * float(table.rim_m.max(initial=0.0)))
        pairs = self._kernels.near_pairs(
            self._slots[asked],
            self._cells[asked],
            radius_m + slack_m,
            self._runs,
            Drawn(table.centres, table.rim_m, table.disks),
        )
        counts, found, metres = pairs
        unsure = np.flatnonzero(metres >= radius_m - slack_m)
        if unsure.size:
            who = np.searchsorted(np.cumsum(counts), unsure, side="right")
            metres[unsure] = self._exactly(asked[who], found[unsure], radius_m)
            out = metres[unsure] > radius_m
            counts = counts - np.bincount(who[out], minlength=counts.size)
            keep = np.ones(found.size, dtype=np.bool_)
            keep[unsure[out]] = False
            found, metres = found[keep], metres[keep]
        return Found(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), found, metres)

    def nearest(self, row: int, count: int) -> tuple[Rows, Floats]:
        """Return the `count` nearest rows (fewer where there are not so many) and their metres, ties by row.

        Anywhere on Earth, by rings that expand until nobody nearer can be left.
        """
        if self._cells[row] < 0:
            raise ValueError("the row has no position")
        runs, table = self._runs, self._table
        lengths = np.diff(runs.starts)
        lit = np.flatnonzero(lengths)
        here = table.centres[self._cells[row]] + runs.offsets[:, self._slots[row]]
        # No position of a cell is nearer than this.
        least_m = np.linalg.norm(table.centres[lit] - here, axis=1) - table.rim_m[lit] - 1.0
        order = np.argsort(least_m)
        lit, least_m = lit[order], least_m[order]
        people = np.cumsum(lengths[lit])
        wanted, ring = min(count, len(self) - 1), 0
        while True:
            # The cells of the next ring hold as many again as are still wanted, or twice those so far.
            ring = min(lit.size, max(2 * ring, int(np.searchsorted(people, wanted + 1)) + 1))
            taken = lit[:ring]
            inner = np.repeat(runs.starts[taken] - (people[:ring] - lengths[taken]), lengths[taken])
            slots = inner + np.arange(people[ring - 1])
            others = runs.rows[slots]
            cells = np.repeat(taken, lengths[taken])
            straight_m = np.linalg.norm(table.centres[cells] + runs.offsets[:, slots].T - here, axis=1)
            straight_m[others == row] = np.inf
            last_m = np.partition(straight_m, wanted - 1)[wanted - 1] if wanted > 0 else 0.0
            limit_m = last_m * (1.0 + _ORDER_MARGIN) + 1.0
            if ring == lit.size or least_m[ring] > limit_m:
                break
        others = others[straight_m <= limit_m]
        metres = distances_m(
            float(self._lats[row]), float(self._lons[row]), self._lats[others], self._lons[others]
        )
        order = np.lexsort([others, metres])[:wanted]
        return others[order], metres[order]

    def _settle(self, before: CellNumbers, points: Floats, lats: Floats, lons: Floats) -> CellNumbers:
        """Return the cell of each position: the one before, one of its disk, or the one that H3 says."""
        table, cells = self._table, before.copy()
        astray = before < 0
        if len(table):
            squared = ((points - table.centres[before]) ** 2).sum(axis=1)
            astray |= squared > table.hold_m[before] ** 2
        moved = np.flatnonzero(astray & (before >= 0))
        if moved.size:
            around = table.disks[before[moved]]
            apart = ((points[moved, None, :] - table.centres[around]) ** 2).sum(axis=2)
            apart[around < 0] = np.inf
            nearest = apart.argmin(axis=1)[:, None]
            cells[moved] = np.take_along_axis(around, nearest, axis=1)[:, 0]
            held = np.take_along_axis(apart, nearest, axis=1)[:, 0] <= table.hold_m[cells[moved]] ** 2
            astray[moved[held]] = False
        lost = np.flatnonzero(astray)
        if lost.size:
            cells[lost] = table.number(cells_of(lats[lost], lons[lost], table.disk.res))
        return cells

    def _rearrange(self, rows: npt.NDArray[np.integer], cells: CellNumbers) -> None:
        """Put rows into other cells; their offsets are still to be told."""
        if rows.size > self._runs.rows.size // _FEW_PART:
            self._cells[rows] = cells
            starts, order = self._kernels.arrange(self._cells, len(self._table))
            by_row = np.empty((3, self._cells.size), dtype=np.float32)
            by_row[:, self._runs.rows] = self._runs.offsets
            self._runs = Runs(starts, order, np.take(by_row, order, axis=1))
        else:
            slots = np.where(self._cells[rows] < 0, np.int32(-1), self._slots[rows])
            self._cells[rows] = cells
            self._runs = _spliced(self._runs, rows, slots, cells, len(self._table))
        self._slots[self._runs.rows] = np.arange(self._runs.rows.size, dtype=np.int32)

    def _exactly(self, rows: Rows, others: Rows, radius_m: float) -> Floats:
        """Return the metres of pairs near the rim, as `distance_m` has them."""
        lats, lons = self._lats, self._lons
        metres = distances_m(lats[rows], lons[rows], lats[others], lons[others])
        for at in np.flatnonzero(np.abs(metres - radius_m) <= _SAME_M).tolist():
            one, other = rows[at], others[at]
            metres[at] = distance_m(
                float(lats[one]), float(lons[one]), float(lats[other]), float(lons[other])
            )
        return metres


def _spliced(runs: Runs, rows: npt.NDArray[np.integer], slots: Rows, cells: CellNumbers, count: int) -> Runs:
    """Return the runs of `count` cells after some rows have moved from slots (-1: from none) to the ends of
    their new cells' runs (-1: to none). Copying in order is several times as fast as arranging anew.
    """
    gone, come = slots[slots >= 0], np.flatnonzero(cells >= 0)
    lengths = np.zeros(count, dtype=np.int64)
    lengths[: runs.starts.size - 1] = np.diff(runs.starts)
    np.subtract.at(lengths, np.searchsorted(runs.starts, gone, side="right") - 1, 1)
    ends = np.cumsum(lengths)[cells[come]]
    np.add.at(lengths, cells[come], 1)
    starts = np.zeros(count + 1, dtype=np.int32)
    np.cumsum(lengths, out=starts[1:])
    return Runs(
        starts,
        np.insert(np.delete(runs.rows, gone), ends, rows[come]),
        np.insert(np.delete(runs.offsets, gone, axis=1), ends, 0.0, axis=1),
    )
