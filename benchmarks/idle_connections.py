"""W3: what an idle, authenticated connection costs in memory, and how fast connections are made.

2,000 connections, each with a verified token of its own user, 64 being opened at a time; memory before and
after, of all processes of the server (anonymous pages: what connections make it allocate; the proportional
set size stands beside it). Then they are closed and opened again: connects per second, the median.

    python -m benchmarks.idle_connections [--quick] [--only NAME] [--windows 5]
"""

import time
from typing import Any

from benchmarks import results
from benchmarks.cpu import TreeClock, memory_kib
from benchmarks.dialing import Dialled, dial
from benchmarks.entrants import OURS, Claim, Entrant, claim, median, ratio
from benchmarks.servers import Server

CONNECTIONS, AT_ONCE, WARM_UP = 2000, 64, 50
PEERS = ("uWebSockets.js", "ws", "Socket.IO", "NATS", "ejabberd")
_QUIET_S = 1.0


def measure(run: Claim, entrant: Entrant, server: Server) -> None:
    """One row."""
    dialect = entrant.dialect(server)

    def open_all(count: int) -> Dialled:
        return dial(server.address, [dialect.opening(user, None) for user in range(count)], at_once=AT_ONCE)

    def close_all(dialled: Dialled) -> None:
        for each in dialled.streams:
            each.send(dialect.goodbye)
            each.close()
        time.sleep(_QUIET_S)

    close_all(open_all(WARM_UP))
    before = memory_kib(*server.roots)
    rates, cpu_us, p99_ms = [], [], []
    row: dict[str, Any] = {}
    for window in range(run.options.windows):
        clock = TreeClock(*server.roots)
        opened = open_all(CONNECTIONS)
        rates.append(CONNECTIONS / opened.seconds)
        cpu_us.append(clock.used_s()[0] / CONNECTIONS * 1e6)
        p99_ms.append(results.quantile(opened.each_ms, 0.99))
        if window == 0:
            time.sleep(_QUIET_S)
            after = memory_kib(*server.roots)
            by_title = {
                title: grown
                for title, kib in after.anonymous_by_title.items()
                if abs(grown := kib - before.anonymous_by_title.get(title, 0)) >= 100
            }
            row = {
                "kib_each": round((after.anonymous - before.anonymous) / CONNECTIONS, 2),
                "kib_each_proportional": round((after.proportional - before.proportional) / CONNECTIONS, 2),
                "kib_in_all_by_process": by_title,
                "kib_before": before.proportional,
            }
        close_all(opened)
    run.rows[entrant.name] = row | {
        "connects_per_s": results.spread(rates, 0),
        "cpu_us_each": results.spread(cpu_us, 0),
        "p99_ms": results.spread(p99_ms),
    }
    run.say(f"{entrant.name}: {row['kib_each']} KiB each, {sorted(rates)[len(rates) // 2]:,.0f} connects/s")


def main() -> None:
    assert __doc__
    settings = {"connections": CONNECTIONS, "opened_at_once": AT_ONCE}
    run = claim("idle_connections", __doc__, settings, seconds=0, windows=5)
    run.each((*PEERS, OURS), CONNECTIONS, lambda entrant, server: measure(run, entrant, server))
    ours, theirs = run.rows.get(OURS), run.rows.get("Socket.IO")
    run.goal(
        "W3: KiB per idle authenticated connection (at most 20)",
        median(ours, "kib_each"),
        lambda kib: kib <= 20,
    )
    run.goal(
        "W3: connects/s, times Socket.IO's (at least 1)",
        ratio(median(ours, "connects_per_s"), median(theirs, "connects_per_s")),
        lambda times: times >= 1,
    )
    table: list[tuple[str, ...]] = [
        ("row", "KiB each", "(PSS)", "connects/s", "spread", "CPU µs each", "p99 ms")
    ]
    for name, row in run.rows.items():
        if "kib_each" not in row:
            continue
        rate = row["connects_per_s"]
        table.append(
            (
                name,
                f"{row['kib_each']:.1f}",
                f"{row['kib_each_proportional']:.1f}",
                f"{rate['median']:,.0f}",
                f"{rate['least']:,.0f}-{rate['most']:,.0f}",
                f"{row['cpu_us_each']['median']:.0f}",
                f"{row['p99_ms']['median']:.1f}",
            )
        )
    run.finish(table)


if __name__ == "__main__":
    main()
