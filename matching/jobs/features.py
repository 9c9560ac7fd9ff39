"""Rows for training from the decisions of an offset range, each with what was known before it (ML-1, ML-2,
ML-12).

Protocol: the log of decisions is read up to --to (default: all that is complete) in the order of its offsets;
rows before --from count for what they say of later ones and are not in the dataset. Rates come from strictly
earlier decisions, profiles and gender from what people had said before, ages from the day. The same range
gives the same bytes, whose SHA-256 names the dataset, unless somebody in it was erased since.
Features: matching/pair_features.py; a column more for each that --with MODULE:FUNCTION makes of the sources
(matching/dataset.py: Columns), for a look of one's own: models that serve take none of them.
Before anything is kept, features are tested for leaks (matching/leaks.py): one that knows its own label, a
later row, or that alone all but states the label stops the job and is named. Seed: which rows are tested.
"""

import argparse
import asyncio
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import polars as pl

from matching import dataset, leaks
from matching.dataset import BORN, LOG, SAID, Columns, Sources
from matching.decisions import LeakError
from matching.jobs import command
from matching.jobs.engine import code_version
from matching.jobs.run import Run, asked_of, finished, opened
from matching.pair_features import SCHEMA
from storage import datasets
from storage.offsets import Offset
from storage.registry import ErasedError

NAME = "people"
MOST_ROWS = 5_000_000
AHEAD = timedelta(seconds=5)
"""How far a decision's time may be before the clock of the database."""


class RangeError(command.JobError):
    """No dataset can be made of these offsets, or with these columns."""


async def read(connection: Any, to: Offset) -> Sources:
    """Return the logs up to an offset (inclusive). Raises RangeError where they are too long, LeakError for a
    decision from the future.
    """
    batches = []
    count = 0
    async for rows in datasets.decisions_until(connection, to):
        count += len(rows)
        if count > MOST_ROWS:
            raise RangeError(f"more than {MOST_ROWS} decisions: give an earlier --to")
        batches.append(_frame(rows, LOG))
    log = pl.concat(batches)
    now: datetime = await connection.fetchval("SELECT now()")
    ahead = log.filter(pl.col("at") > now.astimezone(UTC) + AHEAD)
    if len(ahead):
        raise LeakError(
            f"column 'at': {len(ahead)} decisions are dated after now, the first {ahead['at'][0]} "
            f"(offset {ahead['xid'][0]}.{ahead['seq'][0]}); what is not decided yet is not trained on"
        )
    said = _frame(await datasets.said_until(connection, to), SAID)
    return Sources(log, said, _frame(await datasets.births(connection), BORN))


def _frame(rows: Sequence[Any], schema: dict[str, Any]) -> pl.DataFrame:
    """Rows from the database as columns; uuids are text, times UTC."""
    columns = zip(*(tuple(row) for row in rows), strict=True) if rows else ([] for _ in schema)
    return pl.DataFrame(
        {
            name: pl.Series(name, list(values), kind, strict=False)
            for (name, kind), values in zip(schema.items(), columns, strict=True)
        }
    )


def columns_of(extra: Sequence[str]) -> Columns:
    """Return the engine's features and those of `module:function` ones beside them."""
    functions = {each: _function(each) for each in extra}

    def made(sources: Sources) -> pl.DataFrame:
        own = [dataset.features(sources)]
        taken = {*own[0].columns, *dataset.KEYS, *dataset.AUDIT, dataset.LABEL}
        for name, function in functions.items():
            own.append(_made(name, function, sources, taken))
            taken |= set(own[-1].columns)
        return pl.concat(own, how="horizontal")

    return made


def _function(name: str) -> Columns:
    module, _, function = name.partition(":")
    try:
        found: Columns = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as wrong:
        raise RangeError(
            f"--with {name}: {wrong}; it is MODULE:FUNCTION of a module that the job can import"
        ) from None
    return found


def _made(name: str, function: Columns, sources: Sources, taken: Collection[str]) -> pl.DataFrame:
    """Raise RangeError where a function of somebody's own fails, or makes other than a row for each of the
    log.
    """
    try:
        found = function(sources)
    except Exception as wrong:
        raise RangeError(f"--with {name} failed: {type(wrong).__name__}: {wrong}") from wrong
    rows = len(sources.log)
    if not isinstance(found, pl.DataFrame) or found.height != rows:
        what = f"{found.height} rows" if isinstance(found, pl.DataFrame) else type(found).__name__
        raise RangeError(
            f"--with {name} makes {what}: it is a polars.DataFrame of {rows} rows, those of the log"
        )
    if double := sorted(set(found.columns) & set(taken)):
        raise RangeError(f"--with {name}: there is a column {', '.join(double)} already; name it otherwise")
    return found


async def build(
    run: Run, first: Offset, to: Offset, extra: Sequence[str], seed: int, *, tries: int = 3
) -> dict[str, Any]:
    """Make a dataset, test it, keep it, and return what it is: the step `dataset` of a run, done once."""
    found = await run.done("dataset")
    if found is not None and await datasets.is_there(run.connection, found.result["dataset"]):
        return found.result
    if found is not None:  # erased or pruned since, so what was made of it does not count either
        await run.forget_all()
    run.tell(f"reading decisions up to {to}")
    sources = await read(run.connection, to)
    start = sources.log.filter(
        (pl.col("xid") < first.xid) | ((pl.col("xid") == first.xid) & (pl.col("seq") < first.seq))
    )
    if len(sources.log) == len(start):
        raise RangeError(f"there are no decisions from {first} to {to}")
    columns = columns_of(extra)
    said: list[tuple[int, int]] = []
    leaks.check(columns, sources, seed, lambda done, of: said.append((done, of)))
    await run.progress("leaks", *(said[-1] if said else (1, 1)))
    rows = dataset.build(sources, columns, first=len(start))
    names = [name for name in rows.columns if name not in {*dataset.KEYS, *dataset.AUDIT, dataset.LABEL}]
    spec = {"features": names, "schema": SCHEMA, "extra": list(extra), "code": code_version(), "seed": seed}
    stored = dataset.write(rows)
    people = sorted({*sources.log["rater"], *sources.log["ratee"]})

    async def keep(connection: Any) -> dict[str, Any]:
        sha256 = await datasets.add(
            connection, stored, name=NAME, from_offset=first, to_offset=to, row_count=len(rows), spec=spec,
            people=people,
        )  # fmt: skip
        return {
            "dataset": sha256, "rows": len(rows), "people": len(people), "from": str(first), "to": str(to),
            "positive": int(rows[dataset.LABEL].sum()), "features": len(names),
        }  # fmt: skip

    try:
        return await run.commit("dataset", keep)
    except ErasedError:
        if not tries:
            raise
        run.tell("somebody is being erased meanwhile: once more, without them")
        return await build(run, first, to, extra, seed, tries=tries - 1)


async def settled(connection: Any, to: str | None) -> dict[str, str]:
    """Return up to where: all that is complete now, where nothing is asked for."""
    return {"to": str(Offset.parse(to) if to else await datasets.last_offset(connection))}


def add_range(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="first", metavar="XID.SEQ", help="first offset of the rows (default: all)"
    )
    parser.add_argument(
        "--to", metavar="XID.SEQ", help="last offset, inclusive (default: all that is complete)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


async def main(database_url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    asked = {**asked_of(arguments), "code": code_version()}
    async with opened(database_url, "features", asked, lambda c: settled(c, arguments.to)) as run:
        before = run.row.result if run.row.state == "done" else None
        if before is not None and await datasets.is_there(run.connection, before["dataset"]):
            return before
        first, to = Offset.parse(arguments.first or "0.0"), Offset.parse(run.parameters["to"])
        return await finished(run, await build(run, first, to, arguments.extra, arguments.seed))


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("features", __doc__)
    add_range(parser)
    parser.add_argument(
        "--with", dest="extra", action="append", default=[], metavar="MODULE:FUNCTION",
        help="a function from matching.dataset.Sources to columns of one's own",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(command.run(_parser(), lambda site, arguments: asyncio.run(main(site.database_url, arguments))))
