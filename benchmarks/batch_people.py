"""Batch recommendations for everybody: users a second and core, peak memory, and how cost grows.

A synthetic city (benchmarks.city), a model trained on its log, everybody's lists: candidates from six
sources, hard limits both ways, both directions by the model, deferred acceptance with caps, the pick of the
day, reasons. Each point is a process of its own; reading tables and writing rows are not in it (the loop has
them: city_loop). Against users: one core. Against shards: Ray tasks on so many workers.

    python -m benchmarks.batch_people [--users 100000] [--quick] [--windows 3]
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import city_world, plot, results
from benchmarks.city import City
from benchmarks.machine import ROOT, describe
from matching import artefact, batch
from matching.jobs import shards
from matching.jobs.hands import Hands, Here, OnRay

USERS = (2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
WORKERS = (1, 2, 4)
SLOTS, CAP, ATTENTION = 20, 25, 10


def lists(users: int, seed: int, workers: int, model: Path) -> dict[str, Any]:
    """One point, in this process: seconds of wall and CPU by stage, and the peak of memory."""
    city = City.made(users, seed)
    world = city_world.world(city.people, city.history, artefact.read(model.read_bytes()), seed)
    hands: Hands = Here()
    if workers:
        import ray  # noqa: PLC0415 - not for a core alone

        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        hands = OnRay()
        list(hands.each(_warm, hands.share(None), [(number,) for number in range(2 * workers)]))
    viewers = batch.by_place(world.population)
    before_mib = _peak_mib()
    stages, begun = {}, (time.perf_counter(), time.process_time())
    shared = hands.share(world)
    edges = shards.scored(hands, shared, viewers, seed, lambda _: None)
    stages["scored_s"] = time.perf_counter() - begun[0]
    shown = batch.show(edges, users, SLOTS, CAP)
    picked = batch.pick(edges)
    stages["lists_s"] = time.perf_counter() - begun[0] - stages["scored_s"]
    shards.why(hands, shared, shown.edges, lambda _: None)
    wall_s, cpu_s = time.perf_counter() - begun[0], time.process_time() - begun[1]
    stages["why_s"] = wall_s - stages["scored_s"] - stages["lists_s"]
    assert not shown.unstable + picked.unstable
    return {
        "users": users,
        "workers": workers,
        "wall_s": round(wall_s, 2),
        "cpu_s": None if workers else round(cpu_s, 2),
        "users_per_s": round(users / wall_s, 1),
        "users_per_cpu_s": None if workers else round(users / cpu_s, 1),
        "candidates_each": round(len(edges) / len(viewers), 1),
        "peak_mib": round(_peak_mib()),
        "of_that_the_columns_mib": round(before_mib),
        **{name: round(seconds, 2) for name, seconds in stages.items()},
        "worth": batch.worth(shown.edges, users, ATTENTION),
    }


def _peak_mib() -> float:
    """The most that this process ever held; getrusage counts what its parent held when it was made."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _warm(_: None, number: int) -> int:
    """Has each worker started and its modules read before the clock runs."""
    return number


def point(users: int, seed: int, workers: int, model: Path) -> dict[str, Any]:
    """One point in a process of its own."""
    line = [sys.executable, "-m", "benchmarks.batch_people", "--point", str(users), "--workers", str(workers)]
    done = subprocess.run(
        [*line, "--seed", str(seed), "--model", str(model)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{users} people, {workers} workers: {done.stderr[-1500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    assert __doc__
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.batch_people",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--users", type=int, default=100_000, help="at most")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--windows", type=int, default=3, help="runs of the points of 20,000 and fewer")
    options.add_argument("--quick", action="store_true", help="to 10,000, once each; not for quoting")
    options.add_argument("--point", type=int, help=argparse.SUPPRESS)
    options.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    options.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    given = options.parse_args()
    if given.point:
        print(json.dumps(lists(given.point, given.seed, given.workers, given.model)))
        return
    if given.quick:
        given.users, given.windows = min(given.users, 10_000), 1
    with TemporaryDirectory(prefix="hb-batch-") as folder:
        model = Path(folder, "model")
        town = City.made(10_000, given.seed)
        model.write_bytes(artefact.write(city_world.trained(town.people, town.history, given.seed)))
        rows = measured(given, model)
    machine = describe("ray", "xgboost-cpu", "numpy", "scipy")
    table: list[tuple[str, ...]] = [("people", "workers", "users/s", "users/s of CPU", "peak MiB")]
    for each in rows:
        cpu = each["users_per_cpu_s"]
        table.append(
            (
                f"{each['users']:,}",
                str(each["workers"] or "this process"),
                f"{each['users_per_s']['median']:,.0f}",
                "" if cpu is None else f"{cpu['median']:,.0f}",
                f"{each['peak_mib']:,}",
            )
        )
    results.show(machine, table)
    name = "batch_people_quick" if given.quick else "batch_people"
    settings = {"slots": SLOTS, "cap": CAP, "seed": given.seed, "windows": given.windows}
    path = results.write(name, {"machine": machine, "settings": settings, "rows": rows})
    plot.write(path.with_suffix(".svg"), panels(rows))
    print("written:", path.relative_to(results.FOLDER.parent.parent), "and its plot")


def measured(given: argparse.Namespace, model: Path) -> list[dict[str, Any]]:
    """Every point; medians and spread of those that are run more than once."""
    sizes = [users for users in USERS if users <= given.users]
    shards_at = min(20_000, sizes[-1])
    points = [(users, 0) for users in sizes] + [(shards_at, workers) for workers in WORKERS]
    rows = []
    for users, workers in points:
        windows = []
        for _ in range(given.windows if users <= 20_000 else 1):
            print(f"batch_people: {users} people, {workers or 'no'} workers", file=sys.stderr, flush=True)
            windows.append(point(users, given.seed, workers, model))
        row = dict(windows[-1])
        for key in ("users_per_s", "users_per_cpu_s"):
            values = [window[key] for window in windows if window[key] is not None]
            row[key] = results.spread(values, 1) if values else None
        row["peak_mib"] = max(window["peak_mib"] for window in windows)
        rows.append(row)
    return rows


def panels(rows: list[dict[str, Any]]) -> list[plot.Panel]:
    """Against users, and against workers."""
    alone = [row for row in rows if not row["workers"]]
    shared = [row for row in rows if row["workers"]]
    return [
        plot.Panel(
            "Batch lists, one core",
            "people",
            "ms of CPU a person",
            [plot.Line("cost", [(row["users"], 1_000 / row["users_per_cpu_s"]["median"]) for row in alone])],
        ),
        plot.Panel(
            "Peak memory of the driver",
            "people",
            "MiB",
            [plot.Line("memory", [(row["users"], row["peak_mib"]) for row in alone])],
        ),
        plot.Panel(
            f"Ray tasks, {shared[0]['users']:,} people" if shared else "Ray tasks",
            "workers",
            "users a second",
            [plot.Line("users/s", [(row["workers"], row["users_per_s"]["median"]) for row in shared])],
        ),
    ]


if __name__ == "__main__":
    main()
