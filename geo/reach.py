"""How far a disk of H3 cells is sure to reach (GEO-8).

`k = ceil(radius / edge)` misses people: cells shrink to 0.7 of their average towards the pentagons. What
holds anywhere is measured: between any position in a cell and any position outside the cell's disk of k rings
lie at least `Disk.reach_m` metres. `python -m benchmarks.reach_table` prints what was found worldwide,
densest around the 12 pentagons, and tests/geo/test_reach.py checks it.
"""

import math
from typing import NamedTuple

import h3.api.basic_int as h3
import numpy as np
import shapely

from geo.distance import Floats
from geo.earth import cartesian, plane_at


class Disk(NamedTuple):
    """The cells within `rings` steps of a position's own cell at resolution `res`."""

    res: int
    rings: int
    reach_m: float
    """Whoever is this near is in one of them, anywhere on Earth."""


DISKS = (
    Disk(9, 1, 135.0),
    Disk(9, 2, 350.0),
    Disk(9, 3, 530.0),
    Disk(8, 2, 940.0),
    Disk(8, 3, 1_500.0),
    Disk(7, 2, 2_400.0),
    Disk(6, 2, 6_500.0),
)
"""By reach, each some 5 % below the least found. Beyond the last one `Neighbours.nearest` expands."""


def disk_for(radius_m: float) -> Disk:
    """Return the smallest disk that misses nobody within the radius; raise ValueError beyond 6,500 m."""
    for disk in DISKS:
        if 0.0 < radius_m <= disk.reach_m:
            return disk
    raise ValueError(f"radius_m must lie in (0, {DISKS[-1].reach_m:.0f}]")


def disk_size(rings: int) -> int:
    """Return the cells of a disk; around a pentagon there are fewer."""
    return 1 + 3 * rings * (rings + 1)


def measured_reach_m(cell: int, rings: int) -> float:
    """Return the metres from a cell to the nearest cell outside its disk, edge to edge.

    Cells are taken as polygons on the plane that touches the ellipsoid at the cell's centre, which at the
    sizes of `DISKS` is true to a part in 10⁵.
    """
    lat, lon = h3.cell_to_latlng(cell)

    def drawn(each: int) -> Floats:
        corners = np.array(h3.cell_to_boundary(each))
        return plane_at(lat, lon, *cartesian(corners[:, 0], corners[:, 1]))

    beyond = set(h3.grid_disk(cell, rings + 1)) - set(h3.grid_disk(cell, rings))
    here = shapely.polygons(drawn(cell))
    return float(min(shapely.distance(here, shapely.polygons(drawn(each))) for each in beyond))


def demanding_cells(res: int, count: int, rng: np.random.Generator) -> list[int]:
    """Return cells to try a claim on: all 12 pentagons and what lies around them, the rest anywhere.

    Half of the `count` asked for are near pentagons, where cells are smallest and disks irregular.
    """
    found: set[int] = set()
    pentagons = h3.get_pentagons(res)
    for pentagon in pentagons:
        found.update(h3.grid_disk(pentagon, 3))
        lat, lon = h3.cell_to_latlng(pentagon)
        for spread_deg in (0.02, 0.1, 0.5, 2.0, 5.0):
            for north, east in rng.normal(0.0, spread_deg, (max(1, count // 120), 2)).tolist():
                near = max(-89.9, min(89.9, lat + north))
                found.add(h3.latlng_to_cell(near, lon + east / math.cos(math.radians(near)), res))
    for height, lon in rng.uniform((-1.0, -180.0), (1.0, 180.0), (max(1, count // 2), 2)).tolist():
        found.add(h3.latlng_to_cell(math.degrees(math.asin(height)), lon, res))
    return sorted(found)
