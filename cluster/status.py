"""`hereabouts status`: what runs, what it costs, which shard holds how much."""

import asyncio
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from actors.site import Site
from cluster import engine, processes
from cluster.errors import OperatorError
from cluster.layout import Layout
from cluster.plan import link_secret

CPU_WINDOW_S = 0.5
ASK_TIMEOUT_S = 5.0


async def collect(place: Layout) -> dict[str, Any]:
    """The status of the engine of a data folder. Raises OperatorError if none runs."""
    state = engine.read(place.state) if place.data.is_dir() else None
    if state is None or not processes.is_alive(state.supervisor):
        raise OperatorError(f"no engine runs on {place.data}", "start one with `hereabouts up`")
    directory, rows, gateways = await asyncio.gather(
        _ask_directory(state, place), _processes(state), _ask_gateways(place)
    )
    return {
        "ready": state.ready_at is not None and "error" not in directory,
        "url": state.url,
        "gateway_url": state.gateway_url,
        "mode": state.mode,
        "privacy_k": state.privacy_k,
        "data": str(place.data),
        "run_dir": state.run_dir,
        "started_at": state.started_at,
        "ready_at": state.ready_at,
        "ray": {
            "address": state.ray_address,
            "dashboard_url": state.ray_dashboard_url,
            "token_path": state.ray_token_path,
            "submit": submit_line(state),
        },
        "metrics_url": f"http://{state.host}:{state.ports['metrics']}/metrics",
        "ports": state.ports,
        "directory": directory,
        "nodes": _nodes(directory),
        "gateways": gateways,
        "processes": rows,
        "pss_mib": round(sum(row["pss_mib"] for row in rows if row["pss_mib"] is not None), 1),
        "cpu_percent": round(sum(row["cpu_percent"] for row in rows), 1),
    }


def submit_line(state: engine.EngineState) -> str | None:
    """Return what somebody types to have a job run; the job's command comes after it. None on a joined node:
    the job server is the head's.
    """
    if state.ray_dashboard_url is None:
        return None
    ray = Path(sys.executable).with_name("ray")
    token = shlex.quote(state.ray_token_path or "")
    return (
        f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token} "
        f"{shlex.quote(str(ray))} job submit --address {state.ray_dashboard_url} --"
    )


async def _ask_gateways(place: Layout) -> dict[str, dict[str, Any]]:
    """The counters of each gateway of this node, by its number; of one that does not answer none."""
    from actors import messages as wire  # noqa: PLC0415
    from actors.probe import ask  # noqa: PLC0415
    from actors.protocol import EngineError  # noqa: PLC0415 (the rest of the status needs none of them)

    async def counters(path: Path) -> dict[str, Any]:
        try:
            found: dict[str, Any] = await ask(f"unix:{path}", wire.StatusQuery(0))
        except (OSError, TimeoutError, EngineError):
            return {}
        return found

    sockets = sorted(place.run.glob("gateway-*.sock"))
    found = await asyncio.gather(*(counters(path) for path in sockets))
    numbers = (path.stem.removeprefix("gateway-") for path in sockets)
    return {number: each for number, each in zip(numbers, found, strict=True) if each}


def _nodes(directory: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What stands on each node. A gateway's name is its node, its number and what is new per process."""
    nodes: dict[str, dict[str, Any]] = {}
    for number, shard in directory.get("shards", {}).items():
        if "node" in shard:
            nodes.setdefault(shard["node"], {"shards": [], "gateways": 0})["shards"].append(int(number))
    for name, url in directory.get("gateways", {}).items():
        if url:
            node = name.rsplit("-", 2)[0]
            nodes.setdefault(node, {"shards": [], "gateways": 0})["gateways"] += 1
    return dict(sorted(nodes.items()))


async def _ask_directory(state: engine.EngineState, place: Layout) -> dict[str, Any]:
    from actors.probe import fetch_status  # noqa: PLC0415
    from actors.protocol import EngineError  # noqa: PLC0415 (the rest of the status needs neither)

    try:
        secret = link_secret(place.ray_token.read_text(encoding="ascii").strip())
        site = Site(state.node, secret=secret, directory=state.directory)
        async with asyncio.timeout(ASK_TIMEOUT_S):
            answer: dict[str, Any] = await fetch_status(state.run_dir, site)
    except (OSError, TimeoutError, EngineError) as wrong:
        return {"error": f"the directory does not answer: {wrong or type(wrong).__name__}"}
    return answer


async def _processes(state: engine.EngineState) -> list[dict[str, Any]]:
    identities = [state.supervisor, *processes.descendants([state.supervisor.pid])]
    before = {each: processes.read_stat(each.pid) for each in identities}
    begin = time.monotonic()
    await asyncio.sleep(CPU_WINDOW_S)
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    rows = []
    for each, first in before.items():
        last = processes.read_stat(each.pid)
        if first is None or last is None or last.started_ticks != each.started_ticks:
            continue
        pss_kib = processes.pss_kib(each.pid)
        spent_s = (last.cpu_ticks - first.cpu_ticks) / ticks_per_s
        rows.append(
            {
                "pid": each.pid,
                "title": processes.title(each.pid),
                "pss_mib": None if pss_kib is None else round(pss_kib / 1024, 1),
                "cpu_percent": round(100 * spent_s / (time.monotonic() - begin), 1),
                "cpu_s": round(last.cpu_ticks / ticks_per_s, 2),
            }
        )
    return rows


def _to_submit(line: str | None) -> list[str]:
    if line is None:
        return []
    return ["to run a job on it (docs/data-science.md):", f"    {line} python -m matching.jobs.train --help"]


def render(status: dict[str, Any]) -> str:
    """The same for people."""
    lines = [
        f"{'ready' if status['ready'] else 'NOT READY'}  {status['url']}  {status['gateway_url']}",
        f"mode {status['mode']}, privacy k {status['privacy_k']}, since {status['started_at']}",
        f"data {status['data']}",
        f"Ray {status['ray']['address']}, token in {status['ray']['token_path']}",
        f"metrics {status['metrics_url']}",
        *_to_submit(status["ray"]["submit"]),
        "",
    ]
    directory = status["directory"]
    if "error" in directory:
        lines.append(directory["error"])
    for name, node in status["nodes"].items():
        lines.append(f"node {name}: shards {node['shards']}, gateways {node['gateways']}")
    for number, shard in directory.get("shards", {}).items():
        lines.append(f"shard {number}: " + ", ".join(f"{name} {value}" for name, value in shard.items()))
    for name, url in sorted(directory.get("gateways", {}).items()):
        lines.append(f"gateway {name}: {url or 'leaving'}")
    for number, gateway in status["gateways"].items():
        lines.append(f"gateway {number}: " + ", ".join(f"{name} {value}" for name, value in gateway.items()))
    lines += ["", f"{'pid':>8} {'MiB':>8} {'CPU %':>6}  title"]
    for row in status["processes"]:
        memory = "?" if row["pss_mib"] is None else f"{row['pss_mib']:.1f}"
        lines.append(f"{row['pid']:>8} {memory:>8} {row['cpu_percent']:>6.1f}  {row['title'][:90]}")
    lines.append(f"{'total':>8} {status['pss_mib']:>8.1f} {status['cpu_percent']:>6.1f}")
    return "\n".join(lines)
