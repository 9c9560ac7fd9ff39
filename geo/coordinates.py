"""Positions on WGS84: the precise form, and the checks that every coordinate passes at the door."""

import math

import msgspec

LATITUDE_MAX_DEG = 90.0


class CoordinatesError(ValueError):
    """Not a place on Earth: NaN, infinite, or a latitude beyond a pole."""


class LatLng(msgspec.Struct, frozen=True):
    """A precise position in WGS84 degrees, longitude in [-180, 180).

    It stays with ingress, the region and fence actors and the position store; what goes anywhere else is
    `geo.privacy.Coarse`, and the two are different types on purpose.
    """

    lat: float
    lon: float


def normalise_lon(lon: float) -> float:
    """Return the same meridian in [-180, 180), exactly: whole turns are removed without rounding."""
    if -180.0 <= lon < 180.0:
        return lon
    turned = math.remainder(lon, 360.0)
    return -180.0 if turned == 180.0 else turned + 0.0


def normalise(lat: float, lon: float) -> LatLng:
    """Return the position with its longitude in [-180, 180); raise CoordinatesError where there is none."""
    if not (math.isfinite(lat) and math.isfinite(lon)):
        raise CoordinatesError("coordinates must be finite numbers")
    if abs(lat) > LATITUDE_MAX_DEG:
        raise CoordinatesError("latitude must lie in [-90, 90]")
    return LatLng(lat, normalise_lon(lon))
