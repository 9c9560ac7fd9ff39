"""Whether polygons cover a position, in whole fractions: nothing is rounded, so edges are edges."""

from fractions import Fraction
from itertools import pairwise


def covers_exactly(polygons, lon, lat):
    """Of polygons as GeoJSON has them (rings of [lon, lat], the rim first), straight edges, no ±180."""
    x, y = Fraction(lon), Fraction(lat)
    return any(
        _covers([[tuple(map(Fraction, at)) for at in ring] for ring in rings], x, y) for rings in polygons
    )


def _covers(rings, x, y):
    inside = False
    for ring in rings:
        for (x1, y1), (x2, y2) in pairwise(ring):
            side = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
            if side == 0 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
                return True  # on an edge, of a hole too
            if (y1 > y) != (y2 > y) and (side > 0) == (y2 > y1):
                inside = not inside
    return inside
