"""The reach of a disk of H3 cells, measured worldwide: the figures behind `geo.reach.DISKS` (GEO-8).

For each resolution and number of rings: over cells anywhere and densest around the 12 pentagons, the least
metres from a cell to a cell outside its disk, edge to edge, and what the table promises of it.

    python -m benchmarks.reach_table [--quick] [--cells 8000]
"""

import argparse

import numpy as np

from benchmarks import results
from benchmarks.machine import describe
from geo.cells import edge_m
from geo.reach import DISKS, demanding_cells, measured_reach_m


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--cells", type=int, default=8_000, help="about so many cells of each resolution")
    options.add_argument("--quick", action="store_true", help="200 cells; not for quoting")
    given = options.parse_args()
    count = 200 if given.quick else given.cells
    machine = describe("h3", "numpy", "shapely")
    table: list[tuple[str, ...]] = [
        ("res", "rings", "least found m", "promised m", "k = ceil(r / edge) says")
    ]
    rows = []
    for disk in DISKS:
        cells = demanding_cells(disk.res, count, np.random.default_rng(disk.res))
        least_m = min(measured_reach_m(cell, disk.rings) for cell in cells)
        naive_m = disk.rings * edge_m(disk.res)
        rows.append({**disk._asdict(), "least_found_m": round(least_m, 1), "cells": len(cells)})
        table.append(
            (f"{disk.res}", f"{disk.rings}", f"{least_m:.1f}", f"{disk.reach_m:.0f}", f"{naive_m:.0f}")
        )
        if least_m < disk.reach_m:
            raise SystemExit(f"the table promises {disk.reach_m} m, {least_m:.1f} m were found: {disk}")
    results.show(machine, table)
    results.write("reach_table_quick" if given.quick else "reach_table", {"machine": machine, "rows": rows})


if __name__ == "__main__":
    main()
