"""Places for a test of its own, and fixes that a moving person would report."""

import math
import random
import time
from typing import Any

import h3

_METRES_A_DEGREE = 111_195.0
_anywhere = random.SystemRandom()


class Place:
    """A spot on the globe that no other test uses, nor another run on the same data; offsets in metres."""

    def __init__(self) -> None:
        # The middle of a cell, which is the same by hierarchy (as the engine snaps) and asked for directly.
        found = h3.latlng_to_cell(_anywhere.uniform(-60, 60), _anywhere.uniform(-179, 179), 8)
        self.lat, self.lon = h3.cell_to_latlng(found)

    def at(self, east_m: float, north_m: float = 0.0) -> tuple[float, float]:
        """(lat, lon) in degrees, so far from here."""
        lat = self.lat + north_m / _METRES_A_DEGREE
        return lat, self.lon + east_m / (_METRES_A_DEGREE * math.cos(math.radians(self.lat)))

    def snapped(self, least_m: float, most_m: float) -> tuple[float, float]:
        """The middle of a res-8 cell whose middle is so far from that of this place's own cell: where others
        are shown, who stand there, seen from somebody who is shown here.
        """
        own = h3.latlng_to_cell(self.lat, self.lon, 8)
        for cell in h3.grid_disk(own, 4):
            there: tuple[float, float] = h3.cell_to_latlng(cell)
            if least_m <= h3.great_circle_distance(h3.cell_to_latlng(own), there, unit="m") <= most_m:
                return there
        raise LookupError(f"no cell is {least_m}-{most_m} m from here")

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
    """A device's clock, which starts in the past so that a walk of ten minutes need not take them. (Who has
    not been heard of for 15 minutes is near nobody.)
    """

    def __init__(self, ago_s: float = 840.0) -> None:
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
