"""Where answers go wrong, and crowds there, for the oracles."""

import h3
import numpy as np
from pyproj import Geod

GEODESIC = Geod(ellps="WGS84")
PLACES = {
    "Lagos": (6.4541, 3.3947),
    "Berlin": (52.52, 13.405),
    "Fiji, on ±180": (-16.8, 180.0),
    "the equator at ±180": (0.0, -179.9999),
    "the equator at 0": (0.0, 0.0),
    "Longyearbyen": (78.22, 15.65),
    "just below 80°": (79.9995, 20.0),
    "Alert": (82.5, -62.3),
    "the north pole": (90.0, 0.0),
    "the south pole": (-89.9999, 120.0),
} | {f"pentagon {n}": h3.cell_to_latlng(cell) for n, cell in enumerate(h3.get_pentagons(9))}


def crowd(place, radius_m, count, rng):
    """Positions (lats, lons) around a place: some anywhere within two radii, some on the rim of the first."""
    lat, lon = place
    azimuths = rng.uniform(0, 360, count)
    metres = 2.0 * radius_m * np.sqrt(rng.uniform(0, 1, count))
    metres[0] = 0.0
    rim = slice(1, count // 4)
    metres[rim] = radius_m + rng.choice([-1.0, -0.01, -0.001, 0.001, 0.01, 1.0], count // 4 - 1)
    lons, lats, _ = GEODESIC.fwd(np.full(count, lon), np.full(count, lat), azimuths, metres)
    return np.clip(lats, -90, 90), (lons + 180.0) % 360.0 - 180.0
