"""How the cost of a position grows with users, with density, with fences; beside Redis GEO. A plot.

Users: 1,000 to 100,000 people in 40 by 40 km, 10,000 of them connected at most. Density: 5,000 people in
squares of 40 to 5 km. Fences: 5,000 people, 100 to 10,000 fences in their 40 by 40 km. One server for all
rows, each in a city of its own far from the others; fences that are not counted by a row: 1,000. CPU is of
the whole process tree, at saturation (`positions.py`).

    python -m benchmarks.positions_growth [--seconds 3] [--windows 2] [--only engine|redis] [--quick]
"""

import argparse
import random
import signal
import sys
from dataclasses import dataclass
from typing import Any

from benchmarks import plot, results
from benchmarks.machine import describe
from benchmarks.positions import SERVERS, SIDE_M, fenced, saturated
from benchmarks.walkers import RADIUS_M, City, Ground
from benchmarks.walkers_load import CityLoad

_PLACES_DEG = 4.0
_SPARE = 50


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: `x` is what the panel counts."""

    panel: str
    x: float
    people: int
    side_m: float
    fences: int

    @property
    def label(self) -> str:
        return f"{self.panel} {self.x:g}"


def rows(*, quick: bool) -> list[Row]:
    """What is measured; the fences of one city grow from row to row, so they stand in order."""
    part = 10 if quick else 1
    people, sides = 5_000 // part, (40_000, 20_000, 10_000, 5_000)
    users = (1_000, 10_000) if quick else (1_000, 3_000, 10_000, 30_000, 100_000)
    fences = (100, 1_000) if quick else (100, 1_000, 10_000)
    return [
        *(Row("users", count, count, SIDE_M, 1_000 // part) for count in users),
        *(Row("people/km²", people / (side / 1e3) ** 2, people, side, 1_000 // part) for side in sides),
        *(Row("fences", count, people, SIDE_M, count) for count in fences),
    ]


def measure(city: City, number: int, row: Row, given: argparse.Namespace) -> dict[str, Any]:
    """One row, in a city of its own."""
    chance = random.Random(number)
    ground = Ground(row.side_m, lon=-170.0 + _PLACES_DEG * number)
    fenced(city, ground, row.fences, chance)
    load = CityLoad(city, ground, min(row.people, given.connected), 0, chance)
    try:
        load.leave_behind(row.people - len(load.walkers))
        found = saturated(load, given.in_flight, given.seconds, given.windows)
    finally:
        load.close()
    cost_us = 1e6 / found["positions_per_cpu_s"]["median"]
    print(f"  {row.label}: {cost_us:.1f} µs of CPU", flush=True)
    return {"people": row.people, "side_m": row.side_m, "fences": row.fences, "cpu_us": cost_us, **found}


def panels(found: dict[str, dict[str, dict[str, Any]]], known: list[Row]) -> list[plot.Panel]:
    """µs of CPU a position, a line a server."""
    return [
        plot.Panel(
            f"CPU of a position by {panel}",
            panel,
            "µs",
            [
                plot.Line(
                    name,
                    [(r.x, done[r.label]["cpu_us"]) for r in known if r.panel == panel and r.label in done],
                )
                for name, done in found.items()
            ],
        )
        for panel in dict.fromkeys(row.panel for row in known)
    ]


def main() -> None:
    assert __doc__
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=float, default=3.0, help="length of a window")
    options.add_argument("--windows", type=int, default=2)
    options.add_argument("--in-flight", type=int, default=1_000, help="unanswered fixes")
    options.add_argument("--connected", type=int, default=10_000, help="at most so many sockets walk")
    options.add_argument("--only", choices=SERVERS, help="leave the other out")
    options.add_argument("--quick", action="store_true", help="a tenth of everything; not for quoting")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    given = options.parse_args()
    if given.quick:
        given.seconds, given.windows = 1.0, 1
    known = rows(quick=given.quick)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for key, (opened, city_of) in SERVERS.items():
        if given.only in (None, key):
            with opened(sum(row.people for row in known) + _SPARE) as server:
                city = city_of(server)
                print(city.name, flush=True)
                found[city.name] = {
                    row.label: measure(city, number, row, given) for number, row in enumerate(known)
                }
    name = "positions_growth_quick" if given.quick else "positions_growth"
    machine = describe("ray", "picows", "uvloop", "h3", "numpy", "shapely")
    settings = {"radius_m": RADIUS_M, "in_flight": given.in_flight, "connected_at_most": given.connected}
    path = results.write(name, {"machine": machine, "settings": settings, "rows": found})
    plot.write(path.with_suffix(".svg"), panels(found, known))
    print("written:", path.relative_to(results.FOLDER.parent.parent), "and its plot")


if __name__ == "__main__":
    main()
