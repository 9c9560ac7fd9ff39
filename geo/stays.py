"""Stays: where people stop, found as their fixes come (GEO-19).

A stay is time spent within 100 m of its first fix, 300 s at least. The anchor is fixed: one that moves with
the mean would follow a slow walk for ever and call it a stop. Silence of more than 900 s tells nothing of
what was between, so it counts only where both ends lie within 50 m. One fix outside proves nothing either
(GEO-15): the next one must lie outside as well.

Detection by a distance and a time from the first point is Li et al., Mining User Similarity Based on
Location History (ACM GIS 2008), §3.1.
"""

import enum
import math
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np
import numpy.typing as npt

from geo.coordinates import LatLng, normalise_lon
from geo.distance import Floats, distance_m, distances_m, metres_per_degree, metres_per_degree_each

RADIUS_M = 100.0
STAY_MS = 300_000
GAP_MS = 900_000
GAP_REACH_M = 50.0

Integers = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]

_ROWS_AT_FIRST = 64
_NEVER = -1


class Stay(msgspec.Struct, frozen=True, array_like=True):
    """Where a person has been since `since_ms`, long enough for a stay or not yet; all times Unix ms.

    `lat`, `lon` are the anchor, the first fix; `last_…` the last fix within 100 m of it; `away_…` one outside
    that no other has confirmed (`away_ms` -1: none). `east_ms`, `north_ms` are the sums of metres from the
    anchor times milliseconds spent there, `square_ms` that of the squares of the metres. A fix stands for
    the time until the next one, so a phone that reports less often at rest does not pull the centre away.
    """

    lat: float
    lon: float
    since_ms: int
    last_lat: float
    last_lon: float
    last_ms: int
    away_lat: float = 0.0
    away_lon: float = 0.0
    away_ms: int = _NEVER
    east_ms: float = 0.0
    north_ms: float = 0.0
    square_ms: float = 0.0

    @property
    def length_ms(self) -> int:
        return self.last_ms - self.since_ms

    @property
    def is_stay(self) -> bool:
        """Whether it lasted long enough."""
        return self.length_ms >= STAY_MS

    @property
    def centre(self) -> LatLng:
        """The mean position by time."""
        if not self.length_ms:
            return LatLng(self.lat, self.lon)
        lat_m, lon_m = metres_per_degree(self.lat)
        lat = self.lat + self.north_ms / self.length_ms / lat_m
        return LatLng(
            max(-90.0, min(90.0, lat)), normalise_lon(self.lon + self.east_ms / self.length_ms / lon_m)
        )

    @property
    def spread_m(self) -> float:
        """The root mean square distance from the centre, by time."""
        if not self.length_ms:
            return 0.0
        east_m, north_m = self.east_ms / self.length_ms, self.north_ms / self.length_ms
        return math.sqrt(max(0.0, self.square_ms / self.length_ms - east_m**2 - north_m**2))


class Turn(enum.StrEnum):
    """What became of a stay."""

    BEGAN = "began"  # it has lasted 300 s now
    LASTS = "lasts"  # it goes on; a batch of fixes never says so
    ENDED = "ended"


class Change(msgspec.Struct, frozen=True):
    """A stay that began or ended with the fix number `index` of a batch; `stay` as it was then."""

    index: int
    turn: Turn
    stay: Stay


_FIELDS: dict[str, type[np.generic]] = {
    name: np.int64 if name in ("since_ms", "last_ms", "away_ms") else np.float64
    for name in Stay.__struct_fields__
}


class Stays:
    """Where many people are staying: one row each, in columns, so that a tick is a few array operations."""

    def __init__(self) -> None:
        self._columns = {name: np.zeros(0, dtype) for name, dtype in _FIELDS.items()}
        self._free: list[int] = []

    def __len__(self) -> int:
        """How many rows there are, free ones too."""
        return len(self._columns["since_ms"])

    @property
    def row_bytes(self) -> int:
        """What a row takes."""
        return sum(column.itemsize for column in self._columns.values())

    def put(self, stay: Stay | None = None) -> int:
        """Takes a row for a person and returns its number; it goes on from `stay`."""
        if not self._free:
            self._grow()
        row = self._free.pop()
        for name, column in self._columns.items():
            column[row] = getattr(stay, name) if stay is not None else 0
        if stay is None:
            self._columns["since_ms"][row] = _NEVER
        return row

    def get(self, row: int) -> Stay | None:
        """The person's stay so far; None before the first fix."""
        if self._columns["since_ms"][row] == _NEVER:
            return None
        stay = Stay(*(column[row].item() for column in self._columns.values()))
        return stay if stay.away_ms != _NEVER else msgspec.structs.replace(stay, away_lat=0.0, away_lon=0.0)

    def free(self, row: int) -> None:
        """Gives a row back."""
        self._free.append(row)

    def last_ms(self, row: int) -> int:
        """The time of the last fix of the stay."""
        return int(self._columns["last_ms"][row])

    def step(
        self, rows: Rows, lats: Floats, lons: Floats, times_ms: Integers, accs_m: Floats
    ) -> list[Change]:
        """Takes accepted fixes, one a row number, oldest first for each person; returns what changed, by fix.

        Positions are normalised WGS84 degrees. A fix whose accuracy radius is above 100 m tells nothing about
        being within 100 m and is passed over, and so is one that is not newer than the last.
        """
        changes: list[Change] = []
        usable = np.flatnonzero(accs_m <= RADIUS_M)
        for batch in _once_each(rows, usable):
            self._take(batch, rows[batch], lats[batch], lons[batch], times_ms[batch], changes)
        changes.sort(key=lambda change: change.index)
        return changes

    def _take(  # noqa: PLR0917 - columns of one batch
        self,
        indexes: Rows,
        rows: Rows,
        lats: Floats,
        lons: Floats,
        times_ms: Integers,
        changes: list[Change],
    ) -> None:
        """Fixes of different people."""
        of = self._columns
        begin = of["since_ms"][rows] == _NEVER
        newer = ~begin & (times_ms > np.maximum(of["last_ms"][rows], of["away_ms"][rows]))
        silent = times_ms - of["last_ms"][rows] > GAP_MS
        from_last_m = distances_m(of["last_lat"][rows], of["last_lon"][rows], lats, lons)
        from_anchor_m = distances_m(of["lat"][rows], of["lon"][rows], lats, lons)
        lost = newer & silent & (from_last_m > GAP_REACH_M)
        inside = newer & ~lost & (from_anchor_m <= RADIUS_M)
        outside = newer & ~lost & ~inside
        strayed = of["away_ms"][rows] != _NEVER

        self._extend(rows[inside], lats[inside], lons[inside], times_ms[inside], indexes[inside], changes)
        away = outside & ~strayed
        for name, values in (("away_lat", lats), ("away_lon", lons), ("away_ms", times_ms)):
            of[name][rows[away]] = values[away]

        over = lost | (outside & strayed)
        long = over & (of["last_ms"][rows] - of["since_ms"][rows] >= STAY_MS)
        for at in np.flatnonzero(long).tolist():
            stay = self.get(int(rows[at]))
            assert stay is not None
            changes.append(Change(int(indexes[at]), Turn.ENDED, stay))
        fresh = begin | (over & ~strayed)
        self._anchor(rows[fresh], lats[fresh], lons[fresh], times_ms[fresh])
        again = over & strayed
        if again.any():
            # It ended with the fix outside that is confirmed now: the next one starts from there.
            moved = rows[again]
            self._anchor(moved, of["away_lat"][moved], of["away_lon"][moved], of["away_ms"][moved])
            self._take(indexes[again], moved, lats[again], lons[again], times_ms[again], changes)

    def _extend(  # noqa: PLR0917 - columns of one batch
        self,
        rows: Rows,
        lats: Floats,
        lons: Floats,
        times_ms: Integers,
        indexes: Rows,
        changes: list[Change],
    ) -> None:
        of = self._columns
        before_ms = of["last_ms"][rows]
        passed_ms = times_ms - before_ms
        east_m, north_m = _offsets(
            of["lat"][rows], of["lon"][rows], of["last_lat"][rows], of["last_lon"][rows]
        )
        of["east_ms"][rows] += east_m * passed_ms
        of["north_ms"][rows] += north_m * passed_ms
        of["square_ms"][rows] += (east_m**2 + north_m**2) * passed_ms
        of["last_lat"][rows], of["last_lon"][rows], of["last_ms"][rows] = lats, lons, times_ms
        of["away_ms"][rows] = _NEVER
        since_ms = of["since_ms"][rows]
        begun = (times_ms - since_ms >= STAY_MS) & (before_ms - since_ms < STAY_MS)
        for at in np.flatnonzero(begun).tolist():
            stay = self.get(int(rows[at]))
            assert stay is not None
            changes.append(Change(int(indexes[at]), Turn.BEGAN, stay))

    def _anchor(self, rows: Rows, lats: Floats, lons: Floats, times_ms: Integers) -> None:
        of = self._columns
        for name, values in (("lat", lats), ("lon", lons), ("since_ms", times_ms)):
            of[name][rows] = values
        for name, values in (("last_lat", lats), ("last_lon", lons), ("last_ms", times_ms)):
            of[name][rows] = values
        of["away_ms"][rows] = _NEVER
        for name in ("east_ms", "north_ms", "square_ms"):
            of[name][rows] = 0.0

    def _grow(self) -> None:
        had = len(self)
        more = max(_ROWS_AT_FIRST, had)
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column, np.zeros(more, column.dtype)])
        self._free = list(range(had + more - 1, had - 1, -1))


def _once_each(rows: Rows, indexes: Rows) -> Iterator[Rows]:
    """Split indexes into batches with no row twice, in order."""
    while len(indexes):
        _, first = np.unique(rows[indexes], return_index=True)
        if len(first) == len(indexes):
            yield indexes
            return
        yield indexes[first]
        indexes = np.delete(indexes, first)


def _offsets(lats: Floats, lons: Floats, to_lats: Floats, to_lons: Floats) -> tuple[Floats, Floats]:
    """Return metres east and north, to within a few parts in a million over 100 m."""
    lat_m, lon_m = metres_per_degree_each(lats)
    turn = to_lons - lons
    turn -= 360.0 * np.round(turn / 360.0)
    return turn * lon_m, (to_lats - lats) * lat_m


def advance(  # noqa: PLR0911 - one line per case
    stay: Stay | None, t_ms: int, lat: float, lon: float, acc_m: float
) -> tuple[Stay | None, tuple[tuple[Turn, Stay], ...]]:
    """Return one person's stay after one more fix and what changed, as `Stays.step` has it for many."""
    if acc_m > RADIUS_M:
        return stay, ()
    if stay is None:
        return Stay(lat, lon, t_ms, lat, lon, t_ms), ()
    if t_ms <= max(stay.last_ms, stay.away_ms):
        return stay, ()
    silent = t_ms - stay.last_ms > GAP_MS
    if not (silent and distance_m(stay.last_lat, stay.last_lon, lat, lon) > GAP_REACH_M):
        if distance_m(stay.lat, stay.lon, lat, lon) <= RADIUS_M:
            longer = _extended(stay, t_ms, lat, lon)
            return longer, ((Turn.BEGAN, longer),) if longer.is_stay and not stay.is_stay else ()
        if stay.away_ms == _NEVER:
            return msgspec.structs.replace(stay, away_lat=lat, away_lon=lon, away_ms=t_ms), ()
    ended = ((Turn.ENDED, stay),) if stay.is_stay else ()
    if stay.away_ms == _NEVER:
        return Stay(lat, lon, t_ms, lat, lon, t_ms), ended
    away = (stay.away_lat, stay.away_lon, stay.away_ms)
    after, changes = advance(Stay(*away, *away), t_ms, lat, lon, acc_m)
    return after, (*ended, *changes)


def _extended(stay: Stay, t_ms: int, lat: float, lon: float) -> Stay:
    lat_m, lon_m = metres_per_degree(stay.lat)
    passed_ms = t_ms - stay.last_ms
    east_m = math.remainder(stay.last_lon - stay.lon, 360.0) * lon_m
    north_m = (stay.last_lat - stay.lat) * lat_m
    return Stay(
        stay.lat,
        stay.lon,
        stay.since_ms,
        lat,
        lon,
        t_ms,
        east_ms=stay.east_ms + east_m * passed_ms,
        north_ms=stay.north_ms + north_m * passed_ms,
        square_ms=stay.square_ms + (east_m**2 + north_m**2) * passed_ms,
    )


def stays_of(fixes: Iterable[tuple[int, float, float, float]]) -> list[Stay]:
    """Return the stays of one person's accepted fixes (Unix ms, lat, lon, accuracy in metres), oldest first;
    the last one as far as it has come.
    """
    stay: Stay | None = None
    found: list[Stay] = []
    for t_ms, lat, lon, acc_m in fixes:
        stay, changes = advance(stay, t_ms, lat, lon, acc_m)
        found += [ended for turn, ended in changes if turn is Turn.ENDED]
    return [*found, stay] if stay is not None and stay.is_stay else found
