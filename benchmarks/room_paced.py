"""WF: the room of 1,000 at a fixed 20 messages a second: what 10,000 deliveries cost, and how long they take.

Nothing is merged at this rate on any server: one delivery is one write. CPU is of all processes, so what the
engine spends while idle counts too; it is also shown apart (the same processes with the room silent).

    python -m benchmarks.room_paced [--quick] [--only NAME] [--seconds 6] [--windows 3]
"""

import time
from typing import Any

from benchmarks import crowd
from benchmarks.cpu import TreeClock
from benchmarks.entrants import OURS, Claim, Entrant, claim, median, ratio
from benchmarks.servers import Server, history_count

MEMBERS = 1000
MESSAGES_PER_S = 20
PEERS = ("uWebSockets.js", "ws", "Socket.IO", "NATS", "ejabberd")


def measure(run: Claim, entrant: Entrant, server: Server, label: str, durability: str) -> None:
    """One row."""
    room = crowd.join(label, server, entrant.dialect(server), rooms=1, members=MEMBERS, durability=durability)
    try:
        crowd.pace(room, MESSAGES_PER_S, 1.0)
        windows = [crowd.pace(room, MESSAGES_PER_S, run.options.seconds) for _ in range(run.options.windows)]
        clock, at_s = TreeClock(*server.roots), time.monotonic()
        crowd.turns(room, at_s + run.options.seconds)
        silent, by_process = clock.used_s()
        silent_cores = silent / (time.monotonic() - at_s)
    finally:
        room.close()
    found = crowd.median_of(windows)
    run.rows[label] = {
        **found,
        "silent_cores": round(silent_cores, 4),
        "silent_by_process": by_process,
        "messages_published": room.published,
    }
    if durability == "durable":
        stored = history_count(server, room.rooms[0])
        if stored != room.published:
            raise crowd.MissingError(f"{room.published} published, {stored} in the history")
        run.rows[label]["messages_in_history"] = stored
    cost = found["cpu_s_per_10k"]["median"]
    run.say(f"{label}: {cost:.3f} CPU-seconds per 10,000; p50 {found['p50_ms']['median']:.1f} ms")


def main() -> None:
    assert __doc__
    settings = {"members": MEMBERS, "messages_per_s": MESSAGES_PER_S, "body_bytes": 256}
    run = claim("room_paced", __doc__, settings, seconds=6, windows=3)
    run.each(PEERS, MEMBERS, lambda entrant, server: measure(run, entrant, server, entrant.name, "memory"))

    def both(entrant: Entrant, server: Server) -> None:
        for durability in ("memory", "durable"):
            label = f"{OURS}, {durability} room"
            with run.trying(label):
                measure(run, entrant, server, label, durability)

    run.each([OURS], MEMBERS, both)
    ours, theirs = run.rows.get(f"{OURS}, memory room"), run.rows.get("uWebSockets.js")
    run.goal(
        "WF: CPU per delivery, times uWebSockets.js' (at most 1.25)",
        ratio(median(ours, "cpu_s_per_10k"), median(theirs, "cpu_s_per_10k")),
        lambda times: times <= 1.25,
    )
    run.goal(
        "WF: p50 behind uWebSockets.js' in ms (at most 3)",
        median(ours, "p50_ms") - median(theirs, "p50_ms"),
        lambda behind_ms: behind_ms <= 3,
    )
    run.finish(_table(run.rows))


def _table(rows: dict[str, Any]) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [
        ("row", "CPU-s per 10,000", "spread", "of it silent", "p50 ms", "p99 ms", "µs driver")
    ]
    for label, row in rows.items():
        if "cpu_s_per_10k" not in row:
            continue
        cost = row["cpu_s_per_10k"]
        silent = row["silent_cores"] / (MEMBERS * MESSAGES_PER_S) * 1e4
        table.append(
            (
                label,
                f"{cost['median']:.4f}",
                f"{cost['least']:.4f}-{cost['most']:.4f}",
                f"{silent:.4f}",
                f"{row['p50_ms']['median']:.2f}",
                f"{row['p99_ms']['median']:.2f}",
                f"{row['driver_us_per_delivery']['median']:.2f}",
            )
        )
    return table


if __name__ == "__main__":
    main()
