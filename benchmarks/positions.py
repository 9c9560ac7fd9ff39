"""Positions through WebSocket `pos`: what one costs the server, and how soon another client hears of it.

200 people walk about a city of 4 by 4 km with 20 fences, each on a socket that follows `near` (2 km) and
`fences`. Saturation: each keeps `--in-flight` fixes unanswered and sends the next at each answer; positions
per CPU-second counts the CPU of the server's whole process tree. Latency, with the crowd at 20 % of that
rate: visitors elsewhere move in and out of each other's reach, and in and out of fences; from the fix that
causes the event to its arrival at another client (the neighbour; the person's second device).

The naive FastAPI server does the same with a dict and haversine over everybody, at once and with exact
positions. This engine snaps both ends to cells, shows a new cell after a minute in it, confirms a crossing
by a second fix, stores crossings in Postgres before it tells them, and keeps positions in Valkey; the fix
that is timed is the one after which the event is due.

    python benchmarks/positions.py [--seconds 5] [--windows 3] [--people 200] [--quick]
"""

import argparse
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks import results
from benchmarks.city import FENCES, HALF_SIDE_M, City, EngineCity, NaiveCity, Visitor, Walker, place
from benchmarks.cpu import TreeClock
from benchmarks.machine import describe
from benchmarks.servers import engine, free_port, naive
from benchmarks.sockets import Fan, text_frame

ANSWER = b'"ok":true'
VISITORS = 30
VISIT_EVERY_S = 0.06
_HEARTBEAT_S = 4.0
_NEAR_IN_M, _NEAR_OUT_M = 600.0, 4_600.0
_FENCE_IN_M, _FENCE_OUT_M = 0.0, 600.0


@dataclass(slots=True)
class Side:
    """A server with its crowd."""

    city: City
    fan: Fan
    walkers: list[Walker]
    near: list[Visitor]
    fences: list[Visitor]
    chance: random.Random
    sent: int = 0
    per_cpu_s: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    near_ms: list[float] = field(default_factory=list)
    fence_ms: list[float] = field(default_factory=list)
    unheard: int = 0
    driver_us: list[float] = field(default_factory=list)
    by_process: dict[str, float] = field(default_factory=dict)

    def fixes(self, index: int, count: int) -> None:
        """Sends a walker's next fixes, each to be answered."""
        walker = self.walkers[index]
        self.fan.sockets[index].send(
            b"".join(text_frame(f'{{"id":7,"pos":{walker.fix()}}}'.encode()) for _ in range(count))
        )
        self.sent += count


def settle(city: City, people: int, chance: random.Random) -> Side:
    """Everybody's sockets, the fences, and a first fix of each."""
    for number in range(FENCES):
        city.fence(
            f"fence {number}",
            place(chance.uniform(-HALF_SIDE_M, HALF_SIDE_M), chance.uniform(-HALF_SIDE_M, HALF_SIDE_M)),
        )
    crowd = [city.join(city.person(), "near", "fences") for _ in range(people)]
    near: list[Visitor] = []
    fences: list[Visitor] = []
    for number in range(VISITORS):
        mover, neighbour = city.person(), city.person()
        centre = place(0, -100_000 - 50_000 * number)
        pair = Visitor(city.join(mover), city.join(neighbour, "near"), centre, city.near_sign(mover))
        lat, lon = place(0, 0, centre)
        here = f'{{"pos":[{lat},{lon},5,{int(time.time() * 1000)}]}}'
        pair.watcher.socket.sendall(text_frame(here.encode()))
        near.append(pair)
        person = city.person()
        centre = place(200_000, -100_000 - 50_000 * number)
        city.fence(f"visited {number}", centre)
        fences.append(Visitor(city.join(person), city.join(person, "fences"), centre, city.fence_sign()))
    sockets = [*crowd, *(visitor.watcher for visitor in (*near, *fences))]
    for visitor in near:
        visitor.mover.socket.sendall(visitor.frame(_NEAR_OUT_M, 1))
    for visitor in fences:
        visitor.mover.socket.sendall(visitor.frame(_FENCE_OUT_M, 1))
    return Side(
        city, Fan(sockets, ANSWER, len(ANSWER)), [Walker(chance) for _ in range(people)], near, fences, chance
    )


def run(side: Side, until_s: float, every: Callable[[], float]) -> None:
    """Reads until then; `every` answers how long the next read may wait."""
    beat_s = 0.0
    while (now_s := time.monotonic()) < until_s:
        if side.city.pong is not None and now_s > beat_s:
            keep_alive(side)
            beat_s = now_s + _HEARTBEAT_S
        side.fan.turn(min(every(), max(0.0, until_s - now_s)))
        for socket in side.fan.sockets:
            if socket.unsent:
                socket.flush()


def keep_alive(side: Side) -> None:
    """Pongs ahead of the server's pings."""
    if side.city.pong is not None:
        side.fan.say(side.city.pong)
        frame = text_frame(side.city.pong)
        for visitor in (*side.near, *side.fences):
            visitor.mover.socket.sendall(frame)
            visitor.mover.tail = b""


def drain(side: Side) -> None:
    """Waits for the answers that are still due."""
    deadline_s = time.monotonic() + 15
    while side.fan.deliveries < side.sent and time.monotonic() < deadline_s:
        run(side, time.monotonic() + 0.05, lambda: 0.02)
    if side.fan.deliveries != side.sent or side.fan.lost:
        raise RuntimeError(
            f"{side.city.name}: {side.sent} fixes, {side.fan.deliveries} answers, {side.fan.lost} lost"
        )


def saturate(side: Side, in_flight: int, seconds: float) -> None:
    """One saturated window."""
    fan = side.fan
    open_ = True

    def watcher(index: int) -> Callable[[bytes], None]:
        def watch(chunk: bytes) -> None:
            answers = chunk.count(ANSWER)
            if answers and open_:
                side.fixes(index, answers)

        return watch

    for index in range(len(side.walkers)):
        fan.watch[index] = watcher(index)
        side.fixes(index, in_flight)
    run(side, time.monotonic() + min(1.0, seconds / 3), lambda: 0.02)
    clock, driver_s, at_s, start = (
        TreeClock(*side.city.server.roots),
        time.process_time(),
        time.monotonic(),
        fan.deliveries,
    )
    run(side, at_s + seconds, lambda: 0.02)
    wall_s = time.monotonic() - at_s
    used_s, side.by_process = clock.used_s()
    done = fan.deliveries - start
    side.driver_us.append((time.process_time() - driver_s) / max(1, done) * 1e6)
    open_ = False
    drain(side)
    fan.watch.clear()
    side.per_cpu_s.append(done / used_s)
    side.per_s.append(done / wall_s)


def visit(side: Side, fixes_per_s: float, seconds: float) -> None:
    """One window of visits, with the crowd at a steady rate."""
    fan = side.fan
    started: dict[int, float] = {}
    first = len(side.walkers)

    def listener(index: int, visitor: Visitor, notes: list[float]) -> Callable[[bytes], None]:
        def watch(chunk: bytes) -> None:
            if index in started and visitor.sign in chunk:
                notes.append((time.monotonic() - started.pop(index)) * 1000)

        return watch

    visitors = [*side.near, *side.fences]
    for offset, visitor in enumerate(visitors):
        notes = side.near_ms if offset < len(side.near) else side.fence_ms
        fan.watch[first + offset] = listener(first + offset, visitor, notes)
    due_s = move_s = time.monotonic()
    turn = crowd = 0
    second: list[tuple[float, int, bytes, bool]] = []

    def every() -> float:
        nonlocal due_s, move_s, turn, crowd
        now_s = time.monotonic()
        while due_s <= now_s:
            side.fixes(crowd % len(side.walkers), 1)
            crowd += 1
            due_s += 1 / fixes_per_s
        while second and second[0][0] <= now_s:
            _, offset, frame, enters = second.pop(0)
            if enters:
                started[first + offset] = time.monotonic()
            visitors[offset].mover.socket.sendall(frame)
        if move_s <= now_s:
            offset = (turn // 2 + turn % 2 * len(side.near)) % len(visitors)  # near and fence in turn
            turn += 1
            move_s += VISIT_EVERY_S
            if not visitors[offset].has_time:
                return 0.0
            frames, enters = _visit(visitors[offset], near=offset < len(side.near))
            if not side.city.confirms and enters:
                started[first + offset] = time.monotonic()
            visitors[offset].mover.socket.sendall(frames[0])
            second.append((now_s + 0.1, offset, frames[1], enters and side.city.confirms))
        return max(0.0, min(due_s, move_s) - time.monotonic())

    run(side, time.monotonic() + seconds, every)
    run(side, time.monotonic() + 1.0, lambda: 0.02)
    drain(side)
    side.unheard += len(started)
    fan.watch.clear()


def _visit(visitor: Visitor, *, near: bool) -> tuple[list[bytes], bool]:
    """Two fixes that bring a visitor to the other place, and whether that is in."""
    visitor.out = not visitor.out
    inward, outward = (_NEAR_IN_M, _NEAR_OUT_M) if near else (_FENCE_IN_M, _FENCE_OUT_M)
    target_m = outward if visitor.out else inward
    steps_s = (62.0, 62.0) if near else (12.0, 6.0)
    return [visitor.frame(target_m, after_s) for after_s in steps_s], not visitor.out


def report(sides: list[Side], settings: dict[str, Any], file: str) -> None:
    """Prints the table, writes the file."""
    machine = describe("ray", "picows", "uvloop", "h3", "numpy", "fastapi", "uvicorn", "websockets")
    table: list[tuple[str, ...]] = [
        (
            "row",
            "positions/CPU-s",
            "spread",
            "positions/s",
            "near p50/p99 ms",
            "fence p50/p99 ms",
            "driver µs",
        )
    ]
    rows: dict[str, Any] = {}
    for side in sides:
        per_cpu_s, per_s = results.spread(side.per_cpu_s, 0), results.spread(side.per_s, 0)
        quantiles = {}
        for name, values in (("near", sorted(side.near_ms)), ("fence", sorted(side.fence_ms))):
            quantiles[name] = {
                "events": len(values),
                "p50_ms": round(results.quantile(values, 0.5), 2),
                "p99_ms": round(results.quantile(values, 0.99), 2),
            }
        rows[side.city.name] = {
            "positions_per_cpu_s": per_cpu_s,
            "positions_per_s": per_s,
            **quantiles,
            "events_not_heard": side.unheard,
            "driver_us_per_position": results.spread(side.driver_us),
            "cpu_s_of_last_window_by_process": side.by_process,
        }
        table.append(
            (
                side.city.name,
                f"{per_cpu_s['median']:,.0f}",
                f"{per_cpu_s['least']:,.0f}-{per_cpu_s['most']:,.0f}",
                f"{per_s['median']:,.0f}",
                "{p50_ms:.1f} / {p99_ms:.1f} ({events})".format(**quantiles["near"]),
                "{p50_ms:.1f} / {p99_ms:.1f} ({events})".format(**quantiles["fence"]),
                f"{results.spread(side.driver_us)['median']:.1f}",
            )
        )
    results.show(machine, table)
    path = results.write(file, {"machine": machine, "settings": settings, "rows": rows})
    print("written:", path.relative_to(results.FOLDER.parent.parent))


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--people", type=int, default=200)
    options.add_argument("--seconds", type=float, default=5.0, help="length of a window")
    options.add_argument("--windows", type=int, default=3)
    options.add_argument("--in-flight", type=int, default=2, help="unanswered fixes a person, at saturation")
    options.add_argument("--port", type=int, default=0, help="the engine's HTTP port; 0 takes a free one")
    options.add_argument("--only", choices=["naive", "engine"], help="leave the other out")
    options.add_argument("--quick", action="store_true", help="one-second windows; not for quoting")
    given = options.parse_args()
    seconds = 1.0 if given.quick else given.seconds
    with contextlib.ExitStack() as stack:
        cities: list[City] = []
        if given.only != "naive":
            people = given.people + 3 * VISITORS + 1
            cities.append(EngineCity(stack.enter_context(engine(given.port or free_port(), people))))
        if given.only != "engine":
            cities.append(NaiveCity(stack.enter_context(naive(free_port()))))
        sides = [settle(city, given.people, random.Random(1)) for city in cities]
        for side in sides:
            stack.callback(side.fan.close)
        for number in range(given.windows):
            for side in sides:
                print(f"window {number + 1} of {given.windows}: {side.city.name}", flush=True)
                saturate(side, given.in_flight, seconds)
                for each in sides:
                    keep_alive(each)
        for _ in range(given.windows):
            for side in sides:
                rate = sorted(side.per_s)[len(side.per_s) // 2] * 0.2
                visit(side, rate, seconds)
                for each in sides:
                    keep_alive(each)
        report(
            sides,
            {"people": given.people, "fences": FENCES + VISITORS, "in_flight": given.in_flight,
             "seconds": seconds, "windows": given.windows, "wire": "JSON, no compression"},
            "positions_quick" if given.quick else "positions",
        )  # fmt: skip


if __name__ == "__main__":
    main()
