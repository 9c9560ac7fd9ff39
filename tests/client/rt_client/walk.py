"""Places for a test of its own, and fixes that a moving person would report."""

import itertools
import math
import time
from typing import Any

_METRES_A_DEGREE = 111_195.0
_numbers = itertools.count()


class Place:
    """A spot on the globe that no other test uses; offsets are in metres."""

    def __init__(self) -> None:
        number = next(_numbers)
        self.lat = 20.0 + 1.37 * (number // 60 % 25)
        self.lon = -160.0 + 5.13 * (number % 60)

    def at(self, east_m: float, north_m: float = 0.0) -> tuple[float, float]:
        """(lat, lon) in degrees, so far from here."""
        lat = self.lat + north_m / _METRES_A_DEGREE
        return lat, self.lon + east_m / (_METRES_A_DEGREE * math.cos(math.radians(self.lat)))

    def square(self, half_side_m: float, **properties: Any) -> dict[str, Any]:
        """A GeoJSON Feature: a square around this place."""
        corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
        ring = [list(reversed(self.at(x * half_side_m, y * half_side_m))) for x, y in corners]
        return {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"name": "a square", **properties},
        }


class Clock:
    """A device's clock, which starts in the past so that an hour's walk need not take one."""

    def __init__(self, ago_s: float = 3600.0) -> None:
        self.now_ms = int((time.time() - ago_s) * 1000)

    def after(self, seconds: float) -> int:
        self.now_ms += int(seconds * 1000)
        return self.now_ms


def floats(value: Any) -> list[float]:
    """All numbers that a frame holds and that could be degrees."""
    if isinstance(value, bool):
        return []
    if isinstance(value, float | int):
        return [float(value)]
    if isinstance(value, dict):
        return [each for item in value.values() for each in floats(item)]
    if isinstance(value, list):
        return [each for item in value for each in floats(item)]
    return []


def names(value: Any) -> set[str]:
    """All keys that a frame holds, at any depth."""
    if isinstance(value, dict):
        return set(value) | {name for item in value.values() for name in names(item)}
    if isinstance(value, list):
        return {name for item in value for name in names(item)}
    return set()
