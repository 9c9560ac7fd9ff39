"""Walks: who goes along which recorded route, from where, and when each fix is due. Pure.

Places are never changed: a walk visits the recorded points and no others, forwards or backwards. Times are
shifted, and run faster where the operator asks for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from geo.distance import distance_m
from geo.traces import TracePoint

CIRCUIT_M = 100.0
"""Ends no farther apart than this make a route a circuit: a walk goes on over the seam."""

STAGGER = 0.12
"""Share of the part by which each further pair on a route starts closer to its middle."""

PAST_MS = 12 * 60_000
"""How long ago a fast clock begins. The engine shows nobody whose last fix is older than 15 minutes, and
tells regions of a place that does not change once a minute only.
"""

AHEAD_MS = 20_000
"""How far a device's clock may run ahead of the engine's; the engine clamps at 30 s."""


class Due(NamedTuple):
    """A recorded point and when it is due, in recorded ms after the start of the walk."""

    after_ms: int
    point: TracePoint


@dataclass(frozen=True, slots=True)
class Route:
    """One recorded trace: at least two points, times strictly rising."""

    name: str
    points: tuple[TracePoint, ...]
    left_out: int = 0
    """Positions of the file that are no part of it."""

    def __post_init__(self) -> None:
        if len(self.points) < 2:
            raise ValueError("a route has two points at least")

    @property
    def duration_ms(self) -> int:
        return self.points[-1].t_ms - self.points[0].t_ms

    @property
    def loss(self) -> str:
        """What became of the positions that were left out, in a sentence; empty where there are none."""
        if not self.left_out:
            return ""
        return (
            f"{self.name}: {self.left_out} positions of the file were left out (no place on Earth, no time, "
            "or a time that was there before)."
        )

    @property
    def is_circuit(self) -> bool:
        first, last = self.points[0], self.points[-1]
        return distance_m(first.lat, first.lon, last.lat, last.lon) <= CIRCUIT_M

    def at(self, after_ms: int) -> TracePoint:
        """The last recorded point up to this time after the start of the route, within its ends."""
        index = 0
        for index, point in enumerate(self.points):
            if point.t_ms - self.points[0].t_ms > after_ms:
                return self.points[max(index - 1, 0)]
        return self.points[index]


@dataclass(frozen=True, slots=True)
class Walk:
    """A part of a route in one direction: `length_ms` from `start_ms`, both in recorded time."""

    route: Route
    start_ms: int
    length_ms: int
    backwards: bool = False

    def dues(self, at_least_apart_ms: int = 0) -> Iterator[Due]:
        """Yields the points to visit in order, no two closer in time than asked for."""
        last_ms = -at_least_apart_ms
        for after_ms, point in self._points():
            if after_ms > self.length_ms:
                return
            if after_ms - last_ms >= at_least_apart_ms:
                last_ms = after_ms
                yield Due(after_ms, point)

    def _points(self) -> Iterator[tuple[int, TracePoint]]:
        points, first_ms, duration_ms = self.route.points, self.route.points[0].t_ms, self.route.duration_ms
        ordered = tuple(reversed(points)) if self.backwards else points
        rounds = 2 + self.length_ms // duration_ms if self.route.is_circuit else 1
        for lap in range(rounds):
            for point in ordered:
                along_ms = point.t_ms - first_ms
                gone_ms = self.start_ms - along_ms if self.backwards else along_ms - self.start_ms
                after_ms = gone_ms + lap * duration_ms
                if after_ms >= 0 and not (lap and point is ordered[0]):
                    yield after_ms, point


def assign(routes: list[Route], people: int, part_ms: int | None = None) -> list[Walk]:
    """Sends one person along each further route and all the others along the first, half of them backwards
    so that they meet. Everybody walks `part_ms` of the route (all of it where None); the first two start at
    the ends of the part, each further pair a little nearer to its middle.
    """
    walks = []
    for person in range(people):
        others = len(routes) - 1
        route, rank = (routes[person + 1], 0) if person < others else (routes[0], person - others)
        length_ms = min(part_ms or route.duration_ms, route.duration_ms)
        nearer_ms = round(length_ms * STAGGER * (rank // 2)) % length_ms
        if rank % 2:
            walks.append(Walk(route, length_ms - nearer_ms, length_ms, backwards=True))
        else:
            walks.append(Walk(route, nearer_ms, length_ms))
    return walks


def gates(route: Route, count: int, part_ms: int | None = None) -> list[TracePoint]:
    """The points where places stand: spread evenly over the part that people walk, none at its ends."""
    length_ms = min(part_ms or route.duration_ms, route.duration_ms)
    return [route.at(round(length_ms * (gate + 0.5) / count)) for gate in range(count)]


class DeviceClock:
    """The time that a replayed device tells. It runs `speed` times as fast as the real one from a moment in
    the past, until it has caught up with the present and goes with it; at real time it is the present.

    So the engine sees people who walk, not who fly: it judges speeds, stays and changes of cell by it.
    """

    def __init__(self, speed: float, now_ms: int) -> None:
        self.speed = speed
        self.begins_ms = now_ms - PAST_MS if speed > 1 else now_ms

    def tells(self, after_ms: int, now_ms: int) -> int:
        """The device time of a fix that was due so many recorded ms after the start."""
        return min(self.begins_ms + after_ms, now_ms + AHEAD_MS)

    def has_caught_up(self, after_ms: int, now_ms: int) -> bool:
        return self.begins_ms + after_ms >= now_ms + AHEAD_MS

    def wait_s(self, after_ms: int) -> float:
        """Real seconds from the start until a fix is due."""
        return after_ms / self.speed / 1_000
