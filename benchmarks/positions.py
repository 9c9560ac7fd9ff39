"""Positions through the whole engine, beside Redis GEO and a Python server: its cost, its latency.

Each row is a server of its own, with `connected` people on sockets that follow `near` (1 km, everyone) and
`fences`, in a city of 40 by 40 km with 10,000 fences. Of 100,000 people 10,000 are connected and walk; the
others came before them, each with a connection, said where they are, and went: they are located for 15
minutes (no process here may open 100,000 files). What their coming costs stands in the row.

Saturation: `--in-flight` fixes are unanswered, the next walker's leaves at each answer; positions per
CPU-second counts the CPU of the server's whole process tree, not the driver's. Latency, with the crowd at
half of that rate, and standing still: 400 visitors elsewhere move in and out of each other's reach, and in
and out of fences; from sending the fix that causes the event to its arrival at the other client (the
neighbour; the person's second device).

Redis and its server (`peers/redis_geo_server.py`) hold exact positions in memory and answer at once. This
engine snaps both ends to cells, shows a new cell after a minute in it, confirms a crossing by a second fix,
stores crossings in Postgres before it tells them and positions in Valkey; it looks every 100 ms. The fix that
is timed is the one after which the event is due.

    python -m benchmarks.positions [--seconds 5] [--windows 3] [--only engine|redis] [--quick]
"""

import argparse
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from benchmarks import results
from benchmarks.cpu import memory_kib
from benchmarks.machine import describe
from benchmarks.peers.processes import NotInstalledError, installed
from benchmarks.peers.redis_geo import redis_geo
from benchmarks.servers import Server, engine, free_port
from benchmarks.walkers import RADIUS_M, City, EngineCity, Ground, RedisCity
from benchmarks.walkers_load import CityLoad, Latency, pass_by

SIDE_M = 40_000.0
MOVES_PER_S = 60.0
_SPARE = 50
_SETTLE_S = 3.0

Open = Callable[[int], AbstractContextManager[Server]]


def engine_with(people: int) -> AbstractContextManager[Server]:
    """The engine, and so many people."""
    return engine(free_port(), people)


def redis_with(people: int) -> AbstractContextManager[Server]:
    """The peer."""
    return redis_geo(people, RADIUS_M)


SERVERS: dict[str, tuple[Open, Callable[[Server], City]]] = {
    "engine": (engine_with, EngineCity),
    "redis": (redis_with, RedisCity),
}


def memory_mib(city: City) -> float:
    """Of all processes of the server."""
    return round(memory_kib(*city.server.roots).proportional / 1024, 1)


def fenced(city: City, ground: Ground, count: int, chance: random.Random, name: str = "fence") -> None:
    """So many more fences anywhere in the ground."""
    city.fence({f"{name} {number}": ground.ring(*ground.anywhere(chance)) for number in range(count)})


def saturated(load: CityLoad, in_flight: int, seconds: float, windows: int) -> dict[str, Any]:
    """Medians and spreads of some windows, after one that is not counted."""
    load.saturate(in_flight, seconds)
    rows = [load.saturate(in_flight, seconds) for _ in range(windows)]
    row: dict[str, Any] = {
        name: results.spread([row[name] for row in rows], digits)
        for name, digits in (
            ("positions_per_cpu_s", 0),
            ("positions_per_s", 0),
            ("driver_us_per_position", 1),
        )
    }
    return {**row, "cpu_us_per_position_by_process": rows[-1]["cpu_us_per_position_by_process"]}


def measure(city: City, located: int, given: argparse.Namespace) -> dict[str, Any]:
    """One row."""
    chance, ground = random.Random(1), Ground(SIDE_M)
    fenced(city, ground, given.fences, chance)
    before_mib = memory_mib(city)
    connected = min(located, given.connected)
    came = pass_by(city, ground, located - connected, random.Random(2))
    load = CityLoad(city, ground, connected, given.visitors, chance)
    try:
        load.stand(_SETTLE_S)
        row = {
            "located": located, "connected": connected, "fences": given.fences, "passed_by_before": came,
            "memory_mib_before_and_with_people": [before_mib, memory_mib(city)],
            "cores_while_nobody_moves": round(load.stand(given.seconds), 3),
            **saturated(load, given.in_flight, given.seconds, given.windows),
        }  # fmt: skip
        standing, half = Latency(), Latency()
        load.visit(0, MOVES_PER_S, given.seconds, standing)
        for _ in range(given.windows):
            load.visit(row["positions_per_s"]["median"] / 2, MOVES_PER_S, given.seconds, half)
        return {**row, "crowd_stands": standing.row(), "crowd_at_half_rate": half.row()}
    finally:
        load.close()


def report(rows: dict[str, Any], settings: dict[str, Any], file: str) -> None:
    """Prints the table, writes the file."""
    machine = describe("ray", "picows", "uvloop", "h3", "numpy", "shapely")
    head = (
        "row",
        "positions/CPU-s",
        "spread",
        "positions/s",
        "near p50/p99",
        "fence p50/p99",
        "standing p50",
    )
    table: list[tuple[str, ...]] = [head]
    for name, row in rows.items():
        if "error" in row:
            table.append((name, row["error"]))
            continue
        per_cpu_s, half, still = row["positions_per_cpu_s"], row["crowd_at_half_rate"], row["crowd_stands"]
        table.append(
            (
                name,
                f"{per_cpu_s['median']:,.0f}",
                f"{per_cpu_s['least']:,.0f}-{per_cpu_s['most']:,.0f}",
                f"{row['positions_per_s']['median']:,.0f}",
                "{p50_ms:.0f} / {p99_ms:.0f} ms ({events})".format(**half["near"]),
                "{p50_ms:.0f} / {p99_ms:.0f} ms ({events})".format(**half["fence"]),
                f"{still['near']['p50_ms']:.0f}, {still['fence']['p50_ms']:.0f} ms",
            )
        )
    width = max(map(len, table))
    results.show(machine, [(*row, *[""] * (width - len(row))) for row in table])
    path = results.write(file, {"machine": machine, "settings": settings, "rows": rows})
    print("written:", path.relative_to(results.FOLDER.parent.parent))


def options() -> argparse.ArgumentParser:
    """What both measurements of positions take."""
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("--seconds", type=float, default=5.0, help="length of a window")
    known.add_argument("--windows", type=int, default=3)
    known.add_argument("--in-flight", type=int, default=1_000, help="unanswered fixes, at saturation")
    known.add_argument("--connected", type=int, default=10_000, help="at most so many sockets walk")
    known.add_argument("--located", type=int, nargs="+", default=[10_000, 100_000], help="people, a row each")
    known.add_argument("--visitors", type=int, default=200, help="of `near`, and as many of fences")
    known.add_argument("--fences", type=int, default=10_000)
    known.add_argument("--only", choices=SERVERS, help="leave the other out")
    known.add_argument("--quick", action="store_true", help="1,000 people, 1,000 fences; not for quoting")
    return known


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    given = options().parse_args()
    if given.quick:
        given.seconds, given.windows, given.located, given.fences, given.visitors = 1.0, 2, [1_000], 1_000, 40
    if given.only != "engine" and (wrong := installed()):
        print(f"a peer may be missing: {wrong}", file=sys.stderr)
    rows: dict[str, Any] = {}
    settings: dict[str, Any] = {
        "load_before": os.getloadavg(),
        **{name: value for name, value in vars(given).items() if name not in ("only", "quick")},
        "side_m": SIDE_M, "radius_m": RADIUS_M, "wire": "JSON, no compression",
    }  # fmt: skip
    for located in given.located:
        for name, (opened, city) in SERVERS.items():
            if given.only not in (None, name):
                continue
            label = f"{name} {located:,}"
            print(label, flush=True)
            try:
                with opened(located + 4 * given.visitors + _SPARE) as server:
                    settings[name] = server.settings
                    rows[label] = measure(city(server), located, given)
            except (OSError, RuntimeError, NotInstalledError) as failed:
                traceback.print_exc()
                rows[label] = {"error": repr(failed)[:300]}
    report(rows, settings, "positions" + ("_only" if given.only else "_quick" if given.quick else ""))


if __name__ == "__main__":
    main()
