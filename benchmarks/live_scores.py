"""A model takes over while people look: how long until every map shows the new one, and what is dropped.

People stand in one cell, each subscribed to `near` with scores (the nearest 50), over sockets of the whole
engine, while others decide over HTTP. Models of the registry are made champion one after the other. A round's
time is from the commit of that until a viewer holds 50 rows of the new model, over all viewers and rounds.
Broken is: a socket that closes, an `o` that does not rise, a frame after which a map holds scores of two
models, a row that comes twice or goes unseen. The Matcher, shards, gateway and this client share the cores.

    python -m benchmarks.live_scores [--quick] [--viewers 200] [--rounds 10] [--seed 1]
"""

import argparse
import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from benchmarks import results, servers
from benchmarks.cpu import TreeClock
from benchmarks.machine import describe
from benchmarks.servers import Server
from cluster.embedded.postgres import stored_url
from matching import artefact, rank
from matching.artefact import PeopleModel
from matching.pair_features import FEATURES, HISTORY, blanked
from matching.tally import PRIOR
from storage import registry

PLACE = (52.52, 13.405)
ROWS = 50
DECIDERS = 20
_LIMIT_S = 60.0


@dataclass(eq=False)
class Viewer:
    """One socket and the map that its client holds."""

    socket: ClientConnection
    offset: int = -1
    n: int = 0
    rows: dict[str, Any] = field(default_factory=dict)
    frames: int = 0
    broken: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    at_s: dict[str, float] = field(default_factory=dict)
    """Model → when all rows were of it."""

    async def read(self) -> None:
        """Takes what comes, until the socket closes."""
        async for message in self.socket:
            for line in str(message).splitlines():
                frame = json.loads(line)
                if not frame:
                    await self.socket.send("{}")
                elif "sub" in frame:
                    self.n, self.offset = frame["sub"]["n"], frame["sub"]["offset"]
                    self.rows = {key: data for key, data, _ in frame["sub"]["state"]}
                elif frame.get("p") == self.n and "k" in frame:
                    self._take(frame)
                self.changed.set()
        self.broken.append("closed")

    def _take(self, frame: dict[str, Any]) -> None:
        self.frames += 1
        if frame["o"] <= self.offset:
            self.broken.append("out of order")
        self.offset = frame["o"]
        for key, sign, *rest in frame["k"]:
            if (sign == "+") is (key in self.rows):
                self.broken.append(f"{sign} of a row that was{'' if sign == '+' else ' not'} there")
            self.rows.pop(key, None)
            if sign != "-":
                self.rows[key] = rest[0]
        models = {row.get("model") for row in self.rows.values()} - {None}
        if len(models) > 1:
            self.broken.append("two models")
        elif len(self.rows) == ROWS and all("model" in row for row in self.rows.values()):
            self.at_s.setdefault(models.pop(), time.monotonic())

    async def until(self, model: str) -> float:
        """When all rows were of this model."""
        async with asyncio.timeout(_LIMIT_S):
            while model not in self.at_s:
                self.changed.clear()
                await self.changed.wait()
        return self.at_s[model]


async def viewer(server: Server, token: str, chance: random.Random) -> Viewer:
    """A socket whose person stands there."""
    url = f"ws://{server.address[0]}:{server.address[1]}/rt"
    socket = await connect(
        url, subprotocols=[Subprotocol("rt.v1.json")], compression=None, ping_interval=None, max_size=None
    )
    await socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
    lat, lon = PLACE[0] + chance.uniform(-1, 1) * 0.001, PLACE[1] + chance.uniform(-1, 1) * 0.001
    await socket.send(json.dumps({"id": 2, "pos": [lat, lon, 5.0, time.time_ns() // 1_000_000]}))
    heard = 0
    while heard < 2:  # their replies; nothing else comes before a subscription
        heard += sum("id" in json.loads(line) for line in str(await socket.recv()).splitlines())
    return Viewer(socket)


async def registered(connection: Any, seed: int) -> str:
    """A model of the right form that has learned some share of likes."""
    chance = np.random.default_rng(seed)
    features = chance.random((400, len(FEATURES)))
    for name in ("rater_given", "ratee_received"):
        features[:, FEATURES.index(name)] = 9
    labels = (chance.random(400) < chance.uniform(0.2, 0.9)).astype(np.float64)
    model = rank.fit(blanked(features), labels, HISTORY, seed=seed)
    stored = artefact.write(PeopleModel(model, FEATURES, PRIOR, artefact.references_of(FEATURES, features)))
    return await registry.add_version(connection, "people", stored, lineage={"seed": seed}, metrics={})


async def decide(server: Server, chance: random.Random, made: list[int]) -> None:
    """People who do not look decide about those who do, one after the other, until cancelled."""
    lookers, deciders = server.people[DECIDERS:], server.people[:DECIDERS]
    while True:
        body = {"user": chance.choice(lookers)["user"], "like": chance.random() < 0.5}
        token = chance.choice(deciders)["token"]
        try:
            await asyncio.to_thread(server.request, "POST", "/v1/decisions", body, token)
            made[0] += 1
        except OSError:  # they had decided so before: a conflict
            made[1] += 1


async def measure(server: Server, rounds: int, seed: int) -> dict[str, Any]:
    chance, made = random.Random(seed), [0, 0]
    assert server.data is not None
    database = await asyncpg.connect(stored_url(server.data))
    viewers = [await viewer(server, person["token"], chance) for person in server.people[DECIDERS:]]
    readers = [asyncio.create_task(each.read()) for each in viewers]
    await asyncio.sleep(1.0)
    for each in viewers:
        await each.socket.send(json.dumps({"id": 3, "sub": {"ch": "near", "filter": {"scores": True}}}))
    await asyncio.gather(*(each.until("baseline") for each in viewers))
    versions = [await registered(database, seed + number) for number in range(rounds)]
    deciding = asyncio.create_task(decide(server, chance, made))
    taken_ms, last_ms = list[float](), list[float]()
    clock, frames = TreeClock(*server.roots), sum(each.frames for each in viewers)
    for version in versions:
        begun_s = time.monotonic()
        await registry.set_alias(database, "people", "champion", version, why="forced", moved_by="benchmark")
        done = await asyncio.gather(*(each.until(version) for each in viewers))
        round_ms = [(at_s - begun_s) * 1e3 for at_s in done]
        taken_ms += round_ms
        last_ms.append(max(round_ms))
        await asyncio.sleep(0.5)
    cpu_s, frames = clock.used_s()[0], sum(each.frames for each in viewers) - frames
    deciding.cancel()
    broken = [what for each in viewers for what in each.broken]
    for each, reader in zip(viewers, readers, strict=True):
        reader.cancel()
        await each.socket.close()
    await database.close()
    taken_ms.sort()
    return {
        "viewers": len(viewers), "rows": ROWS, "rounds": rounds, "seed": seed,
        "shown_p50_ms": round(results.quantile(taken_ms, 0.5), 1),
        "shown_p99_ms": round(results.quantile(taken_ms, 0.99), 1),
        "last_viewer_ms": results.spread(last_ms, 1),
        "decisions": made[0], "frames": frames, "broken": len(broken), "broken_kinds": sorted(set(broken)),
        "cpu_ms_a_viewer_and_swap": round(cpu_s * 1e3 / rounds / len(viewers), 2),
    }  # fmt: skip


def main() -> None:
    assert __doc__
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="few rounds; not for quoting")
    options.add_argument("--viewers", type=int, default=200)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--port", type=int, default=0, help="of the engine that is started (a free one)")
    given = options.parse_args()
    rounds = 3 if given.quick else given.rounds
    with servers.engine(given.port or servers.free_port(), given.viewers + DECIDERS) as server:
        row = asyncio.run(measure(server, rounds, given.seed))
    machine = describe("xgboost-cpu", "numpy", "msgspec", "ray")
    last = row["last_viewer_ms"]
    results.show(
        machine,
        [
            ("viewers", "rows", "swaps", "p50/p99 ms", "last viewer ms", "decisions", "frames", "broken"),
            (
                str(row["viewers"]), str(row["rows"]), str(rounds),
                f"{row['shown_p50_ms']:.0f} / {row['shown_p99_ms']:.0f}",
                f"{last['median']:.0f} ({last['least']:.0f}-{last['most']:.0f})",
                str(row["decisions"]), str(row["frames"]), str(row["broken"]),
            ),
        ],
    )  # fmt: skip
    if row["broken"]:
        raise SystemExit(f"broken: {row['broken_kinds']}")
    if not given.quick:
        results.write("live_scores", {"machine": machine, "row": row})


if __name__ == "__main__":
    main()
