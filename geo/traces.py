"""Recorded traces: the fixes in a GPX, GeoJSON or CSV file, whatever state it is in."""

import csv
import datetime as dt
import io
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from geo.coordinates import CoordinatesError, normalise
from geo.distance import distance_m

WALKING_MPS = 1.4
# Earlier than this a receiver's clock was not set.
_CLOCK_SET_MS = 631_152_000_000  # 1990-01-01


class TraceError(ValueError):
    """The document holds no position of a trace, or is of no known kind."""


class TracePoint(NamedTuple):
    """One recorded position; `t_ms` is Unix time, or counts from 0 where the file tells no times. `acc_m`
    is the accuracy radius, where it is told.
    """

    t_ms: int
    lat: float
    lon: float
    ele_m: float | None = None
    acc_m: float | None = None


_Told = tuple[int | None, float, float, float | None, float | None]
"""Time in Unix ms, WGS84 degrees, elevation and accuracy in metres, as a file tells them."""


class Recording(NamedTuple):
    """A trace, and how many positions that the document holds are not in it."""

    points: list[TracePoint]
    left_out: int


def read_trace(document: bytes, pace_mps: float = WALKING_MPS) -> list[TracePoint]:
    """Return the points of `read_recording`."""
    return read_recording(document, pace_mps).points


def read_recording(document: bytes, pace_mps: float = WALKING_MPS) -> Recording:
    """Return a trace in any of the three formats, told apart by how it begins; what is said of times in
    `read_gpx` holds for all of them. Raise TraceError if nothing is left.
    """
    start = document.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<":
        told, what = list(_points(document)), "GPX track or route points"
    else:
        told, what = list(_geojson(document) if start == b"{" else _csv(document)), "positions"
    points = _ordered(told, what, pace_mps)
    return Recording(points, len(told) - len(points))


def read_gpx(document: bytes, pace_mps: float = WALKING_MPS) -> list[TracePoint]:
    """Return the track and route points of a GPX 1.0 or 1.1 document, times strictly rising.

    Points with no place on Earth are left out, and what follows a break in the XML, as a recorder leaves
    that lost its power. If any two points differ in time, points without a time and repeats of a time are
    left out too, and the rest are sorted. Otherwise the file tells no times, and each point is given the
    time at which one arrives who goes at `pace_mps`, a second after the last at least. Jumps stay in: to
    judge them is the engine's part. Raise TraceError if nothing is left.

    GPX is read here and not with gpxpy because one bad number or a cut file costs gpxpy the whole trace.
    """
    return _ordered(list(_points(document)), "GPX track or route points", pace_mps)


def _ordered(found: Sequence[_Told | None], what: str, pace_mps: float) -> list[TracePoint]:
    points = [point for point in found if point is not None]
    if not points:
        raise TraceError(f"the document holds no {what}")
    told = ((t_ms, lat, lon, ele_m, acc_m) for t_ms, lat, lon, ele_m, acc_m in points if t_ms is not None)
    timed = [TracePoint(*point) for point in sorted(told, key=itemgetter(0))]
    if not timed or timed[0].t_ms == timed[-1].t_ms:
        return _paced([TracePoint(0, *point[1:]) for point in points], pace_mps)
    return [point for index, point in enumerate(timed) if index == 0 or point.t_ms > timed[index - 1].t_ms]


def _points(document: bytes) -> Iterator[_Told | None]:
    """Yield each point of a GPX document in its order; None for what is no place."""
    try:
        # expat bounds entity expansion since 2.4.1, and Python 3.11 brings a newer one.
        for _, element in ET.iterparse(io.BytesIO(document)):  # noqa: S314
            if _local(element.tag) not in {"trkpt", "rtept"}:
                continue
            told = {_local(child.tag): (child.text or "").strip() for child in element}
            try:
                at = normalise(float(element.get("lat", "nan")), float(element.get("lon", "nan")))
            except (CoordinatesError, ValueError):
                yield None
                continue
            yield _time_ms(told.get("time", "")), at.lat, at.lon, _metres(told.get("ele", "")), None
            element.clear()
    except (ET.ParseError, LookupError, ValueError):
        # Broken XML, or an encoding that is unknown to Python or to expat.
        return


_CSV_NAMES = {
    "lat": ("lat", "latitude", "y"),
    "lon": ("lon", "lng", "long", "longitude", "x"),
    "time": ("t_ms", "time", "timestamp", "datetime", "date"),
    "acc": ("acc_m", "acc", "accuracy", "accuracy_m"),
    "ele": ("ele_m", "ele", "elevation", "altitude", "alt"),
}


def _csv(document: bytes) -> Iterator[_Told | None]:
    """Yield the rows of a table; its first line names `lat` and `lon`, and maybe `t_ms`, `acc_m`, `ele_m`."""
    try:
        text = document.decode("utf-8-sig")
        first = text.partition("\n")[0]
        rows = csv.reader(io.StringIO(text), delimiter=next((mark for mark in ",;\t" if mark in first), ","))
        head = [name.strip().lower() for name in next(rows, [])]
        at = {
            what: next((head.index(n) for n in names if n in head), -1) for what, names in _CSV_NAMES.items()
        }
        if at["lat"] < 0 or at["lon"] < 0:
            raise TraceError("it is neither GPX nor GeoJSON, nor a CSV whose first line names lat and lon")
        for row in rows:
            told = {what: row[index].strip() if 0 <= index < len(row) else "" for what, index in at.items()}
            if any(row):
                yield _place(told["lat"], told["lon"], told["time"], told["ele"], told["acc"])
    except (UnicodeDecodeError, csv.Error):
        raise TraceError("it is neither GPX nor GeoJSON, nor a CSV in UTF-8") from None


def _geojson(document: bytes) -> Iterator[_Told | None]:
    """Yield the Points and LineStrings of a GeoJSON document (RFC 7946); times are in a Point's property
    `time` (or `t_ms`), in a line's `coordTimes` or `times`.
    """
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        raise TraceError("it begins like GeoJSON and is no JSON") from None
    features = found.get("features")
    for feature in features if isinstance(features, list) else [found]:
        about = _object(feature, "properties")
        shape = _object(feature, "geometry") or _object({"of": feature}, "of")
        is_point = shape.get("type") == "Point"
        many = (
            about.get("coordTimes")
            or about.get("times")
            or _object(about, "coordinateProperties").get("times")
        )
        times = [_one_of(about, "time")] if is_point else _flat(many) if isinstance(many, list) else []
        positions = _lines(shape.get("type"), shape.get("coordinates"))
        for position, time in itertools.zip_longest(positions, times[: len(positions)]):
            if isinstance(position, list) and len(position) >= 2:
                yield _place(position[1], position[0], time, (*position, "")[2], _one_of(about, "acc"))


def _object(of: Any, name: str) -> dict[str, Any]:
    inner = of.get(name) if isinstance(of, dict) else None
    return inner if isinstance(inner, dict) else {}


def _one_of(about: dict[str, Any], what: str) -> Any:
    return next((about[name] for name in _CSV_NAMES[what] if name in about), None)


def _lines(kind: Any, coordinates: Any) -> list[Any]:
    if not isinstance(coordinates, list):
        return []
    match kind:
        case "Point":
            return [coordinates]
        case "LineString" | "MultiPoint":
            return coordinates
        case "MultiLineString":
            return _flat(coordinates)
    return []


def _flat(nested: list[Any]) -> list[Any]:
    return [one for each in nested for one in (each if isinstance(each, list) else [each])]


def _place(lat: Any, lon: Any, time: Any, ele: Any, acc: Any) -> _Told | None:
    """Return the point, if it is a place on Earth."""
    try:
        at = normalise(float(lat), float(lon))
    except (CoordinatesError, ValueError, TypeError):
        return None
    acc_m = _metres(acc)
    return _time_ms(time), at.lat, at.lon, _metres(ele), acc_m if acc_m is not None and acc_m > 0 else None


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _time_ms(told: Any) -> int | None:
    """Read ISO 8601, or a number: Unix milliseconds, or seconds where it is too small for those."""
    try:
        number = float(told)
    except (ValueError, TypeError):
        return _iso_ms(str(told))
    t_ms = (
        round(number if abs(number) > _CLOCK_SET_MS / 10 else number * 1_000) if math.isfinite(number) else 0
    )
    return t_ms if t_ms >= _CLOCK_SET_MS else None


def _iso_ms(text: str) -> int | None:
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    t_ms = round(at.timestamp() * 1_000)
    return t_ms if t_ms >= _CLOCK_SET_MS else None


def _metres(told: Any) -> float | None:
    try:
        metres = float(told)
    except (ValueError, TypeError):
        return None
    return metres if math.isfinite(metres) else None


def _paced(points: list[TracePoint], pace_mps: float) -> list[TracePoint]:
    """Give each place the time of arrival at a steady pace."""
    paced: list[TracePoint] = []
    for point in points:
        t_ms = 0
        if paced:
            gone_m = distance_m(paced[-1].lat, paced[-1].lon, point.lat, point.lon)
            t_ms = paced[-1].t_ms + max(1_000, round(gone_m / pace_mps * 1_000))
        paced.append(point._replace(t_ms=t_ms))
    return paced
