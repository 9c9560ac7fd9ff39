"""Where many people are, as a structure of arrays: one row a person, at most 64 bytes (GEO-5).

The row is the one home of a person's last fix and of the cell that is shown for it; a fix that is held as a
jump is rare and stands beside the columns. `Location` is one row seen as objects.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import h3
import numpy as np
import numpy.typing as npt

from geo.cells import Cell, boundary_of, centre_of, edge_m, resolution_of
from geo.coordinates import LatLng
from geo.distance import distance_m
from geo.fixes import Fix
from geo.privacy import RES_STRANGERS_FINEST, STICKY_EDGES, Shown, outline_of

BYTES_A_ROW = 64
LAST, HELD, OUTSIDE, LOOK = 1, 2, 4, 8
"""Flags of a row: it has a last fix; one is held; clearly outside the shown cell; its next fix is news."""

NO_CELL = 0
_LEAST = 64
_WRAP = 2**32
_COLUMNS: dict[str, Any] = {
    "lats": np.float64,
    "lons": np.float64,
    "times_ms": np.int64,
    "seqs": np.int64,
    "accs_m": np.float32,
    "cells": np.uint64,
    "centre_lats": np.float32,
    "centre_lons": np.float32,
    "keeps_m": np.uint16,
    "leaves_m": np.uint16,
    "outside_since": np.uint32,
    "resolutions": np.uint8,
    "flags": np.uint8,
}


@lru_cache(maxsize=65_536)
def disc_of(cell: Cell) -> tuple[float, float, int, int]:
    """Return a cell's centre and two radii in metres: nearer than the first nobody is more than a quarter of
    an edge outside the cell, farther than the second everybody is (GEO-21). Two per cent on the safe side;
    for cells of resolution 5 and finer.
    """
    centre = centre_of(cell)
    inner_m = outline_of(cell).distance_m(centre.lat, centre.lon)
    outer_m = max(distance_m(centre.lat, centre.lon, c.lat, c.lon) for c in boundary_of(cell))
    slack_m = STICKY_EDGES * edge_m(resolution_of(cell))
    keep_m, leave_m = int(0.98 * (inner_m + slack_m)) - 3, int(1.02 * (outer_m + slack_m)) + 4
    return centre.lat, centre.lon, max(keep_m, 0), min(leave_m, 65_535)


class PositionTable:
    """Rows that grow and are used again. A row that nobody has has no flags."""

    def __init__(self, rows: int = _LEAST) -> None:
        self.lats: npt.NDArray[np.float64]
        self.lons: npt.NDArray[np.float64]
        self.times_ms: npt.NDArray[np.int64]
        self.seqs: npt.NDArray[np.int64]
        self.accs_m: npt.NDArray[np.float32]
        self.cells: npt.NDArray[np.uint64]
        self.centre_lats: npt.NDArray[np.float32]
        self.centre_lons: npt.NDArray[np.float32]
        self.keeps_m: npt.NDArray[np.uint16]
        self.leaves_m: npt.NDArray[np.uint16]
        self.outside_since: npt.NDArray[np.uint32]
        """Milliseconds modulo 2^32; a row that is outside for 49 days has none that counts."""
        self.resolutions: npt.NDArray[np.uint8]
        """At which the cell is shown."""
        self.flags: npt.NDArray[np.uint8]
        for name, kind in _COLUMNS.items():
            setattr(self, name, np.zeros(max(rows, 1), dtype=kind))
        self.held: dict[int, Fix] = {}
        self._free: list[int] = []
        self._used = 0

    def __len__(self) -> int:
        return self._used - len(self._free)

    @property
    def bytes_a_row(self) -> int:
        """What a person costs in columns."""
        return sum(getattr(self, name).itemsize for name in _COLUMNS)

    def take(self) -> int:
        """Return an empty row."""
        if self._free:
            row = self._free.pop()
        else:
            if self._used == self.flags.size:
                for name in _COLUMNS:
                    column = getattr(self, name)
                    setattr(self, name, np.concatenate([column, np.zeros_like(column)]))
            row = self._used
            self._used += 1
        self.resolutions[row] = RES_STRANGERS_FINEST
        return row

    def free(self, row: int) -> None:
        """The row is nobody's any more."""
        for name in _COLUMNS:
            getattr(self, name)[row] = 0
        self.held.pop(row, None)
        self._free.append(row)

    # -- one row as objects ------------------------------------------------------------------------------

    def last(self, row: int) -> Fix | None:
        """Return the last accepted fix, without speed and heading."""
        if not self.flags[row] & LAST:
            return None
        return Fix(
            float(self.lats[row]), float(self.lons[row]), float(self.accs_m[row]),
            int(self.times_ms[row]), int(self.seqs[row]),
        )  # fmt: skip

    def set_last(self, row: int, fix: Fix | None) -> None:
        """Replace the last fix."""
        if fix is None:
            self.flags[row] &= 0xFF ^ LAST
            return
        self.lats[row], self.lons[row], self.accs_m[row] = fix.lat, fix.lon, fix.acc_m
        self.times_ms[row], self.seqs[row] = fix.t_ms, fix.seq
        self.flags[row] |= LAST

    def set_held(self, row: int, fix: Fix | None) -> None:
        """Replace the fix that is held as a jump."""
        if fix is None:
            self.held.pop(row, None)
            self.flags[row] &= 0xFF ^ HELD
        else:
            self.held[row] = fix
            self.flags[row] |= HELD

    def shown(self, row: int) -> Shown | None:
        """Return the cell that is shown, and since when the person has been clearly outside it."""
        if self.cells[row] == NO_CELL:
            return None
        cell = Cell(h3.int_to_str(int(self.cells[row])))
        if not self.flags[row] & OUTSIDE:
            return Shown(cell)
        t_ms = int(self.times_ms[row])
        return Shown(cell, t_ms - (t_ms - int(self.outside_since[row])) % _WRAP)

    def set_shown(self, row: int, shown: Shown | None) -> None:
        """Replace the cell that is shown; from now on one of its resolution is."""
        if shown is None:
            self.cells[row] = NO_CELL
            self.flags[row] &= 0xFF ^ OUTSIDE
            return
        number = h3.str_to_int(shown.cell)
        if self.cells[row] != number:
            self.cells[row] = number
            disc = disc_of(shown.cell)
            self.centre_lats[row], self.centre_lons[row], self.keeps_m[row], self.leaves_m[row] = disc
            self.resolutions[row] = resolution_of(shown.cell)
        if shown.outside_since_ms is None:
            self.flags[row] &= 0xFF ^ OUTSIDE
        else:
            self.outside_since[row] = shown.outside_since_ms % _WRAP
            self.flags[row] |= OUTSIDE

    def at(self, row: int) -> LatLng:
        """Return where the last fix was."""
        return LatLng(float(self.lats[row]), float(self.lons[row]))


@dataclass(slots=True, eq=False)
class Location:
    """One person's row as objects: a view while it has a table, else it holds the values itself, as it does
    where it is pickled.
    """

    table: PositionTable | None = None
    row: int = -1
    _last: Fix | None = None
    _held: Fix | None = None
    _shown: Shown | None = None

    def attach(self, table: PositionTable) -> None:
        """Move into a row of this table."""
        last, held, shown = self.last, self.held, self.shown
        self.detach()
        self.table, self.row = table, table.take()
        self.last, self.held, self.shown = last, held, shown

    def detach(self) -> None:
        """Leave the table, and take the values along."""
        if self.table is not None:
            self._last, self._held, self._shown = self.last, self.held, self.shown
            self.table.free(self.row)
            self.table, self.row = None, -1

    @property
    def last(self) -> Fix | None:
        """The last accepted fix."""
        return self._last if self.table is None else self.table.last(self.row)

    @last.setter
    def last(self, fix: Fix | None) -> None:
        if self.table is None:
            self._last = fix
        else:
            self.table.set_last(self.row, fix)

    @property
    def t_ms(self) -> int:
        """The time of the last accepted fix; 0 before the first."""
        if self.table is not None:
            return int(self.table.times_ms[self.row]) if self.table.flags[self.row] & LAST else 0
        return 0 if self._last is None else self._last.t_ms

    @property
    def held(self) -> Fix | None:
        """A fix that is kept aside as a jump."""
        return self._held if self.table is None else self.table.held.get(self.row)

    @held.setter
    def held(self, fix: Fix | None) -> None:
        if self.table is None:
            self._held = fix
        else:
            self.table.set_held(self.row, fix)

    @property
    def shown(self) -> Shown | None:
        """The cell that is shown."""
        return self._shown if self.table is None else self.table.shown(self.row)

    @shown.setter
    def shown(self, shown: Shown | None) -> None:
        if self.table is None:
            self._shown = shown
        else:
            self.table.set_shown(self.row, shown)

    def show_at(self, resolution: int) -> None:
        """The resolution of the cell that the next fix is to be shown by."""
        if self.table is not None:
            self.table.resolutions[self.row] = resolution

    def look(self) -> None:
        """What is told of the person is to be looked at with the next fix, even if the cell stays."""
        if self.table is not None:
            self.table.flags[self.row] |= LOOK

    def __getstate__(self) -> tuple[Fix | None, Fix | None, Shown | None]:
        return self.last, self.held, self.shown

    def __setstate__(self, state: tuple[Fix | None, Fix | None, Shown | None]) -> None:
        self.table, self.row = None, -1
        self._last, self._held, self._shown = state
