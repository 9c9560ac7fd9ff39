"""Fitting in Ray: one task for what fits on a core, Ray Train above that (ML-3).

A task loads its dataset itself: Ray's store of objects is small here, and the database has it.
"""

import asyncio
from typing import Any

import numpy as np
import polars as pl
import ray
from threadpoolctl import threadpool_limits

from matching import artefact, dataset, rank
from matching.arrays import Booleans, Floats
from matching.artefact import PeopleModel
from matching.boosting import xgboost
from matching.jobs.engine import connect
from matching.judge import matrix
from matching.pair_features import FEATURES, HISTORY, blanked
from matching.rank import HELD_FOR_CALIBRATION, Settings
from matching.tally import PRIOR
from storage import datasets

RETRIES = 3
"""A worker that dies is started again; the task has no effects but its answer."""


def loaded(database_url: str, sha256: str) -> pl.DataFrame:
    """Return the rows of a dataset."""

    async def load() -> bytes:
        connection = await connect(database_url, "fit")
        try:
            return (await datasets.load(connection, sha256))[1]
        finally:
            await connection.close()

    return dataset.read(asyncio.run(load()))


def inputs_of(rows: pl.DataFrame) -> Floats:
    """Return what a model takes of a dataset's rows."""
    return blanked(matrix(rows))


def latest(count: int) -> Booleans:
    """Return which rows calibrate: the last ones."""
    return np.asarray(np.arange(count) >= count * (1 - HELD_FOR_CALIBRATION))


def fit_rows(rows: pl.DataFrame, settings: dict[str, Any], seed: int) -> bytes:
    """Return the artefact of a model of these rows; the same ones give the same bytes."""
    return written(rows, Settings(**settings), seed, latest(len(rows)))


def written(
    rows: pl.DataFrame,
    settings: Settings,
    seed: int,
    held: Booleans,
    grown: tuple[xgboost.Booster, xgboost.Booster] | None = None,
) -> bytes:
    """Return the artefact; `grown` are trees that were trained elsewhere (rank.fit)."""
    inputs = inputs_of(rows)
    labels = rows[dataset.LABEL].to_numpy().astype(float)
    with threadpool_limits(1):  # sums of more threads round otherwise
        model = rank.fit(inputs, labels, HISTORY, seed, settings=settings, held=held, grown=grown)
    return artefact.write(PeopleModel(model, FEATURES, PRIOR, artefact.references_of(FEATURES, inputs)))


def _task(database_url: str, sha256: str, rows: int, settings: dict[str, Any], seed: int) -> bytes:
    return fit_rows(loaded(database_url, sha256)[:rows], settings, seed)


def fit(database_url: str, sha256: str, rows: int, settings: dict[str, Any], seed: int) -> Any:
    """Return a Ray reference to the artefact of a dataset's first `rows`."""
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(_task).options(name="fit")
    return task.remote(database_url, sha256, rows, settings, seed)
