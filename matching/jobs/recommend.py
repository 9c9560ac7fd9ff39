"""Recommendations for everybody at once: people, the pick of the day, groups, places (ML-9).

What is read is one snapshot of the engine's tables, and the cells (never positions) that people are shown in.
Candidates of each come from who is near, shared interests, who likes alike, who is liked, matches of matches
and encounters; hard limits, both ways, before anything is scored (MATCH-6, 7, 8). The champion of `people`
scores both directions, or popularity and selectivity where there is none. Then:

  people  deferred acceptance: a list of --slots, nobody on more than --cap lists (MATCH-9)
  pick    one for each who has one, mutual and stable, on the 50 best of each (MATCH-10)
  groups  people nearby who would all get on, and rooms that one is invited to (MATCH-12)
  places  public fences by who went where (MATCH-13)

Shards of viewers are Ray tasks over one copy of the columns. A person's rows are replaced in one transaction;
whoever was blocked, decided on, paused or erased meanwhile is not written. A killed run that is started again
goes on where it was; where neither model nor decisions have changed there is nothing to do (but --again).

The last line of output is one JSON object. `worth` has lists by caps, without caps and by popularity, each
with expected matches, effective matches (everybody answers at most --attention), and the Gini coefficient of
exposure; the chances are the model's own.
"""

import argparse
import asyncio
import sys
import time
from datetime import UTC, datetime
from typing import Any

from matching import artefact, batch
from matching.answers import BASELINE
from matching.artefact import PeopleModel
from matching.batch import Edges
from matching.jobs import command, shards
from matching.jobs.engine import EngineSite
from matching.jobs.hands import Hands, OnRay
from matching.jobs.run import Run, asked_of, finished, opened
from matching.jobs.world import Tables, tables
from matching.jobs.writing import Lists, figures_of, packed, write
from storage import datasets, jobs, positions, recommending, registry

KIND = "recommend"
RECENT_S = 24 * 3600
"""An older place counts for nowhere."""


async def settle(connection: Any) -> dict[str, Any]:
    """What "now" is for a run: the model that serves, and the last decision that it knows."""
    row = await registry.champion(connection, "people")
    return {
        "model": BASELINE if row is None else row.version,
        "to": str(await datasets.last_offset(connection)),
    }


async def read(engine: EngineSite, run: Run) -> Tables:
    """Return the columns of now, with the run's model."""
    model = await model_of(run.connection, run.parameters["model"])
    taken = await recommending.snapshot(run.connection)
    now = datetime.now(UTC)
    valkey = positions.open_valkey(engine.redis_url, patience_s=30.0)
    try:
        newer_than_ms = int((now.timestamp() - RECENT_S) * 1000)
        cells = await positions.cells(valkey, [person.user for person in taken.people], newer_than_ms)
    finally:
        await valkey.aclose()
    return tables(taken, cells, model, now.date(), seed=run.parameters["seed"], privacy_k=engine.privacy_k)


async def model_of(connection: Any, version: str) -> PeopleModel | None:
    """Return a version of the registry. Raises JobError where it may not be used any more."""
    if version == BASELINE:
        return None
    row = await registry.find(connection, "people", version)
    stored = (
        None if row is None or row.erased_at is not None else await registry.blob(connection, row.blob_sha256)
    )
    if stored is None:
        raise command.JobError(
            f"{version} may not be used any more: roll back or train again, then run this again"
        )
    return artefact.read(stored)


def listed(hands: Hands, found: Tables, run: Run) -> tuple[Lists, dict[str, Any]]:
    """Return all lists, and what they are worth by the model's own chances. Raises AssertionError where they
    are not stable.
    """
    world, count, tell = hands.share(found.world), len(found.ids), run.tell
    slots, cap, seed, kinds = (run.parameters[name] for name in ("slots", "cap", "seed", "kinds"))
    begun_s = time.monotonic()
    everybody = batch.by_place(found.world.population)
    edges = shards.scored(hands, world, everybody, seed, tell)
    scored_s = time.monotonic() - begun_s
    best, picked = batch.show(edges, count, slots, cap), batch.pick(edges)
    if best.unstable or picked.unstable:
        raise AssertionError(
            f"not stable: {best.unstable} pairs of the lists, {picked.unstable} of the picks"
        )
    tell("lists and picks are stable")
    lists = Lists(
        best.edges,
        shards.why(hands, world, best.edges, tell),
        picked.edges,
        shards.why(hands, world, picked.edges, tell),
    )
    if "groups" in kinds:
        lists.groups = shards.groups(hands, world, everybody, tell)
        lists.rooms = shards.rooms(found.world, found.invited)
    if "places" in kinds:
        lists.places = shards.visited(found.visits, seed)
    return lists, {
        "people": count,
        "candidates_each": round(len(edges) / max(count, 1), 1),
        "scored_s": round(scored_s, 2),
        "rest_s": round(time.monotonic() - begun_s - scored_s, 2),
        "picks": len(picked.edges),
        "unstable": best.unstable + picked.unstable,
        "groups": len(lists.groups),
        "worth": compared(found, edges, best.edges, slots, run.parameters["attention"]),
    }


def compared(
    found: Tables, edges: Edges, capped: Edges, slots: int, attention: int
) -> dict[str, dict[str, float]]:
    """Return what three kinds of lists of the same candidates are worth, by the model's own chances."""
    count = len(found.ids)
    popular = batch.by_popularity(edges, found.world.rates)
    kinds = {
        "capped": capped,
        "uncapped": batch.show_best(edges, count, slots),
        "popularity": edges.take(batch.best(popular, count, slots)),
    }
    return {name: batch.worth(each, count, attention) for name, each in kinds.items()}


async def recommend(
    engine: EngineSite, asked: dict[str, Any], hands: Hands, *, again: bool = False
) -> dict[str, Any]:
    """Read, list, write; return the figures. Raises RunTakenError while another run writes."""
    begun_s = time.monotonic()
    async with (
        opened(engine.database_url, KIND, asked, settle, again=again) as run,
        jobs.held(run.connection, KIND, "all"),
    ):
        if run.row.result is not None:
            return run.row.result
        await recommending.forget_unfinished(run.connection, KIND, run.id)

        async def make() -> tuple[bytes, dict[str, Any]]:
            await recommending.forget_written(run.connection, run.id)
            found = await read(engine, run)
            run.tell(f"lists for {len(found.ids)} people by {run.parameters['model']}")
            lists, figures = await asyncio.to_thread(listed, hands, found, run)
            return packed(found.ids, found.places, run.parameters["model"], lists, figures), {}

        stored = await run.step("lists", make)
        kinds = run.parameters["kinds"]
        rows = await write(run, stored, kinds)
        for kind in kinds:
            await recommending.forget_others(run.connection, kind, run.id)
        async with run.connection.transaction():
            await recommending.forget_steps(run.connection, run.id)
            seconds = round(time.monotonic() - begun_s, 1)
            figures = {
                **figures_of(stored),
                "model": run.parameters["model"],
                "rows": rows,
                "seconds": seconds,
            }
            return await finished(run, figures)


def main() -> int:
    """The command."""
    parser = command.parser("recommend", __doc__)
    parser.add_argument("--slots", type=_count, default=20, help="places of a list")
    parser.add_argument("--cap", type=_count, default=25, help="lists that one is on at most")
    parser.add_argument("--attention", type=_count, default=10, help="how many one answers; for the figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--kinds", type=_kinds, default=list(recommending.KINDS), help="some of people,pick,groups,places"
    )
    parser.add_argument("--again", action="store_true", help="a new run, although nothing has changed since")

    def job(engine: EngineSite, given: argparse.Namespace) -> dict[str, Any]:
        return asyncio.run(recommend(engine, asked_of(given, "again"), OnRay(), again=given.again))

    return command.run(parser, job)


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1_000:
        raise argparse.ArgumentTypeError("from 1 to 1,000")
    return number


def _kinds(text: str) -> list[str]:
    kinds = text.split(",")
    if not set(kinds) <= set(recommending.KINDS):
        raise argparse.ArgumentTypeError(f"some of {','.join(recommending.KINDS)}")
    return kinds


if __name__ == "__main__":
    sys.exit(main())
