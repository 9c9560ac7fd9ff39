"""GeoJSON (RFC 7946) to fence shapes: checked, repaired where that is cheap, and cut at ±180."""

import math
from collections.abc import Mapping
from typing import Any

import h3
import shapely
from shapely import Polygon, affinity
from shapely.geometry.base import BaseGeometry

from geo.cell_sets import RESOLUTION_MAX, RESOLUTION_MIN, CellSet
from geo.coordinates import normalise
from geo.outline import POLE_DEG, WHOLE_TURN_DEG, unwrapped
from geo.shapes import DATE_LINE_DEG, Area, Circle, Shape

VERTICES_MAX = 10_000
CELLS_MAX = 10_000
CIRCLE_RADIUS_MIN_M = 1.0
CIRCLE_RADIUS_MAX_M = 100_000.0
# To repair n edges that all cross takes n³ time (0.04 s at 100, 15 s at 1,000): a larger one is refused.
REPAIRED_VERTICES_MAX = 100
# Longitudes beyond ±180 are common around the date line; more than a turn is a mistake.
LON_MAX_DEG = 360.0


class ShapeError(ValueError):
    """The geometry is no fence; the message says why, in words for who drew it."""


def parse_feature(feature: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    """Return the shape and the properties of a Feature; raise ShapeError.

    A circle is a Point with `radius_m` in its properties.
    """
    if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
        raise ShapeError('a GeoJSON object of type "Feature" is expected')
    properties = feature.get("properties") or {}
    if not isinstance(properties, Mapping):
        raise ShapeError("properties must be an object")
    geometry = feature.get("geometry")
    if isinstance(geometry, Mapping) and geometry.get("type") == "Point" and "radius_m" in properties:
        geometry = {**geometry, "radius_m": properties["radius_m"]}
    return parse_shape(geometry), dict(properties)


def parse_shape(geometry: object) -> Shape:
    """Return the shape of a Polygon, a MultiPolygon, a Point with a member `radius_m` (a circle), or of an
    object of type H3 with a list of `cells`, which RFC 7946 does not know.

    Edges are straight in longitude and latitude and go the short way round: a ring that steps over ±180 is
    cut there. A ring that goes once round the Earth encloses the pole on its side of the equator. The
    direction of rings does not matter. Small self-intersections are repaired. Raise ShapeError.
    """
    if not isinstance(geometry, Mapping):
        raise ShapeError("geometry must be an object")
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "Point":
        return _circle(coordinates, geometry.get("radius_m"))
    if kind == "H3":
        return _cell_set(geometry.get("cells"))
    if not isinstance(kind, str) or kind not in {"Polygon", "MultiPolygon"}:
        raise ShapeError("a fence is a Polygon, a MultiPolygon, a Point with radius_m or H3 with cells")
    drawn = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(drawn, list | tuple) or not drawn:
        raise ShapeError("coordinates must be a list of polygons")
    _count(drawn)
    parts = [part for rings in drawn for part in _parts([_ring(ring) for ring in rings])]
    if not parts:
        raise ShapeError("the shape has no area")
    return Area({"type": kind, "coordinates": coordinates}, parts)


def _circle(coordinates: object, radius_m: object) -> Circle:
    if not _is_number(radius_m, CIRCLE_RADIUS_MIN_M, CIRCLE_RADIUS_MAX_M):
        raise ShapeError(
            f"radius_m must be a number from {CIRCLE_RADIUS_MIN_M:.0f} to {CIRCLE_RADIUS_MAX_M:.0f}"
        )
    lon, lat = _position(coordinates)
    geometry = {"type": "Point", "coordinates": coordinates, "radius_m": radius_m}
    return Circle(geometry, normalise(lat, lon), float(radius_m))  # type: ignore[arg-type]


def _cell_set(cells: object) -> CellSet:
    if not isinstance(cells, list | tuple) or not 0 < len(cells) <= CELLS_MAX:
        raise ShapeError(f"cells must be a list of 1 to {CELLS_MAX} H3 cells")
    by_resolution: dict[int, set[str]] = {}
    for cell in cells:
        if not isinstance(cell, str) or not h3.is_valid_cell(cell):
            raise ShapeError("a cell is an H3 index, in hexadecimal")
        if not RESOLUTION_MIN <= h3.get_resolution(cell) <= RESOLUTION_MAX:
            raise ShapeError(f"cells are of resolution {RESOLUTION_MIN} to {RESOLUTION_MAX}")
        by_resolution.setdefault(h3.get_resolution(cell), set()).add(cell)
    drawn: list[Polygon] = []
    for same in by_resolution.values():
        outline = h3.cells_to_h3shape(sorted(same), tight=False).__geo_interface__
        drawn += [part for rings in outline["coordinates"] for part in _parts([_ring(r) for r in rings])]
    parts = drawn if len(by_resolution) == 1 else _polygons(shapely.union_all(drawn))
    return CellSet({"type": "H3", "cells": list(cells)}, cells, parts)


def _count(polygons: list[Any] | tuple[Any, ...]) -> None:
    """Refuse what is no list of lists of rings, or has too many vertices, before looking at any of them."""
    vertices = 0
    for rings in polygons:
        if not isinstance(rings, list | tuple) or not rings:
            raise ShapeError("a polygon is a list of rings, the outer one first")
        for ring in rings:
            if not isinstance(ring, list | tuple) or len(ring) < 4:
                raise ShapeError("a ring is a list of four or more positions")
            vertices += len(ring)
    if vertices > VERTICES_MAX:
        raise ShapeError(f"a fence has at most {VERTICES_MAX} vertices, this one {vertices}")


def _ring(ring: list[Any] | tuple[Any, ...]) -> list[tuple[float, float]]:
    """Return a ring as (longitude, latitude), walked without jumps at ±180."""
    positions = [_position(position) for position in ring]
    if positions[0] != positions[-1]:
        raise ShapeError("a ring must end where it begins")
    lons = unwrapped(lon for lon, _ in positions)
    walked = [(lon, lat) for lon, (_, lat) in zip(lons, positions, strict=True)]
    turn = lons[-1] - lons[0]
    if turn:
        if abs(turn) != WHOLE_TURN_DEG:
            raise ShapeError("a ring goes round the Earth more than once")
        pole = math.copysign(POLE_DEG, sum(lat for _, lat in positions))
        walked += [(lons[-1], pole), (lons[0], pole), walked[0]]
    if max(lons) - min(lons) > 2 * WHOLE_TURN_DEG:
        raise ShapeError("a ring goes round the Earth more than once")
    return walked


def _position(position: object) -> tuple[float, float]:
    """Return (longitude, latitude); an altitude is let pass."""
    if not isinstance(position, list | tuple) or not 2 <= len(position) <= 4:
        raise ShapeError("a position is [longitude, latitude]")
    lon, lat = position[0], position[1]
    if not _is_number(lon, -LON_MAX_DEG, LON_MAX_DEG) or not _is_number(lat, -POLE_DEG, POLE_DEG):
        raise ShapeError("a position is [longitude, latitude] in degrees, and finite")
    return float(lon), float(lat)


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _parts(rings: list[list[tuple[float, float]]]) -> list[Polygon]:
    """Return valid polygons within ±180 that together are the polygon of these rings."""
    outer, *holes = rings
    west, east = min(lon for lon, _ in outer), max(lon for lon, _ in outer)
    polygon: BaseGeometry = Polygon(outer, [_turned_between(hole, west, east) for hole in holes])
    if not polygon.is_valid:
        vertices = sum(len(ring) for ring in rings)
        if vertices > REPAIRED_VERTICES_MAX:
            raise ShapeError(f"the polygon is not valid: {shapely.is_valid_reason(polygon)}")
        polygon = shapely.make_valid(polygon, method="structure", keep_collapsed=False)
    if west >= -DATE_LINE_DEG and east <= DATE_LINE_DEG:
        return _polygons(polygon)
    parts: list[Polygon] = []
    first, last = (math.floor((lon + DATE_LINE_DEG) / WHOLE_TURN_DEG) for lon in (west, east))
    for turn in range(first, last + 1):
        middle = turn * WHOLE_TURN_DEG
        world = shapely.box(middle - DATE_LINE_DEG, -POLE_DEG, middle + DATE_LINE_DEG, POLE_DEG)
        parts += _polygons(affinity.translate(shapely.intersection(polygon, world), xoff=-middle))
    return parts


def _turned_between(hole: list[tuple[float, float]], west: float, east: float) -> list[tuple[float, float]]:
    """Return a hole on the same turn of the Earth as its outer ring."""
    middle = (min(lon for lon, _ in hole) + max(lon for lon, _ in hole)) / 2
    turn = WHOLE_TURN_DEG * round(((west + east) / 2 - middle) / WHOLE_TURN_DEG)
    return [(lon + turn, lat) for lon, lat in hole] if turn else hole


def _polygons(geometry: BaseGeometry) -> list[Polygon]:
    """Return the polygons in a geometry, which a repair or a cut may nest in collections."""
    if isinstance(geometry, Polygon):
        return [] if geometry.is_empty or geometry.area == 0.0 else [geometry]
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in _polygons(part)]
