"""Look whether the model that serves is still what it was: drift, calibration, coverage (ML-10).

Protocol: the features of the decisions since those that the champion was trained on (--from, --to: others),
made as for training, are compared with the model's own references: the population stability index of each
(alarm beyond 0.25, much moved). Its probabilities for these decisions are held against what was decided:
expected calibration error (alarm beyond --ece), AUC beside popularity and selectivity. Coverage is the share
of listed people who have a list of the last batch (alarm below --coverage; none were made: no alarm). A
champion that somebody was erased from is an alarm, too: train again. Exit code 2 and `refused` where
something is to be looked at. Nothing is changed; the dataset is kept.
"""

import argparse
import asyncio
import sys
from typing import Any

from matching import dataset, judge
from matching.drift import Health
from matching.jobs import command, features
from matching.jobs.engine import code_version
from matching.jobs.run import asked_of, finished, opened
from matching.jobs.train import NAME, champion_of
from matching.judge import Judged
from matching.pair_features import baseline
from storage import datasets, registry
from storage.monitoring import coverage
from storage.offsets import Offset

FEWEST_ROWS = 200


async def main(database_url: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Return the health of what serves."""

    async def settle(connection: Any) -> dict[str, Any]:
        row = await registry.champion(connection, NAME)
        if row is None:
            raise command.JobError("no model serves but the baseline, which was trained on nothing")
        first = Offset.parse(asked.first or row.lineage.get("trained_to", "0.0"))
        after = Offset(first.xid, first.seq + 1) if asked.first is None else first
        return {**await features.settled(connection, asked.to), "version": row.version, "after": str(after)}

    known = {**asked_of(asked), "code": code_version()}
    async with opened(database_url, "monitor", known, settle, again=True) as run:
        row, model = await champion_of(run.connection)
        if row is None or model is None or row.version != run.parameters["version"]:
            raise command.JobError("the champion changed meanwhile; ask again")
        first, to = Offset.parse(run.parameters["after"]), Offset.parse(run.parameters["to"])
        built = await features.build(run, first, to, (), asked.seed)
        rows = dataset.read((await datasets.load(run.connection, built["dataset"]))[1])
        on = Judged.of(rows)
        said = judge.figures(on, model.probabilities(on.features))
        moved = judge.drift(model, on.features)
        covered = await coverage(run.connection, row.version)
        share = covered.with_list / covered.people if covered.people and covered.with_list else 1.0
        enough = len(on) >= FEWEST_ROWS
        health = Health(tuple(moved["moved"]) if enough else (), said["ece"] or 0.0 if enough else 0.0, share)
        alarms = health.alarms(asked.ece, asked.coverage)
        marked = registry.attention(row)
        alarms += [] if marked is None else [marked]
        return await finished(run, {
            "model": row.version, "from": str(first), "to": str(to), "rows": len(on),
            "enough_rows": enough, "drift": moved, "figures": said,
            "baseline": judge.figures(on, baseline(on.features))["auc"],
            "coverage": {"people": covered.people, "with_list": covered.with_list, "share": share},
            "decisions_beside_its_scores": covered.decisions_beside,
            "alarms": alarms, **({"refused": "; ".join(alarms)} if alarms else {}),
        })  # fmt: skip


def parser() -> argparse.ArgumentParser:
    found = command.parser("monitor", __doc__)
    features.add_range(found)
    found.add_argument("--ece", type=float, default=0.05, help="default: 0.05")
    found.add_argument("--coverage", type=float, default=0.95, metavar="SHARE", help="default: 0.95")
    return found


if __name__ == "__main__":
    sys.exit(command.run(parser(), lambda site, asked: asyncio.run(main(site.database_url, asked))))
