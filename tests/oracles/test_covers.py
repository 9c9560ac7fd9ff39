"""Which fences cover which positions: `FenceIndex` beside PostGIS, whose geometry has straight edges too."""

import json
import math

import asyncpg
import numpy as np
import pytest
from exact import covers_exactly
from oracle_places import GEODESIC, PLACES

from geo.coordinates import normalise_lon
from geo.fences import FenceIndex
from geo.geojson import parse_shape

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# Of a longitude that is brought back into ±180.
ROUNDING_DEG = 2e-13


def ring(*corners):
    return [[float(lon), float(lat)] for lon, lat in (*corners, corners[0])]


def star(lon, lat, size_deg, points, rng):
    angles = np.sort(rng.uniform(0, 2 * math.pi, points))
    far = size_deg * rng.uniform(0.3, 1.0, points)
    return ring(
        *zip((lon + far * np.cos(angles)).tolist(), (lat + far * np.sin(angles)).tolist(), strict=True)
    )


def box(west, south, east, north):
    return ring((west, south), (east, south), (east, north), (west, north))


def fences():
    """Name → polygons as lists of rings, longitudes running on beyond ±180 where the fence does."""
    rng = np.random.default_rng(12)
    shapes = {
        "doughnut in Lagos": [[box(3.39, 6.45, 3.41, 6.47), box(3.395, 6.455, 3.405, 6.465)]],
        "two holes that touch the rim's corner": [
            [box(13, 52, 13.4, 52.4), box(13.1, 52.1, 13.2, 52.2), box(13.2, 52.2, 13.3, 52.3)]
        ],
        "thin, 20 km by 11 m": [[ring((13.3, 52.5), (13.5, 52.6), (13.5, 52.6001), (13.3, 52.5001))]],
        "thin, 20 km by 1 cm": [[ring((3.3, 6.5), (3.5, 6.5), (3.5, 6.5000001), (3.3, 6.5000001))]],
        "islands": [[box(3, 6, 3.1, 6.1)], [box(3.2, 6.2, 3.3, 6.3)], [box(3.1, 6.1, 3.15, 6.15)]],
        "ring in a ring": [[box(8, 50, 9, 51), box(8.2, 50.2, 8.8, 50.8)], [box(8.4, 50.4, 8.6, 50.6)]],
        "across ±180 with a hole": [[box(179, -17, 181, -16), box(179.8, -16.7, 180.3, -16.3)]],
        "touching 180": [[box(179.5, -1, 180, 1)]],
        "up to the north pole": [[box(-30, 85, 30, 90)]],
        "star of 400": [star(-73.98, 40.75, 0.2, 400, rng)],
    }
    for name, (lat, lon) in PLACES.items():
        if abs(lat) < 89:
            shapes[f"star at {name}"] = [star(lon, lat, 0.02, 30, rng)]
    return {name: [each if isinstance(each[0][0], list) else [each] for each in polygons]
            for name, polygons in shapes.items()}  # fmt: skip


def positions(polygons, rng):
    """(lon, lat) running on as the fence does: anywhere around, corners, on edges, and a hair beside them."""
    corners = np.array([corner for rings in polygons for each in rings for corner in each])
    starts = np.concatenate([np.array(each)[:-1] for rings in polygons for each in rings])
    steps = np.concatenate([np.diff(np.array(each), axis=0) for rings in polygons for each in rings])
    low, high = corners.min(axis=0), corners.max(axis=0)
    anywhere = low + (high - low) * rng.uniform(-0.2, 1.2, (400, 2))
    on_edges = np.concatenate([starts + steps * share for share in (0.25, 0.5, 0.7)])
    beside = on_edges + rng.normal(0, 1e-9, on_edges.shape)
    level = np.column_stack([rng.uniform(low[0] - 0.1, high[0] + 0.1, len(corners)), corners[:, 1]])
    points = np.concatenate([anywhere, corners, on_edges, beside, level])
    return points[np.abs(points[:, 1]) <= 89.999]


async def test_postgis_covers_the_same_positions(postgis, report):
    rng = np.random.default_rng(13)
    shapes = fences()
    index = FenceIndex(
        (name, parse_shape({"type": "MultiPolygon", "coordinates": polygons}))
        for name, polygons in shapes.items()
    )
    connection = await asyncpg.connect(postgis.url)
    said, total = {}, 0
    try:
        for name, polygons in shapes.items():
            points = positions(polygons, rng)
            lons = np.array([normalise_lon(lon) for lon in points[:, 0].tolist()])
            at, hit = index.hits(points[:, 1].copy(), lons)
            mine = set(at[hit == index.ids.index(name)].tolist())
            rows = await connection.fetch(
                """WITH fence AS (SELECT ST_GeomFromGeoJSON($1) AS shape)
                   SELECT n - 1 AS n, ST_Covers(shape, ST_SetSRID(ST_MakePoint(lon, lat), 4326)) AS covered,
                          ST_Distance(ST_Boundary(shape), ST_SetSRID(ST_MakePoint(lon, lat), 4326)) AS off_deg
                   FROM fence, unnest($2::float8[], $3::float8[]) WITH ORDINALITY AS p(lon, lat, n)""",
                json.dumps({"type": "MultiPolygon", "coordinates": polygons}),
                points[:, 0].tolist(), points[:, 1].tolist(),
            )  # fmt: skip
            theirs = {row["n"] for row in rows if row["covered"]}
            off_deg = {row["n"]: row["off_deg"] for row in rows}
            differ = mine ^ theirs
            if np.abs(points[:, 0]).max() > 180.0:
                assert all(off_deg[n] <= ROUNDING_DEG for n in differ), (name, differ)
            else:  # who is right is no matter of opinion
                assert all(covers_exactly(polygons, *points[n]) == (n in mine) for n in differ), (
                    name,
                    differ,
                )
            total += len(points)
            said[name] = {"positions": len(points), "covered": len(theirs), "differ": len(differ)}
        version = await connection.fetchval("SELECT postgis_full_version()")
    finally:
        await connection.close()
    report["fences, PostGIS ST_Covers (geometry)"] = {
        "version": version, "positions": total,
        "positions_that_differ": sum(each["differ"] for each in said.values()), "by_fence": said,
        "why": "on an edge, to the last digit: exact arithmetic agrees with the engine (PostGIS 3.3 rounds), "
               "or a longitude beyond ±180 was rounded",
    }  # fmt: skip


async def test_postgis_has_the_same_positions_in_a_circle(postgis, report):
    rng = np.random.default_rng(14)
    connection = await asyncpg.connect(postgis.url)
    differing = total = 0
    try:
        for lat, lon in PLACES.values():
            for radius_m in (25.0, 400.0, 5_000.0):
                azimuths, metres = rng.uniform(0, 360, 300), radius_m * rng.uniform(0, 2, 300)
                metres[:60] = radius_m + rng.choice([-0.1, -0.01, 0.01, 0.1], 60)
                lons, lats, _ = GEODESIC.fwd(np.full(300, lon), np.full(300, lat), azimuths, metres)
                lons = np.array([normalise_lon(each) for each in lons.tolist()])
                centre = [normalise_lon(lon), lat]
                shape = parse_shape({"type": "Point", "coordinates": centre, "radius_m": radius_m})
                mine = shape.covers_each(lats, lons)
                theirs = await connection.fetchval(
                    """SELECT array_agg(ST_DWithin(ST_MakePoint($1, $2)::geography,
                                                   ST_MakePoint(lon, lat)::geography, $3) ORDER BY n)
                       FROM unnest($4::float8[], $5::float8[]) WITH ORDINALITY AS p(lon, lat, n)""",
                    *centre, radius_m, lons.tolist(), lats.tolist(),
                )  # fmt: skip
                differ = mine != np.array(theirs)
                assert np.abs(metres[differ] - radius_m).max(initial=0.0) <= 1e-3
                differing, total = differing + int(differ.sum()), total + 300
    finally:
        await connection.close()
    report["circles, PostGIS ST_DWithin (geography)"] = {
        "positions": total,
        "positions_that_differ": differing,
    }
