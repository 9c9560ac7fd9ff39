"""Distances in metres on the WGS84 ellipsoid (GEO-9).

Up to 20 km and below 80 degrees of latitude a local ellipsoid is used: the meridian radius M and the prime
vertical radius N at the mean latitude, then a hypotenuse (Snyder, Map Projections, USGS PP 1395, eq. 4-18 and
4-20). It stays within a centimetre of the geodesic at 5 km. Beyond, Karney's geodesic (J. Geodesy 87, 2013)
as pyproj has it. Haversine is nowhere: it is off by up to 0.56 %.
"""

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

SEMI_MAJOR_M = 6_378_137.0
FLATTENING = 1 / 298.257223563
ECCENTRICITY_SQUARED = FLATTENING * (2 - FLATTENING)
LOCAL_REACH_M = 20_000.0
LOCAL_LAT_MAX_DEG = 80.0

Floats = npt.NDArray[np.float64]


@functools.cache
def _geodesic() -> Any:
    """The geodesic solver, loaded on the first far distance: PROJ costs each process 17 MB."""
    from pyproj import Geod  # noqa: PLC0415

    return Geod(ellps="WGS84")


def metres_per_degree(lat: float) -> tuple[float, float]:
    """Return the metres that a degree of latitude and a degree of longitude span at this latitude."""
    phi = math.radians(lat)
    w = 1.0 - ECCENTRICITY_SQUARED * math.sin(phi) ** 2
    prime_vertical_m = SEMI_MAJOR_M / math.sqrt(w)
    meridian_m = prime_vertical_m * (1.0 - ECCENTRICITY_SQUARED) / w
    return math.radians(meridian_m), math.radians(prime_vertical_m * math.cos(phi))


def metres_per_degree_each(lats: Floats) -> tuple[Floats, Floats]:
    """Return `metres_per_degree` of each latitude."""
    phi = np.radians(lats)
    w = 1.0 - ECCENTRICITY_SQUARED * np.sin(phi) ** 2
    prime_vertical_m = SEMI_MAJOR_M / np.sqrt(w)
    meridian_m = prime_vertical_m * (1.0 - ECCENTRICITY_SQUARED) / w
    return np.radians(meridian_m), np.radians(prime_vertical_m * np.cos(phi))


def distance_m(from_lat: float, from_lon: float, to_lat: float, to_lon: float) -> float:
    """Return the metres between two positions in degrees, over the shorter way round."""
    if abs(from_lat) < LOCAL_LAT_MAX_DEG and abs(to_lat) < LOCAL_LAT_MAX_DEG:
        lat_m, lon_m = metres_per_degree((from_lat + to_lat) / 2)
        metres = math.hypot((to_lat - from_lat) * lat_m, math.remainder(to_lon - from_lon, 360.0) * lon_m)
        if metres <= LOCAL_REACH_M:
            return metres
    return float(_geodesic().inv(from_lon, from_lat, to_lon, to_lat)[2])


def local_distances_m(lats: float | Floats, lons: float | Floats, to_lats: Floats, to_lons: Floats) -> Floats:
    """Return the metres from each position to its partner by the local ellipsoid: as `distance_m` says
    where that is at most 20 km and both lie below 80 degrees, of no use elsewhere.
    """
    lat_m, lon_m = metres_per_degree_each((to_lats + lats) / 2)
    turn = to_lons - lons
    turn -= 360.0 * np.round(turn / 360.0)
    metres: Floats = np.hypot((to_lats - lats) * lat_m, turn * lon_m)
    return metres


def distances_m(lat: float | Floats, lon: float | Floats, lats: Floats, lons: Floats) -> Floats:
    """Return the metres from one position to each of many, or from each of many to the one beside it, as
    `distance_m` would one by one.
    """
    metres = local_distances_m(lat, lon, lats, lons)
    polar = (np.abs(lats) >= LOCAL_LAT_MAX_DEG) | (np.abs(lat) >= LOCAL_LAT_MAX_DEG)
    far = polar | (metres > LOCAL_REACH_M)
    if far.any():
        from_lats, from_lons = np.broadcast_to(lat, lats.shape), np.broadcast_to(lon, lons.shape)
        metres[far] = _geodesic().inv(from_lons[far], from_lats[far], lons[far], lats[far])[2]
    return metres
