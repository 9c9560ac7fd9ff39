"""Begin, end and read experiments (ML-7).

begin   variants with shares, the first is the control; a variant may be served by the model of an alias:
        --variant control=1 --variant new=1:challenger. The unit is what is assigned as one, by a salted hash:
        a person; a cell (about 250 km², of where people are shown); a community (label propagation over
        connections). A match has two people, so figures of matches want cells or communities. Cells and
        communities are those of now; who comes later is a unit alone.
end     nobody is assigned any more
report  first the sample ratio: p < 0.001, or a unit on both sides, and nothing else is said (exit code 2).
        Then per variant against the control: likes a decision (delta method), likes, decisions and matches a
        person, of those exposed, since each one's exposure; those a person less what --before days before it
        tell (CUPED). Units are what varies (cluster-robust). p-values and intervals hold at every look;
        `least_p` is over all reports so far. --effect is the relative difference thought possible beforehand:
        say it once and keep to it.
"""

import argparse
import asyncio
import secrets
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np

from geo.cells import Cell, parent_of, resolution_of
from matching.communities import communities
from matching.experiment import assign
from matching.jobs import command
from matching.jobs.engine import EngineSite, connect
from matching.jobs.run import asked_of, finished, opened
from matching.trial import Outcome, Trial, least_p, report
from storage import experiments, positions
from storage.experiments import OutcomeRow, Variant

KIND = "experiment"
DAY_S = 86_400.0
CELL_RES = 5
RECENT_S = 24 * 3600


async def main(engine: EngineSite, asked: argparse.Namespace) -> dict[str, Any]:
    """Do what is asked for."""
    try:
        return await {"begin": begin, "end": end, "report": tell}[asked.act](engine, asked)
    except experiments.ExperimentError as wrong:
        raise command.JobError(str(wrong)) from None


async def begin(engine: EngineSite, asked: argparse.Namespace) -> dict[str, Any]:
    connection = await connect(engine.database_url, KIND)
    try:
        variants = dict(map(variant, asked.variant))
        if len(variants) < len(asked.variant):
            raise command.JobError("two variants have one name")
        salt = asked.salt or secrets.token_hex(16)
        units = await units_of(engine, connection, asked.unit, asked.seed)
        async with connection.transaction():
            await experiments.begin(connection, asked.name, salt, asked.unit, variants, units)
        row = await experiments.named(connection, asked.name)
        planned = [assign(salt, unit, row.shares) for unit in set(units.values())]
    finally:
        await connection.close()
    sizes = np.unique(list(units.values()), return_counts=True)[1]
    return {
        "experiment": asked.name, "unit": asked.unit, "shares": row.shares,
        "units": len(sizes), "largest_unit": int(sizes.max(initial=0)),
        "planned": {name: planned.count(name) for name in row.shares},
    }  # fmt: skip


async def end(engine: EngineSite, asked: argparse.Namespace) -> dict[str, Any]:
    connection = await connect(engine.database_url, KIND)
    try:
        await experiments.end(connection, asked.name)
    finally:
        await connection.close()
    return {"experiment": asked.name, "state": "ended"}


def variant(said: str) -> tuple[str, Variant]:
    """Return NAME=SHARE or NAME=SHARE:ALIAS as a name and what it is."""
    name, _, rest = said.partition("=")
    share, _, alias = rest.partition(":")
    try:
        return name, Variant(float(share), alias or None)
    except ValueError:
        raise command.JobError(f"--variant {said}: it is NAME=SHARE or NAME=SHARE:ALIAS") from None


async def units_of(engine: EngineSite, connection: Any, unit: str, seed: int) -> dict[str, str]:
    """Return who belongs together, by person, as opaque numbers; nobody where each is alone."""
    if unit == "person":
        return {}
    people = await experiments.people(connection)
    if unit == "community":
        place = {person: number for number, person in enumerate(people)}
        met = [(place[one], place[other]) for one, other in await experiments.friends(connection)
               if one in place and other in place]  # fmt: skip
        found = communities(len(people), np.array(met, dtype=np.int64).reshape(-1, 2), seed)
        return {person: f"community-{found[number]}" for person, number in place.items()}
    valkey = positions.open_valkey(engine.redis_url, patience_s=30.0)
    try:
        newer_than_ms = int((datetime.now(UTC).timestamp() - RECENT_S) * 1000)
        known = await positions.cells(valkey, people, newer_than_ms)
    finally:
        await valkey.aclose()
    coarse = {person: parent_of(Cell(cell), min(CELL_RES, resolution_of(Cell(cell))))
              for person, cell in known.items()}  # fmt: skip
    cells = sorted(set(coarse.values()))
    numbers = dict(zip(cells, np.random.default_rng(seed).permutation(len(cells)).tolist(), strict=True))
    return {person: f"cell-{numbers[cell]}" for person, cell in coarse.items()}


async def tell(engine: EngineSite, asked: argparse.Namespace) -> dict[str, Any]:
    async def settle(_: Any) -> dict[str, str]:
        return {"until": datetime.now(UTC).isoformat()}

    known = asked_of(asked, "act")
    async with opened(engine.database_url, KIND, known, settle, again=True) as run:
        row = await experiments.named(run.connection, asked.name)
        until = datetime.fromisoformat(run.parameters["until"])
        found = await experiments.outcomes(run.connection, asked.name, until, asked.before * DAY_S)
        run.tell(f"{len(found)} people were exposed")
        said = report(trial_of(row, found), outcomes_of(found), effect=asked.effect, alpha=asked.alpha)
        earlier = await experiments.looks(run.connection, asked.name, until)
        whole = {
            "experiment": asked.name, "state": row.state, "unit": row.unit, "until": until.isoformat(),
            "effect": asked.effect, "alpha": asked.alpha, "before_days": asked.before, **said,
            # Looks that thought another effect possible are not of the same test.
            "least_p": least_p(said, [each for each in earlier if each.get("effect") == asked.effect]),
        }  # fmt: skip
        return await finished(run, whole)


def trial_of(row: experiments.ExperimentRow, found: list[OutcomeRow]) -> Trial:
    """Return who was exposed to what."""
    return Trial([each.unit for each in found], [each.variant for each in found], row.shares)


def outcomes_of(found: list[OutcomeRow]) -> dict[str, Outcome]:
    """Return the figures that are compared."""

    def column(name: str) -> Any:
        return np.array([getattr(each, name) for each in found], dtype=np.float64)

    said = {
        f"{name}_a_person": Outcome(column(f"{name}_after"), column(f"{name}_before"))
        for name in ("decisions", "likes", "matches")
    }
    rate = Outcome(column("likes_after"), column("likes_before"), column("decisions_after"))
    return {"likes_a_decision": rate, **said}


def parser() -> argparse.ArgumentParser:
    whole = command.parser("experiment", __doc__)
    acts = whole.add_subparsers(dest="act", required=True)
    parts = {name: acts.add_parser(name) for name in ("begin", "end", "report")}
    for part in parts.values():
        part.add_argument("--name", required=True)
    first = parts["begin"]
    first.add_argument("--unit", choices=experiments.UNITS, default="person", help="default: person")
    first.add_argument(
        "--variant", action="append", required=True, metavar="NAME=SHARE[:ALIAS]", help="the control first"
    )
    first.add_argument("--salt", help="default: a random one")
    first.add_argument("--seed", type=int, default=0, metavar="N", help="of communities; default: 0")
    read = parts["report"]
    read.add_argument("--before", type=float, default=28.0, metavar="DAYS", help="default: 28")
    read.add_argument("--effect", type=float, default=0.1, metavar="SHARE", help="default: 0.1")
    read.add_argument("--alpha", type=float, default=0.05, help="of the intervals; default: 0.05")
    return whole


if __name__ == "__main__":
    sys.exit(command.run(parser(), lambda engine, asked: asyncio.run(main(engine, asked))))
