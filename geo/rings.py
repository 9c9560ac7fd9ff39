"""The cells around a cell in rings of equal distance, at every resolution in which people are shown.

Both ends of a distance are snapped (GEO-20), so whom one is told of depends on one's cell only: everybody
who looks from one cell shares one such table.
"""

import functools
import heapq
import itertools
from typing import NamedTuple

from geo.cells import RES_REGION, Cell
from geo.grid import cell_texts, surroundings
from geo.privacy import RES_STRANGERS_FINEST
from geo.proximity import RADIUS_MAX_M


class Ring(NamedTuple):
    """Cells whose centres are equally far, to the millimetre."""

    distance_m: float
    cells: tuple[Cell, ...]


class Rings(NamedTuple):
    """All cells of res 5 to 8 within 5 km, nearest first."""

    rings: tuple[Ring, ...]
    distance_m: dict[Cell, float]


@functools.lru_cache(maxsize=8_192)
def rings_around(cell: Cell) -> Rings:
    """Return the table of a cell of any resolution."""
    found: list[list[tuple[float, Cell]]] = []
    for res in range(RES_REGION, RES_STRANGERS_FINEST + 1):
        around = surroundings(cell, RADIUS_MAX_M, res)
        found.append(list(zip(around.metres.tolist(), cell_texts(around.cells), strict=True)))
    pairs = list(heapq.merge(*found))
    rings = tuple(
        Ring(metres, tuple(each for _, each in same))
        for metres, same in itertools.groupby(pairs, key=lambda pair: pair[0])
    )
    return Rings(rings, {each: metres for metres, each in pairs})
