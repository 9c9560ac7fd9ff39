"""Fences drawn as sets of H3 cells (GEO-12)."""

from collections.abc import Sequence
from typing import Any

import h3
import numpy as np
from shapely import Polygon

from geo.distance import Floats
from geo.shapes import Area, Box, Flags

RESOLUTION_MIN, RESOLUTION_MAX = 5, 12
"""Of coarser cells edges bend too much to be measured against as straight ones."""

# An edge of a cell is a great circle's, one of its polygon straight in degrees: at resolution 5 they are at
# most this far from each other, up to 89.9° of latitude (tests/geo/test_cell_sets.py samples it).
_PAD_DEG = 0.002


class CellSet(Area):
    """All positions whose H3 cell, asked for directly at its resolution, is in the set.

    Distances are those to the outline of the cells' polygons.
    """

    def __init__(self, geometry: dict[str, Any], cells: Sequence[str], parts: Sequence[Polygon]) -> None:
        """Take valid cells and the polygons that they fill together."""
        super().__init__(geometry, parts)
        self._cells = frozenset(cells)
        self._resolutions = sorted({h3.get_resolution(cell) for cell in self._cells})

    @property
    def plain_polygon(self) -> None:
        """None: the polygon is not the shape."""

    def boxes(self) -> list[Box]:
        padded: list[Box] = []
        for west, south, east, north in super().boxes():
            shrink = max(np.cos(np.radians(max(abs(south), abs(north)))), 1e-3)
            pad_lon = _PAD_DEG / shrink
            low, high = max(south - _PAD_DEG, -90.0), min(north + _PAD_DEG, 90.0)
            padded.append((max(west - pad_lon, -180.0), low, min(east + pad_lon, 180.0), high))
            if west - pad_lon < -180.0:
                padded.append((west - pad_lon + 360.0, low, 180.0, high))
            if east + pad_lon >= 180.0:
                padded.append((-180.0, low, east + pad_lon - 360.0, high))
        return padded

    def covers_each(self, lats: Floats, lons: Floats) -> Flags:
        inside: Flags = np.zeros(lats.size, dtype=np.bool_)
        for resolution in self._resolutions:
            for at in np.flatnonzero(~inside).tolist():
                inside[at] = h3.latlng_to_cell(lats[at], lons[at], resolution) in self._cells
        return inside
