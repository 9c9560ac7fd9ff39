"""Search the settings of the trees for people (ML-4).

Protocol: of the dataset's rows in the order of their offsets the last --later are not touched; of the others
the first 80 % train and the last 20 % choose, by log loss. --trials settings are drawn by the seed, the
engine's defaults first; Ray Tune runs as many at once as there are CPUs (at most --at-once) and stops by ASHA
what does worse after a few rounds. A trial that ended is stored: asked for again, only the others run. Prints
the best settings, and the line that trains with them.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from matching import dataset
from matching.boosting import xgboost
from matching.jobs import command, features
from matching.jobs.engine import code_version, site
from matching.jobs.fitting import loaded
from matching.jobs.run import Run, asked_of, finished, opened
from matching.jobs.train import FEWEST_ROWS, add_training, dataset_of
from matching.judge import matrix
from matching.pair_features import blanked
from matching.rank import Settings
from storage import datasets

REPORT_ROUNDS, REPORTS, GRACE_REPORTS = 20, 20, 3
MOST_ROUNDS = REPORT_ROUNDS * REPORTS
CHOOSING = 0.2


def drawn(seed: int, count: int) -> list[Settings]:
    """Return settings to try: the defaults, then draws from the space."""
    chance = np.random.default_rng(seed)
    found = [Settings(rounds=MOST_ROUNDS)]
    while len(found) < count:
        found.append(
            Settings(
                eta=round(float(np.exp(chance.uniform(np.log(0.01), np.log(0.3)))), 4),
                max_depth=int(chance.integers(2, 7)),
                subsample=round(float(chance.uniform(0.4, 1.0)), 2),
                colsample_bytree=round(float(chance.uniform(0.2, 1.0)), 2),
                min_child_weight=round(float(np.exp(chance.uniform(0, np.log(100)))), 1),
                reg_lambda=round(float(np.exp(chance.uniform(0, np.log(100)))), 1),
                rounds=MOST_ROUNDS,
            )
        )
    return found[:count]


def learn(settings: Settings, inputs: Any, labels: Any, seed: int) -> Iterator[tuple[int, float]]:
    """Yield rounds and log loss on the rows that choose, every REPORT_ROUNDS rounds."""
    cut = round(len(labels) * (1 - CHOOSING))
    train = xgboost.DMatrix(inputs[:cut], label=labels[:cut])
    choose = xgboost.DMatrix(inputs[cut:], label=labels[cut:])
    booster = xgboost.Booster(settings.trees(seed, 1), [train, choose])
    for done in range(MOST_ROUNDS):
        booster.update(train, done)
        if (done + 1) % REPORT_ROUNDS == 0:
            yield done + 1, float(booster.eval(choose).rpartition(":")[2])


def _trial(config: dict[str, Any]) -> None:
    """One trial, in a process of Ray Tune's. Reports the best rounds so far."""
    rows = loaded(site().database_url, config["dataset"])[: config["rows"]]
    inputs, labels = blanked(matrix(rows)), rows[dataset.LABEL].to_numpy().astype(float)
    best = (float("inf"), 0)
    settings = Settings(**config["space"][config["trial"]])
    for rounds, loss in learn(settings, inputs, labels, config["seed"]):
        best = min(best, (loss, rounds))
        tune.report({"loss": loss, "best": best[0], "rounds": best[1], "trial": config["trial"]})


def _tell_nobody(_: dict[str, Any]) -> None:
    return


class _Ended(tune.Callback):
    """Tells what each trial said last when it ended, of itself or by ASHA."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell

    def __reduce__(self) -> tuple[type, tuple[Any]]:
        return _Ended, (_tell_nobody,)  # Tune keeps a copy of its settings, which nobody listens to

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        self._tell(trial.last_result)


def search(
    config: dict[str, Any], todo: list[int], at_once: int, tell: Callable[[dict[str, Any]], None]
) -> None:
    """Run these trials by Ray Tune with ASHA; `tell` gets the last report of each that ended."""
    with tempfile.TemporaryDirectory(prefix="hereabouts-tune-") as folder:
        tune.Tuner(
            tune.with_resources(_trial, {"cpu": 1}),
            param_space={**config, "trial": tune.grid_search(todo)},
            tune_config=tune.TuneConfig(
                scheduler=ASHAScheduler(
                    metric="loss", mode="min", max_t=REPORTS, grace_period=GRACE_REPORTS, reduction_factor=3
                ),
                max_concurrent_trials=at_once,
            ),
            run_config=tune.RunConfig(storage_path=folder, callbacks=[_Ended(tell)], verbose=0),
        ).fit()


async def _searched(run: Run, config: dict[str, Any], at_once: int) -> dict[int, dict[str, Any]]:
    """Return the last report of every trial: those stored, and those that run now, each stored as it ends."""
    count = len(config["space"])
    found = {place: await run.done(f"trial-{place}") for place in range(count)}
    results = {place: each.result for place, each in found.items() if each is not None}
    todo = [place for place in range(count) if place not in results]
    run.tell(f"{len(results)} of {count} trials done before")
    loop, ended = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()

    def tell(result: dict[str, Any] | None) -> None:
        loop.call_soon_threadsafe(ended.put_nowait, result)

    searching = asyncio.create_task(asyncio.to_thread(search, config, todo, at_once, tell)) if todo else None
    if searching is not None:
        searching.add_done_callback(lambda _: ended.put_nowait(None))
        while (last := await ended.get()) is not None:
            kept = {name: last[name] for name in ("best", "rounds", "trial", "training_iteration")}

            async def keep(_: Any, kept: dict[str, Any] = kept) -> dict[str, Any]:
                return kept

            results[kept["trial"]] = await run.commit(f"trial-{kept['trial']}", keep)
            await run.progress("trials", len(results), count)
        await searching
    return results


async def main(database_url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    asked = {**asked_of(arguments), "code": code_version()}
    async with opened(database_url, "tune", asked, lambda c: features.settled(c, arguments.to)) as run:
        before = run.row.result if run.row.state == "done" else None
        if before is not None and await datasets.is_there(run.connection, before["dataset"]):
            return before
        sha256 = await dataset_of(run, arguments)
        found, _ = await datasets.load(run.connection, sha256)
        rows = found.row_count - round(found.row_count * arguments.later)
        if rows < FEWEST_ROWS:
            raise command.JobError(f"{rows} rows to search on; {FEWEST_ROWS} are needed: take a longer range")
        space = drawn(arguments.seed, arguments.trials)
        config = {
            "dataset": sha256,
            "rows": rows,
            "seed": arguments.seed,
            "space": [asdict(one) for one in space],
        }
        results = await _searched(run, config, arguments.at_once)
        if not results:
            raise command.JobError("no trial came to its end; the job's log says why")
        best = min(results.values(), key=lambda each: (each["best"], each["trial"]))
        settings = {**asdict(space[best["trial"]]), "rounds": best["rounds"]}
        line = " ".join(f"--set {name}={value}" for name, value in settings.items())
        return await finished(
            run,
            {
                "dataset": sha256,
                "log_loss": round(best["best"], 5),
                "default_log_loss": round(results[0]["best"], 5) if 0 in results else None,
                "settings": settings,
                "trials": len(results),
                "stopped_early": sum(each["training_iteration"] < REPORTS for each in results.values()),
                "train": f"python -m matching.jobs.train --dataset {sha256} --seed {arguments.seed} {line}",
            },
        )


def parser() -> argparse.ArgumentParser:
    made = command.parser("tune", __doc__)
    add_training(made)
    made.add_argument("--trials", type=int, default=16, metavar="N", help="default: 16")
    made.add_argument("--at-once", type=int, default=2, metavar="N", help="at most (default: 2)")
    return made


if __name__ == "__main__":
    sys.exit(command.run(parser(), lambda site, arguments: asyncio.run(main(site.database_url, arguments))))
