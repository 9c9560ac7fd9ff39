"""Fence shapes (GEO-12): areas and circles, with covers semantics and distances in metres.

`geo.geojson` makes them from what people send.
"""

import abc
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely import Polygon, STRtree

from geo.coordinates import LatLng, normalise
from geo.distance import ECCENTRICITY_SQUARED, SEMI_MAJOR_M, Floats, distance_m, distances_m
from geo.outline import POLE_DEG, Outline

Flags = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]  # west, south, east, north

DATE_LINE_DEG = 180.0
_DEGREE_AT_LEAST_M = 110_500.0
_FEW_PARTS = 8


class Shape(abc.ABC):
    """Where a fence is. Positions on its edge are covered.

    `geometry` is its GeoJSON, as given: `geojson.parse_shape` makes an equal shape of it. `area_m2` is on
    the ellipsoid.
    """

    __slots__ = ("area_m2", "geometry")

    geometry: dict[str, Any]
    area_m2: float

    @property
    def radius_m(self) -> float:
        """The radius of a circle of this area: the fence's size, to compare an accuracy radius with."""
        return math.sqrt(self.area_m2 / math.pi)

    @abc.abstractmethod
    def boxes(self) -> list[Box]:
        """Return boxes in degrees that together hold every position covered, none across ±180."""

    @abc.abstractmethod
    def covers_each(self, lats: Floats, lons: Floats) -> Flags:
        """Return whether each of many normalised positions is covered."""

    @abc.abstractmethod
    def boundary_distance_m(self, lat: float, lon: float) -> float:
        """Return the metres from a position, inside or outside, to the edge."""

    def covers(self, lat: float, lon: float) -> bool:
        """Return whether a position is inside or on the edge."""
        at = normalise(lat, lon)
        return bool(self.covers_each(np.array([at.lat]), np.array([at.lon]))[0])

    def distance_outside_m(self, lat: float, lon: float) -> float:
        """Return the metres from a position to the shape; 0 where it is covered."""
        return 0.0 if self.covers(lat, lon) else self.boundary_distance_m(lat, lon)


class Circle(Shape):
    """All positions within a radius of a centre, by distance: no polygon stands in for it."""

    __slots__ = ("_radius_m", "centre")

    def __init__(self, geometry: dict[str, Any], centre: LatLng, radius_m: float) -> None:
        self.geometry = geometry
        self.area_m2 = math.pi * radius_m**2
        self.centre = centre
        self._radius_m = radius_m

    @property
    def radius_m(self) -> float:
        return self._radius_m

    def boxes(self) -> list[Box]:
        half_height = self._radius_m / _DEGREE_AT_LEAST_M
        south = max(self.centre.lat - half_height, -POLE_DEG)
        north = min(self.centre.lat + half_height, POLE_DEG)
        shrink = math.cos(math.radians(max(abs(south), abs(north))))
        if half_height >= DATE_LINE_DEG * shrink:
            return [(-DATE_LINE_DEG, south, DATE_LINE_DEG, north)]
        west, east = self.centre.lon - half_height / shrink, self.centre.lon + half_height / shrink
        # One box for each side of ±180 that it reaches; the next turn's copy is the same place.
        shifted = [(west + turn, east + turn) for turn in (-360.0, 0.0, 360.0)]
        return [
            (max(w, -DATE_LINE_DEG), south, min(e, DATE_LINE_DEG), north)
            for w, e in shifted
            if w <= DATE_LINE_DEG and e >= -DATE_LINE_DEG
        ]

    def covers_each(self, lats: Floats, lons: Floats) -> Flags:
        within: Flags = distances_m(self.centre.lat, self.centre.lon, lats, lons) <= self._radius_m
        return within

    def boundary_distance_m(self, lat: float, lon: float) -> float:
        return abs(distance_m(self.centre.lat, self.centre.lon, lat, lon) - self._radius_m)


class Area(Shape):
    """One or more polygons; where they overlap counts as inside."""

    __slots__ = ("_outline", "_tree", "parts")

    def __init__(self, geometry: dict[str, Any], parts: Sequence[Polygon]) -> None:
        """Take valid polygons in (longitude, latitude) within ±180 and ±90."""
        self.geometry = geometry
        self.parts = np.array(parts, dtype=object)
        shapely.prepare(self.parts)
        self.area_m2 = float(shapely.area(shapely.transform(self.parts, _equal_area)).sum())
        self._outline: Outline | None = None
        self._tree = STRtree(parts) if len(parts) > _FEW_PARTS else None

    @property
    def _bounds(self) -> Floats:
        """West, south, east, north of each part; asked once or twice, so not kept."""
        bounds: Floats = shapely.bounds(self.parts)
        return bounds

    @property
    def plain_polygon(self) -> Polygon | None:
        """The polygon, if the area is one that no rule of ±180 or the poles concerns."""
        west, south, east, north = self._bounds[0]
        is_plain = west > -DATE_LINE_DEG and east < DATE_LINE_DEG and south > -POLE_DEG and north < POLE_DEG
        return self.parts[0] if len(self.parts) == 1 and is_plain else None

    def boxes(self) -> list[Box]:
        boxes: list[Box] = []
        for west, south, east, north in self._bounds.tolist():
            boxes.append((west, south, east, north))
            if east == DATE_LINE_DEG:
                boxes.append((-DATE_LINE_DEG, south, -DATE_LINE_DEG, north))
            # A pole is one place with every longitude.
            boxes.extend(
                (-DATE_LINE_DEG, pole, DATE_LINE_DEG, pole)
                for pole, reach in ((POLE_DEG, north), (-POLE_DEG, south))
                if pole == reach
            )
        return boxes

    def covers_each(self, lats: Floats, lons: Floats) -> Flags:
        inside = self._in_any_part(lats, lons)
        seam = lons == -DATE_LINE_DEG
        if seam.any():
            inside[seam] |= self._in_any_part(lats[seam], np.full(int(seam.sum()), DATE_LINE_DEG))
        if (np.abs(lats) == POLE_DEG).any():
            inside[lats == POLE_DEG] = self._bounds[:, 3].max() == POLE_DEG
            inside[lats == -POLE_DEG] = self._bounds[:, 1].min() == -POLE_DEG
        return inside

    def _in_any_part(self, lats: Floats, lons: Floats) -> Flags:
        inside = np.zeros(lats.size, dtype=np.bool_)
        if self._tree is None:
            for part in self.parts:
                inside |= shapely.intersects_xy(part, lons, lats)
        else:
            at, parts = self._tree.query(shapely.points(lons, lats))
            inside[at[shapely.intersects_xy(self.parts[parts], lons[at], lats[at])]] = True
        return inside

    def boundary_distance_m(self, lat: float, lon: float) -> float:
        """Return the metres to the nearest edge; where polygons overlap, one inside the other counts."""
        if self._outline is None:
            self._outline = Outline(
                [(lat, lon) for lon, lat in ring.coords]
                for part in self.parts
                for ring in (part.exterior, *part.interiors)
            )
        return self._outline.distance_m(lat, lon)


def _equal_area(positions: Floats) -> Floats:
    """Project (longitude, latitude) to metres on the equal-area cylinder (Snyder, eq. 3-12 and 10-13)."""
    eccentricity = math.sqrt(ECCENTRICITY_SQUARED)
    sine = np.sin(np.radians(positions[:, 1]))
    q = (1 - ECCENTRICITY_SQUARED) * (
        sine / (1 - ECCENTRICITY_SQUARED * sine**2) + np.arctanh(eccentricity * sine) / eccentricity
    )
    return np.column_stack([np.radians(positions[:, 0]) * SEMI_MAJOR_M, q * SEMI_MAJOR_M / 2])
