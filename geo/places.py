"""Places: stays merged by where they were, and which of them look like home and work (GEO-19)."""

import datetime as dt
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from geo.coordinates import LatLng, normalise_lon
from geo.distance import distance_m, metres_per_degree
from geo.stays import GAP_MS, Stay

JOIN_M = 100.0
"""A stay belongs to the nearest place whose centre lies within this of its own."""

RADIUS_MIN_M = 25.0
"""No phone knows where it is better than this indoors."""

SPREADS_IN_RADIUS = 2.0
"""Of a normal scatter 98 % lies within twice the root mean square distance (Rayleigh: 1 - exp(-4))."""

NIGHT_HOURS = frozenset({22, 23, 0, 1, 2, 3, 4, 5})
WORK_HOURS = frozenset(range(9, 17))
WORK_DAYS = frozenset(range(5))
DAYS_LEAST = 3
SECONDS_LEAST = 3_600
"""A night or a working day counts from an hour at the place on."""

_MS_PER_HOUR = 3_600_000
_MS_PER_DEGREE_OF_LON = 86_400_000 / 360


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Somewhere a person has stayed. `square_ms` is the sum of squared metres from the centre times the
    milliseconds; `stayed_ms` that of the stays that have ended; `first_ms`, `last_ms` Unix ms.
    """

    lat: float
    lon: float
    visits: int
    stayed_ms: int
    square_ms: float
    first_ms: int
    last_ms: int
    label: str = ""

    @property
    def radius_m(self) -> float:
        spread_m = math.sqrt(self.square_ms / self.stayed_ms) if self.stayed_ms else 0.0
        return max(RADIUS_MIN_M, SPREADS_IN_RADIUS * spread_m)


class Staying(msgspec.Struct, frozen=True):
    """A stay at a place, for the hours of the week: Unix ms, and the place's number in a list."""

    place: int
    since_ms: int
    until_ms: int


def place_of(places: Sequence[Place], stay: Stay) -> int | None:
    """Return the number of the place that a stay belongs to, the nearest; None: it is a new one."""
    at = stay.centre
    near = [(distance_m(place.lat, place.lon, at.lat, at.lon), n) for n, place in enumerate(places)]
    metres, number = min(near, default=(math.inf, -1))
    return number if metres <= JOIN_M else None


def came(place: Place | None, stay: Stay) -> Place:
    """Return the place after a stay there began; within 15 min of the last one it is the same visit."""
    if place is None:
        return Place(stay.centre.lat, stay.centre.lon, 1, 0, 0.0, stay.since_ms, stay.last_ms)
    again = int(not 0 <= stay.since_ms - place.last_ms <= GAP_MS)
    last_ms = max(place.last_ms, stay.last_ms)
    return msgspec.structs.replace(place, visits=place.visits + again, last_ms=last_ms)


def went(place: Place, stay: Stay) -> Place:
    """Return the place after a stay there ended: its centre is the mean by time, its spread that of both
    (Chan, Golub and LeVeque, Updating Formulae for Computing Sample Variances, 1979).
    """
    at, both_ms = stay.centre, place.stayed_ms + stay.length_ms
    if not both_ms:
        return place
    lat_m, lon_m = metres_per_degree(place.lat)
    share = stay.length_ms / both_ms
    north = at.lat - place.lat
    east = math.remainder(at.lon - place.lon, 360.0)
    between = (north * lat_m) ** 2 + (east * lon_m) ** 2
    return msgspec.structs.replace(
        place,
        lat=place.lat + north * share,
        lon=normalise_lon(place.lon + east * share),
        stayed_ms=both_ms,
        square_ms=place.square_ms + stay.spread_m**2 * stay.length_ms + between * share * place.stayed_ms,
        last_ms=max(place.last_ms, stay.last_ms),
    )


def places_of(stays: Iterable[Stay]) -> tuple[list[Place], list[Staying]]:
    """Return the places of stays, oldest first, and which stay was at which."""
    places: list[Place] = []
    held: list[Staying] = []
    for stay in stays:
        number = place_of(places, stay)
        before = None if number is None else places[number]
        after = went(came(before, stay), stay)
        if number is None:
            number = len(places)
            places.append(after)
        else:
            places[number] = after
        held.append(Staying(number, stay.since_ms, stay.last_ms))
    return places, held


def solar_offset_ms(at: LatLng) -> int:
    """Return how far local solar time is ahead of UTC: what a longitude tells of the hour of the day."""
    return round(at.lon * _MS_PER_DEGREE_OF_LON)


def hours_of_week(held: Iterable[Staying], offset_ms: int) -> dict[tuple[dt.date, int], float]:
    """Return the seconds spent in each local (date, hour); the weekday is the date's."""
    hours: Counter[tuple[dt.date, int]] = Counter()
    for stay in held:
        at_ms, until_ms = stay.since_ms + offset_ms, stay.until_ms + offset_ms
        while at_ms < until_ms:
            hour, _ = divmod(at_ms, _MS_PER_HOUR)
            end_ms = min(until_ms, (hour + 1) * _MS_PER_HOUR)
            local = dt.datetime.fromtimestamp(hour * 3_600, dt.UTC)
            hours[local.date(), local.hour] += (end_ms - at_ms) / 1_000  # type: ignore[assignment]
            at_ms = end_ms
    return dict(hours)


def home_and_work(
    places: Sequence[Place], held: Iterable[Staying], offset_ms: int | None = None
) -> tuple[int | None, int | None]:
    """Return the numbers of the places that look like home and work, each None if none does.

    Home is where the most of the nights (22 to 6 h) were spent, work where, of the other places, the most of
    the working hours (Monday to Friday, 9 to 17 h), on three different days at least, an hour and more each.
    Hours are local by `offset_ms` from UTC; where None, by the sun at each place.
    """
    by_place: defaultdict[int, list[Staying]] = defaultdict(list)
    for stay in held:
        by_place[stay.place].append(stay)
    nights: dict[int, float] = {}
    works: dict[int, float] = {}
    for number, stays in by_place.items():
        at = LatLng(places[number].lat, places[number].lon)
        hours = hours_of_week(stays, solar_offset_ms(at) if offset_ms is None else offset_ms)
        nights[number] = _regular(
            # What is after midnight belongs to the evening before.
            (date - dt.timedelta(days=hour < 12), seconds)
            for (date, hour), seconds in hours.items()
            if hour in NIGHT_HOURS
        )
        works[number] = _regular(
            (date, seconds)
            for (date, hour), seconds in hours.items()
            if hour in WORK_HOURS and date.weekday() in WORK_DAYS
        )
    home = _most(nights)
    return home, _most({number: seconds for number, seconds in works.items() if number != home})


def _regular(spent: Iterable[tuple[dt.date, float]]) -> float:
    """Seconds in all, if there were an hour or more on enough days; else 0."""
    days: Counter[dt.date] = Counter()
    for date, seconds in spent:
        days[date] += seconds  # type: ignore[assignment]
    if sum(seconds >= SECONDS_LEAST for seconds in days.values()) < DAYS_LEAST:
        return 0.0
    return float(sum(days.values()))


def _most(seconds: dict[int, float]) -> int | None:
    best = max(seconds, key=lambda number: (seconds[number], -number), default=None)
    return best if best is not None and seconds[best] > 0 else None
