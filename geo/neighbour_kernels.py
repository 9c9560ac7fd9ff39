"""The inner loops of `geo.neighbours` in numpy. `geo.neighbour_kernels_numba` has the same in machine code.

A position is held as an offset from its cell's centre in 32-bit floats, in the order of cells: the positions
of a cell are a run. From who asks to a cell's centre is one vector, by which a whole run is passed over when
even its rim is out of reach; so the farther cells of a disk cost next to nothing.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geo.distance import Floats
from geo.earth import surface_m
from geo.grid import CellNumbers

Rows = npt.NDArray[np.int32]
Singles = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

# In one go, so that what is worked on stays in cache.
_ASKED_MAX = 1_024
_CANDIDATES_MAX = 1 << 18


class Runs(NamedTuple):
    """Positions by cell."""

    starts: Rows
    """Cell → its first slot; one more entry ends the last run."""
    rows: Rows
    """Slot → row."""
    offsets: Singles
    """(3, slots), each axis in one piece: metres from the centre of the cell."""


class Drawn(NamedTuple):
    """Cells by number, as `geo.cell_table` has them."""

    centres: Floats
    """(cells, 3): x, y, z in metres."""
    rim_m: Singles
    """From the centre to the farthest corner; nobody counted as the cell's is farther."""
    disks: CellNumbers
    """(cells, size of a disk): the cells of each one's disk, padded with -1."""


class Pairs(NamedTuple):
    """Who was found, by who asked."""

    counts: npt.NDArray[np.int64]
    """For each who asked."""
    rows: Rows
    metres: Floats


def arrange(cells: CellNumbers, count: int) -> tuple[Rows, Rows]:
    """Return (starts, rows) of the rows by cell, ascending within a cell; a row in cell -1 is left out."""
    rows = np.flatnonzero(cells >= 0)
    # One sort of whole numbers is several times as fast as sorting indexes by their cells.
    keys = cells[rows].astype(np.int64) << 32 | rows
    keys.sort()
    starts = np.zeros(count + 1, dtype=np.int32)
    np.cumsum(np.bincount(cells[rows], minlength=count), out=starts[1:])
    return starts, keys.astype(np.int32)


def near_pairs(
    asked_slots: Rows, asked_cells: CellNumbers, reach_m: float, runs: Runs, cells_drawn: Drawn
) -> Pairs:
    """Return everybody within `reach_m` of each who asks, themselves left out.

    Distances are true to a millionth of what is added up: the caller allows for it in `reach_m`.
    """
    parts = [
        _near_pairs(
            asked_slots[at : at + _ASKED_MAX], asked_cells[at : at + _ASKED_MAX], reach_m, runs, cells_drawn
        )
        for at in range(0, max(1, asked_slots.size), _ASKED_MAX)
    ]
    return _joined(parts)


def _near_pairs(
    asked_slots: Rows, asked_cells: CellNumbers, reach_m: float, runs: Runs, cells_drawn: Drawn
) -> Pairs:
    starts, rows, offsets = runs
    centres, rim_m, disks = cells_drawn
    # Of each who asks, each cell of the disk that holds anybody.
    cells = disks[asked_cells]
    lengths = starts[cells + 1] - starts[cells]
    lengths[cells < 0] = 0
    asking, column = np.nonzero(lengths)
    cells, lengths = cells[asking, column], lengths[asking, column]
    own, slots = asked_cells[asking], asked_slots[asking]
    vectors = [
        offsets[axis].take(slots) + (centres[own, axis] - centres[cells, axis]).astype(np.float32)
        for axis in range(3)
    ]
    x, y, z = vectors
    close = np.flatnonzero(x * x + y * y + z * z <= np.square(reach_m + rim_m[cells]))
    lengths = lengths[close]
    total = int(lengths.sum())
    if total > _CANDIDATES_MAX and asked_slots.size > 1:
        middle = asked_slots.size // 2
        return _joined([
            _near_pairs(asked_slots[half], asked_cells[half], reach_m, runs, cells_drawn)
            for half in (slice(None, middle), slice(middle, None))
        ])  # fmt: skip
    before = (np.cumsum(lengths) - lengths).astype(np.int32)
    slots = np.arange(total, dtype=np.int32) + np.repeat(starts[cells[close]] - before, lengths)
    squared = np.zeros(total, dtype=np.float32)
    for axis, vector in enumerate(vectors):
        apart = np.repeat(vector[close], lengths)
        apart -= offsets[axis].take(slots)
        apart *= apart
        squared += apart
    found = np.flatnonzero(squared <= np.float32(reach_m * reach_m))
    slots = slots[found]
    who = np.repeat(asking[close], lengths)[found]
    others = slots != asked_slots[who]
    slots, who, squared = slots[others], who[others], squared[found[others]]
    return Pairs(np.bincount(who, minlength=asked_slots.size), rows[slots], surface_m(np.sqrt(squared)))


def _joined(parts: list[Pairs]) -> Pairs:
    return parts[0] if len(parts) == 1 else Pairs(*map(np.concatenate, zip(*parts, strict=True)))
