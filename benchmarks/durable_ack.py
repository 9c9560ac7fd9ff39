"""W6: durable messages, acknowledged when they are stored: how many a second, and how long one takes.

1, 10 and 80 in flight: as many senders, each in a room of its own, each with one message under way.
Hereabouts acknowledges after the commit in Postgres; ejabberd sends a message back after mod_mam has stored
it in a Postgres configured alike; NATS JetStream runs with sync_interval: always. Synced is never compared
with unsynced. After the run the log of each server holds every message that was acknowledged.

    python -m benchmarks.durable_ack [--quick] [--only NAME] [--seconds 5] [--windows 3]
"""

import time
from collections.abc import Callable
from typing import Any

from benchmarks import results
from benchmarks.cpu import TreeClock
from benchmarks.dialects import Archiving
from benchmarks.dialing import dial
from benchmarks.entrants import OURS, Claim, Entrant, claim, median, ratio
from benchmarks.servers import Server
from benchmarks.sockets import Fan

IN_FLIGHT = (1, 10, 80)
PEERS = ("ejabberd", "NATS")


class Senders:
    """Each sends its next message when the last one is acknowledged."""

    def __init__(self, fan: Fan, rooms: list[str], dialect: Archiving) -> None:
        self.fan = fan
        self.sent = 0
        self.acked = 0
        self.open = False
        self.took_ms: list[float] = []
        self._rooms = rooms
        self._dialect = dialect
        self._begun_s = [0.0] * len(rooms)
        for index in range(len(rooms)):
            fan.watch[index] = self._watcher(index)

    def _watcher(self, index: int) -> Callable[[bytes], None]:
        mark = self._dialect.acked

        def watch(chunk: bytes) -> None:
            if mark in chunk:
                self.took_ms.append((time.monotonic() - self._begun_s[index]) * 1e3)
                self.acked += 1
                if self.open:
                    self._send(index)

        return watch

    def _send(self, index: int) -> None:
        self._begun_s[index] = time.monotonic()
        self.fan.sockets[index].send(self._dialect.durable(self._rooms[index], self.sent))
        self.sent += 1

    def begin(self) -> None:
        self.open = True
        for index in range(len(self._rooms)):
            self._send(index)

    def run(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < until_s:
            self.fan.turn(until_s - now_s)

    def end(self, limit_s: float = 10.0) -> None:
        """Waits for what is under way."""
        self.open = False
        until_s = time.monotonic() + limit_s
        while self.acked < self.sent:
            if time.monotonic() > until_s:
                raise TimeoutError(f"{self.sent - self.acked} messages are not acknowledged")
            self.fan.turn(0.2)


def measure(run: Claim, server: Server, dialect: Archiving, label: str, rooms: list[str]) -> int:
    """One row; how many messages were acknowledged."""
    dialled = dial(server.address, [dialect.sending(user, room) for user, room in enumerate(rooms)])
    fan = Fan(dialled.streams)
    while fan.turn(0.3):
        pass
    fan.look_for(dialect.acked)
    senders = Senders(fan, rooms, dialect)
    per_s, p50, p99, cpu_us = [], [], [], []
    by_process: dict[str, float] = {}
    try:
        senders.begin()
        senders.run(min(1.0, run.options.seconds / 2))
        for _ in range(run.options.windows):
            clock, at_s, acked = TreeClock(*server.roots), time.monotonic(), senders.acked
            senders.took_ms = []
            senders.run(run.options.seconds)
            wall_s, count = time.monotonic() - at_s, senders.acked - acked
            cpu_s, by_process = clock.used_s()
            per_s.append(count / wall_s)
            cpu_us.append(cpu_s / max(1, count) * 1e6)
            taken = sorted(senders.took_ms)
            p50.append(results.quantile(taken, 0.5))
            p99.append(results.quantile(taken, 0.99))
        senders.end()
    finally:
        fan.close()
    run.rows[label] = {
        "in_flight": len(rooms),
        "acked_per_s": results.spread(per_s, 0),
        "p50_ms": results.spread(p50),
        "p99_ms": results.spread(p99),
        "cpu_us_each": results.spread(cpu_us, 0),
        "cpu_s_of_last_window_by_process": by_process,
        "acked": senders.acked,
    }
    run.say(f"{label}: {sorted(per_s)[len(per_s) // 2]:,.0f}/s, p50 {sorted(p50)[len(p50) // 2]:.2f} ms")
    return senders.acked


def rows_of(run: Claim, entrant: Entrant, server: Server) -> None:
    dialect: Any = entrant.dialect(server)
    for in_flight in IN_FLIGHT:
        rooms = dialect.keeping(str(in_flight), in_flight)
        label = f"{entrant.name}, {in_flight} in flight"
        acked = measure(run, server, dialect, label, rooms)
        run.rows[label]["stored"] = stored = dialect.stored(rooms)
        if stored != acked:
            raise RuntimeError(f"{label}: {acked} acknowledged, {stored} stored")


def main() -> None:
    assert __doc__
    run = claim("durable_ack", __doc__, {"in_flight": IN_FLIGHT, "body_bytes": 256}, seconds=5, windows=3)
    kept = {"ejabberd__archive": True, "NATS__durable": True}
    run.each((*PEERS, OURS), max(IN_FLIGHT), lambda entrant, server: rows_of(run, entrant, server), **kept)

    def per_s(name: str) -> float:
        return median(run.rows.get(f"{name}, 80 in flight"), "acked_per_s")

    run.goal(
        "W6, 80 in flight: times ejabberd's (at least 4)",
        ratio(per_s(OURS), per_s("ejabberd")),
        lambda x: x >= 4,
    )
    run.goal(
        "W6, 80 in flight: times NATS JetStream's (above 1)",
        ratio(per_s(OURS), per_s("NATS")),
        lambda x: x > 1,
    )
    alone = median(run.rows.get(f"{OURS}, 1 in flight"), "p50_ms")
    run.goal("W6, 1 in flight: p50 in ms (at most 5)", alone, lambda ms: ms <= 5)
    table: list[tuple[str, ...]] = [("row", "acked/s", "spread", "p50 ms", "p99 ms", "CPU µs each")]
    for name, row in run.rows.items():
        if "acked_per_s" in row:
            rate = row["acked_per_s"]
            table.append(
                (
                    name,
                    f"{rate['median']:,.0f}",
                    f"{rate['least']:,.0f}-{rate['most']:,.0f}",
                    f"{row['p50_ms']['median']:.2f}",
                    f"{row['p99_ms']['median']:.2f}",
                    f"{row['cpu_us_each']['median']:.0f}",
                )
            )
    run.finish(table)


if __name__ == "__main__":
    main()
