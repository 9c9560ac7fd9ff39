"""Cost against work: 1 to 16 times the rooms, the members, the shards. A row each, and a plot.

Members: one room at 10 messages/s, 100 to 1,600 members. Rooms: 50 to 800 rooms of 4, each with 2 messages/s.
Shards: 1 to 16 of them (`hereabouts scale`, while 200 rooms stand), the same 400 messages/s. CPU is of all
processes; what the engine uses while nobody speaks is measured before each row and stands beside it, so that
the marginal cost of a delivery can be told from the price of being there.

    python -m benchmarks.scaling [--quick] [--seconds 4]
"""

import json
import os
import subprocess
import time
from typing import Any

from benchmarks import crowd, plot, results
from benchmarks.cpu import TreeClock, memory_kib
from benchmarks.entrants import OURS, Claim, Entrant, claim
from benchmarks.machine import ROOT
from benchmarks.servers import Server, command

TIMES = (1, 2, 4, 8, 16)
MEMBERS, ROOM_PER_S = 100, 10
ROOMS, ROOM_SIZE, EACH_PER_S = 50, 4, 2
SHARD_ROOMS = 200
_PEOPLE = max(MEMBERS * TIMES[-1], ROOMS * ROOM_SIZE * TIMES[-1])


def _row(run: Claim, server: Server, joined: crowd.Crowd, messages_per_s: float) -> dict[str, Any]:
    """Silence, then the load."""
    seconds = run.options.seconds
    clock, at_s = TreeClock(*server.roots), time.monotonic()
    crowd.turns(joined, at_s + seconds)
    silent_cores = clock.used_s()[0] / (time.monotonic() - at_s)
    window = crowd.pace(joined, messages_per_s, seconds)
    marginal_s = max(0.0, window.cpu_s - silent_cores * window.wall_s)
    return {
        "messages_per_s": messages_per_s,
        "deliveries_per_s": round(window.deliveries / window.wall_s),
        "silent_cores": round(silent_cores, 4),
        "busy_cores": round(window.cpu_s / window.wall_s, 4),
        "cpu_us_per_delivery": round(window.cpu_s / window.deliveries * 1e6, 2),
        "marginal_us_per_delivery": round(marginal_s / window.deliveries * 1e6, 2),
        "p50_ms": round(window.p50_ms, 2),
        "p99_ms": round(window.p99_ms, 2),
    }


def _measured(
    run: Claim, entrant: Entrant, server: Server, label: str, rooms: int, size: int, rate: float
) -> None:
    with run.trying(label):
        joined = crowd.join(label, server, entrant.dialect(server), rooms=rooms, members=size)
        try:
            crowd.pace(joined, rate, 1.0)
            run.rows[label] = {"rooms": rooms, "members": size, **_row(run, server, joined, rate)}
        finally:
            joined.close()
        _tell(run, label)


def _tell(run: Claim, label: str) -> None:
    row = run.rows[label]
    run.say(
        f"{label}: {row['cpu_us_per_delivery']} µs a delivery, {row['marginal_us_per_delivery']} of them "
        f"marginal; p99 {row['p99_ms']} ms"
    )


def _told(joined: crowd.Crowd, server: Server, *arguments: str, limit_s: float) -> bytes:
    """What a `hereabouts` command prints; the crowd is kept alive meanwhile."""
    environment = {**os.environ, "HEREABOUTS_DATA": str(server.data)}
    with subprocess.Popen(
        [command(), *arguments], env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        until_s = time.monotonic() + limit_s
        while running.poll() is None:
            if time.monotonic() > until_s:
                running.kill()
            crowd.turns(joined, time.monotonic() + 0.1)
        assert running.stdout is not None
        printed = running.stdout.read()
    if running.returncode:
        raise RuntimeError(f"hereabouts {arguments[0]} ended with {running.returncode}")
    return printed


def scale(server: Server, joined: crowd.Crowd, shards: int, limit_s: float = 150.0) -> float:
    """Brings the engine to so many shards; seconds until every one of them has its share of the slots."""
    begun_s = time.monotonic()
    _told(joined, server, "scale", "--shards", str(shards), limit_s=limit_s)
    while True:
        status = json.loads(_told(joined, server, "status", "--json", limit_s=30))
        slots = [each["slots"] for each in status["directory"].get("shards", {}).values()]
        held = [each for each in slots if each]
        if len(held) == shards and max(held) - min(held) <= 1:
            return time.monotonic() - begun_s
        if time.monotonic() - begun_s > limit_s:
            raise TimeoutError(f"slots after scaling to {shards} shards: {slots}")


def _shards(run: Claim, entrant: Entrant, server: Server) -> None:
    joined = crowd.join("shards", server, entrant.dialect(server), rooms=SHARD_ROOMS, members=ROOM_SIZE)
    try:
        for times in TIMES:
            label = f"shards, {times}"
            with run.trying(label):
                took_s = scale(server, joined, times)
                crowd.settle(joined)
                crowd.pace(joined, SHARD_ROOMS * EACH_PER_S, 1.0)
                row = _row(run, server, joined, SHARD_ROOMS * EACH_PER_S)
                memory_mib = memory_kib(*server.roots).proportional / 1024
                run.rows[label] = {
                    "shards": times,
                    "settled_after_s": round(took_s, 2),
                    "memory_mib": round(memory_mib),
                    **row,
                }
                _tell(run, label)
    finally:
        joined.close()


def main() -> None:
    assert __doc__
    run = claim("scaling", __doc__, {"times": TIMES, "body_bytes": 256}, seconds=4, windows=1)

    def work(entrant: Entrant, server: Server) -> None:
        for times in TIMES:
            size = MEMBERS * times
            _measured(run, entrant, server, f"members, {size}", 1, size, ROOM_PER_S)
        for times in TIMES:
            rooms = ROOMS * times
            _measured(run, entrant, server, f"rooms, {rooms}", rooms, ROOM_SIZE, rooms * EACH_PER_S)
        _shards(run, entrant, server)

    run.each([OURS], _PEOPLE, work)
    _plot(run)
    table: list[tuple[str, ...]] = [
        ("row", "deliveries/s", "cores", "silent", "µs a delivery", "marginal", "p50 ms", "p99 ms")
    ]
    for label, row in run.rows.items():
        if "busy_cores" in row:
            table.append(
                (
                    label,
                    f"{row['deliveries_per_s']:,}",
                    f"{row['busy_cores']:.3f}",
                    f"{row['silent_cores']:.3f}",
                    f"{row['cpu_us_per_delivery']:.1f}",
                    f"{row['marginal_us_per_delivery']:.1f}",
                    f"{row['p50_ms']:.1f}",
                    f"{row['p99_ms']:.1f}",
                )
            )
    run.finish(table)


def _plot(run: Claim) -> None:
    def panel(kind: str, x: str) -> plot.Panel:
        rows = [
            (key, row) for key, row in run.rows.items() if key.startswith(kind + ",") and "busy_cores" in row
        ]
        lines = [
            plot.Line(name, [(float(key.split(", ")[1]), max(0.01, row[field])) for key, row in rows])
            for name, field in (("all in", "cpu_us_per_delivery"), ("marginal", "marginal_us_per_delivery"))
        ]
        return plot.Panel(f"{kind}: cost of a delivery", x, "CPU µs, all processes", lines)

    panels = [
        panel("members", "members of one room, 10 messages/s"),
        panel("rooms", "rooms of 4, 2 messages/s each"),
        panel("shards", "shards, 200 rooms, 400 messages/s"),
    ]
    results.FOLDER.mkdir(exist_ok=True)
    plot.write(results.FOLDER / ("scaling_quick.svg" if run.options.quick else "scaling.svg"), panels)


if __name__ == "__main__":
    main()
