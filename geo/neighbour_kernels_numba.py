"""The inner loops of `geo.neighbours` compiled by numba: the optional extra `numba`.

The same answers as `geo.neighbour_kernels`, behind the same tests. Compiled at the first call and kept beside
this file (`__pycache__`), so later processes load them.
"""

from typing import Any

import numba
import numpy as np

from geo.grid import CellNumbers
from geo.neighbour_kernels import Drawn, Pairs, Rows, Runs


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


@numba.njit(cache=True, nogil=True, fastmath=True)
def _near_pairs(  # noqa: PLR0917 - the fields of two tuples
    asked_slots: Any,
    asked_cells: Any,
    reach_m: float,
    starts: Any,
    rows: Any,  # noqa: ARG001 - of the tuple given
    offsets: Any,
    centres: Any,
    rim_m: Any,
    disks: Any,
) -> Any:
    counts = np.zeros(asked_slots.size, dtype=np.int64)
    room = 16 * asked_slots.size + 64
    slots = np.empty(room, dtype=np.int32)
    squares = np.empty(room, dtype=np.float32)
    total = 0
    limit = np.float32(reach_m * reach_m)
    xs, ys, zs = offsets[0], offsets[1], offsets[2]
    for who in range(asked_slots.size):
        own, own_cell = asked_slots[who], asked_cells[who]
        before = total
        for place in range(disks.shape[1]):
            cell = disks[own_cell, place]
            if cell < 0:
                break
            begin, end = starts[cell], starts[cell + 1]
            if begin == end:
                continue
            x = xs[own] + np.float32(centres[own_cell, 0] - centres[cell, 0])
            y = ys[own] + np.float32(centres[own_cell, 1] - centres[cell, 1])
            z = zs[own] + np.float32(centres[own_cell, 2] - centres[cell, 2])
            reach_here_m = reach_m + rim_m[cell]
            if x * x + y * y + z * z > reach_here_m * reach_here_m:
                continue
            if total + end - begin > room:
                room = 2 * room + end - begin
                slots, squares = _longer(slots, room, total), _longer(squares, room, total)
            for slot in range(begin, end):
                dx, dy, dz = xs[slot] - x, ys[slot] - y, zs[slot] - z
                square = dx * dx + dy * dy + dz * dz
                slots[total] = slot
                squares[total] = square
                total += (square <= limit) & (slot != own)
        counts[who] = total - before
    return counts, slots[:total].copy(), np.sqrt(squares[:total])


@numba.njit(cache=True, nogil=True)
def _longer(values: Any, room: int, total: int) -> Any:
    grown = np.empty(room, dtype=values.dtype)
    grown[:total] = values[:total]
    return grown
