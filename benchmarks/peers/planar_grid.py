"""The limit: a plane with square cells as wide as the radius, compiled. No Earth, no edges, one radius.

What `geo.neighbours` costs beyond this is the price of being right anywhere: distances on the ellipsoid,
poles, ±180, people anywhere on Earth in one index.
"""

from typing import Any

import numba
import numpy as np


class PlanarGrid:
    """Positions in metres from the corner of a square; `within` returns who is near each row asked."""

    def __init__(self, xs: Any, ys: Any, side_m: float, radius_m: float) -> None:
        self._xs, self._ys = xs.astype(np.float32), ys.astype(np.float32)
        self._radius_m = radius_m
        self._columns = int(side_m / radius_m) + 3

    def update(self, rows: Any, xs: Any, ys: Any) -> None:
        """Moves rows."""
        self._xs[rows], self._ys[rows] = xs, ys

    def within(self, rows: Any) -> tuple[Any, Any, Any]:
        """(counts, rows found, metres)."""
        found: tuple[Any, Any, Any] = _within(
            rows.astype(np.int32), self._xs, self._ys, np.float32(self._radius_m), self._columns
        )
        return found


@numba.njit(cache=True, fastmath=True)
def _within(asked: Any, xs: Any, ys: Any, radius_m: Any, columns: int) -> Any:
    count = xs.size
    cells = np.empty(count, dtype=np.int32)
    starts = np.zeros(columns * columns + 1, dtype=np.int32)
    for row in range(count):
        cell = (int(ys[row] / radius_m) + 1) * columns + int(xs[row] / radius_m) + 1
        cells[row] = cell
        starts[cell + 1] += 1
    for cell in range(columns * columns):
        starts[cell + 1] += starts[cell]
    ends = starts[:-1].copy()
    order = np.empty(count, dtype=np.int32)
    sorted_xs, sorted_ys = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.float32)
    for row in range(count):
        slot = ends[cells[row]]
        ends[cells[row]] += 1
        order[slot], sorted_xs[slot], sorted_ys[slot] = row, xs[row], ys[row]
    counts = np.zeros(asked.size, dtype=np.int64)
    room = 16 * asked.size + 64
    found, metres = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
    total = 0
    limit = radius_m * radius_m
    for who in range(asked.size):
        row = asked[who]
        x, y, before = xs[row], ys[row], total
        for line in range(-1, 2):
            first = cells[row] + line * columns - 1
            begin, end = starts[first], starts[first + 3]
            if total + end - begin > room:
                room = 2 * room + end - begin
                more, more_m = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
                more[:total], more_m[:total] = found[:total], metres[:total]
                found, metres = more, more_m
            for slot in range(begin, end):
                dx, dy = sorted_xs[slot] - x, sorted_ys[slot] - y
                square = dx * dx + dy * dy
                found[total], metres[total] = order[slot], square
                total += (square <= limit) & (order[slot] != row)
        counts[who] = total - before
    return counts, found[:total].copy(), np.sqrt(metres[:total])
