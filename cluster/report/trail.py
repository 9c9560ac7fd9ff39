"""What a report tells of one walk: plain data, JSON for the page. Times are seconds after its first fix."""

import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from geo.cells import Cell, boundary_of, centre_of
from geo.distance import distance_m
from geo.fixes import Fix

COUNTED = "counted"
"""What became of a fix that moved its person; else it is the reason why it did not."""

DRAWN_MOST = 20_000

_CLOCKS_SET_MS = 631_152_000_000  # 1990-01-01: before it, times count from nothing


class Judged(msgspec.Struct, frozen=True, array_like=True):
    """A fix and what became of it: WGS84 degrees to a decimetre."""

    at_s: float
    lat: float
    lon: float
    outcome: str


class ShownCell(msgspec.Struct, frozen=True):
    """The cell that strangers saw, from when to when; `ring` are its corners as (lat, lon)."""

    cell: str
    from_s: float
    to_s: float
    ring: tuple[tuple[float, float], ...]


class Told(msgspec.Struct, frozen=True):
    """Something that happened, where the person was then. `kind`: enter, inside, dwell, exit, near, parted,
    room, said.
    """

    at_s: float
    kind: str
    text: str
    lat: float
    lon: float


class Stop(msgspec.Struct, frozen=True):
    """A stay."""

    from_s: float
    to_s: float
    lat: float
    lon: float
    radius_m: float
    text: str


class Trail(msgspec.Struct, frozen=True):
    """One walk. `begins_ms` is Unix time, None where the file tells none; `astray_m` the median and the
    greatest distance between where the person was and the middle of the cell that was shown.
    """

    name: str
    begins_ms: int | None
    seconds: float
    length_m: float
    fixes: tuple[Judged, ...]
    """Of more than DRAWN_MOST that count, every so manieth."""
    outcomes: dict[str, int]
    """How many there were of each, all counted."""
    cells: tuple[ShownCell, ...]
    astray_m: tuple[float, float] | None
    events: tuple[Told, ...]
    stops: tuple[Stop, ...]


class DrawnFence(msgspec.Struct, frozen=True):
    """A fence as GeoJSON draws it; a circle is a Point with `radius_m`."""

    name: str
    geometry: dict[str, Any]


class Report(msgspec.Struct, frozen=True):
    """`source` says who judged the fixes; `notes` what a reader should know before believing the rest."""

    made_at: str
    source: str
    notes: tuple[str, ...]
    fences: tuple[DrawnFence, ...]
    trails: tuple[Trail, ...]


def trail(
    name: str,
    judged: Sequence[tuple[Fix, str]],
    shown: Sequence[tuple[int, Cell]],
    events: Iterable[tuple[int, str, str]],
    stops: Iterable[Stop],
) -> Trail:
    """Return what happened on a walk: fixes as they came, each with its outcome; (ms, cell) from when on
    strangers saw which; (ms, kind, text) of events. All ms are on the clock of the fixes.
    """
    begin_ms = min(fix.t_ms for fix, _ in judged)
    end_ms = max(fix.t_ms for fix, _ in judged)

    def seconds(at_ms: int) -> float:
        return round((at_ms - begin_ms) / 1_000, 1)

    counted = [fix for fix, outcome in judged if outcome == COUNTED]
    counted.sort(key=lambda fix: fix.t_ms)
    told = []
    for at_ms, kind, text in sorted(events, key=lambda event: event[0]):
        at = _at(counted, at_ms)
        told.append(Told(seconds(at_ms), kind, text, round(at.lat, 6), round(at.lon, 6)))
    return Trail(
        name=name,
        begins_ms=begin_ms if begin_ms >= _CLOCKS_SET_MS else None,
        seconds=seconds(end_ms),
        length_m=round(sum(_apart(one, other) for one, other in itertools.pairwise(counted)), 1),
        fixes=tuple(
            Judged(seconds(fix.t_ms), round(fix.lat, 6), round(fix.lon, 6), outcome)
            for fix, outcome in _drawn(judged)
        ),
        outcomes=dict(Counter(outcome for _, outcome in judged).most_common()),
        cells=tuple(_spans(shown, end_ms, seconds)),
        astray_m=_astray(counted, shown),
        events=tuple(told),
        stops=tuple(stops),
    )


def _drawn(judged: Sequence[tuple[Fix, str]]) -> Iterable[tuple[Fix, str]]:
    every = -(-len(judged) // DRAWN_MOST)
    last = len(judged) - 1
    return (each for n, each in enumerate(judged) if n % every == 0 or n == last or each[1] != COUNTED)


def _apart(one: Fix, other: Fix) -> float:
    return distance_m(one.lat, one.lon, other.lat, other.lon)


def _at(counted: Sequence[Fix], at_ms: int) -> Fix:
    """The last fix up to a time, or the first."""
    found = counted[0]
    for fix in counted:
        if fix.t_ms > at_ms:
            break
        found = fix
    return found


def _spans(shown: Sequence[tuple[int, Cell]], end_ms: int, seconds: Any) -> Iterable[ShownCell]:
    for number, (from_ms, cell) in enumerate(shown):
        to_ms = shown[number + 1][0] if number + 1 < len(shown) else end_ms
        ring = tuple((round(corner.lat, 6), round(corner.lon, 6)) for corner in boundary_of(cell))
        yield ShownCell(cell, seconds(from_ms), seconds(to_ms), ring)


def _astray(counted: Sequence[Fix], shown: Sequence[tuple[int, Cell]]) -> tuple[float, float] | None:
    metres, number = [], -1
    for fix in counted:
        while number + 1 < len(shown) and shown[number + 1][0] <= fix.t_ms:
            number += 1
        if number >= 0:
            middle = centre_of(shown[number][1])
            metres.append(distance_m(fix.lat, fix.lon, middle.lat, middle.lon))
    return (round(statistics.median(metres)), round(max(metres))) if metres else None
