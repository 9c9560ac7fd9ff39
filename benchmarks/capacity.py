"""What 1 and 10 million online users need, from what was measured; and whether a thousand shards settle.

The first part multiplies unit costs, each read from the newest result file that names it, by a stated day of
a user. The second drives the real Directory, mover, balance, occupancy and tellers (cluster_model.py) with
1,000 shards and 200 gateways in virtual time: shards arrive, die, retire and come back while members come and
go and rooms speak. Views must settle, no publication may miss a gateway that has a member, and moves are
counted against the fewest that any algorithm needs.

    python -m benchmarks.capacity [--quick]
"""

import asyncio
import json
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from actors import messages as wire
from benchmarks import cluster_model, results
from benchmarks.entrants import OURS, Claim, claim

USERS = (1_000_000, 10_000_000)
DAY = {
    "connections_a_user": 1.1,
    "connects_a_user_an_hour": 4.0,
    "messages_sent_a_user_an_hour": 6.0,
    "online_members_of_a_room": 12.0,
    "positions_a_user_an_hour": 20.0,
    "presence_watchers": 30.0,
    "presence_changes_a_user_an_hour": 4.0,
    "busiest_hour_over_average": 2.0,
    "most_of_a_core_used": 0.6,
    "sockets_a_gateway": 20_000,
    "bytes_a_user_actor": 508,
}
"""The day of a user. Not measured: change it to yours."""
SHARDS, GATEWAYS, CHANNELS = 1000, 200, 20_000


def _newest(name: str) -> dict[str, Any] | None:
    """A result file: the quotable one, else the quick one."""
    for each in (name, f"{name}_quick"):
        path = results.FOLDER / f"{each}.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found | {"file": path.name}
    return None


def unit_costs(run: Claim) -> dict[str, float]:
    """From the result files; a missing one is a missing cost, and the claim says which."""
    wanted: dict[str, tuple[str, str, Callable[[dict[str, Any]], float]]] = {
        "connection_kib": ("idle_connections", OURS, lambda row: row["kib_each"]),
        "connect_cpu_us": ("idle_connections", OURS, lambda row: row["cpu_us_each"]["median"]),
        # Rooms of a few members, nothing to merge: the dear end of a delivery.
        "delivery_cpu_us": (
            "many_rooms",
            f"{OURS}, memory rooms",
            lambda row: _per_delivery_us(row["at_best"]),
        ),
        "durable_cpu_us": ("durable_ack", f"{OURS}, 80 in flight", lambda row: row["cpu_us_each"]["median"]),
        "durable_per_s": ("durable_ack", f"{OURS}, 80 in flight", lambda row: row["acked_per_s"]["median"]),
        "position_cpu_us": (
            "positions",
            "engine 10,000",
            lambda row: 1e6 / row["positions_per_cpu_s"]["median"],
        ),
        "presence_round_cpu_ms": ("presence_change", OURS, lambda row: row["cpu_ms_a_round"]),
    }
    costs: dict[str, float] = {}
    sources: dict[str, str] = {}
    for cost, (file, row, read) in wanted.items():
        result = _newest(file)
        try:
            assert result is not None
            costs[cost] = round(float(read(result["rows"][row])), 3)
            sources[cost] = f"{result['file']}, {result['machine']['measured_at']}"
        except (AssertionError, KeyError, TypeError):
            run.say(f"no {cost}: run benchmarks.{file} first")
    run.rows["unit costs"] = {"costs": costs, "from": sources}
    return costs


def _per_delivery_us(window: dict[str, Any]) -> float:
    return 1e6 / float(window["deliveries_per_cpu_s"])


def needs(users: int, cost: dict[str, float]) -> dict[str, Any]:
    """Cores, memory, sockets and what Postgres is asked, in the busiest hour."""
    peak = users * DAY["busiest_hour_over_average"] / 3600
    sockets = users * DAY["connections_a_user"]
    per_s = {
        "connects": peak * DAY["connects_a_user_an_hour"],
        "messages": peak * DAY["messages_sent_a_user_an_hour"],
        "positions": peak * DAY["positions_a_user_an_hour"],
        "presence_changes": peak * DAY["presence_changes_a_user_an_hour"],
    }
    per_s["deliveries"] = per_s["messages"] * DAY["online_members_of_a_room"]
    per_s["presence_deliveries"] = per_s["presence_changes"] * DAY["presence_watchers"]
    busy = {
        "connects": per_s["connects"] * cost["connect_cpu_us"] / 1e6,
        "deliveries": per_s["deliveries"] * cost["delivery_cpu_us"] / 1e6,
        "presence": per_s["presence_changes"]
        * cost["presence_round_cpu_ms"]
        / 1e3
        * DAY["presence_watchers"]
        / 100,
        "durable messages, with Postgres": per_s["messages"] * cost["durable_cpu_us"] / 1e6,
        "positions": per_s["positions"] * cost["position_cpu_us"] / 1e6,
    }
    cores = sum(busy.values()) / DAY["most_of_a_core_used"]
    return {
        "sockets": round(sockets),
        "gateways": math.ceil(sockets / DAY["sockets_a_gateway"]),
        "cores": math.ceil(cores),
        "busy_cores_by_work": {name: round(each, 1) for name, each in busy.items()},
        "memory_gib": {
            "connections": round(sockets * cost["connection_kib"] / 2**20, 1),
            "user actors": round(users * DAY["bytes_a_user_actor"] / 2**30, 1),
        },
        "per_s": {name: round(each) for name, each in per_s.items()},
        "postgres": {
            "messages_per_s": round(per_s["messages"]),
            "servers_at_the_measured_rate": math.ceil(per_s["messages"] / cost["durable_per_s"]),
            "rows_a_day": round(users * DAY["messages_sent_a_user_an_hour"] * 24),
        },
    }


# -- a thousand shards ------------------------------------------------------------------------------------


def _fewest(before: list[int], shards: set[int]) -> int:
    """Moves that any way to even shares needs: orphans, and what each has above the larger share."""
    counts = Counter(before)
    orphans = sum(count for shard, count in counts.items() if shard not in shards)
    low, extra = divmod(len(before), len(shards))
    held = sorted((counts.get(shard, 0) for shard in shards), reverse=True)
    shares = [low + (rank < extra) for rank in range(len(held))]
    return orphans + sum(max(0, count - share) for count, share in zip(held, shares, strict=True))


async def simulate(run: Claim, seed: int, shards: int, channels: int) -> dict[str, Any]:
    chance = random.Random(seed)
    model = cluster_model.Model(chance, GATEWAYS, channels)
    await model.directory.take_office()
    for gateway in model.gateways:
        model.connect(gateway.link, wire.Hello("gateway", gateway.name, gateway.name, f"ws://{gateway.name}"))
    for number in range(100):
        model.arrive(number)
    phases: list[dict[str, Any]] = []
    loop = model.loop

    async def phase(name: str, change: Callable[[], None], after: set[int]) -> None:
        before = list(model.directory.ownership.owners)
        assigned = model.store.assigned
        moved, begun_s, at_s = model.directory.mover.moved, time.monotonic(), loop.time()
        change()
        settled_s = None
        while loop.time() - at_s < 600:
            model.churn(20)
            for _ in range(40):
                loop.call_later(chance.uniform(0, 0.05), model.publish)
            for gateway in chance.sample(model.gateways, len(model.gateways) // 10):
                gateway.sweep()
            await asyncio.sleep(0.05)
            there = set(model.directory.mover.takers())
            if settled_s is None and there == after and model.is_settled():
                settled_s = loop.time() - at_s
            if settled_s is not None and loop.time() - at_s > settled_s + 5:
                break
        if settled_s is None:
            raise RuntimeError(f"{name}: not settled after 600 s, {model.unsettled(after)}")
        fewest = _fewest(before, after)
        phases.append(
            {
                "phase": name,
                "shards": len(after),
                "settled_after_s": round(settled_s, 2),
                "moves": model.store.assigned - assigned,
                "by_hand_off": model.directory.mover.moved - moved,
                "fewest_possible": fewest,
            }
        )
        run.say(f"{phases[-1]} ({time.monotonic() - begun_s:.0f} s of work)")

    everybody = set(range(shards))
    model.churn(channels)
    await phase("100 shards start", lambda: None, set(range(100)))

    def grow() -> None:
        for number in range(100, shards):
            loop.call_later(chance.uniform(0, 5), model.arrive, number)

    await phase(f"grows to {shards}", grow, everybody)
    dead = set(chance.sample(sorted(everybody), shards // 20))

    def kill() -> None:
        for number in dead:
            loop.call_later(chance.uniform(0, 2), model.die, number)

    await phase(f"{len(dead)} are killed", kill, everybody - dead)
    retired = set(chance.sample(sorted(everybody - dead), shards // 10))

    def retire() -> None:
        for number in retired:
            model.directory.mover.retire(number, lambda _: None)

    await phase(f"{len(retired)} retire", retire, everybody - dead - retired)

    def return_() -> None:
        for number in sorted(dead):
            loop.call_later(chance.uniform(0, 2), model.arrive, number)

    await phase(f"{len(dead)} come back", return_, everybody - retired)
    return {
        "shards": shards,
        "gateways": GATEWAYS,
        "channels": channels,
        "phases": phases,
        "publications": model.published,
        "missed": len(model.missed),
        "first_missed": model.missed[:20],
        "gateways_needed": model.needed,
        "gateways_sent_to": model.sent,
        "publications_that_waited_for_an_owner": model.waited,
    }


def main() -> None:
    assert __doc__
    run = claim("capacity", __doc__, {"day_of_a_user": DAY, "users": USERS}, seconds=0, windows=1)
    logging.getLogger("hereabouts.directory").setLevel(logging.ERROR)  # it warns of each shard that dies
    costs = unit_costs(run)
    with run.trying("needs"):
        for users in USERS:
            run.rows[f"{users:,} online"] = needs(users, costs)
    shards, channels = (300, 5_000) if run.options.quick else (SHARDS, CHANNELS)
    with run.trying("simulation"):
        found = cluster_model.run(lambda: simulate(run, 1, shards, channels))
        run.rows["simulation"] = found
        run.goal("publications that missed a gateway (none)", found["missed"], lambda missed: not missed)
        for phase in found["phases"]:
            run.goal(
                f"{phase['phase']}: moves over the fewest possible (at most 1.1)",
                phase["moves"] / phase["fewest_possible"]
                if phase["fewest_possible"]
                else 1.0 + phase["moves"],
                lambda times: times <= 1.1,
            )
    table: list[tuple[str, ...]] = [
        (
            "online",
            "sockets",
            "gateways",
            "cores",
            "GiB connections",
            "GiB actors",
            "messages/s",
            "Postgres servers",
        )
    ]
    for users in USERS:
        row = run.rows.get(f"{users:,} online")
        if row is not None:
            table.append(
                (
                    f"{users:,}",
                    f"{row['sockets']:,}",
                    f"{row['gateways']:,}",
                    f"{row['cores']:,}",
                    f"{row['memory_gib']['connections']}",
                    f"{row['memory_gib']['user actors']}",
                    f"{row['postgres']['messages_per_s']:,}",
                    f"{row['postgres']['servers_at_the_measured_rate']}",
                )
            )
    run.finish(table)


if __name__ == "__main__":
    main()
