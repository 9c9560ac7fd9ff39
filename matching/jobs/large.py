"""Training on several workers, for what one core would take too long for (ML-3).

Ray Train's XGBoostTrainer: each worker loads the dataset from the engine and keeps its share of the raters,
so that nobody's decisions are cut in two; xgboost adds up their histograms. The regression and the
calibration are then fitted on a sample, in one place. Sums over workers round as they come: the last bits may
differ from run to run.
"""

import tempfile
from typing import Any

import numpy as np
import polars as pl
import ray.train
from ray.train.xgboost import XGBoostTrainer

from matching import dataset
from matching.arrays import Booleans
from matching.boosting import xgboost
from matching.jobs.engine import site
from matching.jobs.fitting import inputs_of, latest, loaded, written
from matching.pair_features import HISTORY
from matching.rank import DROPOUT, Settings

SAMPLE_ROWS = 200_000
"""Of the regression and the calibration, which have some twenty coefficients to find."""


def share(rows: pl.DataFrame, worker: int, workers: int) -> Booleans:
    """Return which rows are a worker's: those of its raters, the same in every process."""
    of = rows["rater"].str.slice(-8).str.to_integer(base=16, strict=True).to_numpy()
    return np.asarray(of % workers == worker)


def _worker(config: dict[str, Any]) -> bytes:
    """One worker's part; the first one's answer is Ray Train's."""
    context = ray.train.get_context()
    worker = context.get_world_rank()
    rows = loaded(site().database_url, config["dataset"])[: config["rows"]]
    if not config["is_final"]:  # the rows that calibrate are not seen by the trees that they calibrate
        rows = rows.filter(pl.Series(~latest(len(rows))))
    rows = rows.filter(pl.Series(share(rows, worker, context.get_world_size())))
    inputs, labels = inputs_of(rows), rows[dataset.LABEL].to_numpy().astype(float)
    blank = np.random.default_rng([config["seed"], worker]).random(len(rows)) < DROPOUT
    inputs[np.ix_(blank, HISTORY)] = np.nan
    settings = Settings(**config["settings"])
    booster = xgboost.train(
        settings.trees(config["seed"], 1), xgboost.DMatrix(inputs, label=labels), settings.rounds
    )
    return bytes(booster.save_raw("ubj"))


def _trees(config: dict[str, Any], workers: int) -> xgboost.Booster:
    with tempfile.TemporaryDirectory(prefix="hereabouts-train-") as folder:
        result = XGBoostTrainer(
            _worker,  # type: ignore[arg-type] # stubs of the older version
            train_loop_config=config,
            scaling_config=ray.train.ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1}),
            run_config=ray.train.RunConfig(
                storage_path=folder, failure_config=ray.train.FailureConfig(max_failures=2)
            ),
        ).fit()
    booster = xgboost.Booster()
    booster.load_model(bytearray(result.return_value))  # type: ignore[attr-defined] # as above
    return booster


def fit(database_url: str, config: dict[str, Any], workers: int) -> bytes:
    """Return the artefact of the first `rows` of a `dataset`, with `settings` and `seed`; each worker takes a
    CPU.
    """
    first, final = (_trees({**config, "is_final": each}, workers) for each in (False, True))
    rows, seed = config["rows"], config["seed"]
    drawn = np.sort(np.random.default_rng(seed).permutation(rows)[:SAMPLE_ROWS])
    sample = loaded(database_url, config["dataset"])[:rows][drawn]
    return written(sample, Settings(**config["settings"]), seed, latest(rows)[drawn], (first, final))
