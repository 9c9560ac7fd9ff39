"""Rooms full of sockets on a server, and the two ways to load them: as fast as it goes, or evenly spaced."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import results
from benchmarks.cpu import TreeClock
from benchmarks.dialects import Dialect
from benchmarks.dialing import dial
from benchmarks.servers import Server
from benchmarks.sockets import Fan, stamp, stamp_at

PUBLISHERS = 8
_BEAT_S = 6.0
_MOST_MESSAGES_A_WINDOW = 400_000


class MissingError(RuntimeError):
    """What was published did not arrive."""


@dataclass(slots=True)
class Crowd:
    """`rooms` of equal size on a server, everybody joined, each on a socket of its own."""

    name: str
    server: Server
    dialect: Dialect
    rooms: list[str]
    members: int
    fan: Fan
    around: list[tuple[bytes, bytes]]
    """Of each room: what stands before and after the stamp of a publication."""
    published: int = 0
    beat_s: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)

    def frame(self, room: int, sender: int, at_ns: int | None = None) -> bytes:
        """One publication, stamped now or as due at a time."""
        before, after = self.around[room]
        mark = stamp(sender) if at_ns is None else stamp_at(at_ns, sender)
        return self.dialect.framed(before + mark + after)

    def keep(self) -> None:
        """Tells the server now and then that everybody is there."""
        if self.dialect.beat and time.monotonic() > self.beat_s:
            for each in self.fan.sockets:
                each.send(self.dialect.beat)
            self.beat_s = time.monotonic() + _BEAT_S

    def close(self) -> None:
        self.fan.close()


def join(
    name: str, server: Server, dialect: Dialect, *, rooms: int, members: int, durability: str = "memory"
) -> Crowd:
    """Rooms of so many members: the server's users, in order."""
    groups = [range(number * members, (number + 1) * members) for number in range(rooms)]
    names = dialect.rooms(groups, durability)
    scripts = [dialect.opening(user, names[number]) for number, group in enumerate(groups) for user in group]
    at_once = 16 if members > 500 else 64
    dialled = dial(server.address, scripts, at_once=at_once)
    around = [dialect.publication(each) for each in names]
    crowd = Crowd(name, server, dialect, names, members, Fan(dialled.streams), around)
    settle(crowd)
    return crowd


def settle(crowd: Crowd, quiet_s: float = 0.3, limit_s: float = 20.0) -> None:
    """Reads what joining has caused until nothing comes any more."""
    until_s = time.monotonic() + limit_s
    while crowd.fan.turn(quiet_s) and time.monotonic() < until_s:
        crowd.keep()


class ClosedLoop:
    """Publishers of room 0 that send the next message when their own comes back."""

    def __init__(self, crowd: Crowd, in_flight: int) -> None:
        self.crowd = crowd
        self.sent = 0
        self.open = False
        self._each = max(1, in_flight // PUBLISHERS)
        self._own = [b"#%02d#" % index for index in range(PUBLISHERS)]
        for index in range(PUBLISHERS):
            crowd.fan.watch[index] = self._watcher(index)

    def _watcher(self, index: int) -> Callable[[bytes], None]:
        def watch(chunk: bytes) -> None:
            own = chunk.count(self._own[index])
            if own and self.open:
                self._send(index, own)

        return watch

    def _send(self, index: int, count: int) -> None:
        crowd = self.crowd
        crowd.fan.sockets[index].send(b"".join(crowd.frame(0, index) for _ in range(count)))
        self.sent += count
        crowd.published += count
        if self.sent > _MOST_MESSAGES_A_WINDOW:
            self.open = False

    def start(self) -> None:
        self.open = True
        for index in range(PUBLISHERS):
            self._send(index, self._each)

    def stop(self) -> None:
        self.open = False
        self.crowd.fan.watch.clear()


def turns(crowd: Crowd, until_s: float, every: Callable[[], float] | None = None) -> None:
    """Reads until then; `every` is called between reads and answers how long the next may wait."""
    senders = crowd.fan.sockets[:: crowd.members] if len(crowd.rooms) > 1 else crowd.fan.sockets[:PUBLISHERS]
    while (now_s := time.monotonic()) < until_s:
        crowd.keep()
        crowd.fan.turn(min(0.02, until_s - now_s) if every is None else min(every(), 0.05))
        for each in senders:
            if each.unsent:
                each.flush()


def drain(crowd: Crowd, expected: int, limit_s: float = 20.0) -> None:
    """Reads until everything published has been delivered to all. Raises MissingError."""
    deadline_s = time.monotonic() + limit_s
    while crowd.fan.deliveries < expected and time.monotonic() < deadline_s:
        turns(crowd, time.monotonic() + 0.02)
    missing = expected - crowd.fan.deliveries
    if missing or crowd.fan.lost:
        raise MissingError(f"{crowd.name}: {missing} deliveries missing, {crowd.fan.lost} sockets lost")


@dataclass(frozen=True, slots=True)
class Window:
    """What one window showed. CPU is of all processes of the server."""

    deliveries: int
    wall_s: float
    cpu_s: float
    driver_cpu_s: float
    by_process: dict[str, float]
    p50_ms: float
    p99_ms: float

    def row(self) -> dict[str, Any]:
        """For the result file."""
        return {
            "deliveries": self.deliveries,
            "deliveries_per_cpu_s": round(self.deliveries / max(1e-9, self.cpu_s)),
            "deliveries_per_s": round(self.deliveries / self.wall_s),
            "cpu_s_per_10k": round(self.cpu_s / max(1, self.deliveries) * 1e4, 5),
            "busy_cores": round(self.cpu_s / self.wall_s, 3),
            "driver_us_per_delivery": round(self.driver_cpu_s / max(1, self.deliveries) * 1e6, 3),
            "p50_ms": round(self.p50_ms, 3),
            "p99_ms": round(self.p99_ms, 3),
            "cpu_s_by_process": self.by_process,
        }


def _measured(crowd: Crowd, work: Callable[[], None]) -> Window:
    """Runs `work` between two looks at the clocks, with the stamps of all deliveries kept."""
    fan = crowd.fan
    fan.keep, fan.arrivals = True, []
    clock = TreeClock(*crowd.server.roots)
    driver_s, at_s, start = time.process_time(), time.monotonic(), fan.deliveries
    work()
    wall_s = time.monotonic() - at_s
    cpu_s, by_process = clock.used_s()
    driver_s, delivered = time.process_time() - driver_s, fan.deliveries - start
    fan.keep = False
    latencies = fan.latencies_ms()
    p50, p99 = results.quantile(latencies, 0.5), results.quantile(latencies, 0.99)
    return Window(delivered, wall_s, cpu_s, driver_s, by_process, p50, p99)


def saturate(crowd: Crowd, in_flight: int, seconds: float) -> Window:
    """One window of a closed loop in the first room; raises MissingError if anything is lost."""
    fan, sent_before, begun = crowd.fan, crowd.published, crowd.fan.deliveries
    loop = ClosedLoop(crowd, in_flight)
    loop.start()
    turns(crowd, time.monotonic() + min(1.0, seconds / 3))
    window = _measured(crowd, lambda: turns(crowd, time.monotonic() + seconds))
    loop.stop()
    drain(crowd, begun + (crowd.published - sent_before) * crowd.members)
    assert len(crowd.rooms) == 1 or fan.lost == 0
    return window


def pace(crowd: Crowd, messages_per_s: float, seconds: float, drain_limit_s: float = 20.0) -> Window:
    """One window of evenly spaced messages over all rooms, each stamped with when it was due: a driver or a
    server that falls behind shows as latency. CPU includes what is left to deliver at the end.
    """
    fan, sent_before, begun = crowd.fan, crowd.published, crowd.fan.deliveries
    gap_ns = 1e9 / messages_per_s
    due_ns = float(time.monotonic_ns())
    rooms, turn = len(crowd.rooms), 0
    senders = range(0, len(fan.sockets), crowd.members) if rooms > 1 else range(PUBLISHERS)

    def every() -> float:
        nonlocal due_ns, turn
        now_ns = time.monotonic_ns()
        batches: dict[int, list[bytes]] = {}
        while due_ns <= now_ns:
            number = turn % len(senders)
            frame = crowd.frame(number if rooms > 1 else 0, number % 100, int(due_ns))
            batches.setdefault(senders[number], []).append(frame)
            turn += 1
            due_ns += gap_ns
        for sender, frames in batches.items():
            fan.sockets[sender].send(b"".join(frames))
            crowd.published += len(frames)
        return max(0.0, (due_ns - time.monotonic_ns()) / 1e9)

    def work() -> None:
        turns(crowd, time.monotonic() + seconds, every)
        drain(crowd, begun + (crowd.published - sent_before) * crowd.members, drain_limit_s)

    return _measured(crowd, work)


def median_of(windows: Sequence[Window]) -> dict[str, Any]:
    """Medians and spreads of some windows, and the windows themselves."""
    rows = [each.row() for each in windows]
    numbers = [key for key, value in rows[0].items() if isinstance(value, int | float)]
    found: dict[str, Any] = {key: results.spread([row[key] for row in rows]) for key in numbers}
    for each in found.values():
        del each["windows"]
    return {**found, "windows": rows}
