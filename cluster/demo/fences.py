"""The fences of a replay: of a GeoJSON file, or circles on the way."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import OperatorError
from geo.crossings import DWELL_S
from geo.geojson import ShapeError, parse_feature
from geo.shapes import Shape
from geo.traces import TracePoint

RADIUS_M = 220.0
NAMES = ("First gate", "Second gate", "Third gate", "Fourth gate", "Fifth gate")
FENCES_MOST = 1_000
_WANTED = "give a GeoJSON Feature or FeatureCollection of Polygons, or of Points with radius_m in properties"


@dataclass(frozen=True, slots=True)
class Fence:
    """A fence by name: what it covers, and the GeoJSON Feature that says so."""

    name: str
    shape: Shape
    feature: dict[str, Any]
    dwell_s: int = DWELL_S


def fences_in(path: Path) -> list[Fence]:
    """The fences of a file (RFC 7946). Raises OperatorError, which names file and feature."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise OperatorError(f"there is no file {path}", _WANTED) from None
    except (OSError, ValueError, RecursionError) as problem:
        raise OperatorError(f"{path} is no GeoJSON: {type(problem).__name__}", _WANTED) from None
    features = found.get("features") if isinstance(found, dict) and "features" in found else [found]
    if not isinstance(features, list) or not 0 < len(features) <= FENCES_MOST:
        raise OperatorError(f"{path} holds no fences, or more than {FENCES_MOST}", _WANTED)
    fences = []
    for number, feature in enumerate(features, 1):
        try:
            shape, properties = parse_feature(feature)
        except ShapeError as problem:
            raise OperatorError(f"{path}, feature {number}: {problem}", _WANTED) from None
        name = str(properties.get("name") or f"Fence {number}")[:100]
        dwell_s = properties.get("dwell_s")
        fences.append(
            Fence(name, shape, feature, dwell_s if type(dwell_s) is int and dwell_s > 0 else DWELL_S)
        )
    return fences


def fences_around(points: Sequence[TracePoint], way: str = "") -> list[Fence]:
    """Circles around points of a way, with its name before theirs."""
    fences = []
    for gate, point in zip(NAMES, points, strict=False):
        name = f"{way}: {gate}" if way else gate
        feature = {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [point.lon, point.lat]},
            "properties": {"name": name, "radius_m": RADIUS_M},
        }
        fences.append(Fence(name, parse_feature(feature)[0], feature))
    return fences
