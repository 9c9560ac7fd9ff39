"""What drives a city: a crowd that walks on open sockets, and visitors whose every move causes an event."""

import contextlib
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

from benchmarks import results
from benchmarks.cpu import TreeClock
from benchmarks.dialing import Step, dial
from benchmarks.sockets import Fan, Stream
from benchmarks.walkers import City, Ground, Visitor, Walker

ANSWER = b'"ok":true'
_REFUSED, _TEMPORARY = b'"err"', b'"temp":true'
_HEARTBEAT_S = 4.0
_ANSWERED_WITHIN_S = 60.0
_APART_M = 30_000.0
_PAUSE_S = 0.1
_DIALLED_AT_ONCE = 1_000
_ARRIVE_AT_ONCE = 256
_AHEAD_MOST_S = 25.0
_NEAR_M, _FENCE_M = (0.0, 2_600.0), (0.0, 600.0)
_NEAR_S, _FENCE_S = (62.0, 62.0), (12.0, 6.0)
"""A cell shows after a minute in it; a fence's crossing after two fixes."""


@dataclass(slots=True)
class Latency:
    """What visitors saw at one rate of the crowd."""

    near_ms: list[float] = field(default_factory=list)
    fence_ms: list[float] = field(default_factory=list)
    unheard: int = 0

    def row(self) -> dict[str, Any]:
        """For the result file."""
        found: dict[str, Any] = {}
        for name, values in (("near", sorted(self.near_ms)), ("fence", sorted(self.fence_ms))):
            found[name] = {
                "events": len(values),
                "p50_ms": round(results.quantile(values, 0.5), 1),
                "p99_ms": round(results.quantile(values, 0.99), 1),
            }
        return {**found, "events_not_heard": self.unheard}


def pass_by(
    city: City,
    ground: Ground,
    count: int,
    chance: random.Random,
    meanwhile: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """So many people come, say where in the ground they are, and go: for 15 minutes they count. What that
    cost the server; `meanwhile` keeps others alive.
    """
    clock, at_s, left = TreeClock(*city.server.roots), time.monotonic(), count
    while left > 0:
        some = city.people(min(left, _DIALLED_AT_ONCE))
        scripts = [
            [*city.opening(each), Step(Walker(ground, chance, 0).fix(), ANSWER, _REFUSED)] for each in some
        ]
        came = dial(city.server.address, scripts, at_once=_ARRIVE_AT_ONCE, meanwhile=meanwhile)
        for stream in came.streams:
            stream.send(city.goodbye)
            stream.close()
        left -= len(some)
    used_s, by_process = clock.used_s()
    return {
        "people": count,
        "seconds": round(time.monotonic() - at_s, 1),
        "cpu_us_per_person": round(used_s / max(1, count) * 1e6, 1),
        "cpu_us_per_person_by_process": {
            title: round(used / max(1, count) * 1e6, 1) for title, used in by_process.items()
        },
    }


class CityLoad:
    """A crowd of `walkers` on sockets that follow `near` and `fences`, and the visitors."""

    def __init__(
        self, city: City, ground: Ground, walkers: int, visitors: int, chance: random.Random
    ) -> None:
        self.city = city
        self.ground = ground
        self.walkers = [Walker(ground, chance) for _ in range(walkers)]
        self.sent = self._sent_at_beat = 0
        self.refused: bytes = b""
        self._near: list[Visitor] = []
        self._fences: list[Visitor] = []
        movers, neighbours, owners = (city.people(visitors) for _ in range(3))
        scripts = [city.opening(each, "near", "fences") for each in city.people(walkers)]
        for mover, neighbour in zip(movers, neighbours, strict=True):
            scripts += [city.opening(mover), city.opening(neighbour, "near")]
        for owner in owners:
            scripts += [city.opening(owner), city.opening(owner, "fences")]
        streams = self._connect(scripts)
        crowd = streams[:walkers]
        pairs = list(zip(streams[walkers::2], streams[walkers + 1 :: 2], strict=True))
        for number, (mover, (moving, watching)) in enumerate(zip(movers, pairs, strict=False)):
            sign = city.near_sign(mover)
            visitor = Visitor(moving, watching, self._elsewhere(number), sign, *_NEAR_M, _NEAR_S)
            visitor.watcher.send(visitor.standing())
            self._near.append(visitor)
        for number, (moving, watching) in enumerate(pairs[visitors:], start=visitors):
            sign = city.fence_sign()
            visitor = Visitor(moving, watching, self._elsewhere(number), sign, *_FENCE_M, _FENCE_S)
            self._fences.append(visitor)
        if visitors:
            city.fence({f"visited {n}": each.ground.ring(0, 0) for n, each in enumerate(self._fences)})
        self.fan = Fan([*crowd, *(each.watcher for each in self.visitors)], ANSWER, len(ANSWER))
        self._beat_s = 0.0
        for visitor in self.visitors:
            visitor.mover.send(visitor.frame(visitor.outward_m, 1))
        self._each_fix_once(range(walkers))

    def grow(self, count: int, chance: random.Random) -> None:
        """So many more walk in the same ground. For a crowd without visitors."""
        first = len(self.walkers)
        self.walkers += [Walker(self.ground, chance) for _ in range(count)]
        scripts = [self.city.opening(each, "near", "fences") for each in self.city.people(count)]
        here = list(self.fan.sockets)
        came = self._connect(scripts, here)
        self.fan.let_go()
        self.fan = Fan([*here, *came], ANSWER, len(ANSWER))
        self.sent = self._sent_at_beat = 0
        self._each_fix_once(range(first, len(self.walkers)))

    @property
    def visitors(self) -> list[Visitor]:
        """Of `near` and of fences in turn."""
        return [each for both in zip(self._near, self._fences, strict=True) for each in both]

    def _connect(self, scripts: Sequence[list[Step]], here: Sequence[Stream] = ()) -> list[Stream]:
        """Everybody's sockets, the first of them kept alive while the last are opened, and those `here`."""
        streams: list[Stream] = []
        beat_s = time.monotonic()

        def keep() -> None:
            nonlocal beat_s
            if self.city.pong and time.monotonic() - beat_s > _HEARTBEAT_S:
                beat_s = time.monotonic()
                for stream in (*here, *streams):
                    stream.send(self.city.pong)

        for start in range(0, len(scripts), _DIALLED_AT_ONCE):
            some = scripts[start : start + _DIALLED_AT_ONCE]
            streams += dial(self.city.server.address, some, meanwhile=keep).streams
        return streams

    def _elsewhere(self, number: int) -> Ground:
        """Far from the crowd and from every other visitor."""
        lat = self.ground.lat - 2.0 - 0.3 * (number // 40)
        return Ground(_APART_M, lat, self.ground.lon - 10.0 + 0.5 * (number % 40))

    # -- reading and staying alive ----------------------------------------------------------------------

    def _run(self, until_s: float, every: Callable[[], float] = lambda: 0.02) -> None:
        """Reads until then; `every` answers how long the next read may wait."""
        while (now_s := time.monotonic()) < until_s:
            if self.city.pong and now_s - self._beat_s > _HEARTBEAT_S:
                self._beat_s = now_s
                self._beat()
            self.fan.turn(min(every(), max(0.0, until_s - now_s)))

    def _beat(self) -> None:
        """Signs of life from the visitors, and from the crowd unless everybody has just sent a fix."""
        for visitor in self.visitors:
            visitor.mover.send(self.city.pong)
            visitor.watcher.send(self.city.pong)
        sent, self._sent_at_beat = self.sent - self._sent_at_beat, self.sent
        if sent < len(self.walkers):
            for stream in self.fan.sockets[: len(self.walkers)]:
                stream.send(self.city.pong)

    def _drain(self) -> None:
        deadline_s = time.monotonic() + _ANSWERED_WITHIN_S
        while self.fan.deliveries < self.sent and not self.refused and time.monotonic() < deadline_s:
            self._run(time.monotonic() + 0.05)
        if self.fan.deliveries != self.sent or self.fan.lost or self.refused:
            raise RuntimeError(
                f"{self.city.name}: {self.sent} fixes, {self.fan.deliveries} answers, {self.fan.lost} lost "
                f"sockets, {self.refused.decode(errors='replace')}"
            )

    def _fix(self, index: int) -> None:
        self.fan.sockets[index].send(self.walkers[index].fix())
        self.sent += 1

    def _each_fix_once(self, who: range) -> None:
        """First fixes; a server that says that it is late, or busy, is asked again."""

        def listener(index: int) -> Callable[[bytes], None]:
            def watch(chunk: bytes) -> None:
                if _REFUSED in chunk and _TEMPORARY in chunk:
                    self.sent -= 1
                    self._fix(index)
                elif _REFUSED in chunk:
                    self.refused = chunk[:300]

            return watch

        self.fan.watch = {index: listener(index) for index in who}
        for index in who:
            self._fix(index)
            if index % 500 == 499:
                self._drain()
        self._drain()
        self.fan.watch = {}

    def look_after(self) -> None:
        """Reads for a moment, and keeps everybody alive."""
        self._run(time.monotonic() + 0.02)

    # -- measuring ----------------------------------------------------------------------------------------

    def stand(self, seconds: float) -> float:
        """Cores that the server uses while nobody moves."""
        clock, at_s = TreeClock(*self.city.server.roots), time.monotonic()
        self._run(at_s + seconds)
        return clock.used_s()[0] / (time.monotonic() - at_s)

    def saturate(self, in_flight: int, seconds: float) -> dict[str, Any]:
        """One window with so many unanswered fixes, the crowd's people in turn."""
        fan, turn, open_ = self.fan, cycle(range(len(self.walkers))), True

        def answered(chunk: bytes) -> None:
            if _REFUSED in chunk and not self.refused:
                self.refused = chunk[:300]
            if open_:
                for index in islice(turn, chunk.count(ANSWER)):
                    self._fix(index)

        fan.watch = dict.fromkeys(range(len(self.walkers)), answered)
        for index in islice(turn, min(in_flight, len(self.walkers))):
            self._fix(index)
        self._run(time.monotonic() + min(1.0, seconds / 3))
        clock, driver_s, at_s = TreeClock(*self.city.server.roots), time.process_time(), time.monotonic()
        before = fan.deliveries
        self._run(at_s + seconds)
        wall_s, (used_s, by_process) = time.monotonic() - at_s, clock.used_s()
        done, driver_s = fan.deliveries - before, time.process_time() - driver_s
        open_ = False
        self._drain()
        fan.watch = {}
        if max(walker.ahead_s for walker in self.walkers[:100]) > _AHEAD_MOST_S:
            raise RuntimeError("the walkers' clocks have run out: fewer or shorter windows, or more people")
        return {
            "positions_per_cpu_s": done / used_s,
            "positions_per_s": done / wall_s,
            "driver_us_per_position": driver_s / max(1, done) * 1e6,
            "cpu_us_per_position_by_process": {
                title: round(used / max(1, done) * 1e6, 2) for title, used in by_process.items()
            },
        }

    def visit(self, fixes_per_s: float, moves_per_s: float, seconds: float, into: Latency) -> None:
        """One window of visits, with the crowd at a steady rate; 0 leaves it standing."""
        visitors, first = self.visitors, len(self.walkers)
        started: dict[int, float] = {}
        second: list[tuple[float, int, bytes, bool]] = []
        due_s = move_s = time.monotonic()
        crowd, turn = cycle(range(first)), cycle(range(len(visitors)))

        def listener(number: int) -> Callable[[bytes], None]:
            notes = into.fence_ms if number % 2 else into.near_ms
            sign = visitors[number].sign

            def watch(chunk: bytes) -> None:
                if number in started and sign in chunk:
                    notes.append((time.monotonic() - started.pop(number)) * 1000)

            return watch

        def arrive(until_s: float) -> None:
            """The second fixes of those who set out before."""
            while second and second[0][0] <= until_s:
                _, number, frame, enters = second.pop(0)
                if enters:
                    started[number] = time.monotonic()
                visitors[number].mover.send(frame)

        def every() -> float:
            nonlocal due_s, move_s
            now_s = time.monotonic()
            while fixes_per_s and due_s <= now_s:
                self._fix(next(crowd))
                due_s += 1 / fixes_per_s
            arrive(now_s)
            if move_s <= now_s:
                move_s += 1 / moves_per_s
                number = next(turn)
                if visitors[number].has_time:
                    frames = visitors[number].move()
                    enters = not visitors[number].out
                    if enters and not self.city.confirms:
                        started[number] = time.monotonic()
                    visitors[number].mover.send(frames[0])
                    second.append((now_s + _PAUSE_S, number, frames[1], enters and self.city.confirms))
            return max(0.0, min(due_s if fixes_per_s else move_s, move_s) - time.monotonic())

        self.fan.watch = {first + number: listener(number) for number in range(len(visitors))}
        self._run(time.monotonic() + seconds, every)
        self._run(time.monotonic() + _PAUSE_S)
        arrive(math.inf)
        self._run(time.monotonic() + 1.0)
        self._drain()
        into.unheard += len(started)
        self.fan.watch = {}

    def close(self) -> None:
        for stream in (*self.fan.sockets, *(visitor.mover for visitor in self.visitors)):
            with contextlib.suppress(OSError):
                stream.send(self.city.goodbye)
        for visitor in self.visitors:
            visitor.mover.close()
        self.fan.close()
