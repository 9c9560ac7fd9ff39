"""How far a position is from a line drawn in degrees: the edge of a cell or of a fence."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from geo.distance import Floats, distance_m, metres_per_degree

# Above this latitude a degree of longitude shrinks too fast for a local plane around the position; the plane
# then lies on the pole, where a parallel is an arc: edges are cut into short pieces.
_POLAR_LAT_DEG = 80.0
_CUT_FROM_LAT_DEG = 75.0
_PIECE_MAX_DEG = 1.0
_PIECES_MAX = 20_000
# So many edges are gone through one by one in less time than numpy takes to begin.
_FEW_EDGES = 16
WHOLE_TURN_DEG = 360.0
POLE_DEG = 90.0


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

    __slots__ = ("_few", "_from_lats", "_from_lons", "_lat_steps", "_lon_steps")

    def __init__(self, rings: Iterable[Sequence[tuple[float, float]]]) -> None:
        """Take rings of (lat, lon), unwrapped, whose last position repeats the first (or a turn of it).

        An edge that two rings share, as where a shape was cut at ±180, is inside it and no edge of it; nor
        is one along a pole, which is one place.
        """
        corners = [np.asarray(ring, dtype=np.float64) for ring in rings]
        edges = np.concatenate([np.hstack([ring[:-1], ring[1:]]) for ring in corners])
        edges = _cut(edges[_is_outer(edges)])
        self._from_lats, self._from_lons, to_lats, to_lons = (edges[:, column].copy() for column in range(4))
        self._lat_steps, self._lon_steps = to_lats - self._from_lats, to_lons - self._from_lons
        columns = (self._from_lats, self._from_lons, self._lat_steps, self._lon_steps)
        few = len(edges) <= _FEW_EDGES
        self._few = list(zip(*(column.tolist() for column in columns), strict=True)) if few else []

    def distance_m(self, lat: float, lon: float) -> float:
        """Return the metres from a position to the nearest edge; infinity where there is none."""
        if not self._from_lats.size:
            return math.inf
        if self._few and abs(lat) < _POLAR_LAT_DEG:
            return self._distance_to_few_m(lat, lon)
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

    def _distance_to_few_m(self, lat: float, lon: float) -> float:
        lat_m, lon_m = metres_per_degree(lat)
        least = math.inf
        at_lat = at_lon = 0.0
        for from_lat, from_lon, lat_step, lon_step in self._few:
            x, y = math.remainder(from_lon - lon, 360.0) * lon_m, (from_lat - lat) * lat_m
            x_step, y_step = lon_step * lon_m, lat_step * lat_m
            length_squared = x_step * x_step + y_step * y_step
            share = -(x * x_step + y * y_step) / length_squared if length_squared > 0.0 else 0.0
            share = min(max(share, 0.0), 1.0)
            squared = (x + share * x_step) ** 2 + (y + share * y_step) ** 2
            if squared < least:
                least, at_lat, at_lon = squared, from_lat + share * lat_step, from_lon + share * lon_step
        return distance_m(lat, lon, at_lat, at_lon)

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


def _is_outer(edges: Floats) -> npt.NDArray[np.bool_]:
    """Return which edges (rows of lat, lon, lat, lon) bound what the rings enclose together."""
    ends = np.round(edges.reshape(-1, 2, 2), 9)
    ends[:, :, 1] = np.round(ends[:, :, 1] % WHOLE_TURN_DEG, 9) % WHOLE_TURN_DEG
    backwards = (ends[:, 0, 0] > ends[:, 1, 0]) | (
        (ends[:, 0, 0] == ends[:, 1, 0]) & (ends[:, 0, 1] > ends[:, 1, 1])
    )
    ends[backwards] = ends[backwards, ::-1]
    _, which, count = np.unique(ends.reshape(-1, 4), axis=0, return_inverse=True, return_counts=True)
    at_a_pole = (np.abs(ends[:, :, 0]) == POLE_DEG).all(axis=1)
    outer: npt.NDArray[np.bool_] = (count[which] == 1) & ~at_a_pole
    return outer


def _cut(edges: Floats) -> Floats:
    """Divide the edges at high latitudes into pieces of a degree, or longer if those were too many."""
    span = np.maximum(np.abs(edges[:, 2] - edges[:, 0]), np.abs(edges[:, 3] - edges[:, 1]))
    polar = np.maximum(np.abs(edges[:, 0]), np.abs(edges[:, 2])) > _CUT_FROM_LAT_DEG
    piece_deg = max(_PIECE_MAX_DEG, float(span[polar].sum()) / _PIECES_MAX)
    pieces = np.where(polar, np.maximum(1, np.ceil(span / piece_deg)), 1).astype(np.intp)
    number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    whole, pieces = np.repeat(edges, pieces, axis=0), np.repeat(pieces, pieces)
    step = whole[:, 2:] - whole[:, :2]
    start = whole[:, :2] + step * (number / pieces)[:, None]
    end = whole[:, :2] + step * ((number + 1) / pieces)[:, None]
    return np.hstack([start, end])
