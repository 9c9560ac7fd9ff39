"""How the cost of a position grows with users, with density, with fences; beside Redis GEO. A plot.

Users: 1,000 to 100,000 people in 40 by 40 km with 1,000 fences; up to 10,000 of them are connected and walk,
the others came, said where they are and went (`positions.py`). Density: 3,000 people who walk, in squares of
40 to 5 km, with as many fences in a km². Fences: 3,000 people who walk in 40 by 40 km with 100 to 10,000
fences. What grows, grows in one city from row to row; the cities lie far apart, in one server. CPU is of the
server's whole process tree, at saturation.

    python -m benchmarks.positions_growth [--seconds 3] [--windows 2] [--only engine|redis] [--quick]
"""

import argparse
import os
import random
import signal
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from benchmarks import plot, results
from benchmarks.machine import describe
from benchmarks.positions import SERVERS, SIDE_M, fenced, saturated
from benchmarks.walkers import RADIUS_M, City, Ground
from benchmarks.walkers_load import CityLoad, pass_by

_PLACES_DEG = 4.0
_SPARE = 50
USERS, DENSITY, FENCES = "people", "people in a km²", "fences"
TITLES = {
    USERS: "Users: 40 × 40 km, 1,000 fences",
    DENSITY: "Density: 3,000 people, 0.6 fences in a km²",
    FENCES: "Fences: 3,000 people in 40 × 40 km",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: a city has so many people and fences then; `city` is its number."""

    panel: str
    city: int
    people: int
    side_m: float
    fences: int

    @property
    def x(self) -> float:
        """What the panel counts."""
        density = self.people / (self.side_m / 1e3) ** 2
        return {USERS: float(self.people), DENSITY: round(density, 2), FENCES: float(self.fences)}[self.panel]

    @property
    def label(self) -> str:
        return f"{self.panel} {self.x:g}"


def rows(*, quick: bool) -> list[Row]:
    """What is measured, in this order: a city only grows."""
    part = 10 if quick else 1
    people, fences = 3_000 // part, 1_000 // part
    a_km2 = fences / (SIDE_M / 1e3) ** 2
    users = (1_000, 10_000) if quick else (1_000, 3_000, 10_000, 30_000, 100_000)
    sides = (40_000.0, 20_000.0, 10_000.0, 5_000.0)
    return [
        *(Row(USERS, 0, count, SIDE_M, fences) for count in users),
        *(
            Row(DENSITY, 1 + n, people, side, round(a_km2 * (side / 1e3) ** 2))
            for n, side in enumerate(sides)
        ),
        *(
            Row(FENCES, 9, people, SIDE_M, count)
            for count in ((100, 1_000) if quick else (100, 1_000, 10_000))
        ),
    ]


class Growth:
    """One server's cities."""

    def __init__(self, city: City, given: argparse.Namespace) -> None:
        self._city, self._given = city, given
        self._load: CityLoad | None = None
        self._before: Row | None = None

    def measure(self, row: Row) -> dict[str, Any]:
        """One row: the city before goes on, or another one begins."""
        given, chance = self._given, random.Random(hash((row.city, row.people, row.fences)))
        before = self._before
        if before is None or before.city != row.city:
            self.close()
            before = Row(row.panel, row.city, 0, row.side_m, 0)
        ground = Ground(row.side_m, lon=-170.0 + _PLACES_DEG * row.city)
        meanwhile = self._idle if self._load is None else self._load.look_after
        with ThreadPoolExecutor(1) as beside:
            name = f"{row.fences} in {row.city}"
            making = beside.submit(
                fenced, self._city, ground, row.fences - before.fences, random.Random(1), name
            )
            while not wait([making], 0.1).done:
                meanwhile()
            making.result()
        walking, walked = (min(each.people, given.connected) for each in (row, before))
        came = row.people - before.people - (walking - walked)
        passed_by = pass_by(self._city, ground, came, chance, meanwhile)
        if self._load is None:
            self._load = CityLoad(self._city, ground, walking, 0, chance)
        else:
            self._load.grow(walking - walked, chance)
        self._before = row
        found = saturated(self._load, given.in_flight, given.seconds, given.windows)
        cost_us = 1e6 / found["positions_per_cpu_s"]["median"]
        print(f"  {row.label}: {cost_us:.1f} µs of CPU", flush=True)
        return {
            "people": row.people, "connected": walking, "side_m": row.side_m, "fences": row.fences,
            "cpu_us": round(cost_us, 2), "passed_by": passed_by, **found,
        }  # fmt: skip

    def _idle(self) -> None:
        """Nobody is there to be looked after."""

    def close(self) -> None:
        """The people who are connected leave."""
        if self._load is not None:
            self._load.close()
        self._load = self._before = None


def panels(found: dict[str, dict[str, dict[str, Any]]], known: list[Row]) -> list[plot.Panel]:
    """µs of CPU a position, a line a server."""
    return [
        plot.Panel(
            TITLES[panel],
            panel,
            "µs of CPU a position",
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
    load_before = os.getloadavg()
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for key, (opened, city_of) in SERVERS.items():
        if given.only in (None, key):
            most = {row.city: row.people for row in known}
            with opened(sum(most.values()) + _SPARE) as server:
                city = city_of(server)
                print(city.name, flush=True)
                growth = Growth(city, given)
                found[city.name] = {row.label: growth.measure(row) for row in known}
                growth.close()
    name = "positions_growth" + ("_only" if given.only else "_quick" if given.quick else "")
    machine = describe("ray", "picows", "uvloop", "h3", "numpy", "shapely")
    settings = {
        "radius_m": RADIUS_M, "in_flight": given.in_flight, "connected_at_most": given.connected,
        "seconds": given.seconds, "windows": given.windows, "load_before": load_before,
    }  # fmt: skip
    path = results.write(name, {"machine": machine, "settings": settings, "rows": found})
    plot.write(path.with_suffix(".svg"), panels(found, known))
    print("written:", path.relative_to(results.FOLDER.parent.parent), "and its plot")


if __name__ == "__main__":
    main()
