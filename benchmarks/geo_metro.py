"""A metro of people who walk: the same for the engine's kernels and for what is measured beside them."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cpu import TreeClock
from benchmarks.peers.planar_grid import PlanarGrid
from benchmarks.peers.redis_only import Redis, encoded
from geo.distance import metres_per_degree
from geo.neighbours import Kernels, Neighbours

MIDDLE = (52.52, 13.405)
RADIUS_M = 200.0
STEP_M = 1.4
PART = 10
"""A tick moves a tenth."""
_PIPELINED = 500


class Metro:
    """People anywhere in a square; each tick others take a step."""

    def __init__(self, people: int, side_m: float, seed: int = 1) -> None:
        self.people, self.side_m = people, side_m
        self._random = np.random.default_rng(seed)
        self.xs, self.ys = self._random.uniform(0, side_m, (2, people))

    @property
    def lats(self) -> Any:
        return self.place(self.xs, self.ys)[0]

    @property
    def lons(self) -> Any:
        return self.place(self.xs, self.ys)[1]

    def place(self, xs: Any, ys: Any) -> tuple[Any, Any]:
        """Degrees (lats, lons) of metres from the square's corner."""
        lat_m, lon_m = metres_per_degree(MIDDLE[0])
        half = self.side_m / 2
        return MIDDLE[0] + (ys - half) / lat_m, MIDDLE[1] + (xs - half) / lon_m

    def walk(self, most: int = 0) -> Any:
        """The rows that moved, ascending; at most so many."""
        count = min(self.people // PART, most or self.people)
        rows = np.sort(self._random.choice(self.people, count, replace=False))
        for axis in (self.xs, self.ys):
            axis[rows] = np.clip(axis[rows] + self._random.normal(0, STEP_M, count), 0, self.side_m - 0.01)
        return rows


class Side:
    """One of those measured: a tick's update and everybody near those who moved."""

    def __init__(self, name: str, tick: Callable[[Any], tuple[float, float, int]], most: int = 0) -> None:
        self.name, self._tick, self.most = name, tick, most
        self.per_s: list[float] = []
        self.per_cpu_s: list[float] = []
        self.found = 0.0

    def window(self, metro: Metro, seconds: float) -> None:
        """Ticks until so many seconds were measured."""
        wall_s = cpu_s = 0.0
        moved = found = 0
        while wall_s < seconds:
            rows = metro.walk(self.most)
            tick_wall_s, tick_cpu_s, tick_found = self._tick(rows)
            wall_s, cpu_s = wall_s + tick_wall_s, cpu_s + tick_cpu_s
            moved, found = moved + rows.size, found + tick_found
        self.per_s.append(moved / wall_s)
        self.per_cpu_s.append(moved / cpu_s)
        self.found = found / moved


def _timed(work: Callable[[], int]) -> tuple[float, float, int]:
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    found = work()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s, found


def ours(metro: Metro, name: str, kernels: Kernels) -> tuple[Side, Neighbours]:
    """`geo.neighbours` with its kernels in numpy or numba."""
    index = Neighbours(metro.people, RADIUS_M, kernels)
    index.update(np.arange(metro.people), metro.lats, metro.lons)

    def tick(rows: Any) -> tuple[float, float, int]:
        lats, lons = metro.place(metro.xs[rows], metro.ys[rows])

        def work() -> int:
            index.update(rows, lats, lons)
            return int(index.within(rows, RADIUS_M).rows.size)

        return _timed(work)

    return Side(name, tick), index


def planar(metro: Metro) -> Side:
    """The planar grid."""
    grid = PlanarGrid(metro.xs, metro.ys, metro.side_m, RADIUS_M)

    def tick(rows: Any) -> tuple[float, float, int]:
        xs, ys = metro.xs[rows], metro.ys[rows]

        def work() -> int:
            grid.update(rows, xs, ys)
            return int(grid.within(rows)[1].size)

        return _timed(work)

    return Side("planar grid (limit)", tick)


def redis_side(metro: Metro, redis: Redis, key: str, most: int = 0) -> Side:
    """GEOADD of all who moved, then a GEOSEARCH for each, pipelined; commands are encoded beforehand. CPU is
    the server's alone.
    """

    def added(rows: Any) -> bytes:
        lats, lons = metro.place(metro.xs[rows], metro.ys[rows])
        parts = []
        for at in range(0, len(rows), _PIPELINED):
            each = zip(rows[at : at + _PIPELINED].tolist(), lats[at : at + _PIPELINED].tolist(),
                       lons[at : at + _PIPELINED].tolist(), strict=True)  # fmt: skip
            parts.append(encoded("GEOADD", key, *(word for n, lat, lon in each for word in (lon, lat, n))))
        return b"".join(parts)

    def replies(rows: Any) -> int:
        return math.ceil(len(rows) / _PIPELINED)

    everybody = np.arange(metro.people)
    redis.send(added(everybody))
    redis.members(replies(everybody))
    clock = TreeClock(redis.pid)

    def tick(rows: Any) -> tuple[float, float, int]:
        nonlocal clock
        adds = added(rows)
        asks = [
            b"".join(
                encoded("GEOSEARCH", key, "FROMMEMBER", n, "BYRADIUS", int(RADIUS_M), "m")
                for n in rows[at : at + _PIPELINED].tolist()
            )
            for at in range(0, len(rows), _PIPELINED)
        ]
        clock, wall_s, lines = TreeClock(redis.pid), time.perf_counter(), 0
        redis.send(adds)
        redis.members(replies(rows))
        # The next ones are always with the server already.
        redis.send(asks[0])
        for number, asked in enumerate([*asks[1:], b""]):
            redis.send(asked)
            lines += redis.bulks_of(min(_PIPELINED, len(rows) - number * _PIPELINED))
        wall_s = time.perf_counter() - wall_s
        return wall_s, clock.used_s()[0], lines - len(rows)  # each finds itself

    return Side("Redis GEO", tick, most)
