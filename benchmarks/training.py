"""Training time beside plain xgboost on the same rows, one thread each: trees of 50 rounds.

Rows are decisions of a synthetic city with the features of the engine (benchmarks.city). `plain` is xgboost
in this process. `task` is the same call as a Ray task that gets the rows through Ray, which the switch
chooses below its row count. `model` is all that a version needs, in a task: two fits of trees (the first for
calibration on rows that it has not seen), two regressions, Platt's step. `trainer` is Ray's XGBoostTrainer
with one worker, which is what stands beyond the switch (once; --no-trainer leaves it out).

    python -m benchmarks.training [--rows 100000] [--rounds 50] [--windows 5] [--quick]
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xgboost

from benchmarks import city_world, results
from benchmarks.city import City
from benchmarks.machine import describe
from matching import pair_features, rank
from matching.arrays import Floats
from matching.pair_features import HISTORY
from matching.rank import Settings
from matching.tally import RATES


def rows_of(count: int, seed: int) -> tuple[Floats, Floats]:
    """Features and labels of the newest decisions of a city that has so many."""
    city = City.made(max(2_000, count // 7), seed)
    log, known = city_world.log_of(city.history).tail(count), city_world.profiles(city.people)
    gave, got = (log.select([f"{side}_{name}" for name in RATES]).to_numpy() for side in ("rater", "ratee"))
    rater, ratee = (known.take(log[side].to_numpy()) for side in ("rater", "ratee"))
    features = pair_features.blanked(pair_features.pair_features(gave, got, rater, ratee))
    return features, log["yes"].to_numpy().astype(np.float64)


def trees(features: Floats, labels: Floats, rounds: int) -> bytes:
    """Plain xgboost with the engine's settings."""
    data = xgboost.DMatrix(features, label=labels)
    return bytes(xgboost.train(Settings().trees(0, 1), data, rounds).save_raw("ubj"))


def model(features: Floats, labels: Floats, rounds: int) -> bytes:
    """The engine's model."""
    fitted = rank.fit(features, labels, HISTORY, 0, settings=Settings(rounds=rounds))
    return bytes(fitted.booster.save_raw("ubj"))


def trainer(features: Floats, labels: Floats, rounds: int) -> float:
    """Seconds of Ray's XGBoostTrainer with one worker."""
    import ray  # noqa: PLC0415 - a second to import, and only here
    from ray.train import RunConfig, ScalingConfig  # noqa: PLC0415
    from ray.train.xgboost import XGBoostTrainer  # noqa: PLC0415

    def work() -> None:
        shard = ray.train.get_dataset_shard("train").materialize().to_pandas()
        data = xgboost.DMatrix(shard.drop(columns=["label"]), label=shard["label"])
        xgboost.train(Settings().trees(0, 1), data, rounds)

    columns = {f"f{number}": features[:, number] for number in range(features.shape[1])}
    with TemporaryDirectory(prefix="hb-train-") as folder:
        begun_s = time.perf_counter()
        given = ray.data.from_numpy(np.column_stack([*columns.values(), labels]))

        def named(batch: dict[str, Any]) -> dict[str, Any]:
            names = [*columns, "label"]
            return {name: batch["data"][:, place] for place, name in enumerate(names)}

        XGBoostTrainer(
            work,
            datasets={"train": given.map_batches(named)},
            scaling_config=ScalingConfig(num_workers=1),
            run_config=RunConfig(storage_path=folder),
        ).fit()
        return time.perf_counter() - begun_s


def main() -> None:
    assert __doc__
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=50)
    options.add_argument("--windows", type=int, default=5)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--no-trainer", action="store_true")
    options.add_argument("--quick", action="store_true", help="20,000 rows, 2 windows, no trainer")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    given = options.parse_args()
    if given.quick:
        given.rows, given.windows, given.no_trainer = 20_000, 2, True
    import ray  # noqa: PLC0415 - after the help

    features, labels = rows_of(given.rows, given.seed)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    remote: Any = ray.remote(num_cpus=1)
    there = ray.put(features), ray.put(labels)
    tasks = {name: remote(each) for name, each in (("task", trees), ("model", model))}
    ways: dict[str, Callable[[], Any]] = {
        "plain": lambda: trees(features, labels, given.rounds),
        "task": lambda: ray.get(tasks["task"].remote(*there, given.rounds)),
        "model": lambda: ray.get(tasks["model"].remote(*there, given.rounds)),
    }
    assert ways["plain"]() == ways["task"](), "the same rows give the same trees, wherever"
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for window in range(given.windows):
        for name, way in ways.items():
            begun_s = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun_s)
            print(f"training: {name} {window + 1}: {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    rows = {name: results.spread(each, 2) for name, each in seconds.items()}
    if not given.no_trainer:
        rows["trainer"] = results.spread([trainer(features, labels, given.rounds)], 2)
    plain = rows["plain"]["median"]
    table: list[tuple[str, ...]] = [("way", "s", "least", "most", "over plain")]
    for name, row in rows.items():
        row["over_plain"] = round(row["median"] / plain, 2)
        table.append(
            (name, *(f"{row[key]:.2f}" for key in ("median", "least", "most")), f"{row['over_plain']:.2f}")
        )
    machine = describe("ray", "xgboost-cpu", "numpy")
    results.show(machine, table)
    settings = {"rows": len(labels), "columns": features.shape[1], "rounds": given.rounds, "seed": given.seed}
    name = "training_quick" if given.quick else "training"
    path = results.write(name, {"machine": machine, "settings": settings, "rows": rows})
    print("written:", path.relative_to(results.FOLDER.parent.parent))


if __name__ == "__main__":
    main()
