"""Train a model of people, judge it on later decisions, register it, and let it serve if the gate says so
(ML-3, ML-5).

Protocol: the dataset is that of --dataset, or made now (as matching.jobs.features does, of --from to --to).
Rows are in the order of their offsets; the first of them train, the last --later of them judge. Trees and a
logistic regression on the engine's features (matching/pair_features.py; history blank where a side is cold),
blended and calibrated; in one Ray task up to --switch-rows rows, above that by Ray Train on --workers
workers, blocks cut between raters. One thread and one seed: the same rows give the same bytes in one task.
Gate: on rows later than what challenger and champion were trained on, the challenger's AUC is better by more
than one bootstrap standard error, its calibration error is within limits in all and by group, and no group
(either side by gender and age) is promised more than another given what it gets. The first champion to beat
is the baseline, popularity and selectivity. Exit code 2: trained and registered, but refused at the gate.
Whoever is erased meanwhile is not trained on: the model is not kept, and with no --dataset made again.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from typing import Any

import ray

from matching import artefact, dataset, judge, leaks
from matching.artefact import PeopleModel
from matching.jobs import command, features
from matching.jobs.engine import code_version
from matching.jobs.fitting import fit
from matching.jobs.run import Run, asked_of, finished, opened
from matching.judge import Judged
from matching.pair_features import FEATURES, SCHEMA, baseline
from matching.rank import Settings
from storage import datasets, registry
from storage.offsets import Offset
from storage.registry import BASELINE, ErasedError, ModelRow, PrunedError

NAME = "people"
FEWEST_ROWS = 100
ALIVE_EVERY_S = 10.0
TRIES = 3


async def dataset_of(run: Run, asked: argparse.Namespace) -> str:
    """Return the hash of what is trained on."""
    if asked.dataset is None:
        first, to = Offset.parse(asked.first or "0.0"), Offset.parse(run.parameters["to"])
        return str((await features.build(run, first, to, (), asked.seed))["dataset"])
    try:
        found, _ = await datasets.load(run.connection, asked.dataset)
    except KeyError:
        raise command.JobError(
            f"there is no dataset {asked.dataset}; matching.jobs.features makes one"
        ) from None
    if found.spec["schema"] != SCHEMA or not set(FEATURES) <= set(found.spec["features"]):
        raise command.JobError("the dataset was made by another version of the engine; build it again")
    return found.sha256


async def _fitted(run: Run, database_url: str, asked: argparse.Namespace, sha256: str, rows: int) -> bytes:
    """Return the artefact: the step `fit`, in Ray."""
    settings = asdict(settings_of(asked))

    async def make() -> tuple[bytes, dict[str, Any]]:
        if rows > asked.switch_rows:
            from matching.jobs import large  # noqa: PLC0415 (Ray Train is slow to import)

            config = {"dataset": sha256, "rows": rows, "settings": settings, "seed": asked.seed}
            run.tell(f"{rows} rows: {asked.workers} workers of Ray Train")
            waiting = asyncio.create_task(asyncio.to_thread(large.fit, database_url, config, asked.workers))
        else:
            task = fit(database_url, sha256, rows, settings, asked.seed)
            waiting = asyncio.create_task(asyncio.to_thread(ray.get, task))
        waited_s = 0.0
        while not (await asyncio.wait({waiting}, timeout=ALIVE_EVERY_S))[0]:
            waited_s += ALIVE_EVERY_S
            run.tell(f"fit: {waited_s:.0f} s")
        return waiting.result(), {"rows": rows}

    return await run.step("fit", make)


def settings_of(asked: argparse.Namespace) -> Settings:
    """Return the trees' settings with what --set changes."""
    known = asdict(Settings())
    given: dict[str, Any] = {}
    for each in asked.settings:
        name, _, value = each.partition("=")
        if name not in known or not value:
            raise command.JobError(f"--set {each}: it is NAME=VALUE with one of {', '.join(known)}")
        given[name] = type(known[name])(value)
    return Settings(**given)


async def champion_of(connection: Any) -> tuple[ModelRow | None, PeopleModel | None]:
    """Return what serves; None, None is the baseline."""
    row = await registry.champion(connection, NAME)
    return row, None if row is None else await model_of(connection, row)


async def model_of(connection: Any, row: ModelRow) -> PeopleModel:
    stored = await registry.blob(connection, row.blob_sha256)
    if stored is None:
        raise command.JobError(f"the bytes of {row.version} are gone; train again")
    return artefact.read(stored)


def later_than(rows: Any, *trained: str) -> Any:
    """Return rows with a higher offset than all of these."""
    last = max(map(Offset.parse, trained), default=Offset())
    return rows.filter((rows["xid"] > last.xid) | ((rows["xid"] == last.xid) & (rows["seq"] > last.seq)))


async def judged(connection: Any, later: Any, model: PeopleModel, seed: int) -> dict[str, Any]:
    """Return figures of a model beside the baseline's and the champion's, and the gate's verdict."""
    row, champion = await champion_of(connection)
    on = Judged.of(later)
    fair = on if row is None else Judged.of(later_than(later, row.lineage.get("trained_to", "0.0")))
    verdict = judge.as_json(judge.verdict(fair, champion, model, seed))
    verdict["against"] = BASELINE if row is None else row.version
    verdict["rows"] = len(fair)
    if row is not None and row.erased_at is not None and not verdict["promote"]:
        verdict["objections"].append(
            f"yet {row.version} was trained on somebody who was erased since: if what is above can be borne, "
            "--force lets this version serve in its place"
        )
    found = judge.figures(on, model.probabilities(on.features))
    return {
        **found,
        "baseline": {k: v for k, v in judge.figures(on, baseline(on.features)).items() if k != "groups"},
        "drift": judge.drift(model, on.features),
        "verdict": verdict,
    }


async def _once(run: Run, database_url: str, asked: argparse.Namespace) -> dict[str, Any]:
    sha256 = await dataset_of(run, asked)
    _, stored = await datasets.load(run.connection, sha256)
    rows = dataset.read(stored)
    cut = len(rows) - round(len(rows) * asked.later)
    if cut < FEWEST_ROWS:
        raise command.JobError(f"{cut} rows to train on; {FEWEST_ROWS} are needed: take a longer range")
    leaks.telltale(rows.select(FEATURES), rows[dataset.LABEL].to_numpy().astype(float), asked.seed)
    made = await _fitted(run, database_url, asked, sha256, cut)
    model = artefact.read(made)
    trained_to = f"{rows['xid'][cut - 1]}.{rows['seq'][cut - 1]}"
    run.tell(f"judging on {len(rows) - cut} later rows")
    metrics = await judged(run.connection, rows[cut:], model, asked.seed)
    lineage = {
        "run": run.id, "dataset": sha256, "trained_to": trained_to,
        "from": f"{rows['xid'][0]}.{rows['seq'][0]}",
        "to": f"{rows['xid'][-1]}.{rows['seq'][-1]}", "rows": cut, "seed": asked.seed,
        "settings": asdict(settings_of(asked)), "code": code_version(), "schema": SCHEMA,
    }  # fmt: skip

    async def register(connection: Any) -> dict[str, Any]:
        version = await registry.add_version(
            connection, NAME, made, lineage=lineage, metrics=metrics, card=card(lineage, metrics),
            dataset_sha256=sha256,
        )  # fmt: skip
        await registry.set_alias(connection, NAME, "challenger", version, why="trained", moved_by=run.id)
        return {"version": version}

    version = (await run.commit("register", register))["version"]
    moved = await _promoted(run, asked, version)
    return {
        "version": version,
        "dataset": sha256,
        "rows": cut,
        "later": len(rows) - cut,
        **moved,
        "metrics": _short(metrics),
    }


async def _promoted(run: Run, asked: argparse.Namespace, version: str) -> dict[str, Any]:
    """Let the version serve, if the gate or somebody who insists says so: the step `promote`."""
    if asked.no_promote:
        return {"promoted": False}

    async def act(connection: Any) -> dict[str, Any]:
        row = await registry.find(connection, NAME, version)
        now = await registry.champion(connection, NAME)
        assert row is not None
        verdict = row.metrics["verdict"]
        serving = BASELINE if now is None else now.version
        if verdict["against"] != serving and not asked.force:
            said = f"judged against {verdict['against']}, but {serving} serves by now: evaluate it again"
            return {"promoted": False, "refused": True, "objections": [said]}
        if not verdict["promote"] and not asked.force:
            return {"promoted": False, "refused": True, "objections": verdict["objections"]}
        await registry.promote(connection, NAME, version, verdict, moved_by=run.id, forced=asked.force)
        return {"promoted": True, "objections": verdict["objections"]}

    return await run.commit("promote", act)


def _short(metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        name: metrics[name]
        for name in ("auc", "ndcg5", "ece", "log_loss", "base_rate", "baseline", "verdict")
    }


def card(lineage: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what the model is for, what it is made of, and where it is not to be trusted (MATCH-16)."""
    groups = metrics["groups"]
    return {
        "for": "ordering people for whom both hard limits hold, and the score of a pair of them",
        "not_for": "deciding who may use the engine, what somebody is worth, or anything outside of it",
        "predicts": "that the rater says yes to the ratee; both directions make the score of a pair",
        "data": {name: lineage[name] for name in ("dataset", "from", "trained_to", "rows")},
        "not_seen": "gender, whom somebody seeks, position, messages, names, pictures",
        "metrics": {name: metrics[name] for name in ("rows", "auc", "ndcg5", "ece", "base_rate", "baseline")},
        "groups": groups,
        "limits": [
            "learned from who was shown whom: of pairs that never meet it knows little",
            "of people with fewer than 5 decisions either way it knows the profile alone",
            f"groups with too few later decisions to say anything are missing above; {len(groups)} are there",
        ],
    }


async def main(database_url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    asked = {**asked_of(arguments), "code": code_version()}
    settings_of(arguments)
    async with opened(database_url, "train", asked, lambda c: features.settled(c, arguments.to)) as run:
        if run.row.state == "done" and run.row.result is not None:
            trained = await registry.find(run.connection, NAME, run.row.result["version"])
            if trained is not None and trained.erased_at is None:
                return run.row.result
            run.tell("somebody was erased since: once more, without them")
        for tries_left in reversed(range(TRIES)):
            try:
                return await finished(run, await _once(run, database_url, arguments))
            except (ErasedError, PrunedError):
                await run.forget_all()
                if arguments.dataset is not None or not tries_left:
                    raise
                run.tell(
                    "somebody was erased meanwhile, or the data was pruned: from the start, without them"
                )
        raise AssertionError


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add what train and tune have in common."""
    parser.add_argument("--dataset", metavar="SHA256", help="of matching.jobs.features (default: made now)")
    features.add_range(parser)
    parser.add_argument(
        "--later", type=float, default=0.2, metavar="SHARE", help="of the rows that judge (default: 0.2)"
    )


def parser() -> argparse.ArgumentParser:
    made = command.parser("train", __doc__)
    add_training(made)
    made.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help=f"of the trees: {json.dumps(asdict(Settings()))}",
    )  # fmt: skip
    made.add_argument("--switch-rows", type=int, default=500_000, metavar="N", help="default: 500000")
    made.add_argument("--workers", type=int, default=2, metavar="N", help="of Ray Train (default: 2)")
    made.add_argument("--no-promote", action="store_true", help="register as challenger, and no more")
    made.add_argument(
        "--force", action="store_true", help="let it serve whatever the gate says; that is written down"
    )
    return made


if __name__ == "__main__":
    sys.exit(command.run(parser(), lambda site, arguments: asyncio.run(main(site.database_url, arguments))))
