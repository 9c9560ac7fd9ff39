"""The inner loops of `geo.neighbours` compiled by numba: the optional extra `numba`.

The same answers as `geo.neighbour_kernels`, behind the same tests. Compiled at the first call and kept beside
this file (`__pycache__`), so later processes load them.
"""

import math
from typing import Any

import numba
import numpy as np

from geo.earth import MEAN_RADIUS_M
from geo.grid import CellNumbers
from geo.neighbour_kernels import Drawn, Pairs, Rows, Runs

_CURVATURE = 1.0 / (24.0 * MEAN_RADIUS_M**2)


def arrange(cells: CellNumbers, count: int) -> tuple[Rows, Rows]:
    """As `geo.neighbour_kernels.arrange`."""
    arranged: tuple[Rows, Rows] = _arrange(cells, count)
    return arranged


def near_pairs(
    asked_slots: Rows, asked_cells: CellNumbers, reach_m: float, runs: Runs, cells_drawn: Drawn
) -> Pairs:
    """As `geo.neighbour_kernels.near_pairs`."""
    return Pairs(*_near_pairs(asked_slots, asked_cells, reach_m, *runs, *cells_drawn))


@numba.njit(cache=True, nogil=True)
def _arrange(cells: Any, count: int) -> Any:
    """A counting sort."""
    starts = np.zeros(count + 1, dtype=np.int32)
    for cell in cells:
        if cell >= 0:
            starts[cell + 1] += 1
    for cell in range(count):
        starts[cell + 1] += starts[cell]
    ends = starts[:-1].copy()
    rows = np.empty(starts[count], dtype=np.int32)
    for row in range(cells.size):
        cell = cells[row]
        if cell >= 0:
            rows[ends[cell]] = row
            ends[cell] += 1
    return starts, rows


@numba.njit(cache=True, nogil=True)
def _near_pairs(  # noqa: PLR0917 - the fields of two tuples
    asked_slots: Any,
    asked_cells: Any,
    reach_m: float,
    starts: Any,
    rows: Any,
    offsets: Any,
    centres: Any,
    rim_m: Any,
    disks: Any,
) -> Any:
    counts = np.zeros(asked_slots.size, dtype=np.int64)
    slots = np.empty(16 * asked_slots.size + 64, dtype=np.int32)
    squares = np.empty(slots.size, dtype=np.float32)
    longest = 0
    for cell in range(starts.size - 1):
        longest = max(longest, starts[cell + 1] - starts[cell])
    run = np.empty(longest, dtype=np.float32)
    who, total = 0, 0
    while True:
        # Room that might grow within the loop would keep the compiler from unrolling it.
        who, total = _fill(
            who, total, asked_slots, asked_cells, reach_m, starts, offsets, centres, rim_m, disks,
            counts, slots, squares, run,
        )  # fmt: skip
        if who == asked_slots.size:
            break
        room = 2 * slots.size + longest * disks.shape[1]
        slots, squares = _longer(slots, room, total), _longer(squares, room, total)
    found = np.empty(total, dtype=np.int32)
    metres = np.empty(total, dtype=np.float64)
    for at in range(total):
        found[at] = rows[slots[at]]
        straight_m = math.sqrt(squares[at])
        metres[at] = straight_m + straight_m * straight_m * straight_m * _CURVATURE
    return counts, found, metres


@numba.njit(cache=True, nogil=True, fastmath=True)
def _fill(  # noqa: PLR0917 - as above
    first: int,
    total: int,
    asked_slots: Any,
    asked_cells: Any,
    reach_m: float,
    starts: Any,
    offsets: Any,
    centres: Any,
    rim_m: Any,
    disks: Any,
    counts: Any,
    slots: Any,
    squares: Any,
    run: Any,
) -> Any:
    """Goes on from who asked as number `first`; returns who is next, where room ran out, and the total."""
    limit = np.float32(reach_m * reach_m)
    xs, ys, zs = offsets[0], offsets[1], offsets[2]
    for who in range(first, asked_slots.size):
        own, own_cell = asked_slots[who], asked_cells[who]
        own_x = centres[own_cell, 0] + xs[own]
        own_y = centres[own_cell, 1] + ys[own]
        own_z = centres[own_cell, 2] + zs[own]
        before = total
        for place in range(disks.shape[1]):
            cell = disks[own_cell, place]
            if cell < 0:
                break
            far_x, far_y, far_z = own_x - centres[cell, 0], own_y - centres[cell, 1], own_z - centres[cell, 2]
            reach_here_m = reach_m + rim_m[cell]
            if far_x * far_x + far_y * far_y + far_z * far_z > reach_here_m * reach_here_m:
                continue
            begin, length = starts[cell], starts[cell + 1] - starts[cell]
            if total + length > slots.size:
                return who, before
            x, y, z = np.float32(far_x), np.float32(far_y), np.float32(far_z)
            # In two loops, of which the first one takes several at once.
            for at in range(length):
                dx, dy, dz = xs[begin + at] - x, ys[begin + at] - y, zs[begin + at] - z
                run[at] = dx * dx + dy * dy + dz * dz
            for at in range(length):
                slots[total] = begin + at
                squares[total] = run[at]
                total += (run[at] <= limit) & (begin + at != own)
        counts[who] = total - before
    return asked_slots.size, total


@numba.njit(cache=True, nogil=True)
def _longer(values: Any, room: int, total: int) -> Any:
    grown = np.empty(room, dtype=values.dtype)
    grown[:total] = values[:total]
    return grown
