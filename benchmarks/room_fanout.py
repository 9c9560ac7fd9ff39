"""W1: one room, 256-byte messages, as fast as it goes: what a delivery costs, all processes of a server.

Saturation: 8 members publish in a closed loop (each keeps messages in flight and sends the next when its own
comes back), everybody receives everything. Then the same room at 20 % of that row's own saturated rate,
evenly spaced: latency. Rooms of 200 and of 1,000.

This engine has one configuration for all rows (two shards; a gateway's tick is 4 ms at most): a room in
memory, as the peers do it; a durable one, each message committed to Postgres before it is pushed, and after
the run every message is found in its history; and a room in memory whose members are on two gateways.

    python -m benchmarks.room_fanout [--quick] [--only NAME] [--seconds 2] [--windows 3]
"""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import crowd
from benchmarks.entrants import OURS, Claim, Entrant, claim, median, ratio
from benchmarks.servers import Server, history_count

SIZES = (200, 1000)
PEERS = ("uWebSockets.js", "NATS", "ws", "Socket.IO", "ejabberd", "FastAPI naive")


def measure(run: Claim, entrant: Entrant, server: Server, label: str, members: int, durability: str) -> None:
    """One row."""
    dialect = entrant.dialect(server)
    in_flight = max(crowd.PUBLISHERS, dialect.in_flight * 200 // members)
    room = crowd.join(label, server, dialect, rooms=1, members=members, durability=durability)
    try:
        seconds, windows = run.options.seconds, run.options.windows
        saturated = [crowd.saturate(room, in_flight, seconds) for _ in range(windows)]
        found = crowd.median_of(saturated)
        rate = max(1.0, 0.2 * found["deliveries_per_s"]["median"] / members)
        paced = [crowd.pace(room, rate, seconds) for _ in range(windows)]
    finally:
        room.close()
    run.rows[label] = {
        "members": members,
        "in_flight": in_flight,
        "messages_published": room.published,
        "saturated": found,
        "at_20_percent": {"messages_per_s": round(rate, 1), **crowd.median_of(paced)},
    }
    if durability == "durable":
        stored = history_count(server, room.rooms[0])
        if stored != room.published:
            raise crowd.MissingError(f"{room.published} published, {stored} in the history")
        run.rows[label]["messages_in_history"] = stored
    per_cpu_s = found["deliveries_per_cpu_s"]["median"]
    p50 = run.rows[label]["at_20_percent"]["p50_ms"]["median"]
    run.say(f"{label}: {per_cpu_s:,.0f} deliveries per CPU-second; p50 {p50:.1f} ms at 20 %")


def main() -> None:
    assert __doc__
    run = claim(
        "room_fanout", __doc__, {"body_bytes": 256, "publishers": crowd.PUBLISHERS}, seconds=2, windows=3
    )

    def rows(kinds: Sequence[tuple[str, str]]) -> Callable[[Entrant, Server], None]:
        def work(entrant: Entrant, server: Server) -> None:
            for members in SIZES:
                for durability, suffix in kinds:
                    label = f"{entrant.name}, {members}{suffix}"
                    with run.trying(label):
                        measure(run, entrant, server, label, members, durability)

        return work

    run.each(PEERS, max(SIZES), rows([("memory", "")]))
    run.each([OURS], max(SIZES), rows([("memory", ", memory room"), ("durable", ", durable room")]))
    two = f"{OURS}__gateways"
    run.each([OURS], max(SIZES), rows([("memory", ", memory room, two gateways")]), **{two: 2})
    for members in SIZES:
        ours = _per_cpu_s(run, f"{OURS}, {members}, memory room")
        run.goal(
            f"W1, {members} members: deliveries per CPU-second, times uWebSockets.js' (at least 2)",
            ratio(ours, _per_cpu_s(run, f"uWebSockets.js, {members}")),
            lambda times: times >= 2,
        )
        run.goal(
            f"W1, {members} members: times ejabberd's (at least 30)",
            ratio(ours, _per_cpu_s(run, f"ejabberd, {members}")),
            lambda times: times >= 30,
        )
    run.finish(_table(run.rows))


def _per_cpu_s(run: Claim, label: str) -> float:
    return median(run.rows.get(label, {}).get("saturated"), "deliveries_per_cpu_s")


def _table(rows: dict[str, Any]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [
        (
            "row",
            "deliveries/CPU-s",
            "spread",
            "deliveries/s",
            "p50/p99 ms saturated",
            "p50/p99 ms @20 %",
            "µs driver",
        )
    ]
    for label, row in rows.items():
        if "saturated" not in row:
            continue
        full, fifth = row["saturated"], row["at_20_percent"]
        each = full["deliveries_per_cpu_s"]
        table.append(
            (
                label,
                f"{each['median']:,.0f}",
                f"{each['least']:,.0f}-{each['most']:,.0f}",
                f"{full['deliveries_per_s']['median']:,.0f}",
                f"{full['p50_ms']['median']:.0f} / {full['p99_ms']['median']:.0f}",
                f"{fifth['p50_ms']['median']:.1f} / {fifth['p99_ms']['median']:.1f}",
                f"{full['driver_us_per_delivery']['median']:.2f}",
            )
        )
    return table


if __name__ == "__main__":
    main()
