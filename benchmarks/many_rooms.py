"""W2: 500 rooms of 4 members, evenly spaced messages, doubled until p99 exceeds 100 ms.

Each message is stamped with the time it was due, so a server (or the driver) that falls behind shows as
latency. The last rate that held is then approached in steps of a half. A row's figure is the highest rate
whose p99 held; the raw windows stand in the file.

    python -m benchmarks.many_rooms [--quick] [--only NAME] [--seconds 3]
"""

from typing import Any

from benchmarks import crowd
from benchmarks.entrants import OURS, Claim, Entrant, claim, median, ratio
from benchmarks.servers import Server, history_count

ROOMS, MEMBERS = 500, 4
LIMIT_MS = 100.0
FIRST_PER_S, LAST_PER_S = 2_000, 256_000
PEERS = ("uWebSockets.js", "ws", "Socket.IO", "NATS", "ejabberd")
_DRAIN_S = 20.0


def measure(run: Claim, entrant: Entrant, server: Server, label: str, durability: str) -> None:
    """One row."""
    dialect = entrant.dialect(server)
    rooms = crowd.join(label, server, dialect, rooms=ROOMS, members=MEMBERS, durability=durability)
    steps: list[dict[str, Any]] = []

    def holds(rate: float) -> bool:
        window = crowd.pace(rooms, rate, run.options.seconds, _DRAIN_S)
        steps.append({"messages_per_s": rate, **window.row()})
        run.say(
            f"{label}: {rate:,.0f}/s, p99 {window.p99_ms:.0f} ms, {window.cpu_s / window.wall_s:.2f} cores"
        )
        return window.p99_ms <= LIMIT_MS

    def held_twice(rate: float) -> bool:
        return holds(rate) or holds(rate)  # one hiccup of a shared machine is no verdict

    best = 0.0
    try:
        crowd.pace(rooms, FIRST_PER_S / 4, 1.0)
        rate = float(FIRST_PER_S)
        while rate <= LAST_PER_S and held_twice(rate):
            best, rate = rate, rate * 2
        while not best and rate > FIRST_PER_S / 16:  # too slow for the first one
            rate /= 2
            best = rate if held_twice(rate) else 0.0
        if best:
            for share in (1.5, 1.25):
                if held_twice(best * share):
                    best *= share
                    break
    finally:
        rooms.close()
    at_best = next((each for each in reversed(steps) if each["messages_per_s"] == best), None)
    run.rows[label] = {
        "messages_per_s": best,
        "at_best": at_best,
        "messages_published": rooms.published,
        "steps": steps,
    }
    if durability == "durable":
        stored = sum(history_count(server, each) for each in rooms.rooms)
        if stored != rooms.published:
            raise crowd.MissingError(f"{rooms.published} published, {stored} in the histories")
        run.rows[label]["messages_in_history"] = stored


def main() -> None:
    assert __doc__
    settings = {"rooms": ROOMS, "members": MEMBERS, "body_bytes": 256, "limit_p99_ms": LIMIT_MS}
    run = claim("many_rooms", __doc__, settings, seconds=3, windows=1)
    people = ROOMS * MEMBERS
    run.each(PEERS, people, lambda entrant, server: measure(run, entrant, server, entrant.name, "memory"))

    def both(entrant: Entrant, server: Server) -> None:
        for durability in ("memory", "durable"):
            label = f"{OURS}, {durability} rooms"
            with run.trying(label):
                measure(run, entrant, server, label, durability)

    run.each([OURS], people, both)
    run.goal(
        "W2: messages/s with p99 within 100 ms, times Socket.IO's (at least 4)",
        ratio(
            median(run.rows.get(f"{OURS}, memory rooms"), "messages_per_s"),
            median(run.rows.get("Socket.IO"), "messages_per_s"),
        ),
        lambda times: times >= 4,
    )
    run.finish(_table(run.rows))


def _table(rows: dict[str, Any]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [
        ("row", "messages/s", "deliveries/CPU-s", "p50 ms", "p99 ms", "cores", "µs driver")
    ]
    for label, row in rows.items():
        best = row.get("at_best")
        if best is None:
            continue
        table.append(
            (
                label,
                f"{row['messages_per_s']:,.0f}",
                f"{best['deliveries_per_cpu_s']:,.0f}",
                f"{best['p50_ms']:.1f}",
                f"{best['p99_ms']:.1f}",
                f"{best['busy_cores']:.2f}",
                f"{best['driver_us_per_delivery']:.2f}",
            )
        )
    return table


if __name__ == "__main__":
    main()
