"""Two-stage recommendation through HTTP and Serve: candidates of five sources, hard limits, both directed
models on up to 200 pairs, reasons; 100,000 people in the Matcher's table.

On a running engine, with trained models of 180 trees: through a Serve handle, as Api and shards ask; and
`GET /v1/matches?limit=20` (HAProxy, an Api replica, who is near, the Matcher's replica, Postgres for what is
true by now). One request at a time; several at once, for users a second and core; and one at a time while
the champion moves every two seconds. Beside it the same service in this process, and how its cost grows with
people. CPU is of the engine's whole process tree.

Data: made up from a seed (two_stage_people.py), 20 decisions a person, 400 tags; nobody has a position.

    python -m benchmarks.two_stage [--people 100000] [--seconds 10] [--windows 3] [--quick]
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from benchmarks import plot, results
from benchmarks.cpu import TreeClock, memory_kib, tree_s
from benchmarks.machine import describe
from benchmarks.servers import Server, command, engine, free_port
from benchmarks.two_stage_growth import SIZES, growth
from benchmarks.two_stage_people import Crowd, models
from cluster.embedded.postgres import url_of
from serve_app.matcher import APP, NAME, MatcherConfig, MatcherService
from storage import registry

VIEWERS, LIMIT, AT_ONCE, SEED = 200, 20, 8, 1
SWAP_EVERY_S = 2.0
GOAL_MS = 10.0
_READY_LIMIT_S = 180.0
_OF_RAY = ("RAY_AUTH_", "RAY_SERVE_", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=")


class Http:
    """One kept connection."""

    def __init__(self, url: str) -> None:
        split = urlsplit(url)
        self._address = (split.hostname or "127.0.0.1", split.port or 80)

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(*self._address)

    async def get(self, path: str, token: str) -> tuple[int, bytes]:
        """Status and body."""
        head = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._writer.write(head.encode())
        said = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(said.partition("content-length:")[2].split("\r\n")[0])
        return int(said.split(" ", 2)[1]), await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()


Ask = Callable[[int], Awaitable[str]]
"""From a viewer's number to the model version of the answer."""


async def window(asks: list[Ask], seconds: float) -> tuple[list[float], dict[str, int]]:
    """Every ask goes on for so long, one request after another; sorted latencies (ms), answers by model."""
    until_s = time.perf_counter() + seconds
    taken_ms: list[float] = []
    by_model: dict[str, int] = {}

    async def one(ask: Ask, first: int) -> None:
        viewer = first
        while (began_s := time.perf_counter()) < until_s:
            model = await ask(viewer % VIEWERS)
            taken_ms.append((time.perf_counter() - began_s) * 1e3)
            by_model[model] = by_model.get(model, 0) + 1
            viewer += 1

    await asyncio.gather(*(one(ask, number * 17) for number, ask in enumerate(asks)))
    return sorted(taken_ms), by_model


def figures(taken_ms: list[float]) -> dict[str, float]:
    return {
        "p50_ms": results.quantile(taken_ms, 0.5),
        "p99_ms": results.quantile(taken_ms, 0.99),
        "most_ms": taken_ms[-1],
        "requests": len(taken_ms),
    }


Used = Callable[[], tuple[float, dict[str, float]]]
"""CPU seconds since it was made: in all, and by process."""


async def measured(asks: list[Ask], clock: Callable[[], Used], given: argparse.Namespace) -> dict[str, Any]:
    """Windows of the same asks; `clock` starts counting CPU."""
    found: dict[str, list[float]] = {}
    models_seen: dict[str, int] = {}
    cpu_ms: dict[str, float] = {}
    for _ in range(given.windows):
        used_s = clock()
        taken_ms, by_model = await window(asks, given.seconds)
        cpu_s, by_process = used_s()
        cpu_ms = {name: round(used * 1e3 / len(taken_ms), 2) for name, used in by_process.items()}
        row = figures(taken_ms) | {
            "users_per_s": len(taken_ms) / given.seconds,
            "users_per_cpu_s": len(taken_ms) / max(cpu_s, 1e-9),
        }
        for name, value in row.items():
            found.setdefault(name, []).append(float(value))
        for model, count in by_model.items():
            models_seen[model] = models_seen.get(model, 0) + count
    spread = {name: results.spread(values) for name, values in found.items()}
    return spread | {"models": models_seen, "cpu_ms_a_request": cpu_ms}


async def in_process(database_url: str, crowd: Crowd, given: argparse.Namespace) -> dict[str, Any]:
    """The service alone, in this process: what Serve and HTTP are measured against."""
    service = MatcherService(MatcherConfig(database_url))
    began_s = time.perf_counter()
    await service.start()
    start_s = time.perf_counter() - began_s
    await service.recommend(crowd.users[0], [], LIMIT)
    await service.sources.settled()

    async def ask(viewer: int) -> str:
        return (await service.recommend(crowd.users[viewer], [], LIMIT)).model

    def clock() -> Used:
        before_s = time.process_time()
        return lambda: (time.process_time() - before_s, {})

    row = await measured([ask], clock, given)
    size = service.people.size_bytes() / len(service.people)
    await service.stop()
    return row | {"start_s": round(start_s, 2), "table_bytes_a_person": round(size)}


async def register(database_url: str, stored: tuple[bytes, bytes]) -> list[str]:
    connection = await asyncpg.connect(database_url)
    versions = [
        await registry.add_version(connection, "people", one, lineage={}, metrics={}) for one in stored
    ]
    await registry.set_alias(
        connection, "people", "champion", versions[0], why="forced", moved_by="benchmark"
    )
    await connection.close()
    return versions


async def swapping(database_url: str, versions: list[str], every_s: float) -> None:
    """Moves the champion for ever."""
    connection = await asyncpg.connect(database_url)
    turn = 0
    while True:
        await asyncio.sleep(every_s)
        turn += 1
        await registry.set_alias(
            connection, "people", "champion", versions[turn % 2], why="forced", moved_by="benchmark"
        )


def matcher_pid(server: Server) -> int:
    for pid in tree_s(*server.roots):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"hereabouts-matcher" in title:
            return pid
    raise RuntimeError("there is no Matcher")


async def until_vectors(server: Server, http: Http, count: int) -> None:
    """Back when the Matcher, started anew, has everybody and searches vectors of nearly all of them."""
    metrics_url = str(_status(server)["metrics_url"])
    until_s = time.monotonic() + _READY_LIMIT_S
    while True:
        await http.get(f"/v1/matches?limit={LIMIT}", server.people[0]["token"])
        with urllib.request.urlopen(metrics_url, timeout=10) as answer:
            text = answer.read().decode()
        for line in text.splitlines():
            if line.startswith("ray_hereabouts_match_vectors{") and float(line.split()[-1]) > 0.9 * count:
                return
        if time.monotonic() > until_s:
            raise TimeoutError("the Matcher made no vectors")
        await asyncio.sleep(1.0)


async def handle_asker(server: Server) -> Ask:
    """Asks as the engine's own processes do, with their settings of Ray."""
    lines = Path(f"/proc/{matcher_pid(server)}/environ").read_bytes().decode().split("\0")
    os.environ.update(dict(line.split("=", 1) for line in lines if line.startswith(_OF_RAY)))
    import ray  # noqa: PLC0415 - it reads its settings when it is imported
    from ray import serve  # noqa: PLC0415

    ray.init(
        address=_status(server)["ray"]["address"],
        namespace="hereabouts",
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    handle = await asyncio.to_thread(serve.get_deployment_handle, NAME, APP)

    async def ask(viewer: int) -> str:
        answer = await handle.recommend.remote(server.people[viewer]["user"], [], LIMIT)
        return str(answer.model)

    await ask(0)
    return ask


def _status(server: Server) -> dict[str, Any]:
    said = subprocess.run(
        [command(), "status", "--json", "--data", str(server.data)],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(said.stdout))


async def through_serve(
    server: Server, database_url: str, versions: list[str], given: argparse.Namespace
) -> dict[str, Any]:
    """The rows of the running engine."""

    def asker(http: Http) -> Ask:
        async def ask(viewer: int) -> str:
            token = server.people[viewer]["token"]
            status, body = await http.get(f"/v1/matches?limit={LIMIT}", token)
            if status != 200:
                raise RuntimeError(f"HTTP {status}: {body[:200]!r}")
            return body.partition(b'"model":"')[2].split(b'"')[0].decode()

        return ask

    def clock() -> Used:
        return TreeClock(*server.roots).used_s

    connections = [Http(server.url) for _ in range(AT_ONCE)]
    for each in connections:
        await each.open()
    asks = [asker(each) for each in connections]
    await until_vectors(server, connections[0], given.people)
    rows: dict[str, Any] = {}
    print("by handle", flush=True)
    by_handle = await handle_asker(server)
    rows["Serve handle, one at a time"] = await measured([by_handle], clock, given)
    rows[f"Serve handle, {AT_ONCE} at once"] = await measured([by_handle] * AT_ONCE, clock, given)
    print("HTTP, one at a time", flush=True)
    rows["HTTP, one at a time"] = await measured(asks[:1], clock, given)
    print(f"{AT_ONCE} at once", flush=True)
    rows[f"HTTP, {AT_ONCE} at once"] = await measured(asks, clock, given)
    print("during swaps", flush=True)
    moving = asyncio.create_task(swapping(database_url, versions, min(SWAP_EVERY_S, given.seconds / 4)))
    rows["Serve handle, during swaps"] = await measured([by_handle], clock, given)
    rows["HTTP, during swaps"] = await measured(asks[:1], clock, given)
    moving.cancel()
    for each in connections:
        each.close()
    return rows


async def run(given: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    print("fits models", flush=True)
    stored = models()
    found = await growth(stored[0], tuple(size for size in SIZES if size <= given.people), VIEWERS, LIMIT)
    with engine(given.port or free_port(), VIEWERS) as server:
        assert server.data is not None
        password = (server.data / "secrets" / "postgres.password").read_text().strip()
        port = int((server.data / "postgres" / "port").read_text())
        database_url = url_of(password, port)
        print(f"stores {given.people} people", flush=True)
        crowd = Crowd.made([each["user"] for each in server.people], given.people, SEED)
        await crowd.store(database_url)
        versions = await register(database_url, stored)
        print("in process", flush=True)
        rows = {"in process": await in_process(database_url, crowd, given)}
        os.kill(matcher_pid(server), signal.SIGKILL)  # it is started anew, and reads everybody
        await asyncio.sleep(5.0)
        try:
            rows |= await through_serve(server, database_url, versions, given)
        finally:
            import ray  # noqa: PLC0415 - see handle_asker

            ray.shutdown()  # a driver whose head stops is ended without a word
        kib = memory_kib(matcher_pid(server))
        rows["Matcher process"] = {
            "pss_mib": kib.proportional // 1024,
            "anonymous_mib": kib.anonymous // 1024,
        }
    return rows, found


def main() -> None:
    assert __doc__
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--people", type=int, default=100_000)
    options.add_argument("--seconds", type=float, default=10.0, help="length of a window")
    options.add_argument("--windows", type=int, default=3)
    options.add_argument("--port", type=int, default=0, help="the engine's HTTP port; 0 takes a free one")
    options.add_argument("--quick", action="store_true", help="10,000 people, short; not for quoting")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    given = options.parse_args()
    if given.quick:
        given.people, given.seconds, given.windows = 10_000, 2.0, 1
    load = os.getloadavg()[0]
    rows, found = asyncio.run(run(given))
    machine = describe("ray", "xgboost-cpu", "usearch", "numpy", "asyncpg")
    table: list[tuple[str, ...]] = [("", "p50 ms", "p99 ms", "most ms", "users/s", "users/CPU s")]
    for name, row in rows.items():
        if "p50_ms" in row:
            columns = ("p50_ms", "p99_ms", "most_ms", "users_per_s", "users_per_cpu_s")
            table.append((name, *(f"{row[column]['median']:.1f}" for column in columns)))
    results.show(machine, table)
    goals = [
        {
            "goal": f"{name}: p99 below 10 ms",
            "value": round(rows[name]["p99_ms"]["median"], 2),
            "reached": rows[name]["p99_ms"]["median"] < GOAL_MS,
        }
        for name in ("Serve handle, one at a time", "HTTP, one at a time")
    ]
    settings = {
        "people": given.people, "viewers": VIEWERS, "limit": LIMIT, "seed": SEED,
        "window_s": given.seconds, "windows": given.windows, "swap_every_s": SWAP_EVERY_S,
        "load_before": load,
    }  # fmt: skip
    name = "two_stage_quick" if given.quick else "two_stage"
    result = {"machine": machine, "settings": settings, "goals": goals, "rows": rows, "growth": found}
    path = results.write(name, result)
    lines = [
        plot.Line(what, [(float(count), row[key]) for count, row in found.items()])
        for what, key in (("median", "p50_ms"), ("99 %", "p99_ms"))
    ]
    size = plot.Line("", [(float(count), row["table_bytes_a_person"]) for count, row in found.items()])
    plot.write(
        path.with_suffix(".svg"),
        [
            plot.Panel("CPU of a request by people", "people", "ms", lines),
            plot.Panel("Table by people", "people", "bytes a person", [size]),
        ],
    )
    print("written:", path.relative_to(results.FOLDER.parent.parent), "and its plot")


if __name__ == "__main__":
    main()
