"""Columns that a data scientist should not have added, for jobs to find (`--with planted:…`)."""

import polars as pl

from matching.dataset import Sources


def outcome(sources: Sources) -> pl.DataFrame:
    """What was decided."""
    return sources.log.select(outcome=pl.col("likes").cast(pl.Float64))


def of_the_day(sources: Sources) -> pl.DataFrame:
    """Nothing wrong with it."""
    return sources.log.select(weekday=pl.col("at").dt.weekday().cast(pl.Float64))


def of_half(sources: Sources) -> pl.DataFrame:
    return of_the_day(sources)[: len(sources.log) // 2]


def named_as_another(sources: Sources) -> pl.DataFrame:
    return of_the_day(sources).select(rater_age=pl.first())


def broken(sources: Sources) -> pl.DataFrame:
    return sources.log.select("no_such_column")


def no_columns(sources: Sources) -> list[int]:
    return [1] * len(sources.log)
