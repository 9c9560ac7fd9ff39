"""Fences in a metro: which of them cover which positions, by the engine's index and by PostGIS in bulk."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

from benchmarks.cpu import TreeClock
from benchmarks.geo_metro import Metro
from benchmarks.machine import ROOT
from benchmarks.peers.postgres import Database
from geo.fences import FenceIndex
from geo.geojson import parse_shape

CORNERS = (6, 25)
SIZE_M = (30.0, 250.0)


def drawn(metro: Metro, count: int) -> list[dict[str, Any]]:
    """Polygons of 6 to 24 corners and 30 to 250 m around their middles, anywhere in the metro (GeoJSON)."""
    rng = np.random.default_rng(2)
    fences = []
    for x, y in rng.uniform(0, metro.side_m, (count, 2)).tolist():
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(*CORNERS)))
        far_m = rng.uniform(*SIZE_M) * rng.uniform(0.6, 1.0, angles.size)
        lats, lons = metro.place(x + far_m * np.cos(angles), y + far_m * np.sin(angles))
        ring = [list(at) for at in zip(lons.tolist(), lats.tolist(), strict=True)]
        fences.append({"type": "Polygon", "coordinates": [[*ring, ring[0]]]})
    return fences


class OurFences:
    """`geo.fences.FenceIndex`, asked with all positions of a tick."""

    def __init__(self, fences: list[dict[str, Any]]) -> None:
        shapes = [(str(number), parse_shape(each)) for number, each in enumerate(fences)]
        begun_s = time.perf_counter()
        self.index = FenceIndex(shapes)
        self.built_s = time.perf_counter() - begun_s

    def window(self, lats: Any, lons: Any, seconds: float) -> tuple[float, float, int]:
        """(positions per second, per CPU second, hits of the last batch)."""
        wall_s, cpu_s, batches, hits = time.perf_counter(), time.process_time(), 0, 0
        while time.perf_counter() - wall_s < seconds:
            hits = self.index.hits(lats, lons)[0].size
            batches += 1
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        return batches * lats.size / wall_s, batches * lats.size / cpu_s, hits


class TheirFences:
    """PostGIS: fences with a GiST index, positions in a table beforehand, one join for all, only counted."""

    JOIN = "FROM positions p JOIN fences f ON ST_Covers(f.shape, p.at)"

    def __init__(self, database: Database, fences: list[dict[str, Any]]) -> None:
        self._database = database
        self._loop = asyncio.new_event_loop()
        self._connection: Any = self._run(asyncpg.connect(database.url))
        self._run(self._fill(fences))

    def _run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    async def _fill(self, fences: list[dict[str, Any]]) -> None:
        await self._connection.execute(
            "DROP TABLE IF EXISTS fences; CREATE UNLOGGED TABLE fences (n int, shape geometry(Polygon, 4326))"
        )
        await self._connection.executemany(
            "INSERT INTO fences VALUES ($1, ST_GeomFromGeoJSON($2))",
            [(number, json.dumps(each)) for number, each in enumerate(fences)],
        )
        await self._connection.execute("CREATE INDEX ON fences USING gist (shape)")
        await self._connection.execute("VACUUM ANALYZE fences")

    def place(self, lats: Any, lons: Any) -> None:
        """The positions that the next joins are about."""
        self._run(self._place(lats, lons))

    async def _place(self, lats: Any, lons: Any) -> None:
        await self._connection.execute("DROP TABLE IF EXISTS positions")
        await self._connection.execute(
            """CREATE UNLOGGED TABLE positions AS
               SELECT n - 1 AS n, ST_SetSRID(ST_MakePoint(lon, lat), 4326) AS at
               FROM unnest($1::float8[], $2::float8[]) WITH ORDINALITY AS p(lon, lat, n)""",
            lons.tolist(), lats.tolist(),
        )  # fmt: skip
        await self._connection.execute("VACUUM ANALYZE positions")

    def hits(self) -> set[tuple[int, int]]:
        """(position, fence)."""
        return {tuple(row) for row in self._run(self._connection.fetch(f"SELECT p.n, f.n {self.JOIN}"))}

    def window(self, count: int, seconds: float) -> tuple[float, float, int]:
        """As `OurFences.window`; CPU is the server's."""
        clock, wall_s, batches, hits = TreeClock(self._database.pid), time.perf_counter(), 0, 0
        while time.perf_counter() - wall_s < seconds:
            hits = self._run(self._connection.fetchval(f"SELECT count(*) {self.JOIN}"))
            batches += 1
        wall_s = time.perf_counter() - wall_s
        return batches * count / wall_s, batches * count / clock.used_s()[0], hits

    def close(self) -> None:
        self._run(self._connection.close())
        self._loop.close()


def bytes_per_fence(count: int) -> float:
    """What a process of its own grows by for so many fences with their index, read as shards read them: their
    GeoJSON stays in the database.
    """
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.geo_fences", str(count)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(told.stdout)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _grown(count: int) -> float:
    metro = Metro(10, 40_000.0)
    at = np.zeros(1)
    fences = [json.dumps(each) for each in drawn(metro, count)]
    OurFences([json.loads(each) for each in fences[:100]]).index.hits(at, at)
    before = _resident()
    shapes = []
    for number, each in enumerate(fences):
        shape = parse_shape(json.loads(each))
        shape.geometry = {}
        shapes.append((str(number), shape))
    index = FenceIndex(shapes)
    index.hits(metro.lats, metro.lons)
    return (_resident() - before) / count


if __name__ == "__main__":
    print(_grown(int(sys.argv[1])))
