"""How far a position is from a line drawn in degrees: the edge of a cell or of a fence."""

from collections.abc import Iterable, Sequence

import numpy as np

from geo.distance import Floats, distance_m, metres_per_degree

# Above this latitude a degree of longitude shrinks too fast for a local plane around the position; the plane
# then lies on the pole, where a parallel is an arc: edges are cut into short pieces.
_POLAR_LAT_DEG = 80.0
_CUT_FROM_LAT_DEG = 75.0
_PIECE_MAX_DEG = 1.0
WHOLE_TURN_DEG = 360.0


def unwrapped(lons: Iterable[float]) -> list[float]:
    """Return longitudes as one walks them, each the short way from the one before: no jump at ±180.

    A step of exactly a whole turn is kept: it runs along a map's edge, as in a box from -180 to 180.
    """
    walked: list[float] = []
    before = None
    for lon in lons:
        if before is None:
            walked.append(lon)
        elif abs(lon - before) == WHOLE_TURN_DEG:
            walked.append(walked[-1] + lon - before)
        else:
            walked.append(lon + WHOLE_TURN_DEG * round((walked[-1] - lon) / WHOLE_TURN_DEG))
        before = lon
    return walked


class Outline:
    """The edges of closed rings, each edge straight in longitude and latitude (RFC 7946, 3.1.1)."""

    __slots__ = ("_from_lats", "_from_lons", "_lat_steps", "_lon_steps")

    def __init__(self, rings: Iterable[Sequence[tuple[float, float]]]) -> None:
        """Take rings of (lat, lon), unwrapped, whose last position repeats the first (or a turn of it)."""
        starts: list[Floats] = []
        steps: list[Floats] = []
        for ring in rings:
            corners = np.asarray(ring, dtype=np.float64)
            if np.abs(corners[:, 0]).max() > _CUT_FROM_LAT_DEG:
                corners = _cut(corners)
            starts.append(corners[:-1])
            steps.append(np.diff(corners, axis=0))
        start, step = np.concatenate(starts), np.concatenate(steps)
        self._from_lats, self._from_lons = start[:, 0].copy(), start[:, 1].copy()
        self._lat_steps, self._lon_steps = step[:, 0].copy(), step[:, 1].copy()

    def distance_m(self, lat: float, lon: float) -> float:
        """Return the metres from a position to the nearest edge."""
        turn = self._from_lons - lon
        turn -= 360.0 * np.round(turn / 360.0)
        if abs(lat) >= _POLAR_LAT_DEG:
            xs, ys, x_steps, y_steps, x0, y0 = self._on_the_pole(lat, turn)
        else:
            lat_m, lon_m = metres_per_degree(lat)
            xs, ys = turn * lon_m, (self._from_lats - lat) * lat_m
            x_steps, y_steps = self._lon_steps * lon_m, self._lat_steps * lat_m
            x0 = y0 = 0.0
        length_squared = x_steps**2 + y_steps**2
        along = (x0 - xs) * x_steps + (y0 - ys) * y_steps
        share = np.clip(along / np.where(length_squared > 0.0, length_squared, 1.0), 0.0, 1.0)
        nearest = int(np.argmin((xs + share * x_steps - x0) ** 2 + (ys + share * y_steps - y0) ** 2))
        at_lat = self._from_lats[nearest] + share[nearest] * self._lat_steps[nearest]
        at_lon = self._from_lons[nearest] + share[nearest] * self._lon_steps[nearest]
        return distance_m(lat, lon, float(at_lat), float(at_lon))

    def _on_the_pole(self, lat: float, turn: Floats) -> tuple[Floats, Floats, Floats, Floats, float, float]:
        """Return edges and position on the plane that touches the nearer pole, true to distance from it."""
        pole = 90.0 if lat > 0.0 else -90.0
        lat_m, _ = metres_per_degree(pole)

        def plane(lats: Floats, turns: Floats) -> tuple[Floats, Floats]:
            radius_m = np.abs(pole - lats) * lat_m
            return radius_m * np.sin(np.radians(turns)), radius_m * np.cos(np.radians(turns))

        xs, ys = plane(self._from_lats, turn)
        to_xs, to_ys = plane(self._from_lats + self._lat_steps, turn + self._lon_steps)
        return xs, ys, to_xs - xs, to_ys - ys, 0.0, abs(pole - lat) * lat_m


def _cut(corners: Floats) -> Floats:
    """Insert positions so that no edge spans more than a degree."""
    pieces = np.maximum(1, np.ceil(np.abs(np.diff(corners, axis=0)).max(axis=1) / _PIECE_MAX_DEG)).astype(int)
    place = np.concatenate([[0], np.cumsum(pieces)])
    every = np.arange(place[-1] + 1)
    lats, lons = (np.interp(every, place, corners[:, axis]) for axis in (0, 1))
    return np.column_stack([lats, lons])
