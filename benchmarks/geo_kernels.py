"""GEO-26, the kernels: who is near and which fences cover whom, on one core, beside what else there is.

100,000 people in 40 by 40 km, a tick moves a tenth of them: their update and everybody within 200 m of each.
`geo.neighbours` in numpy and in numba; Redis GEO (GEOADD, then GEOSEARCH for each, pipelined, commands
encoded beforehand; its CPU is the server's alone); a planar grid in numba as the limit. 10,000 fences and
10,000 positions in one batch: `geo.fences` beside one join of PostGIS over its GiST index, its rows counted
and not sent. Friends: `geo.friends`, 100 each. Each of them has one core, and a server has another one than
its client; windows of all take turns. Then how cost grows with people, density and fences.

    python -m benchmarks.geo_kernels [--quick] [--seconds 2] [--windows 5]
"""

import gc
import os
from typing import Any

from benchmarks import geo_fences, geo_friends, plot, results
from benchmarks.entrants import Claim, claim, median, ratio
from benchmarks.geo_metro import RADIUS_M, Metro, Side, ours, planar, redis_side
from benchmarks.peers.postgis import SETTINGS, postgis
from benchmarks.peers.redis_only import redis_only
from geo.neighbours import NUMPY, fastest

SIDE_M = 40_000.0
PEOPLE, FENCES, BATCH = 100_000, 10_000, 10_000
GROWTH_PEOPLE = (10_000, 100_000, 1_000_000)
GROWTH_SIDE_M = (40_000.0, 20_000.0, 10_000.0, 5_000.0)
GROWTH_FENCES = (1_000, 10_000, 100_000)
NUMPY_SIDE, NUMBA_SIDE, LIMIT, REDIS = "numpy", "numba", "planar grid (limit)", "Redis GEO"
_CORES = sorted(os.sched_getaffinity(0))


def on_core(number: int, *pids: int) -> None:
    """Keeps processes to one core; 0 is the driver's, 1 the servers', if there are two."""
    for pid in pids or (0,):
        os.sched_setaffinity(pid, {_CORES[number % len(_CORES)]})


def sides_of(metro: Metro, redis: Any, key: str, most: int = 0) -> tuple[list[Side], Any]:
    numpy_side, index = ours(metro, NUMPY_SIDE, NUMPY)
    numba_side, _ = ours(metro, NUMBA_SIDE, fastest())
    found = [numpy_side, numba_side, planar(metro)]
    return [*found, redis_side(metro, redis, key, most)] if redis else found, index


def near(run: Claim, redis: Any) -> None:
    """The main rows."""
    metro = Metro(PEOPLE, SIDE_M)
    run.say("near: loads")
    sides, index = sides_of(metro, redis, "metro")
    for side in sides:
        side.window(metro, 0.2)
        side.per_s.clear()
        side.per_cpu_s.clear()
    for number in range(run.options.windows):
        run.say(f"near: window {number + 1} of {run.options.windows}")
        for side in sides:
            side.window(metro, run.options.seconds)
    for side in sides:
        run.rows[f"near, {side.name}"] = {
            "updates_per_s": results.spread(side.per_s, 0),
            "updates_per_cpu_s": results.spread(side.per_cpu_s, 0),
            "neighbours_per_update": round(side.found, 2),
        }
    run.rows[f"near, {NUMPY_SIDE}"]["bytes_per_person"] = round(index.nbytes / PEOPLE, 1)


def fences(run: Claim, database: Any) -> None:
    """10,000 fences, the hits compared."""
    metro = Metro(PEOPLE, SIDE_M)
    shapes = geo_fences.drawn(metro, FENCES)
    run.say("fences: loads")
    mine, theirs = geo_fences.OurFences(shapes), geo_fences.TheirFences(database, shapes)
    try:
        lats, lons = metro.lats[:BATCH], metro.lons[:BATCH]
        theirs.place(lats, lons)
        at, fence = mine.index.hits(lats, lons)
        differ = len(set(zip(at.tolist(), fence.tolist(), strict=True)) ^ theirs.hits())
        rates: dict[str, list[tuple[float, float, int]]] = {"ours": [], "PostGIS": []}
        for number in range(run.options.windows):
            run.say(f"fences: window {number + 1} of {run.options.windows}")
            rates["ours"].append(mine.window(lats, lons, run.options.seconds))
            rates["PostGIS"].append(theirs.window(BATCH, run.options.seconds))
    finally:
        theirs.close()
    for name, windows in rates.items():
        run.rows[f"fences, {name}"] = {
            "positions_per_s": results.spread([each[0] for each in windows], 0),
            "positions_per_cpu_s": results.spread([each[1] for each in windows], 0),
            "hits_of_a_batch": windows[-1][2],
        }
    run.rows["fences, ours"] |= {
        "hits_that_differ": differ,
        "built_ms": round(mine.built_s * 1e3, 1),
        "bytes_per_fence": round(geo_fences.bytes_per_fence(FENCES)),
    }


def growth(run: Claim, redis: Any, database: Any) -> list[plot.Panel]:
    """One window a point: µs of CPU an update, or a position."""
    seconds = run.options.seconds / 2
    quick = run.options.quick

    def lines(points: list[tuple[float, Metro, Any]], label: str) -> list[plot.Line]:
        drawn: dict[str, list[tuple[float, float]]] = {}
        for x, metro, server in points:
            run.say(f"growth: {label} {x:g}")
            for side in sides_of(metro, server, f"{label} {x:g}", most=2_000)[0]:
                side.window(metro, 0.05)
                side.window(metro, seconds)
                us = 1e6 / side.per_cpu_s[-1]
                drawn.setdefault(side.name, []).append((x, us))
                run.rows[f"growth, {label} {x:g}, {side.name}"] = {
                    "us_per_update": round(us, 2),
                    "neighbours_per_update": round(side.found, 1),
                }
            gc.collect()
        return [plot.Line(name, at) for name, at in drawn.items()]

    people = GROWTH_PEOPLE[: 2 if quick else 3]
    with_people = [(float(n), Metro(n, SIDE_M * (n / PEOPLE) ** 0.5), redis) for n in people]
    panels = [plot.Panel("People, 62 in a km²", "people", "µs of CPU an update and its neighbours",
                         lines(with_people, "people"))]  # fmt: skip
    sides_m = GROWTH_SIDE_M[: 2 if quick else 4]
    with_density = [(round(PEOPLE / (m / 1_000) ** 2, 1), Metro(PEOPLE, m), redis) for m in sides_m]
    panels.append(plot.Panel("Density, 100,000 people", "people in a km²", "µs of CPU an update",
                             lines(with_density, "people a km²")))  # fmt: skip
    metro = Metro(BATCH, SIDE_M)
    mine_at, theirs_at = [], []
    for count in GROWTH_FENCES[: 2 if quick else 3]:
        run.say(f"growth: fences {count}")
        shapes = geo_fences.drawn(metro, count)
        index = geo_fences.OurFences(shapes)
        us = 1e6 / index.window(metro.lats, metro.lons, seconds)[1]
        mine_at.append((float(count), us))
        run.rows[f"growth, fences {count}, ours"] = {
            "us_per_position": round(us, 3), "built_ms": round(index.built_s * 1e3, 1)
        }  # fmt: skip
        if database:
            theirs = geo_fences.TheirFences(database, shapes)
            theirs.place(metro.lats, metro.lons)
            us = 1e6 / theirs.window(BATCH, seconds)[1]
            theirs.close()
            theirs_at.append((float(count), us))
            run.rows[f"growth, fences {count}, PostGIS"] = {"us_per_position": round(us, 3)}
    both = [plot.Line("geo.fences", mine_at), plot.Line("PostGIS", theirs_at)]
    return [*panels, plot.Panel("Fences", "fences", "µs of CPU a position", both)]


def goals(run: Claim) -> None:
    def near_of(name: str, key: str = "updates_per_cpu_s") -> float:
        return median(run.rows.get(f"near, {name}"), key)

    run.goal(
        "near, numpy: times Redis GEO per core, the server's own CPU (at least 1.5)",
        ratio(near_of(NUMPY_SIDE), near_of(REDIS)),
        lambda x: x >= 1.5,
    )
    run.goal(
        "near, numba: part of the planar limit (at least 1/6)",
        ratio(near_of(NUMBA_SIDE), near_of(LIMIT)),
        lambda x: x >= 1 / 6,
    )
    for name in geo_friends.CIRCLES:
        run.goal(
            f"friends, 100 each, {name}: updates/s (at least 150,000)",
            median(run.rows.get(f"friends, {name}"), "updates_per_cpu_s"),
            lambda x: x >= 150_000,
        )
    run.goal(
        "10,000 fences: times PostGIS' bulk join, its own CPU (at least 10)",
        ratio(
            median(run.rows.get("fences, ours"), "positions_per_cpu_s"),
            median(run.rows.get("fences, PostGIS"), "positions_per_cpu_s"),
        ),
        lambda x: x >= 10,
    )
    run.goal("bytes a person (at most 64)", near_of(NUMPY_SIDE, "bytes_per_person"), lambda x: x <= 64)
    run.goal(
        "bytes a fence, 15 corners (at most 2,000)",
        median(run.rows.get("fences, ours"), "bytes_per_fence"),
        lambda x: x <= 2_000,
    )


def table_of(run: Claim) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [("row", "per CPU-s", "spread", "per s", "found")]
    for name, row in run.rows.items():
        rate = row.get("updates_per_cpu_s") or row.get("positions_per_cpu_s")
        if rate:
            seen = row.get("updates_per_s") or row["positions_per_s"]
            found = row.get("neighbours_per_update", row.get("hits_of_a_batch", ""))
            table.append((name, f"{rate['median']:,.0f}", f"{rate['least']:,.0f}-{rate['most']:,.0f}",
                          f"{seen['median']:,.0f}", f"{found}"))  # fmt: skip
    return table


def main() -> None:
    assert __doc__
    run = claim("geo_kernels", __doc__, {}, seconds=2, windows=5)
    run.settings = {
        "window_s": run.options.seconds, "windows": run.options.windows, "people": PEOPLE, "side_m": SIDE_M,
        "radius_m": RADIUS_M, "fences": FENCES, "batch": BATCH, "postgis": SETTINGS,
        "redis": "in memory only, one connection, 500 commands a pipeline, two of them under way",
        "cpu": "ours: this process, pinned to a core; theirs: the server's processes, pinned to another",
    }  # fmt: skip
    on_core(0)
    panels: list[plot.Panel] = []
    with run.trying("friends"):
        geo_friends.rows_of(run, PEOPLE, SIDE_M)
    with redis_only() as redis, postgis() as database:
        on_core(1, redis.pid, database.pid)
        with run.trying("near"):
            near(run, redis)
        with run.trying("fences"):
            fences(run, database)
        with run.trying("growth"):
            panels = growth(run, redis, database)
    os.sched_setaffinity(0, _CORES)
    goals(run)
    if panels:
        plot.write(results.FOLDER / f"geo_kernels{'_quick' if run.options.quick else ''}.svg", panels)
    run.finish(table_of(run), ("numpy", "numba", "h3", "shapely", "asyncpg"))


if __name__ == "__main__":
    main()
