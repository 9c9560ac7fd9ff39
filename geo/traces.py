"""Recorded traces: the fixes in a GPX file, whatever state it is in."""

import datetime as dt
import io
import math
from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple
from xml.etree import ElementTree as ET

from geo.coordinates import CoordinatesError, normalise
from geo.distance import distance_m

WALKING_MPS = 1.4
# Earlier than this a receiver's clock was not set.
_CLOCK_SET_MS = 631_152_000_000  # 1990-01-01


class TraceError(ValueError):
    """The document holds no GPX track or route point."""


class TracePoint(NamedTuple):
    """One recorded position; `t_ms` is Unix time, or counts from 0 where the file tells no times."""

    t_ms: int
    lat: float
    lon: float
    ele_m: float | None = None


def read_gpx(document: bytes, pace_mps: float = WALKING_MPS) -> list[TracePoint]:
    """Return the track and route points of a GPX 1.0 or 1.1 document, times strictly rising.

    Points with no place on Earth are left out, and what follows a break in the XML, as a recorder leaves
    that lost its power. If any two points differ in time, points without a time and repeats of a time are
    left out too, and the rest are sorted. Otherwise the file tells no times, and each point is given the
    time at which one arrives who goes at `pace_mps`, a second after the last at least. Jumps stay in: to
    judge them is the engine's part. Raise TraceError if nothing is left.

    GPX is read here and not with gpxpy because one bad number or a cut file costs gpxpy the whole trace.
    """
    points = list(_points(document))
    if not points:
        raise TraceError("the document holds no GPX track or route points")
    timed = sorted(
        ((t_ms, lat, lon, ele_m) for t_ms, lat, lon, ele_m in points if t_ms is not None), key=itemgetter(0)
    )
    if not timed or timed[0][0] == timed[-1][0]:
        return _paced([(lat, lon, ele_m) for _, lat, lon, ele_m in points], pace_mps)
    return [
        TracePoint(*point)
        for index, point in enumerate(timed)
        if index == 0 or point[0] > timed[index - 1][0]
    ]


def _points(document: bytes) -> Iterator[tuple[int | None, float, float, float | None]]:
    """Yield (time, lat, lon, elevation) of each readable point in the order of the document."""
    try:
        # expat bounds entity expansion since 2.4.1, and Python 3.11 brings a newer one.
        for _, element in ET.iterparse(io.BytesIO(document)):  # noqa: S314
            if _local(element.tag) not in {"trkpt", "rtept"}:
                continue
            told = {_local(child.tag): (child.text or "").strip() for child in element}
            try:
                at = normalise(float(element.get("lat", "nan")), float(element.get("lon", "nan")))
            except (CoordinatesError, ValueError):
                continue
            yield _time_ms(told.get("time", "")), at.lat, at.lon, _metres(told.get("ele", ""))
            element.clear()
    except (ET.ParseError, LookupError, ValueError):
        # Broken XML, or an encoding that is unknown to Python or to expat.
        return


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _time_ms(text: str) -> int | None:
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    t_ms = round(at.timestamp() * 1_000)
    return t_ms if t_ms >= _CLOCK_SET_MS else None


def _metres(text: str) -> float | None:
    try:
        metres = float(text)
    except ValueError:
        return None
    return metres if math.isfinite(metres) else None


def _paced(places: list[tuple[float, float, float | None]], pace_mps: float) -> list[TracePoint]:
    """Give each place the time of arrival at a steady pace."""
    paced: list[TracePoint] = []
    for lat, lon, ele_m in places:
        t_ms = 0
        if paced:
            gone_m = distance_m(paced[-1].lat, paced[-1].lon, lat, lon)
            t_ms = paced[-1].t_ms + max(1_000, round(gone_m / pace_mps * 1_000))
        paced.append(TracePoint(t_ms, lat, lon, ele_m))
    return paced
