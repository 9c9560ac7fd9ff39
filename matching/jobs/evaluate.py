"""How a version does on decisions later than its training, and whether the gate would let it serve (ML-5,
ML-10).

Protocol: rows are made of the log up to --to as matching.jobs.features makes them, and kept nowhere; those
from --from on that are later than what the version was trained on are judged. Figures in all and by group
(either side by gender and age) beside the baseline's: AUC of decisions, nDCG@5 of each rater's list, expected
calibration error, log loss. Drift: the population stability index of each feature against training; above
0.25 it moved. Coverage: share of the active, listed people with decisions who have any recommendation. The
gate is asked against what serves now; --promote lets the version serve if it says yes and writes the verdict
down, --force whatever it says. Exit code 2: the gate says no. Seed: of the bootstrap.
"""

import argparse
import asyncio
import sys
from typing import Any

from matching import dataset, drift, judge
from matching.audit import chance_ece
from matching.jobs import command, features
from matching.jobs.engine import connect
from matching.jobs.train import NAME, judged, later_than, model_of
from storage import registry
from storage.offsets import Offset
from storage.registry import ModelRow

ECE_ALARM = 0.05


async def _asked(connection: Any, version: str | None) -> ModelRow:
    if version is not None:
        row = await registry.find(connection, NAME, version)
    else:
        row = await registry.aliased(connection, NAME, "challenger") or await registry.champion(
            connection, NAME
        )
    if row is None:
        raise command.JobError(f"there is no version {version or 'yet'}; `hereabouts models list` shows them")
    return row


async def coverage(connection: Any) -> dict[str, int]:
    """Return how many active, listed people with decisions there are, and how many of them have lists."""
    row = await connection.fetchrow(
        "SELECT count(*) AS asked, count(*) FILTER (WHERE EXISTS (SELECT 1 FROM recommendations r "
        "WHERE r.user_id = p.user_id AND r.kind = 'people')) AS served FROM preferences p "
        "JOIN users u ON u.id = p.user_id JOIN match_tallies t ON t.user_id = p.user_id "
        "WHERE u.status = 'active' AND p.is_listed"
    )
    return {"asked": row["asked"], "served": row["served"]}


async def main(database_url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    connection = await connect(database_url, "evaluate")
    try:
        row = await _asked(connection, arguments.version)
        model = await model_of(connection, row)
        to = Offset.parse((await features.settled(connection, arguments.to))["to"])
        print(f"decisions up to {to}", file=sys.stderr, flush=True)
        rows = dataset.build(await features.read(connection, to), dataset.features)
        later = later_than(rows, row.lineage.get("trained_to", "0.0"))
        if arguments.first:
            first = Offset.parse(arguments.first)
            later = later_than(later, f"{first.xid}.{first.seq - 1}")
        found = await judged(connection, later, model, arguments.seed)
        shown = await coverage(connection)
        health = drift.Health(
            moved=tuple(found["drift"]["moved"]),
            ece=found["ece"] or 0.0,
            coverage=shown["served"] / shown["asked"] if shown["asked"] else 1.0,
        )
        chance = chance_ece(model.probabilities(judge.matrix(later))) if len(later) else 0.0
        alarms = health.alarms(ece_limit=max(ECE_ALARM, chance))
        result = {"version": row.version, **found, "coverage": shown, "alarms": alarms, "promoted": False}
        if arguments.promote or arguments.force:
            result["promoted"] = await _promote(connection, row, found["verdict"], forced=arguments.force)
        if not found["verdict"]["promote"] and not result["promoted"]:
            result["refused"] = True
        return result
    finally:
        await connection.close()


async def _promote(connection: Any, row: ModelRow, verdict: dict[str, Any], *, forced: bool) -> bool:
    if not verdict["promote"] and not forced:
        return False
    async with connection.transaction():
        now = await registry.champion(connection, NAME)
        if verdict["against"] != (registry.BASELINE if now is None else now.version):
            raise command.JobError("another version serves since the gate was asked: evaluate again")
        await registry.promote(connection, NAME, row.version, verdict, moved_by="evaluate", forced=forced)
    return True


def parser() -> argparse.ArgumentParser:
    made = command.parser("evaluate", __doc__)
    made.add_argument("--version", metavar="VERSION", help="default: the challenger, else the champion")
    features.add_range(made)
    made.add_argument("--promote", action="store_true", help="let it serve if the gate says yes")
    made.add_argument("--force", action="store_true", help="let it serve whatever the gate says")
    return made


if __name__ == "__main__":
    sys.exit(command.run(parser(), lambda site, arguments: asyncio.run(main(site.database_url, arguments))))
